"""A session whose daemon was killed on the spot goes on from the command line, and does nothing twice."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.test_kill import BLOCKS, Watching, accept_grant, is_sound, kill_daemon, read, records, told
from tests.fakes.processes import Assurance, Place, wait_until
from tests.fakes.terminal import Terminal, astrid, installed

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(not installed(), reason="the product is not installed where an isolated Python finds it"),
    pytest.mark.skipif(sys.platform != "linux", reason="looks at processes below /proc"),
]
TURNS = ({"tool_calls": [BLOCKS]}, {"text": "done"}, {"text": "and more"})


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path, assurance=Assurance.PLAIN)
    os.mkfifo(made.workspace / "fifo")
    yield made
    made.stop()


def cut_off(place: Place) -> str:
    """The session that no daemon ended."""
    [one] = [one for one in told(place, "sessions", "list", "--all")["sessions"] if one["state"] == "interrupted"]
    assert (one["prompt"], one["workspace"], one["turns"]) == ("go", str(place.workspace), 1)
    return one["session_id"]


def test_killed_under_a_command_the_turn_goes_on_with_its_end_unknown(place: Place) -> None:
    with place.daemon() as daemon:
        accept_grant(place)
        with Watching(place, *TURNS) as terminal:
            terminal.sees("and Enter: ")
            terminal.types("o\r")
            wait_until(lambda: read(place.workspace / "marker") == "began\n", "the command runs")
            kill_daemon(daemon)
            assert terminal.ends() == 1
    with place.daemon():
        session = cut_off(place)
        words = ["exec", "--last", "and then?", "--approve", "never", "--model", place.script(*TURNS)]
        done = place.astrid(*words)
        assert (done.returncode, done.stdout) == (0, "done\nand more\n"), done
        shown = place.astrid("sessions", "show", session).stdout
        assert "The outcome of this call is unknown" in shown
        assert "and then?" in shown
        assert len(records(place, "--tool", "bash", "--decision", "permit")) == 1
        assert read(place.workspace / "marker") == "began\n"
        again = place.astrid("exec", "--resume", session, "--approve", "never", "--model", place.script(*TURNS))
        assert (again.returncode, "[session.ended]" in again.stderr) == (1, True), again
        forked = told(place, "sessions", "fork", session, "--at", "1", "--model", place.script(*TURNS))
        assert (forked["origin_id"], forked["turn"], forked["left_out"]) == (session, 1, False)
        assert "and then?" not in place.astrid("sessions", "show", forked["session_id"]).stdout
        assert is_sound(place)


def test_killed_before_the_person_answered_the_call_is_asked_about_again_and_runs_once(place: Place) -> None:
    with place.daemon() as daemon:
        accept_grant(place)
        with Watching(place, *TURNS) as terminal:
            terminal.sees("and Enter: ")
            kill_daemon(daemon)
            assert terminal.ends() == 1
    with place.daemon():
        words = ("exec", "--resume", cut_off(place), "--model", place.script(*TURNS))
        again = Terminal(astrid(*words), place.home.root, rows=80)
        try:
            again.sees("and Enter: ")
            again.types("o\r")
            wait_until(lambda: read(place.workspace / "marker") == "began\n", "the command runs")
            (place.workspace / "fifo").write_text("go on")
            assert again.ends() == 0, again.text
        finally:
            again.close()
        assert "done" in again.text
        assert read(place.workspace / "marker") == "began\nended\n"
        assert is_sound(place)


def test_killed_in_its_first_turn_it_is_gone_on_from_before_that(place: Place) -> None:
    with place.daemon() as daemon:
        accept_grant(place)
        with Watching(place, *TURNS) as terminal:
            terminal.sees("and Enter: ")
            kill_daemon(daemon)
            assert terminal.ends() == 1
    with place.daemon():
        session = cut_off(place)
        forked = told(place, "sessions", "fork", session, "--model", place.script(*TURNS))
        assert (forked["origin_id"], forked["turn"], forked["left_out"]) == (session, 0, True)
        assert cut_off(place) == session
        assert is_sound(place)


def exec_in(place: Place, *words: str) -> tuple[str, str, str]:
    """What the model said, the session that did it, and the one that this went on from, if it did."""
    script = place.script(*({"text": text} for text in ("one", "two", "three")))
    done = place.astrid("exec", *words, "--approve", "never", "--json", "--model", script)
    assert done.returncode == 0, done
    events = [json.loads(line) for line in done.stdout.splitlines()]
    [said] = [event["text"] for event in events if event["event"] == "message"]
    origins = [event["origin_id"] for event in events if event["event"] == "session_forked"]
    return said, events[-1]["session_id"], "".join(origins)


def test_what_has_ended_goes_on_by_a_new_session_after_each_restart_of_the_daemon(place: Place) -> None:
    with place.daemon():
        accept_grant(place)
        said, first, origin = exec_in(place, "go")
        assert (said, origin) == ("one", "")
    with place.daemon():
        said, second, origin = exec_in(place, "--last", "and then?")
        assert (said, origin) == ("two", first)
        left_open = told(place, "sessions", "fork", second, "--model", place.script({"text": "x"}))["session_id"]
    with place.daemon():
        listed = {one["session_id"]: one for one in told(place, "sessions", "list", "--all")["sessions"]}
        assert (listed[left_open]["ended"], listed[left_open]["turns"]) == ("shutdown", 2)
        said, third, origin = exec_in(place, "--last", "and at last?")
        assert (said, origin) == ("three", left_open)
        shown = place.astrid("sessions", "show", third).stdout
        assert [text in shown for text in ("go", "one", "and then?", "two", "and at last?", "three")] == [True] * 6
        assert is_sound(place)
        assert told(place, "sessions", "delete", left_open, "--yes")["sessions"] == 1
        assert told(place, "sessions", "delete", first, "--yes")["sessions"] == 1
        tidied = told(place, "sessions", "cleanup", "--older-than", "0h", "--keep", "1", "--yes")
        assert (tidied["sessions"][0], tidied["dry_run"], len(tidied["deleted"])) == (second, False, 2)
        refused = place.astrid("sessions", "delete", third)
        assert (refused.returncode, "[session.not-agreed]" in refused.stderr) == (1, True), refused
        assert place.astrid("sessions", "show", third).stdout == shown
        assert is_sound(place)


def test_what_is_resumed_keeps_what_it_was_opened_with(place: Place) -> None:
    for option in (("--mode", "safe"), ("--budget", "1"), ("--max-turns", "3"), ("--approve", str(place.grants))):
        done = place.astrid("exec", "--resume", "session:" + "0" * 32, *option)
        assert (done.returncode, "[exec." in done.stderr) == (1, True), done
    listed = json.loads(place.astrid("sessions", "list", "--all", "--json").stdout)
    assert listed["sessions"] == []
