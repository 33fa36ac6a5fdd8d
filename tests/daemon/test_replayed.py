"""What came of a replay, as people and programs read it."""

from __future__ import annotations

import json

import pytest

from astrid.core.labels import SIGNED_USER
from astrid.core.redecide import Again, How, Untold
from astrid.core.replay import Difference
from astrid.core.replay_log import Unproposed
from astrid.core.turn_messages import EndRow, InputRow
from astrid.daemon.replayed import as_json, as_text, exit_code
from astrid.runtime.replaying import Replayed

SAID = InputRow(at_ns=1, text="go\x1b[2J\nrecord 1", label=SIGNED_USER)
PERMITTED = How("permitted")
CHANGED = Again(7, "bash", PERMITTED, How("denied", "[policy.tool] no\x1b[2J", ("blocked_tools: bash",)))
UNTOLD = Again(8, "bash", How("denied", "[approval.no] no"), Untold("who knows"))


def came(*decisions: Again, difference: Difference | Unproposed | None = None, by: str = "") -> Replayed:
    return Replayed(b"S" * 16, 9, 2, decisions, difference, by)


@pytest.mark.parametrize(
    ("found", "code"),
    [
        (came(), 0),
        (came(Again(7, "bash", PERMITTED, PERMITTED), UNTOLD), 0),
        (came(CHANGED), 4),
        (came(difference=Unproposed(7, "", b"", b"")), 4),
        (came(difference=Difference(3, SAID, None)), 4),
    ],
)
def test_what_differs_is_in_the_exit_code_and_what_cannot_be_told_is_not(found: Replayed, code: int) -> None:
    assert exit_code(found) == code
    told = json.loads(as_json(found))
    assert (told["exit"], told["same"]) == (code, code == 0)


def test_each_decision_that_would_be_another_one_has_a_line() -> None:
    text = as_text(came(CHANGED, UNTOLD, Again(9, "look", PERMITTED, PERMITTED), by="other.toml"))
    assert "decisions: 2 permitted, 1 denied" in text
    assert "by the policy in other.toml: 1 the same, 1 otherwise, 1 not to be told" in text
    assert "record 7: bash was permitted; would be denied: [policy.tool] no" in text
    assert "(blocked_tools: bash)" in text
    assert "not to be told (1): who knows" in text
    assert "record 9" not in text


def test_a_row_that_differs_is_told_by_its_fields() -> None:
    other = InputRow(at_ns=1, text="stop", label=SIGNED_USER)
    text = as_text(came(difference=Difference(3, SAID, other)))
    assert "does not replay to itself" in text
    [line] = [line for line in text.splitlines() if ": was " in line]
    assert line.startswith("    text: was ")
    assert "stop" in line
    nothing = as_text(came(difference=Difference(3, None, EndRow(at_ns=1, reason="end_turn", code=""))))
    assert "reason: was nothing, is " in nothing


def test_a_call_that_is_not_proposed_any_more_is_told_without_a_digest_where_there_is_none() -> None:
    text = as_text(came(difference=Unproposed(7, "", b"\xab", b"")))
    assert "the first difference is record 7" in text
    assert "call of a tool: its digest was ab, is -" in text
    assert json.loads(as_json(came(difference=Unproposed(7, "", b"\xab", b""))))["difference"] == {
        "record": 7,
        "tool": "",
        "was": "ab",
        "now": None,
    }


def test_no_word_of_a_session_leaves_its_line_or_reaches_the_terminal() -> None:
    for found in (came(CHANGED), came(difference=Difference(3, SAID, None))):
        text = as_text(found)
        assert "\x1b" not in text
        assert not any(line.startswith("record 1") for line in text.splitlines())
