"""From an open question to its settled answer: fetch its bytes, have them answered by the signer, hand the answer in.

The client never shows or judges the question itself; and the daemon gets no signature before the signer has seen that
its log continues the one that this user's frontends last saw.

Source: protocol N5, N6, N11; architecture 5; threats 6, 11.
"""

from __future__ import annotations

from typing import Protocol, cast

from astrid.core.checkpoint import Checkpoint
from astrid.errors import AstridError
from astrid.frontends.meeting import keep_if_room, kept_checkpoint, load_install, stated_checkpoint
from astrid.frontends.signing import SignedReply
from astrid.home import Home
from astrid.wire import params as p
from astrid.wire import results as r

_ATTEMPTS = 3


class Caller(Protocol):
    """A connection to the daemon."""

    async def call(self, method: str, params: p.Params) -> r.Answer:
        """What the daemon answers."""
        ...


class Answerer(Protocol):
    """Who shows a question and signs the answer."""

    async def answer(self, question: bytes, checkpoint: bytes, proof: tuple[bytes, ...]) -> SignedReply:
        """The signed answer."""
        ...


async def answer_question(client: Caller, signer: Answerer, home: Home, question_id: str) -> r.Settled:
    """What became of the person's answer to an open question.

    Raises:
        AstridError: the question is not open, was refused, or the person broke off; nothing was answered.
    """
    asked = cast("r.QuestionBytes", await client.call("getApproval", p.GetApproval(question_id=question_id)))
    signed = await _signed(client, signer, home, asked.question)
    response = p.ApprovalResponse(
        question_id=question_id,
        statement=signed.statement,
        signature=signed.signature,
        payload=signed.payload,
        token_signature=signed.token_signature,
    )
    return cast("r.Settled", await client.call("approvalResponse", response))


async def _signed(client: Caller, signer: Answerer, home: Home, question: bytes) -> SignedReply:
    install = load_install(home)
    attempt = 1
    while True:
        kept = kept_checkpoint(home, install)
        note, proof = await _log(client, kept)
        try:
            signed = await signer.answer(question, note, proof)
        except AstridError as error:
            # Another of our frontends may have seen more of the log meanwhile; the proof then starts too early.
            moved = error.code.startswith("checkpoint.") and kept_checkpoint(home, install) != kept
            if not moved or attempt == _ATTEMPTS:
                raise
            attempt += 1
        else:
            keep_if_room(home, install, stated_checkpoint(install, note), note)  # on a full disk, `Client` says so
            return signed


async def _log(client: Caller, kept: Checkpoint | None) -> tuple[bytes, tuple[bytes, ...]]:
    """The log's newest checkpoint, and the proof that it continues ``kept``."""
    if kept is None:
        newest = cast("r.Checkpoint", await client.call("auditCheckpoint", p.Nothing()))
        return newest.checkpoint, ()
    grown = cast("r.Consistency", await client.call("auditConsistency", p.AuditConsistency(from_size=kept.size)))
    return grown.checkpoint, grown.path
