"""The frontends' end of the signer's pipes, with a signer that misbehaves at the other.  Nothing is started here."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
import trio.testing

from astrid.core.canon import encode
from astrid.core.grants import Mode
from astrid.core.risk import Risk
from astrid.core.tokens import Permission
from astrid.errors import AstridError, InputError, LocalProtocolError
from astrid.frontends.signer.protocol import (
    HEADER_BYTES,
    AnswerQuestion,
    Create,
    Failure,
    GrantPatterns,
    GrantWorkspace,
    KeyState,
    Reply,
    Reseal,
    Revoke,
    Show,
    SignedReply,
    SignPrompt,
    Unlock,
    Unseal,
    frame,
    unpack,
)
from astrid.frontends.signing import Signer, Terms, token_of
from astrid.home import Home

STATE = KeyState(b"k" * 32, 2, unlocked=True)
SIGNED = SignedReply(b"statement", b"signature", b"payload", b"t" * 64)


def told(answer: KeyState | SignedReply | Failure) -> bytes:
    return frame(encode(Reply(done=not isinstance(answer, Failure), body=encode(answer))))


class Child:
    """A process that runs until it is killed, or its input ends."""

    stdin = stdout = None

    def __init__(self) -> None:
        self.killed = False
        self.code: int | None = None

    def poll(self) -> int | None:
        return self.code

    def kill(self) -> None:
        self.killed = True
        self.code = -9

    def wait(self) -> int:
        assert self.code is not None
        return self.code


class Bench:
    """A signer whose answers the test writes."""

    def __init__(self) -> None:
        self.child = Child()
        requests, self._requests = trio.testing.memory_stream_one_way_pair()
        self.pipe, replies = trio.testing.memory_stream_one_way_pair()
        self.signer = Signer(self.child, requests, replies)

    async def request(self) -> object:
        """What the signer is asked next."""
        size = int.from_bytes(await self._exactly(HEADER_BYTES))
        return unpack(await self._exactly(size))

    async def _exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            data += await self._requests.receive_some(size - len(data))
        return data


@pytest.fixture
def bench() -> Bench:
    return Bench()


@asynccontextmanager
async def answering(bench: Bench, *answers: bytes) -> AsyncIterator[list[object]]:
    """Answer as many requests; what they were."""
    asked: list[object] = []

    async def serve() -> None:
        for answer in answers:
            asked.append(await bench.request())
            await bench.pipe.send_all(answer)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve)
        yield asked


async def test_every_operation_asks_for_what_its_arguments_say(bench: Bench) -> None:
    signer = bench.signer
    terms = Terms(days=3, uses=5, purse_micros=7, folder=Path("/w"), tainted_ok=True)
    async with answering(bench, *(told(STATE),) * 5, *(told(SIGNED),) * 5) as asked:
        assert await signer.show() == STATE
        assert await signer.unlock() == STATE
        assert await signer.create(plain=True) == STATE
        assert await signer.reseal() == STATE
        assert await signer.unseal() == STATE
        assert await signer.answer(b"q", b"note", [b"p" * 32]) == SIGNED
        await signer.grant_workspace(Path("/w"), Mode.SAFE, days=1, purse_micros=2)
        await signer.grant(["file://a/b"], Permission.READ, Risk.LOW, terms)
        await signer.revoke(b"t" * 32, kind="key")
        await signer.sign_prompt(b"a" * 32, b"s" * 16, 4, "text")
    assert asked == [
        Show(),
        Unlock(),
        Create(plain=True),
        Reseal(),
        Unseal(),
        AnswerQuestion(b"q", b"note", (b"p" * 32,)),
        GrantWorkspace(b"/w", "safe", 1, 2),
        GrantPatterns(("file://a/b",), 1, 0, 3, 5, 7, b"/w", tainted_ok=True),
        Revoke(b"t" * 32, "key"),
        SignPrompt(b"a" * 32, b"s" * 16, 4, b"text"),
    ]


async def test_a_relative_folder_is_handed_over_as_the_one_it_means_here(bench: Bench) -> None:
    async with answering(bench, told(SIGNED)) as asked:
        await bench.signer.grant_workspace(Path("w"), Mode.SAFE, days=1, purse_micros=2)
    assert isinstance(asked[0], GrantWorkspace)
    assert asked[0].folder == os.fsencode(Path.cwd() / "w")


async def test_a_failure_is_raised_with_its_code_and_its_advice(bench: Bench) -> None:
    async with answering(bench, told(Failure("signer.refused", "no", "here", "ask again")), told(STATE)):
        with pytest.raises(AstridError) as refused:
            await bench.signer.unlock()
        error = refused.value
        assert (error.code, error.message, error.where, error.advice) == ("signer.refused", "no", "here", "ask again")
        assert await bench.signer.show() == STATE


@pytest.mark.parametrize("before", [b"", b"\0\0", told(STATE)[:-1]])
async def test_a_signer_that_dies_is_a_clear_error_and_stays_one(bench: Bench, before: bytes) -> None:
    await bench.pipe.send_all(before) if before else None
    await bench.pipe.aclose()
    for _ in range(2):
        with pytest.raises(AstridError) as refused:
            await bench.signer.show()
        assert refused.value.code == "signer.gone"
    assert bench.child.killed


@pytest.mark.parametrize(
    "reply",
    [
        frame(b"nonsense"),
        told(SIGNED),
        (2**31).to_bytes(HEADER_BYTES),
        (0).to_bytes(HEADER_BYTES),
    ],
    ids=["nonsense", "another shape", "endless", "empty"],
)
async def test_a_signer_that_talks_nonsense_is_ended(bench: Bench, reply: bytes) -> None:
    await bench.pipe.send_all(reply)
    with pytest.raises(AstridError):
        await bench.signer.show()
    assert bench.child.killed


async def test_whoever_stops_waiting_ends_the_signer_with_its_question(bench: Bench) -> None:
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:

            async def cancel() -> None:
                await bench.request()
                scope.cancel()

            nursery.start_soon(cancel)
            await bench.signer.answer(b"q", b"note")
    assert bench.child.killed
    with pytest.raises(AstridError) as refused:
        await bench.signer.show()
    assert refused.value.code == "signer.gone"


async def test_a_second_request_waits_for_the_first(bench: Bench) -> None:
    order: list[str] = []

    async def ask(name: str) -> None:
        await bench.signer.show()
        order.append(name)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask, "first")
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(ask, "second")
        await trio.testing.wait_all_tasks_blocked()
        await bench.request()
        await bench.pipe.send_all(told(STATE))
        await trio.testing.wait_all_tasks_blocked()
        assert order == ["first"]
        await bench.request()
        await bench.pipe.send_all(told(STATE))
    assert order == ["first", "second"]


async def test_a_signer_that_does_not_end_by_itself_is_ended(bench: Bench, autojump_clock: trio.abc.Clock) -> None:
    await bench.signer.aclose()
    assert bench.child.killed


async def test_a_question_that_nobody_could_read_is_not_even_sent(bench: Bench) -> None:
    with pytest.raises(LocalProtocolError):
        await bench.signer.answer(bytes(2 * 1024 * 1024), b"note")
    assert not bench.child.killed


async def test_a_passphrase_descriptor_that_is_not_open_starts_nothing(tmp_path: Path) -> None:
    with pytest.raises(InputError) as refused:
        async with Signer.start(Home(tmp_path), passphrase_fd=987):
            pass
    assert refused.value.code == "signer.passphrase-fd"


def test_a_denial_makes_no_token() -> None:
    assert token_of(SignedReply(b"statement", b"signature", b"", b"")) == b""
