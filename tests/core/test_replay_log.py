"""What the log has beside a journal: what became of each proposal, what was decided, and about what that was."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from astrid.core.call import call_digest, encode_call
from astrid.core.canon import encode
from astrid.core.conversation import Message, ModelRequest, Text, ToolUse, encode_request
from astrid.core.gate_records import SHOWN_BYTES
from astrid.core.labels import RUNTIME, SIGNED_USER, Integrity, Label
from astrid.core.records import AskedRecord, DeniedRecord, OutcomeRecord, PermitRecord, Sealed, seal
from astrid.core.replay import Proposed
from astrid.core.replay_log import Decision, Said, Unproposed, decision_of, first_unproposed, heard_in, said
from astrid.core.turn_messages import (
    AnswerRow,
    AnyRow,
    AskRow,
    CallRow,
    CompactRow,
    EndRow,
    InputRow,
    ModelAnswered,
    ModelFailed,
    ProposeModel,
    ProposeTool,
    ResultRow,
    SummaryRow,
    ToolAnswered,
    Verdict,
    WaitRow,
)
from astrid.errors import CanonError, InputError
from tests.core.test_verdicts import ANSWER, OTHER, READ, Log
from tests.fakes.authority import AUD, SESSION, call, question

TAINTED = Label(Integrity.UNTRUSTED, (4,))
INPUT = InputRow(at_ns=0, text="go", label=SIGNED_USER)


class Journal(Log):
    """Rows of a session too, in one order with the records."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[tuple[int, AnyRow]] = []

    def writes(self, *rows: AnyRow) -> int:
        """One record of the journal."""
        seq, self.next = self.next, self.next + 1
        self.rows += [(seq, row) for row in rows]
        return seq

    def ends(self, permit_seq: int, content: bytes, **fields: Any) -> None:
        self.outcome(permit_seq, content, **fields)
        seq, body = self.records[-1]
        assert isinstance(body, OutcomeRecord)
        self.records[-1] = seq, replace(body, permit_seq=permit_seq)

    def recall(self, seq: int, slot: int) -> tuple[bytes, bytes] | None:
        return self.beside.get((seq, slot))

    def heard(self) -> dict[int, Verdict]:
        return heard_in(self.rows, self.records, self.recall)

    def decided(self) -> Decision | None:
        """What the last record says."""
        seq, body = self.records[-1]
        return decision_of(AUD, SESSION, seq, body, self.recall)


def told(log: Journal) -> Decision:
    """What the one record of ``log`` says, which is a decision."""
    found = log.decided()
    assert found is not None
    assert (found.seq, found.body) == log.records[-1]
    return found


def answer(*uses: ToolUse) -> AnswerRow:
    return AnswerRow(at_ns=0, parts=uses, label=RUNTIME, usage=None)


def result(use: ToolUse, *origins: int) -> ResultRow:
    return ResultRow(at_ns=0, id=use.id, content="", is_error=False, label=Label(Integrity.UNTRUSTED, origins))


# ---- what became of the proposals


@pytest.mark.parametrize("asks", [AskRow(at_ns=0, ref=1), SummaryRow(at_ns=0, ref=1)])
@pytest.mark.parametrize(
    "hears",
    [
        answer(),
        CompactRow(at_ns=0, text="sum", label=RUNTIME, kept=0, usage=None),
        WaitRow(at_ns=0, ref=2, wait_ms=1, code="model.timeout"),
        EndRow(at_ns=0, reason="failed", code="model.timeout"),
    ],
)
def test_an_answer_is_that_of_the_permit_between_the_row_that_asked_and_the_one_that_heard(
    asks: AnyRow, hears: AnyRow
) -> None:
    log = Journal()
    log.ends(log.permit(6, None), b"")  # another session's, or an earlier one
    log.writes(INPUT, asks)
    log.ends(log.permit(7, None), ANSWER)
    log.writes(hears)
    log.ends(log.permit(8, None), b"")
    (verdict,) = log.heard().values()
    assert isinstance(verdict, ModelAnswered)
    assert verdict.ref == 1


def test_a_model_that_failed_is_heard_and_one_that_was_cut_off_is_not() -> None:
    log = Journal()
    log.writes(INPUT, AskRow(at_ns=0, ref=1))
    log.permit(7, None)  # the daemon died
    log.writes(AskRow(at_ns=0, ref=2))
    log.ends(log.permit(8, None), b"model.timeout: later", is_error=True, effect="none")
    log.writes(EndRow(at_ns=0, reason="failed", code="model.timeout"))
    heard = log.heard()
    assert list(heard) == [2]
    assert isinstance(heard[2], ModelFailed)


def test_nothing_is_heard_where_nobody_asked() -> None:
    log = Journal()
    log.ends(log.permit(7, None), ANSWER)
    log.writes(EndRow(at_ns=0, reason="cancelled", code=""), EndRow(at_ns=0, reason="cancelled", code=""))
    assert log.heard() == {}


def test_a_result_is_that_of_the_permit_which_it_names() -> None:
    log = Journal()
    log.writes(INPUT, AskRow(at_ns=0, ref=1), answer(READ, OTHER))
    log.writes(CallRow(at_ns=0, id="a", ref=2), CallRow(at_ns=0, id="b", ref=3))
    first, second = log.permit(7, READ), log.permit(8, OTHER)
    log.ends(second, b"two", is_error=True)
    log.ends(first, b"one")
    log.writes(result(OTHER, second))
    log.writes(result(READ, first))
    assert log.heard() == {
        2: ToolAnswered(ref=2, content=b"one", is_error=False, label=Label(Integrity.UNTRUSTED, (first,))),
        3: ToolAnswered(ref=3, content=b"two", is_error=True, label=Label(Integrity.UNTRUSTED, (second,))),
    }


def test_what_a_fork_has_from_another_session_is_not_looked_up() -> None:
    log = Journal()
    log.writes(INPUT, answer(READ), result(READ, 4))
    assert log.heard() == {}


def test_what_lies_beside_an_outcome_is_not_taken_for_more_than_the_record_commits_to() -> None:
    log = Journal()
    log.writes(INPUT, AskRow(at_ns=0, ref=1))
    log.ends(log.permit(7, None), ANSWER)
    log.writes(answer())
    (at,) = log.beside
    salt, _ = log.beside[at]
    log.beside[at] = salt, b"something else"
    with pytest.raises(CanonError):
        log.heard()
    del log.beside[at]
    with pytest.raises(InputError):
        log.heard()


# ---- what was decided


def test_a_permit_is_about_the_call_beside_it() -> None:
    log = Journal()
    seq = log.permit(7)
    found = told(log)
    assert found == Decision(seq, found.body, found.call, len(READ.arguments))
    assert found.call == call(tool=READ.name, args=READ.arguments.encode())


def model_permit(log: Journal, length: int) -> Decision:
    log.permit(7, None)
    seq, body = log.records[-1]
    assert isinstance(body, PermitRecord)
    log.records[-1] = seq, replace(body, host_id="p/m", bytes_=Sealed(length, bytes(32)))
    return told(log)


@pytest.mark.parametrize("size", [0, 1, 255, 256, 65_535, 65_536, 70_000])
def test_of_a_models_call_is_known_how_long_its_arguments_are(size: int) -> None:
    outline = model_permit(Journal(), 0).call
    assert outline is not None
    assert outline.args == b""
    assert [need.resource for need in outline.needs] == ["model://p/m"]
    whole = len(encode_call(replace(outline, args=b"x" * size)))
    assert model_permit(Journal(), whole).size == size


def test_a_length_that_no_arguments_give_is_that_of_none() -> None:
    outline = model_permit(Journal(), 0).call
    assert outline is not None
    assert model_permit(Journal(), 0).size == -1
    assert model_permit(Journal(), len(encode_call(outline)) + 256).size == -1


def test_a_question_is_about_the_call_that_it_holds() -> None:
    log = Journal()
    asked = question()
    sealed, payload = seal(encode(asked), bytes(32))
    seq = log.put(AskedRecord(1, b"q" * 16, "write_file", 1, 9, sealed), payload)
    found = told(log)
    assert found == Decision(seq, found.body, call(), len(call().args), question=asked)


def test_of_a_refusal_is_known_how_the_arguments_begin_and_why() -> None:
    log = Journal()
    seq = log.denied()
    found = told(log)
    assert found == Decision(seq, found.body, start=READ.arguments.encode(), why="why")


def test_what_was_no_call_was_not_decided_about() -> None:
    log = Journal()
    sealed, payload = seal(encode((b"why", b"advice", b"{}")), bytes(32))
    log.put(DeniedRecord(9, "", "", b"p" * 32, "gate", "gate.message", sealed), payload)
    assert log.decided() is None
    log.outcome(7)
    assert log.decided() is None


# ---- what is proposed


def test_a_proposal_is_compared_by_its_arguments_and_of_a_model_by_their_length() -> None:
    request = ModelRequest(model="p/m", system="s" * SHOWN_BYTES, messages=(_message(),), tools=(), max_tokens=9)
    asks = said(Proposed(3, ProposeModel(ref=1, place=1, request=request, label=TAINTED)), 20)
    whole = encode_request(request)
    assert asks == Said(3, 20, "model-2", whole[:SHOWN_BYTES], len(whole), TAINTED)
    calls = said(Proposed(5, ProposeTool(ref=2, tool_use_id="a", name="look", arguments=b"{}", label=RUNTIME)), 22)
    assert calls == Said(5, 22, "look", b"{}", 2, RUNTIME)


def _message() -> Message:
    return Message(role="user", parts=(Text(text="go"),))


def proposal(args: bytes = b'{"a":1}', *, since: int = 5, tool: str = "write_file", label: Label = RUNTIME) -> Said:
    return Said(3, since, tool, args, len(args), label)


def permitted(args: bytes = b'{"a":1}', *, seq: int = 9, **fields: Any) -> Decision:
    log = Journal()
    log.permit(7)
    (body,) = (body for _, body in log.records)
    assert isinstance(body, PermitRecord)
    made = call(args=args, **fields)
    return Decision(seq, replace(body, host_kind=made.host_kind, tool=made.tool), made, len(args))


def refused(start: bytes, *, tool: str = "write_file") -> Decision:
    log = Journal()
    log.denied(tool=tool)
    (body,) = (body for _, body in log.records)
    assert isinstance(body, DeniedRecord)
    return Decision(9, body, start=start, why="why")


@pytest.mark.parametrize(
    ("decided", "one"),
    [
        (permitted(), proposal()),
        (permitted(tainted=True), proposal(label=TAINTED)),
        (permitted(tainted=True), proposal(label=Label(Integrity.TOOL, (4,), chosen=True))),
        (permitted(b"", host_kind="model", tool="model"), proposal(b"", tool="model")),
        (refused(b'{"a":1}'), proposal()),
        (refused(b'{"a":1}', tool=""), proposal(tool="nobody_has_it")),
        (refused(b"x" * SHOWN_BYTES), proposal(b"x" * SHOWN_BYTES + b"more")),
    ],
)
def test_a_decision_about_what_is_proposed_is_no_difference(decided: Decision, one: Said) -> None:
    assert first_unproposed([proposal(b"another"), one], [decided]) is None


def test_a_call_with_other_arguments_is_a_difference_of_two_digests() -> None:
    decided, now = permitted(), proposal(b'{"a":2}')
    was = call(args=b'{"a":1}')
    assert first_unproposed([now], [permitted(now.args), decided]) == Unproposed(
        9, "write_file", call_digest(encode_call(was)), call_digest(encode_call(replace(was, args=now.args)))
    )


@pytest.mark.parametrize("label", [TAINTED, Label(Integrity.UNTRUSTED, (4,), chosen=True)])
def test_a_call_that_was_trusted_and_is_not_now_is_a_difference(label: Label) -> None:
    found = first_unproposed([proposal(label=label)], [permitted()])
    assert found is not None
    assert found.was != found.now


def test_what_is_proposed_after_the_decision_or_of_another_tool_is_not_what_was_decided_about() -> None:
    was = call_digest(encode_call(call(args=b'{"a":1}')))
    for one in (proposal(since=9), proposal(tool="another")):
        assert first_unproposed([one], [permitted()]) == Unproposed(9, "write_file", was, b"")


def test_a_model_that_is_asked_something_longer_and_a_refusal_of_something_else_have_no_digests() -> None:
    asked = permitted(b"", host_kind="model", tool="model")
    assert first_unproposed([proposal(b"x", tool="model")], [asked]) == Unproposed(9, "model", b"", b"")
    assert first_unproposed([proposal()], [refused(b"{}")]) == Unproposed(9, "write_file", b"", b"")
