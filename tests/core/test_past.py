"""What a log says of the past, and what of the things beside it counts."""

from __future__ import annotations

import msgspec
import pytest

from astrid.core.approval import Approvals
from astrid.core.driver_disk import Disk
from astrid.core.facts import Facts
from astrid.core.past import Kept, Past, recall_questions, replay_log
from astrid.core.records import Kind, Sealed, seal
from astrid.errors import ChainError
from tests.fakes.authority import AUD, HOLDER, NOW, ROOTS, SESSION, ask, no, token, yes
from tests.fakes.driver_bench import SETUP, Bench, frames
from tests.fakes.gate_bench import preparation
from tests.fakes.rules import policy


def lived() -> Bench:
    """A life with a grant, a question with a yes, one with a no, one that is open, and a call that still runs."""
    bench = Bench()
    bench.driver.take_in(token().raw)
    for number, said in enumerate((yes, no)):
        _, qid, raw = bench.asking(args=b"%d" % number)
        bench.driver.answer(said(raw, qid=qid))
    bench.asking(args=b"open")
    bench.tool.look, bench.tool.silent = preparation(), True
    bench.call()
    return bench


def read(disk: Disk, facts: Facts | None = None) -> Past:
    return replay_log(SETUP.keys, disk.frames(), disk.notes, facts=facts)


def test_an_empty_log_has_no_past() -> None:
    past = read(Disk())
    assert (past.tip.size, past.tree.size, past.signed, past.questions, past.tokens) == (0, 0, 0, (), ())


def test_a_log_gives_its_end_and_how_much_of_it_is_signed() -> None:
    disk = lived().driver.disk
    past = read(disk)
    assert past.tip.size == past.tree.size == len(disk.records)
    assert past.signed == disk.notes[-1][0]


def test_only_a_question_without_an_end_is_still_of_interest() -> None:
    bench = lived()
    asked = [(frame.seq, body.body) for frame, body in frames(bench.driver.disk) if frame.kind == Kind.ASKED]
    assert read(bench.driver.disk).questions == (Kept(*asked[-1]),)


def test_a_token_that_was_taken_in_or_given_in_answer_is_of_interest_and_a_no_is_not() -> None:
    disk = lived().driver.disk
    granted = [(frame.seq, body.token) for frame, body in frames(disk) if frame.kind == Kind.GRANTED]
    settled = [(frame.seq, body.answer) for frame, body in frames(disk) if frame.kind == Kind.SETTLED]
    assert read(disk).tokens == (Kept(*granted[0]), Kept(*settled[0], in_answer=True))


def test_what_a_person_said_no_to_is_remembered_until_the_session_ends() -> None:
    bench = lived()
    assert read(bench.driver.disk).denials == ((SESSION, "read_file"),)
    bench.driver.end_session(bench.me)
    bench.driver.run()
    assert read(bench.driver.disk).denials == ()


def test_facts_are_replayed_as_the_gate_left_them() -> None:
    bench = lived()
    facts = Facts(aud=AUD, roots=ROOTS, policy=policy())
    read(bench.driver.disk, facts)
    assert facts.ledger.purses == bench.driver.facts.ledger.purses
    assert len(facts.open_permits) == 1
    assert facts.settled == bench.driver.facts.settled


def test_a_log_that_is_not_whole_has_no_past() -> None:
    disk = lived().driver.disk
    with pytest.raises(ChainError):
        replay_log(SETUP.keys, disk.frames()[: disk.notes[-1][0] - 1], disk.notes)


# --- what lies beside it


SALT = b"s" * 32
QUESTION = ask()
SEALED, _ = seal(QUESTION, SALT)


def recall(beside: dict[int, tuple[bytes, bytes]], *sealed: Sealed) -> tuple[Approvals, list[str]]:
    """What comes of questions of the records from 7 on, which commit to ``sealed``, given what lies beside them."""
    machine = Approvals(roots=ROOTS, keeper=HOLDER.public)
    questions = tuple(Kept(seq, one) for seq, one in enumerate(sealed, 7))
    past = msgspec.structs.replace(read(Disk()), questions=questions)
    return machine, recall_questions(lambda seq, slot: beside.get(seq) if slot == 0 else None, past, machine, now_s=NOW)


def test_a_question_is_open_again_if_its_bytes_are_those_that_were_asked() -> None:
    machine, spoilt = recall({7: (SALT, QUESTION)}, SEALED)
    assert [one.raw for _, one in machine.waiting()] == [QUESTION]
    assert spoilt == []


@pytest.mark.parametrize(
    ("sealed", "salt", "raw"),
    [
        (SEALED, SALT, ask(qid=b"r" * 16)),
        (SEALED, b"t" * 32, QUESTION),
        (SEALED, b"short", QUESTION),
        (seal(b"not a question", SALT)[0], SALT, b"not a question"),
    ],
    ids=["other bytes", "another salt", "no salt", "no question"],
)
def test_what_is_not_the_question_that_was_asked_is_said_and_left_out(sealed: Sealed, salt: bytes, raw: bytes) -> None:
    machine, spoilt = recall({7: (salt, raw)}, sealed)
    assert machine.waiting() == []
    assert len(spoilt) == 1
    assert "record 7" in spoilt[0]


def test_what_was_erased_is_left_out_without_a_word_and_keeps_no_other_from_being_recalled() -> None:
    machine, spoilt = recall({8: (SALT, QUESTION)}, SEALED, SEALED)
    assert [one.raw for _, one in machine.waiting()] == [QUESTION]
    assert spoilt == []
