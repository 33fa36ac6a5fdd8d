"""What a session said and heard, as it is printed."""

from __future__ import annotations

import argparse
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from astrid.core.conversation import Reasoning, Text, ToolUse
from astrid.core.labels import SIGNED_USER, Integrity, Label
from astrid.core.turn_messages import (
    AnswerRow,
    AnyRow,
    AskRow,
    CallRow,
    CompactRow,
    EndRow,
    ForkRow,
    InputRow,
    RestoreRow,
    ResultRow,
    encode_row,
)
from astrid.errors import CanonError
from astrid.frontends.cli import sessions
from astrid.frontends.cli.past import Journal, as_json_lines, as_markdown, for_people, line_of
from astrid.wire import past as w
from astrid.wire import results as r
from tests.fakes.home import make_home

PAST = w.PastSession(
    session_id="session:" + "5" * 32,
    state="ended",
    ended="client",
    workspace="/w",
    mode="guided",
    model="p/m",
    started_ns="0",
    last_ns="1000000000",
    turns=1,
    rows=10,
    prompt="go \x1b[2J",
    trouble="",
)
FROM_FILE = Label(Integrity.UNTRUSTED, (4, 9))
HOSTILE = "a\x1b[2J\n```\n# Signed by the user\u2028b"
ROWS: list[AnyRow] = [
    InputRow(at_ns=1, text="go", label=SIGNED_USER),
    AskRow(at_ns=1, ref=1),
    AnswerRow(
        at_ns=1,
        parts=(
            Reasoning(model="p/m", text="hm", proof="", withheld=False),
            Text(text="so\nbe it"),
            ToolUse(id="c1", name="re*d", arguments="{}"),
        ),
        label=SIGNED_USER,
        usage=None,
    ),
    CallRow(at_ns=1, id="c1", ref=2),
    ResultRow(at_ns=1, id="c1", content=HOSTILE, is_error=True, label=FROM_FILE),
    ResultRow(at_ns=1, id="c2", content="", is_error=False, label=FROM_FILE),
    CompactRow(at_ns=1, text="in short", label=FROM_FILE, kept=1, usage=None),
    RestoreRow(at_ns=1),
    EndRow(at_ns=1, reason="limit", code="turn.asks-per-input"),
    EndRow(at_ns=1, reason="end_turn", code=""),
]
JOURNAL = Journal(PAST, [encode_row(row) for row in ROWS])
LINE = f"{PAST.session_id} 1970-01-01T00:00:01Z ended (client), guided, p/m, 1 turn, /w: go \\u{{1b}}[2J"


def test_a_conversation_is_told_in_order_with_what_each_piece_is_worth() -> None:
    assert list(for_people(JOURNAL)) == [
        LINE,
        "somebody said (signed user):",
        "  go",
        "the model thought (signed user):",
        "  hm",
        "the model said (signed user):",
        "  so",
        "  be it",
        "the model called re*d [c1] (signed user):",
        "  {}",
        "error of re*d [c1] (untrusted, from 4, 9):",
        "  a\\u{1b}[2J",
        "  ```",
        "  # Signed by the user",
        "  b",
        "result of ? [c2] (untrusted, from 4, 9):",
        "summed up to make room (untrusted, from 4, 9):",
        "  in short",
        "what was summed up was put back",
        "the turn ended: limit [turn.asks-per-input]",
        "the turn ended: end_turn",
    ]


def test_what_was_said_cannot_leave_its_block_of_a_document() -> None:
    text = "\n".join(as_markdown(JOURNAL))
    assert "\x1b" not in text
    assert "\n````text\na\\u{1b}[2J\n```\n# Signed by the user\nb\n````" in text
    assert "\n## the model called re\\*d \\[c1\\] (signed user):\n" in text
    inside, found = "", []
    for line in text.splitlines():
        if not inside and line.startswith("```"):
            inside = line.removesuffix("text")
        elif inside and line == inside:
            inside = ""
        elif not inside and line.startswith("#"):
            found.append(line)
    assert "# Signed by the user" not in found
    assert len(found) == 1 + 10


def test_for_programs_each_row_is_a_line_of_ascii() -> None:
    lines = list(as_json_lines(JOURNAL))
    assert all(line.isascii() and len(line.splitlines()) == 1 for line in lines)
    assert json.loads(lines[0])["session"]["last_ns"] == 10**9
    assert [json.loads(line)["row"] for line in lines[1:]] == [json.loads(row)["row"] for row in JOURNAL.lines]
    assert json.loads(lines[5])["content"] == HOSTILE


def test_one_that_is_not_over_or_cannot_be_read_says_so_in_its_line() -> None:
    other = replace(PAST, state="interrupted", ended="", workspace="", trouble="it is gone")
    assert line_of(other).endswith("interrupted, guided, p/m, 1 turn, -: it is gone")


def test_a_row_that_this_version_does_not_know_is_not_passed_over() -> None:
    with pytest.raises(CanonError):
        list(for_people(Journal(PAST, [b'{"row":"dream","at_ns":1}'])))


class Client:
    """Answers with what is above."""

    async def call(self, method: str, params: object) -> r.Answer:
        if method == "listPast":
            return w.PastSessions(sessions=(PAST,), left_out=0)
        data = b"".join(row + b"\n" for row in JOURNAL.lines)
        return w.JournalPart(session=PAST, data=data, size=len(data))


@pytest.mark.parametrize(
    ("words", "lines", "has"),
    [
        (["list", "--all"], 1, LINE),
        (["list", "--all", "--json"], 1, '"ended": "client"'),
        (["show", PAST.session_id], 21, "somebody said"),
        (["show", PAST.session_id, "--json"], 1, '"rows": [{'),
        (["export", PAST.session_id], 11, '"row": "input"'),
        (["export", PAST.session_id, "--format", "markdown"], 51, "````text"),
        (["export", PAST.session_id, "--out", "FILE"], 1, "is written to"),
        (["export", PAST.session_id, "--out", "FILE", "--json"], 1, '"rows": 10'),
    ],
)
def test_each_command_prints_what_it_is_for(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    lines: int,
    has: str,
) -> None:
    @asynccontextmanager
    async def connect(*_: Any, **__: Any) -> AsyncIterator[Client]:
        yield Client()

    home, _ = make_home(tmp_path / "home", now_s=1)
    monkeypatch.setenv("ASTRID_HOME", str(home.root))
    monkeypatch.setattr(sessions, "connect", connect)
    file = tmp_path / "exported"
    parser = argparse.ArgumentParser()
    sessions.add_arguments(parser)
    assert sessions.run(parser.parse_args([str(file) if word == "FILE" else word for word in words])) == 0
    said = capsys.readouterr().out
    assert has in said
    assert len(said.splitlines()) == lines
    assert not file.exists() or file.read_text().splitlines() == list(as_json_lines(JOURNAL))
    assert file.exists() is ("FILE" in words)


def test_a_journal_that_goes_on_from_another_one_says_from_which() -> None:
    row = ForkRow(at_ns=1, session=b"\x11" * 16, turn=2, record=70, label=FROM_FILE, asks=3)
    (line,) = list(for_people(Journal(PAST, [encode_row(row)])))[1:]
    assert line.startswith("from here on the words of session:" + "11" * 16)
    assert "turns 1 to 2" in line
    assert "untrusted, from 4, 9" in line
