"""From an open question to its settled answer, with a daemon and a signer that the test plays."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from astrid.errors import AstridError, ChainError
from astrid.frontends.answering import answer_question
from astrid.frontends.signer.protocol import SignedReply
from astrid.home import write_guarded
from astrid.wire import params as p
from astrid.wire import results as r
from tests.fakes.signing import Bench

QUESTION = "question:" + "71" * 16
SIGNED = SignedReply(b"statement", b"g" * 64, b"payload", b"t" * 64)


class Daemon:
    """Answers what a client asks, from a log of ``size`` records."""

    def __init__(self, bench: Bench, size: int) -> None:
        self.bench = bench
        self.size = size
        self.calls: list[p.Params] = []

    async def call(self, method: str, params: p.Params) -> r.Answer:
        self.calls.append(params)
        note = self.bench.checkpoint(self.size)
        match params:
            case p.GetApproval():
                return r.QuestionBytes(question=b"the question's bytes")
            case p.AuditConsistency():
                proof = (bytes([params.from_size]) * 32,)
                return r.Consistency(from_size=params.from_size, size=self.size, path=proof, checkpoint=note)
            case p.Nothing():
                return r.Checkpoint(checkpoint=note)
            case p.ApprovalResponse():
                return r.Settled(outcome="settled")
            case _:
                raise AssertionError(method)


class Signer:
    """Remembers what it is handed; ``before`` runs first, and may refuse."""

    def __init__(self, before: Callable[[int], None] = lambda _: None) -> None:
        self.handed: list[tuple[bytes, bytes, tuple[bytes, ...]]] = []
        self._before = before

    async def answer(self, question: bytes, checkpoint: bytes, proof: tuple[bytes, ...]) -> SignedReply:
        self.handed.append((question, checkpoint, proof))
        self._before(len(self.handed))
        return SIGNED


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "home").made()


def keep(bench: Bench, size: int) -> None:
    write_guarded(bench.home.witness, bench.checkpoint(size), what="witness", replace=True)


async def test_the_signer_gets_the_questions_bytes_and_the_daemon_what_was_signed(bench: Bench) -> None:
    daemon, signer = Daemon(bench, 5), Signer()
    settled = await answer_question(daemon, signer, bench.home, QUESTION)
    assert settled.outcome == "settled"
    assert signer.handed == [(b"the question's bytes", bench.checkpoint(5), ())]
    assert daemon.calls[-1] == p.ApprovalResponse(
        question_id=QUESTION,
        statement=SIGNED.statement,
        signature=SIGNED.signature,
        payload=SIGNED.payload,
        token_signature=SIGNED.token_signature,
    )


async def test_the_proof_starts_at_the_checkpoint_that_was_kept(bench: Bench) -> None:
    keep(bench, 3)
    daemon, signer = Daemon(bench, 5), Signer()
    await answer_question(daemon, signer, bench.home, QUESTION)
    assert signer.handed[0][1:] == (bench.checkpoint(5), (b"\x03" * 32,))


async def test_what_the_signer_was_shown_of_the_log_is_kept(bench: Bench) -> None:
    keep(bench, 3)
    await answer_question(Daemon(bench, 5), Signer(), bench.home, QUESTION)
    assert bench.home.witness.read_bytes() == bench.checkpoint(5)


async def test_nothing_is_answered_when_the_signer_refuses(bench: Bench) -> None:
    def refuse(_: int) -> None:
        raise ChainError("checkpoint.rollback", "the log had 9 records and now has 5")

    keep(bench, 3)
    daemon, signer = Daemon(bench, 5), Signer(refuse)
    with pytest.raises(AstridError):
        await answer_question(daemon, signer, bench.home, QUESTION)
    assert len(signer.handed) == 1
    assert not any(isinstance(call, p.ApprovalResponse) for call in daemon.calls)
    assert bench.home.witness.read_bytes() == bench.checkpoint(3)


async def test_a_checkpoint_that_another_frontend_kept_meanwhile_gets_a_new_proof(bench: Bench) -> None:
    def overtaken(attempt: int) -> None:
        if attempt == 1:
            keep(bench, 4)
            raise ChainError("checkpoint.split-view", "the first 4 records are not shown to be the same")

    keep(bench, 3)
    signer = Signer(overtaken)
    settled = await answer_question(Daemon(bench, 5), signer, bench.home, QUESTION)
    assert settled.outcome == "settled"
    assert [proof for _, _, proof in signer.handed] == [(b"\x03" * 32,), (b"\x04" * 32,)]


async def test_being_overtaken_for_ever_is_an_error(bench: Bench) -> None:
    def overtaken(attempt: int) -> None:
        keep(bench, 3 + attempt)
        raise ChainError("checkpoint.split-view", "not shown to be the same")

    keep(bench, 3)
    signer = Signer(overtaken)
    with pytest.raises(AstridError):
        await answer_question(Daemon(bench, 9), signer, bench.home, QUESTION)
    assert len(signer.handed) == 3
