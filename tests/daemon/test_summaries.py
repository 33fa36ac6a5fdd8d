"""Every kind of record has a line for people, and what is asked about is found."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import inspect

from astrid.core import records as r
from astrid.core.canon import Signed, encode
from astrid.core.chain import Frame
from astrid.core.records import BODIES, Kind
from astrid.core.records_connections import ConnectionEndedRecord, ConnectionRecord
from astrid.daemon.explaining import explain, mentions
from astrid.daemon.summaries import MAX_SUMMARY, is_called, kind_name, summarize, tool_of
from astrid.wire import results
from astrid.wire.typed import read, write
from tests.fakes.wire_values import values_of

NOTHING = b"\0" * 32
SESSION = b"\5" * 16
SEALED = r.Sealed(3, b"\1" * 32)


def frame(kind: Kind, body: Signed, seq: int = 1) -> Frame:
    return Frame(NOTHING, seq, 1, 10**18, kind, SESSION, encode(body))


@pytest.mark.parametrize("kind", BODIES, ids=lambda kind: kind.name)
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_whatever_a_record_holds_it_has_a_line_that_can_be_sent(kind: Kind, data: st.DataObject) -> None:
    body = data.draw(values_of(BODIES[kind]))
    line = summarize(frame(kind, body))
    assert read(results.AuditRecord, write(results.AuditRecord, line)) == line
    assert (line.kind, len(line.summary) <= MAX_SUMMARY) == (kind_name(kind), True)


@pytest.mark.parametrize(
    ("body", "kind", "expected"),
    [
        (
            r.DeniedRecord(1, "workspace", "bash", NOTHING, "policy", "policy.command", SEALED),
            Kind.DENIED,
            "deny",
        ),
        (r.AskedRecord(1, b"\2" * 16, "bash", 2, 9, SEALED), Kind.ASKED, "ask"),
        (r.Stop("ordered"), Kind.STOP, None),
    ],
    ids=lambda value: "",
)
def test_a_decision_is_named(body: Signed, kind: Kind, expected: str | None) -> None:
    assert summarize(frame(kind, body)).decision == expected


def test_only_what_is_about_a_tool_names_one() -> None:
    named = {kind for kind, shape in BODIES.items() if "tool" in {f.name for f in inspect.type_info(shape).fields}}  # type: ignore[union-attr]
    assert named == {Kind.PERMIT, Kind.DENIED, Kind.ASKED}
    assert tool_of(r.Stop("x")) == ""


ASKED, DONE, REFUSED = (number.to_bytes(8, "big") for number in (1, 2, 3))
QID, BLOCK = b"\4" * 16, b"\6" * 32
STORY: list[tuple[Kind, Signed]] = [
    (Kind.GRANTED, r.GrantedRecord(BLOCK, NOTHING, NOTHING, NOTHING, 2, 2**64 - 1, "client", SEALED)),
    (Kind.ASKED, r.AskedRecord(1, QID, "bash", 2, 9, SEALED)),
    (Kind.DEFERRED, r.DeferredRecord(1, QID)),
    (Kind.SETTLED, r.SettledRecord(QID, 1, BLOCK, b"\7" * 32, 2, "once", SEALED)),
    (
        Kind.PERMIT,
        r.PermitRecord(
            2, "workspace", "w", "bash", NOTHING, NOTHING, NOTHING, BLOCK, 2, True, 1, NOTHING, 1,
            (r.ChargeRow(BLOCK, 5),), 5, SEALED,
        ),
    ),
    (Kind.OUTCOME, r.OutcomeRecord(2, 5, "done", False, False, 4, True, SEALED)),
    (Kind.REVOKED, r.RevokedRecord(BLOCK, "token", NOTHING, SEALED)),
    (Kind.DENIED, r.DeniedRecord(3, "workspace", "bash", NOTHING, "capability", "token.none", SEALED)),
    (Kind.CONNECTION, ConnectionRecord(5, 1, 443, "", SEALED)),
    (Kind.CONNECTION_ENDED, ConnectionEndedRecord(5, 1, 1, 30, 40, "")),
    (Kind.CONNECTION, ConnectionRecord(4, 1, 443, "", SEALED)),
]  # fmt: skip
FRAMES = [(frame(kind, body, seq), body) for seq, (kind, body) in enumerate(STORY, 1)]


def found(kind: str, wanted: bytes) -> list[tuple[Frame, Signed]]:
    seen: list[tuple[Frame, Signed]] = []
    for one, body in FRAMES:
        if mentions(kind, wanted, one, body, seen):
            seen.append((one, body))
    return seen


@pytest.mark.parametrize(
    ("kind", "wanted", "numbers"),
    [
        ("session", SESSION, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]),
        ("question", QID, [2, 3, 4]),
        ("call", ASKED, [2, 3, 4, 5, 6, 9, 10]),
        ("call", DONE, [5, 6, 9, 10]),
        ("call", REFUSED, [8]),
        ("token", BLOCK, [1, 4, 5, 7]),
        ("call", b"\x09" * 8, []),
    ],
)
def test_what_is_asked_about_is_found_everywhere_it_is_mentioned(kind: str, wanted: bytes, numbers: list[int]) -> None:
    assert [one.seq for one, _ in found(kind, wanted)] == numbers


def test_an_explanation_says_what_decided_in_order() -> None:
    lines = explain("call", found("call", ASKED), {})
    assert lines[0].startswith("record 2: `bash` needs a person's yes, so question:0404")
    assert "nobody was there to answer" in lines[1]
    assert "yes, once by 0707070707070707" in lines[2]
    assert "record 5: `bash` was allowed" in lines[3]
    assert "effect: done" in lines[4]
    assert "connection 1 to port 443" in lines[5]
    assert "connection 1 ended, 30 bytes out, 40 in" in lines[6]
    refused = found("call", REFUSED)
    (line,) = explain("call", refused, {})
    assert line.endswith("the layer `capability` refused it with `token.none`")
    (line,) = explain("call", refused, {refused[0][0].seq: "why; what to do"})
    assert line.endswith("with `token.none`: why; what to do")


def test_who_looks_for_a_kind_finds_those_that_say_the_same_and_more() -> None:
    assert is_called(Kind.OUTCOME_VOUCHED, "outcome")
    assert is_called(Kind.OUTCOME_VOUCHED, "outcome-vouched")
    assert is_called(Kind.SUBAGENT_STARTED, "session-started")
    assert not is_called(Kind.OUTCOME, "outcome-vouched")
    assert not is_called(Kind.PERMIT, "outcome")


def test_a_question_without_an_end_is_said_to_be_open() -> None:
    assert "still open" in explain("question", found("question", QID)[:2], {})[-1]


def test_an_outcome_that_a_crash_cut_off_is_said_to_be_unknown() -> None:
    lost = r.OutcomeRecord(2, 5, "maybe", True, True, 4, True, SEALED)
    (line,) = explain("call", [(frame(Kind.OUTCOME, lost), lost)], {})
    assert "how far it came is not known" in line
