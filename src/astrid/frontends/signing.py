"""The signer, as other frontends use it: a process of its own, asked one thing after the other.

Never: sees the user's key or a passphrase; hands the signer anything to sign but a question's bytes, what the person
wants to grant or revoke, and the prompt they typed.

Source: protocol N5, N6, N11; architecture 4; threats 5, 6.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import termios
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Protocol, TypeVar

import msgspec
import trio

from astrid.core.canon import Signed, encode
from astrid.core.grants import Mode
from astrid.core.risk import Risk
from astrid.core.tokens import UNLIMITED_MICROS, UNLIMITED_USES, Permission, SignedBlock
from astrid.errors import InputError, InternalError, LaunchError
from astrid.frontends.launch import start_signer
from astrid.frontends.signer.protocol import (
    HEADER_BYTES,
    AcceptLoss,
    AnswerQuestion,
    Create,
    Failure,
    GrantPatterns,
    GrantWorkspace,
    KeyState,
    LossAccepted,
    Reseal,
    Revoke,
    Show,
    SignedReply,
    SignPrompt,
    Unlock,
    Unseal,
    answered,
    check_length,
    pack,
)
from astrid.home import Home
from astrid.wire.errors import ErrorData, ErrorObject, from_wire, number_of

__all__ = ["KeyState", "LossAccepted", "SignedReply", "Signer", "Terms", "token_of"]

END_SECONDS = 5.0
_CHUNK_BYTES = 64 * 1024
_T = TypeVar("_T", bound=Signed)


class Replies(Protocol):
    """Where the signer's replies come from."""

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        """Some bytes; none at the end."""
        ...

    async def aclose(self) -> None:
        """Let go of them."""
        ...


class Process(Protocol):
    """A child process with pipes, as ``launch`` starts it."""

    @property
    def stdin(self) -> IO[bytes] | None:
        """What it reads."""
        ...

    @property
    def stdout(self) -> IO[bytes] | None:
        """What it writes."""
        ...

    def poll(self) -> int | None:
        """Its exit code, if it has ended."""
        ...

    def kill(self) -> None:
        """End it."""
        ...

    def wait(self) -> int:
        """Its exit code, once it has ended."""
        ...


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """How far a grant reaches, beside what it names.  ``folder``: only in its workspace."""

    days: int
    uses: int = UNLIMITED_USES
    purse_micros: int = UNLIMITED_MICROS
    folder: Path | None = None
    tainted_ok: bool = False


def token_of(reply: SignedReply) -> bytes:
    """The token that was signed, as a chain of one block; empty where there is none, as in a denial."""
    return encode((SignedBlock(reply.payload, reply.token_signature),)) if reply.payload else b""


class Signer:
    """A running signer.  One request at a time; whoever comes second waits."""

    def __init__(self, process: Process, requests: trio.abc.SendStream, replies: Replies) -> None:
        self._process = process
        self._requests = requests
        self._replies = replies
        self._turn = trio.Lock()
        self._gone = False

    @classmethod
    @contextlib.asynccontextmanager
    async def start(
        cls, home: Home, *, passphrase_fd: int | None = None, assume_yes: bool = False
    ) -> AsyncIterator[Signer]:
        """A signer for ``home``, ended on the way out.

        ``assume_yes``: the person agreed to grants and revocations on their command line; questions are put all the
        same.

        Raises:
            LaunchError: it cannot be started.
            InputError: ``passphrase_fd`` is no open descriptor.
        """
        with _handed_on(passphrase_fd) as fds:
            arguments = ["--home", str(home.root), *(("--yes",) if assume_yes else ())]
            for fd in fds:
                arguments += ["--passphrase-fd", str(fd)]
            process = start_signer(home, arguments, pass_fds=fds)
        async with cls.of(process) as signer:
            yield signer

    @classmethod
    @contextlib.asynccontextmanager
    async def of(cls, process: Process, replies: Replies | None = None) -> AsyncIterator[Signer]:
        """The signer that runs in ``process``; its replies come from ``replies`` if somebody else reads them first."""
        signer = cls(process, _stream(process.stdin), replies or _stream(process.stdout))
        try:
            yield signer
        finally:
            with trio.CancelScope(shield=True):
                await signer.aclose()

    # --- what it can be asked

    async def show(self) -> KeyState:
        """The user's public key and how well it is kept.  Opens nothing."""
        return await self._ask(Show(), KeyState)

    async def unlock(self) -> KeyState:
        """Open the key, asking for its passphrase if it has one."""
        return await self._ask(Unlock(), KeyState)

    async def create(self, *, plain: bool) -> KeyState:
        """Make what is missing of this home's keys and statements.

        Raises:
            AstridError: ``file.exists`` if nothing is missing.
        """
        return await self._ask(Create(plain), KeyState)

    async def reseal(self) -> KeyState:
        """Put the user's key under a new passphrase, for which it asks."""
        return await self._ask(Reseal(), KeyState)

    async def unseal(self) -> KeyState:
        """Keep the user's key without the passphrase, for which it asks."""
        return await self._ask(Unseal(), KeyState)

    async def answer(self, question: bytes, checkpoint: bytes, proof: Sequence[bytes] = ()) -> SignedReply:
        """What the person says to a question, signed.

        ``checkpoint`` is the log's newest signed note; ``proof`` shows that it continues the one in ``home.witness``.
        Cancelled, it ends the signer: the person must not go on looking at a question that nobody waits for.

        Raises:
            AstridError: the question was refused, or the person broke off; nothing is signed.
        """
        return await self._ask(AnswerQuestion(question, checkpoint, tuple(proof)), SignedReply)

    async def grant_workspace(self, folder: Path, mode: Mode, *, days: int, purse_micros: int) -> SignedReply:
        """A grant that lets Astrid work in ``folder``, drawn and agreed to."""
        return await self._ask(GrantWorkspace(_path(folder), mode.value, days, purse_micros), SignedReply)

    async def grant(self, patterns: Sequence[str], perms: Permission, risk: Risk, terms: Terms) -> SignedReply:
        """A grant of what some patterns name, drawn and agreed to."""
        asked = GrantPatterns(
            patterns=tuple(patterns),
            perms=perms,
            risk=risk,
            days=terms.days,
            uses=terms.uses,
            purse=terms.purse_micros,
            folder=b"" if terms.folder is None else _path(terms.folder),
            tainted_ok=terms.tainted_ok,
        )
        return await self._ask(asked, SignedReply)

    async def revoke(self, target: bytes, *, kind: str = "token") -> SignedReply:
        """The revocation of a token or a key; ``statement`` is what the daemon takes."""
        return await self._ask(Revoke(target, kind), SignedReply)

    async def accept_loss(self) -> LossAccepted:
        """The log of this home given up for another one, after the person agreed to all that it means.

        Raises:
            AstridError: nothing was lost, a daemon runs, or the person did not agree.
        """
        return await self._ask(AcceptLoss(), LossAccepted)

    async def sign_prompt(self, aud: bytes, session: bytes, turn: int, text: str) -> SignedReply:
        """What the person typed as turn ``turn``, signed; only while the key is unlocked, or if it is plain."""
        return await self._ask(SignPrompt(aud, session, turn, text.encode()), SignedReply)

    # --- how

    async def aclose(self) -> None:
        """End the signer: its input ends, and soon after it does too."""
        await self._requests.aclose()
        try:
            with trio.move_on_after(END_SECONDS):
                await self._wait_end()
        finally:
            self._end()
            await self._replies.aclose()

    async def _wait_end(self) -> None:
        while not self._gone:
            try:
                self._gone = not await self._replies.receive_some(_CHUNK_BYTES)
            except trio.BrokenResourceError:
                self._gone = True

    async def _ask(self, asked: Signed, shape: type[_T]) -> _T:
        data = pack(asked)
        async with self._turn:
            if self._gone:
                raise _gone()
            with _terminal() as put_back:
                try:
                    await self._requests.send_all(data)
                    reply = answered(await self._receive(), shape)
                except BaseException as error:
                    # SAFETY: a reply that nobody waited for would be taken for the answer to the next request.
                    self._end()
                    put_back()
                    if isinstance(error, trio.BrokenResourceError | trio.ClosedResourceError):
                        raise _gone() from error
                    raise
        if isinstance(reply, Failure):
            raise from_wire(_told(reply))
        return reply

    async def _receive(self) -> bytes:
        size = check_length(int.from_bytes(await self._exactly(HEADER_BYTES)))
        return await self._exactly(size)

    async def _exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            chunk = await self._replies.receive_some(size - len(data))
            if not chunk:
                raise trio.BrokenResourceError
            data += chunk
        return data

    def _end(self) -> None:
        """The process is over, and waited for."""
        self._gone = True
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()  # at once: nothing delays the end of a process that was killed


@contextlib.contextmanager
def _handed_on(fd: int | None) -> Iterator[tuple[int, ...]]:
    """``fd`` under a number that a child can be given: its own 0 and 1 are taken."""
    if fd is None:
        yield ()
        return
    try:
        copy = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3)
    except OSError as error:
        raise InputError(
            "signer.passphrase-fd",
            f"descriptor `{fd}` is not open: {error.strerror}",
            advice="open it for reading, such as 3< file",
        ) from error
    try:
        yield (copy,)
    finally:
        os.close(copy)


@contextlib.contextmanager
def _terminal() -> Iterator[Callable[[], None]]:
    """How to put the terminal back as it is now, at the start of a line, should the signer die while it asks."""
    tty = -1
    with contextlib.suppress(OSError):  # there is none
        tty = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    if tty < 0:
        yield lambda: None
        return
    try:
        before = termios.tcgetattr(tty)

        def put_back() -> None:
            with contextlib.suppress(OSError, termios.error):  # hung up: nobody looks at it any more
                termios.tcsetattr(tty, termios.TCSANOW, before)
                os.write(tty, b"\n")

        yield put_back
    finally:
        os.close(tty)


def _stream(pipe: IO[bytes] | None) -> trio.lowlevel.FdStream:
    if pipe is None:
        raise InternalError("signer.no-pipe", "the signer was started without its pipes")
    with pipe:
        return trio.lowlevel.FdStream(os.dup(pipe.fileno()))


def _path(folder: Path) -> bytes:
    return os.fsencode(folder.absolute())


def _told(failure: Failure) -> ErrorObject:
    data = ErrorData(code=failure.code, message=failure.message, where=failure.where, advice=failure.advice)
    return ErrorObject(code=number_of(failure.code), message=failure.message, data=data)


def _gone() -> LaunchError:
    return LaunchError(
        "signer.gone",
        "the signer ended before it answered",
        effect="maybe",
        advice="nothing that it signed was used; try again",
    )
