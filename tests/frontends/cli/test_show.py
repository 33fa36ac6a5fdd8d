"""What a session does, as it is printed."""

from __future__ import annotations

import io
import json
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from astrid.frontends.cli.show import ForPeople, ForPrograms, Tally
from astrid.wire import events as e
from tests.fakes.wire_values import values_of

ID = "session:" + "0" * 32
QUESTION = "question:" + "1" * 32


def shown(*events: e.AnyEvent, columns: int = 60) -> tuple[str, str]:
    """What a person sees: the answer, and what is about it."""
    out, about = io.StringIO(), io.StringIO()
    show = ForPeople(out, about)
    show._columns = columns
    for event in events:
        show.event(event)
    return out.getvalue(), about.getvalue()


def text(piece: str) -> e.TextDelta:
    return e.TextDelta(session_id=ID, seq=0, text=piece)


def message(whole: str) -> e.FinalMessage:
    return e.FinalMessage(session_id=ID, seq=1, text=whole)


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([text("Hel"), text("lo"), message("Hello")], "Hello\n"),
        ([text("Hel"), message("Hello")], "Hello\n"),
        ([message("Hello\n")], "Hello\n"),
        ([text("Hxl"), message("Hello")], "Hello\n"),
        ([text("a"), message("a"), text("b"), message("b")], "a\nb\n"),
    ],
    ids=["streamed", "cut off", "at once", "other", "two"],
)
def test_the_answer_is_printed_whole_whatever_of_it_streamed_in(events: list[e.AnyEvent], expected: str) -> None:
    assert shown(*events) == (expected, "")


@pytest.mark.parametrize(
    ("purse", "cap", "said"),
    [
        ("session", "1000000", "! 83% of the session budget is spent: $0.83 of $1.00\n"),
        ("token", "0", "! the budget of token:" + "a" * 64 + " is spent: $0.83 of $0.00\n"),
    ],
)
def test_a_person_is_told_how_full_a_purse_is(purse: str, cap: str, said: str) -> None:
    event = e.BudgetWarning(
        session_id=ID,
        seq=1,
        purse=purse,  # type: ignore[arg-type]
        token_id="token:" + "a" * 64 if purse == "token" else None,
        spent_micros="830000",
        cap_micros=cap,
    )
    assert shown(event) == ("", said)


@pytest.mark.parametrize(
    ("state", "child", "said"),
    [("queued", None, "- explorer queued\n"), ("working", ID, f"- explorer working, {ID}\n")],
)
def test_a_person_is_told_where_a_sub_agent_stands(state: Any, child: str | None, said: str) -> None:
    event = e.TaskProgress(session_id=ID, seq=1, agent="explorer", state=state, child_id=child)
    assert shown(event) == ("", said)


class Screen(io.StringIO):
    """A terminal."""

    def isatty(self) -> bool:
        return True


def retrying(wait_ms: int, attempt: int = 2) -> e.Retrying:
    return e.Retrying(session_id=ID, seq=1, code="model.overloaded", attempt=attempt, wait_ms=wait_ms, model="p/m")


def test_that_another_model_stands_in_is_said() -> None:
    assert shown(retrying(0, 1), columns=200)[1] == (
        "! the model failed, and for the rest of the turn p/m is asked in its place [model.overloaded]\n"
    )


def test_on_a_screen_an_answer_that_broke_off_is_told_from_the_whole_one() -> None:
    screen = Screen()
    show = ForPeople(screen, screen)
    for event in (text("Hel"), retrying(2250), text("Hi"), text(" there"), message("Hi there"), retrying(1000)):
        show.event(event)
    assert screen.getvalue() == (
        "Hel\n"
        "! the model failed, and p/m is asked again in 3 s [model.overloaded]; what was shown of the answer is void\n"
        "Hi there\n"
        "! the model failed, and p/m is asked again in 1 s [model.overloaded]\n"
    )


def test_on_a_screen_an_answer_is_printed_as_it_streams_in() -> None:
    screen = Screen()
    ForPeople(screen, io.StringIO()).event(text("Hel"))
    assert screen.getvalue() == "Hel"


def test_in_a_pipe_is_nothing_of_an_answer_that_broke_off() -> None:
    out, about = shown(text("Hel"), retrying(9), text("Hi"), message("Hi there"))
    assert out == "Hi there\n"
    assert about == "! the model failed, and p/m is asked again in 1 s [model.overloaded]\n"


def test_on_a_screen_what_is_about_the_answer_begins_a_line() -> None:
    screen = Screen()
    show = ForPeople(screen, screen)
    for event in (text("I look."), e.ApprovalNeeded(session_id=ID, seq=1, question_id=QUESTION, expires_s=9)):
        show.event(event)
    show.event(message("I look."))
    show.event(text("It is\n"))
    show.event(message("It is\n"))
    show.note("stopping")
    assert screen.getvalue() == f"I look.\n? {QUESTION} waits for an answer\nIt is\nstopping\n"


def test_in_a_pipe_the_answer_is_not_broken_by_what_is_about_it() -> None:
    asked = e.ApprovalNeeded(session_id=ID, seq=1, question_id=QUESTION, expires_s=9)
    assert shown(text("I lo"), asked, text("ok."), message("I look."))[0] == "I look.\n"


@settings(max_examples=100, deadline=None)
@given(event=values_of(e.AnyEvent))
def test_no_event_steers_the_terminal(event: e.AnyEvent) -> None:
    out, about = shown(event)
    assert all(char.isprintable() or char in "\n\t" for char in out + about)


def test_a_call_and_its_result_are_one_line_each_cut_to_the_terminal() -> None:
    call = e.ToolCallStart(session_id=ID, seq=1, id="t", name="write_file", args='{"content": "' + "x" * 500 + '"}')
    result = e.ToolCallResult(session_id=ID, seq=2, id="t", result="first\nsecond\nthird", is_error=True)
    out, about = shown(call, result)
    lines = about.splitlines()
    assert out == ""
    assert [len(line) <= 60 for line in lines] == [True, True]
    assert lines[0].startswith("> write_file ")
    assert lines[1] == "< error: first (+2 lines)"


def test_a_denial_is_told_whole_with_layer_reason_code_and_advice() -> None:
    denied = e.Denied(
        session_id=ID, seq=1, call_id="t", tool="bash", layer="policy", code="policy.x", reason="r" * 90, advice="do y"
    )
    assert shown(denied)[1] == f"! bash denied by policy: {'r' * 90} [policy.x]; do y\n"


def test_everything_that_matters_has_a_line() -> None:
    events: list[e.AnyEvent] = [
        e.ApprovalNeeded(session_id=ID, seq=1, question_id=QUESTION, expires_s=9),
        e.ApprovalSettled(session_id=ID, seq=2, question_id=QUESTION, outcome="granted"),
        e.Deferred(session_id=ID, seq=3, call_id="t", question_id=QUESTION),
        e.ErrorRaised(session_id=ID, seq=4, code="a.b", message="oh"),
    ]
    assert len(shown(*events)[1].splitlines()) == len(events)


def test_the_tally_counts_what_the_exit_code_rests_on() -> None:
    tally = Tally()
    for event in (
        e.ToolCallStart(session_id=ID, seq=1, id="t", name="x", args="{}"),
        e.Denied(session_id=ID, seq=2, call_id="t", tool="x", layer="policy", code="a.b", reason=""),
        e.Deferred(session_id=ID, seq=3, call_id="t", question_id=QUESTION),
        e.Usage(session_id=ID, seq=4, context_tokens=1, max_context_tokens=2, input_tokens=3, output_tokens=4),
        e.Usage(session_id=ID, seq=5, context_tokens=1, max_context_tokens=2, input_tokens=3, output_tokens=4),
        e.TurnComplete(session_id=ID, seq=6, turn=1, stop_reason="failed", code="model.x"),
        e.SessionEnded(session_id=ID, seq=7, reason="failed"),
    ):
        tally.count(event)
    assert (tally.calls, tally.denied, tally.deferred) == (1, 1, 1)
    assert (tally.input_tokens, tally.output_tokens) == (6, 8)
    assert (tally.stop_reason, tally.code) == ("failed", "model.x")
    out, about = io.StringIO(), io.StringIO()
    tally.spent_micros = 1_250_000
    ForPeople(out, about).result(ID, tally, 3)
    assert about.getvalue().startswith(
        "= failed [model.x]; 1 tool call, 1 denied, 1 deferred; 6 tokens in, 8 out; $1.25"
    )


def test_a_session_that_ends_under_way_is_no_good_end() -> None:
    tally = Tally()
    tally.count(e.SessionEnded(session_id=ID, seq=1, reason="shutdown"))
    assert (tally.stop_reason, tally.code) == ("ended", "session.shutdown")


@settings(max_examples=60, deadline=None)
@given(events=st.lists(values_of(e.AnyEvent), max_size=4))
def test_for_programs_every_event_is_one_line_of_json_as_it_came(events: list[e.AnyEvent]) -> None:
    out = io.StringIO()
    show = ForPrograms(out)
    for event in events:
        show.event(event)
    show.result(ID, Tally(denied=2), 3)
    lines = out.getvalue().splitlines()
    assert [e.decode_event(line.encode()) for line in lines[:-1]] == events
    assert json.loads(lines[-1]).items() >= {"event": "result", "exit": 3, "denied": 2, "session_id": ID}.items()


def test_every_kind_of_event_is_known_here() -> None:
    assert {kind.__name__ for kind in get_args(e.AnyEvent)} >= {"TextDelta", "FinalMessage", "Denied", "TurnComplete"}
