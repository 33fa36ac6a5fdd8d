"""The text that is shown for a question: all of it, in the open, and no other text (threats 6, 37)."""

from __future__ import annotations

import re
import unicodedata
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from astrid.core.call import Call, Need, Pre, encode_call
from astrid.core.canon import Domain, digest
from astrid.core.display import (
    COLUMNS,
    PAGE_BYTES,
    display_digest,
    pages,
    render_question,
    too_long_for_standing,
)
from astrid.core.question import Control, Question, choices_for, question_bytes
from astrid.core.quoting import quote
from astrid.errors import AstridError
from tests.fakes.authority import CHILD_KEY, NOW, ask, call, question

MODEST = settings(max_examples=80, deadline=None)
WARNING = "careful: a word here mixes letters of several alphabets"

FULL = call(
    needs=(Need("exec://%2Fbin%2Fsh/-c/ls", 4), Need("file://w/a.txt", 3)),
    tainted=True,
    max_micros=1_250_000,
    caller_key=CHILD_KEY.public,
    cwd_rel="sub",
    pre=(Pre("w/a.txt", 5, 7, b"\xaa" * 32), Pre("w/b.txt", 0, 0, b""), Pre("w/c", 1, 2, b"")),
    args=b'{"path":"a.txt"}',
)
FIELDS = {"risk": 2, "controls": (Control("path", b"a.txt", "trusted context", 0), Control("to", b"x", "a page", 12))}
TEXT = """\
asks for: "write_file"
of: "workspace" "main"
because: "no token covers this call"
risk: high, by itself low
needs a sealed key or a device: no
can only be answered once: no
untrusted text in view: yes
may cost at most: $1.25
touches: execute "exec://%2Fbin%2Fsh/-c/ls"
touches: read+write "file://w/a.txt"
in folder: "sub"
found: "w/a.txt" device 5 inode 7 sha256 aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa|
|aaaaaaaaaaaaaaaaaaaaaaaaaaaa
found: "w/b.txt" absent
found: "w/c" device 1 inode 2
value of: "path": "a.txt" from "trusted context"
value of: "to": "x" from "a page", record 12
session: session:53535353535353535353535353535353
workspace: workspace:57575757575757575757575757575757575757575757575757575757|
|57575757
install: install:414141414141414141414141414141414141414141414141414141414141|
|4141
principal: ca93ac1705187071d67b83c7ff0efe8108e8ec4530575d7726879333dbdabe7c
on behalf of: 6e7a1cdd29b0b78fd13af4c5598feff4ef2a97166e3ca6f2e4fbfccd80505bf|
|1
tool definition: 545454545454545454545454545454545454545454545454545454545454|
|5454
sandbox profile: 505050505050505050505050505050505050505050505050505050505050|
|5050
question: question:71717171717171717171717171717171
asked: 2026-09-21 14:13:20 UTC
answer before: 2026-09-21 14:18:20 UTC
arguments (16 bytes): "{\\"path\\":\\"a.txt\\"}"
a yes would cover:
  once: one call, until 2026-09-21 14:18:20 UTC, at most $1.25: execute "exec|
|://%2Fbin%2Fsh/-c/ls", read+write "file://w/a.txt"
  session: any number of calls, until 2026-09-22 14:13:20 UTC, within the bud|
|gets: execute "exec://%2Fbin%2Fsh/-c/ls", read+write "file://w/a.txt"
  workspace: any number of calls, until 2026-10-21 14:13:20 UTC, within the b|
|udgets: execute "exec://%2Fbin%2Fsh/-c/ls", read+write "file://w/a.txt"
"""


def shown(made: Call | None = None, **changes: Any) -> str:
    return render_question(ask(made, **changes))


def joined(text: str) -> str:
    """The text with the lines that go on put together again."""
    return text.replace("|\n|", "")


def test_a_question_is_shown_like_this() -> None:
    assert shown(FULL, **FIELDS) == TEXT


def test_a_call_for_oneself_is_said_to_be_one() -> None:
    assert "\non behalf of: nobody else\n" in shown()


def test_what_is_hashed_is_the_text_that_is_shown() -> None:
    assert display_digest(TEXT) == digest(Domain.DISPLAY, TEXT.encode())


def test_a_standing_yes_without_end_is_said_to_be_one() -> None:
    line = joined(shown()).splitlines()[-1]
    assert line == '  always: any number of calls, until revoked, at most $0.00: write "file://w/a.txt"'


def test_a_time_beyond_the_calendar_is_shown_as_the_number_that_is_signed() -> None:
    assert "asked: second 300000000000\n" in shown(asked=300_000_000_000, expires=300_000_000_001)
    assert f"asked: second {2**63}\n" in shown(asked=2**63, expires=2**63)


# --- all of it is shown

CALL_OTHERS: dict[str, Any] = {
    "session": b"X" * 16,
    "workspace": b"X" * 32,
    "principal_key": b"X" * 32,
    "caller_key": b"X" * 32,
    "host_kind": "work",
    "host_id": "space",
    "tooldef": b"X" * 32,
    "tool": "write",
    "needs": (Need("file://w/a.txt", 3),),
    "risk": 1,
    "tainted": True,
    "cwd_rel": "sub",
    "profile": b"X" * 32,
    "pre": (Pre("w/a.txt", 5, 7, b""),),
    "max_micros": 1,
    "args": b"{}",
}
QUESTION_OTHERS: dict[str, Any] = {
    "qid": b"X" * 16,
    "asked": NOW - 1,
    "expires": NOW + 301,
    "why": b"because",
    "risk": 2,
    "once_only": True,
    "controls": (Control("a", b"b", "c", 0),),
}
MORE: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"pre": (Pre("w/a.txt", 5, 7, b"F" * 32),)}, {}),
    ({"pre": (Pre("w/a.txt", 0, 0, b""),)}, {}),
    ({"pre": (Pre("w/a.txt", 0, 7, b""),)}, {}),
    ({"pre": (Pre("w/a.txt", 5, 0, b""),)}, {}),
    ({"host_kind": "workspace main", "host_id": ""}, {}),
    ({"host_kind": "workspace", "host_id": 'main"'}, {}),
    ({}, {"controls": (Control("a", b"b", "c", 1),)}),
    ({}, {"controls": (Control("a", b"b", "d", 0),)}),
    ({}, {"controls": (Control("a", b"", "c", 0),)}),
    ({}, {"controls": (Control("", b"b", "c", 0),)}),
    ({}, {"once_only": True, "strong": True}),
]


def test_two_questions_that_differ_anywhere_are_shown_differently() -> None:
    assert set(CALL_OTHERS) == set(Call.__struct_fields__) - {"version", "aud"}
    assert set(QUESTION_OTHERS) == set(Question.__struct_fields__) - {"version", "aud", "call", "strong", "choices"}
    variants = [shown()]
    variants += [shown(call(**{name: value})) for name, value in CALL_OTHERS.items()]
    variants += [shown(**{name: value}) for name, value in QUESTION_OTHERS.items()]
    variants += [shown(call(**of_call), **of_question) for of_call, of_question in MORE]
    other_install = call(aud=b"X" * 32)
    variants.append(shown(other_install))
    assert len(set(variants)) == len(variants)


TEXTS = st.text(max_size=12) | st.sampled_from(["|", '"', '" "', "\n|", "risk: low", ": ", '"\n"'])
NAMES = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=8) | st.sampled_from(
    ["|", '"', '" "', ": "]
)


@st.composite
def questions(draw: st.DrawFn) -> Question:
    controls = st.lists(st.builds(Control, TEXTS, TEXTS.map(str.encode), NAMES, st.integers(0, 3)), max_size=2)
    made = call(
        host_kind=draw(NAMES), host_id=draw(NAMES), tool=draw(NAMES), cwd_rel=draw(NAMES), args=draw(TEXTS).encode()
    )
    return question(made, why=draw(TEXTS).encode(), controls=tuple(draw(controls)))


@MODEST
@given(questions(), questions())
def test_one_text_means_one_question(one: Question, other: Question) -> None:
    texts = [render_question(question_bytes(asked)) for asked in (one, other)]
    assert (texts[0] == texts[1]) is (one == other)


@MODEST
@given(st.binary(max_size=600))
def test_every_byte_of_the_arguments_can_be_seen(args: bytes) -> None:
    text = joined(shown(call(args=args)))
    assert f"arguments ({len(args)} bytes): {quote(args)}\n" in text


def test_nothing_is_shown_for_a_question_that_does_not_hold_together() -> None:
    lie = question(choices=choices_for(call(needs=(Need("file://**", 255),)), 1, NOW, NOW + 300, once_only=False))
    for raw in (question_bytes(lie), b"", b"\xc0"):
        with pytest.raises(AstridError):
            render_question(raw)


# --- nothing in it pretends to be something else

NAMES_OF_LINES = {line.split(": ")[0] for line in joined(TEXT).splitlines()}
FORGERY = b"\nrisk: low\nasks for: " + b" " * 200 + b"\n\r\x1b[2K|\n|risk: low"


def lines_of(text: str) -> list[str]:
    return [line.split(": ")[0] for line in joined(text).splitlines()]


@pytest.mark.parametrize("place", ["why", "control", "value", "args"])
def test_a_line_cannot_be_forged_by_what_is_quoted(place: str) -> None:
    controls = (
        Control(
            FORGERY.decode() if place == "control" else "a", FORGERY if place == "value" else b"b", "trusted context", 0
        ),
    )
    honest = shown(controls=(Control("a", b"b", "trusted context", 0),))
    text = shown(
        call(args=FORGERY if place == "args" else b"{}"),
        controls=controls,
        **({"why": FORGERY} if place == "why" else {}),
    )
    assert [name.partition(" (")[0] for name in lines_of(text)] == [
        name.partition(" (")[0] for name in lines_of(honest)
    ]


@MODEST
@given(st.integers(0, 200), st.sampled_from(["", "é", "日本"]))
def test_padding_does_not_push_a_forged_line_to_the_start_of_a_row(padding: int, extra: str) -> None:
    args = (extra + " " * padding + "risk: low, by itself low").encode()
    rows = shown(call(args=args)).splitlines()
    starts = [row for row in rows if row.startswith("risk: ")]
    assert starts == ["risk: medium, by itself low"]


def width(row: str) -> int:
    return sum(2 if unicodedata.east_asian_width(char) in "WFA" else 1 for char in row)


@MODEST
@given(st.text(st.sampled_from("ab 日本éж█|"), max_size=300))
def test_no_row_is_wider_than_a_narrow_terminal(text: str) -> None:
    rows = shown(call(args=text.encode())).splitlines()
    assert all(width(row) <= COLUMNS < 80 for row in rows)
    going_on = [row.endswith("|") and after.startswith("|") for row, after in pairwise(rows)]
    assert [after.startswith("|") for after in rows[1:]] == going_on


def test_a_row_of_text_that_ends_in_the_mark_does_not_look_as_if_it_went_on() -> None:
    text = shown(call(tool="x" * 64 + "|"))
    assert joined(text).splitlines()[0] == f'asks for: "{"x" * 64}|"'


# --- alphabets


@pytest.mark.parametrize(
    ("made", "changes"),
    [
        (call(args='{"to":"pаypal"}'.encode()), {}),
        (call(), {"why": "pаypal".encode()}),
        (call(), {"controls": (Control("to", "pаypal".encode(), "c", 0),)}),
        (call(), {"controls": (Control("tо", b"x", "c", 0),)}),
    ],
    ids=("arguments", "reason", "value", "name of an argument"),
)
def test_a_word_that_mixes_alphabets_is_flagged_wherever_it_stands(made: Call, changes: dict[str, Any]) -> None:
    assert WARNING in shown(made, **changes)


def test_a_question_in_one_alphabet_is_not_flagged() -> None:
    assert WARNING not in shown(call(args='{"text":"Привет,\\nмир"}'.encode()))
    assert WARNING not in TEXT


def test_the_flag_cannot_be_written_by_what_is_quoted() -> None:
    text = shown(call(args=WARNING.encode()))
    assert WARNING not in text.splitlines()


# --- pages


@MODEST
@given(st.binary(max_size=3000), st.integers(1, 50))
def test_the_pages_are_the_text(args: bytes, lines: int) -> None:
    text = shown(call(args=args))
    cut = pages(text, lines=lines)
    assert "".join(cut) == text
    assert all(0 < len(page.splitlines()) <= lines for page in cut)


def test_only_a_text_of_up_to_four_kilobytes_can_be_granted_for_longer_than_once() -> None:
    assert not too_long_for_standing("x" * PAGE_BYTES)
    assert too_long_for_standing("x" * (PAGE_BYTES + 1))
    assert too_long_for_standing("é" * (PAGE_BYTES // 2 + 1))
    assert not too_long_for_standing(TEXT)


def test_a_long_command_is_shown_to_its_last_byte() -> None:
    args = b"A" * 100_000 + b"the end"
    text = joined(shown(call(args=args)))
    assert re.search(rf"arguments \({len(args)} bytes\): \"A{{100000}}the end\"\n", text)


def test_the_call_inside_is_the_one_that_is_shown() -> None:
    made = msgspec.structs.replace(question(), call=encode_call(call(tool="rm")))
    assert 'asks for: "rm"' in render_question(question_bytes(made))
