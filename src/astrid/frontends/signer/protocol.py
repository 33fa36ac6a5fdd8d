"""What the signer may be asked and what it answers: length-framed canonical msgpack on two pipes.  Pure.

A frame is four bytes of length, most significant first, and that many bytes of one ``Request`` or ``Reply``.  Requests
are answered one after the other.  Everything is a fixed array in its one spelling; a frame that is too long, or bytes
that are not exactly one of the shapes below, end the connection.

Never: carries a passphrase, a private key, or anything to be signed that the signer did not make itself; a question
travels as its own bytes, and a prompt is what the person typed.

Source: protocol N0, N5; threats 6, 14.
"""

from __future__ import annotations

from typing import TypeVar

from astrid.core.canon import U8, U16, U32, U64, Ascii, Bytes16, Bytes32, Signed, decode, encode
from astrid.errors import LocalProtocolError

MAX_FRAME_BYTES = 1024 * 1024  # a question that somebody reads to its end is far shorter
HEADER_BYTES = 4
_T = TypeVar("_T", bound=Signed)


class Request(Signed, frozen=True, array_like=True):
    """What is asked: the name of a shape in ``REQUESTS``, and its bytes."""

    name: Ascii
    body: bytes


class Reply(Signed, frozen=True, array_like=True):
    """What is answered: the bytes of the answer to what was asked, or of a ``Failure``."""

    done: bool
    body: bytes


class Failure(Signed, frozen=True, array_like=True):
    """Nothing was signed, and why."""

    code: Ascii
    message: str
    where: str
    advice: str


class Show(Signed, frozen=True, array_like=True):
    """The user's public key and how well it is kept.  Opens nothing."""


class Unlock(Signed, frozen=True, array_like=True):
    """Open the key now, so that prompts can be signed."""


class Create(Signed, frozen=True, array_like=True):
    """Make what is missing of a new install; ``plain``: without a passphrase."""

    plain: bool


class Reseal(Signed, frozen=True, array_like=True):
    """Put the user's key under a new passphrase."""


class Unseal(Signed, frozen=True, array_like=True):
    """Keep the user's key without a passphrase, if the install statement never called it sealed."""


class AnswerQuestion(Signed, frozen=True, array_like=True):
    """Show a question to the person and sign what they say.

    ``checkpoint`` is the log's newest signed note, ``proof`` that it continues the log of the last one that was kept.
    """

    question: bytes
    checkpoint: bytes
    proof: tuple[Bytes32, ...]


class GrantWorkspace(Signed, frozen=True, array_like=True):
    """Let Astrid work in a folder, in a mode, for some days."""

    folder: bytes
    mode: str
    days: U16
    purse: U64


class GrantPatterns(Signed, frozen=True, array_like=True):
    """Let Astrid use what some patterns name; in one folder's workspace, or with an empty ``folder`` in all."""

    patterns: tuple[Ascii, ...]
    perms: U16
    risk: U8
    days: U16
    uses: U32
    purse: U64
    folder: bytes
    tainted_ok: bool


class Revoke(Signed, frozen=True, array_like=True):
    """Revoke a token or a key."""

    target: Bytes32
    kind: str


class AcceptLoss(Signed, frozen=True, array_like=True):
    """Give the log of this home up, since it was lost, and open another one."""


class SignPrompt(Signed, frozen=True, array_like=True):
    """Sign what the person typed as turn ``turn`` of a session."""

    aud: Bytes32
    session: Bytes16
    turn: U32
    text: bytes


class SignedReply(Signed, frozen=True, array_like=True):
    """What was signed.

    A grant: ``payload`` and ``token_signature``, a token's block.  An answer: that too unless it is a no, and the
    ``statement`` with its ``signature``.  A revocation: ``statement``, the whole signed statement.  A prompt:
    ``statement``, ``signature``, and in ``payload`` the public key that signed.  What is not made is empty.
    """

    statement: bytes
    signature: bytes
    payload: bytes
    token_signature: bytes


class LossAccepted(Signed, frozen=True, array_like=True):
    """The install from now on, its log, and the log that was given up: how long it had been seen to be, where it had
    ended then, and in which folder it is kept.  ``resumed``: that had been signed before, and was only finished now.
    """

    install: Bytes32
    log_id: Bytes32
    old_log_id: Bytes32
    old_size: U64
    old_tip: Bytes32
    kept: bytes
    resumed: bool


class KeyState(Signed, frozen=True, array_like=True):
    """The user's key: its public half, the assurance that the install statement states, and whether it is open now."""

    public: Bytes32
    assurance: U8
    unlocked: bool


REQUESTS: dict[str, type[Signed]] = {
    "show": Show,  # -> KeyState, as the next four
    "unlock": Unlock,
    "create": Create,
    "reseal": Reseal,
    "unseal": Unseal,
    "answer": AnswerQuestion,  # -> SignedReply, as the next four
    "grant-workspace": GrantWorkspace,
    "grant": GrantPatterns,
    "revoke": Revoke,
    "sign-prompt": SignPrompt,
    "accept-loss": AcceptLoss,  # -> LossAccepted
}
"""Every operation by name."""

_NAMES = {shape: name for name, shape in REQUESTS.items()}


def pack(asked: Signed) -> bytes:
    """The frame that asks ``asked``.

    Raises:
        CanonError: a field has no canonical form.
        LocalProtocolError: the frame would be too long.
    """
    return frame(encode(Request(_NAMES[type(asked)], encode(asked))))


def unpack(data: bytes) -> Signed:
    """What is asked.

    Raises:
        CanonError: not a request in its one spelling.
        LocalProtocolError: an operation that does not exist.
    """
    request = decode(data, Request, max_bytes=MAX_FRAME_BYTES, what="a request to the signer")
    shape = REQUESTS.get(request.name)
    if shape is None:
        raise LocalProtocolError("signer.unknown-request", "the signer is asked for something it does not do")
    return decode(request.body, shape, max_bytes=MAX_FRAME_BYTES, what="a request to the signer")


def answered(data: bytes, shape: type[_T]) -> _T | Failure:
    """What was answered, where ``shape`` was expected.

    Raises:
        CanonError: not a reply of that shape.
    """
    reply = decode(data, Reply, max_bytes=MAX_FRAME_BYTES, what="a reply of the signer")
    kind = shape if reply.done else Failure
    return decode(reply.body, kind, max_bytes=MAX_FRAME_BYTES, what="a reply of the signer")


def frame(data: bytes) -> bytes:
    """``data`` with its length before it.

    Raises:
        LocalProtocolError: longer than ``MAX_FRAME_BYTES``.
    """
    check_length(len(data))
    return len(data).to_bytes(HEADER_BYTES) + data


def check_length(size: int) -> int:
    """``size``, if a frame may be as long; before anything is read.

    Raises:
        LocalProtocolError: it may not.
    """
    if not 0 < size <= MAX_FRAME_BYTES:
        raise LocalProtocolError("signer.frame", f"a frame of {size} bytes is not exchanged with the signer")
    return size
