"""Command lines that others collected: what this product decides about each, and what Bash itself would run for them.

``shell_dcg_labelled.json`` holds another project's opinion of each line.  Where ours differs, ``shell_decisions.json``
says so line by line, with a reason; a line that is decided otherwise by now fails here.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

from astrid.core.command import blocked_by, parse_command
from astrid.core.policy import DEFAULT_BLOCKED_TOOLS
from astrid.errors import CommandError
from tests.core.test_command_bash import NOT_FOUND, matches, ran

CORPORA = Path(__file__).parent.parent / "vectors" / "corpora"
BLOCKED = frozenset(DEFAULT_BLOCKED_TOOLS)


def load(name: str) -> Any:
    return json.loads((CORPORA / name).read_text("utf-8"))


def decided(line: str) -> str:
    """``asks``: a person sees the exact line and decides.  ``blocked`` and ``refused``: it never runs."""
    try:
        reason = blocked_by(parse_command(line), BLOCKED)
    except CommandError as error:
        return f"refused: {error.code}"
    return "asks" if reason is None else f"blocked: {reason}"


def differs(label: str, ours: str) -> bool:
    """Whether a label and a decision are of two minds.  To ask is neither: it is what allowing means here, and it is
    milder than denying.
    """
    return (label == "allow") is not (ours == "asks")


def test_the_corpora_are_there_with_source_and_licence() -> None:
    for name, count in (("shell_dcg_labelled.json", 354), ("shell_command_injection_patt.json", 295)):
        content = load(name)
        assert content["source"].startswith("github:")
        assert content["licence"] == "MIT"
        assert len(content["items"]) == content["count"] == count


def test_every_line_that_is_decided_otherwise_than_labelled_is_written_down_with_its_reason() -> None:
    items = [item for item in load("shell_dcg_labelled.json")["items"] if item["expected"] is not None]
    found = {
        (item["command"], item["expected"], decided(item["command"]))
        for item in items
        if differs(item["expected"], decided(item["command"]))
    }
    written = load("shell_decisions.json")
    reasons = {(one["command"], one["label"], one["ours"]): one["why"] for one in written["decisions"]}
    assert found == set(reasons)
    assert set(reasons.values()) == set(written["reasons"])  # each has a text, and each text is needed


UTTERLY = re.compile(r"\bsudo\b|\brm +-\S+ +(?:/|~|\$HOME)(?:\s|$)")


def test_the_worst_of_what_is_labelled_dangerous_does_not_even_lead_to_a_question() -> None:
    lines = [item["command"] for item in load("shell_dcg_labelled.json")["items"] if item["expected"] == "deny"]
    worst = [line for line in lines if UTTERLY.search(line)]
    assert len(worst) > 10
    assert [line for line in worst if decided(line) == "asks"] == []


# --- injections, judged by the shell

# What these would do in earnest, if Bash were given them: run a program by its path, or open a file.
TOUCHES_THE_WORLD = re.compile(r"[<>]|(?:^|[\s;|&`(])/|/dev/|exit|kill|exec|trap|ulimit")


def harmless() -> list[str]:
    """The collected payloads, behind the command they are put into and by themselves, that can be tried out: no program
    is found there, so each says what it was called with.  Programs are named without their folders, so that they are
    not found either.
    """
    payloads = [item["payload"] for item in load("shell_command_injection_patt.json")["items"]]
    lines = [re.sub(r"/(?:usr/)?s?bin/", "", line) for one in payloads for line in (f"ping -c 1 {one}", one)]
    return [line for line in dict.fromkeys(lines) if not TOUCHES_THE_WORLD.search(line)]


def test_bash_runs_no_command_of_a_collected_injection_that_was_not_found_in_it() -> None:
    seen: Counter[str] = Counter()
    for line in harmless():
        try:
            segments = [item for item in parse_command(line).segments if item.argv]
        except CommandError:
            seen["refused"] += 1
            continue
        calls = ran(f"{NOT_FOUND}exec >/dev/null\n{line}")  # what builtins print is nobody's call
        assert [call for call in calls if not any(matches(item.argv, call) for item in segments)] == [], line
        seen["run"] += 1
        seen["more than one"] += len(calls) > 1
    assert min(seen["refused"], seen["run"], seen["more than one"]) > 20, seen
