"""``astrid exec`` from its command line to its exit code, with a scripted model and real processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.processes import ASTRID, DEADLINE_SECONDS, OUTSIDE, READ, RUN, Place, events_of, wait_until
from tests.fakes.terminal import installed

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(not installed(), reason="the product is not installed where an isolated Python finds it"),
]


def test_a_task_that_runs_without_a_refusal_exits_with_0_and_its_answer_alone_is_printed(place: Place) -> None:
    model = place.script({"text": "Let me look.", "tool_calls": [READ]}, {"text": "It says hello."})
    done = place.exec("what does a.txt say?", "--model", model)
    assert (done.returncode, done.stdout) == (0, "Let me look.\nIt says hello.\n"), done.stderr
    assert '> read_file {"file_path": "a.txt"}' in done.stderr
    assert "= end_turn; 1 tool call, 0 denied, 0 deferred" in done.stderr


def test_an_edit_changes_the_file(place: Place) -> None:
    edit = {"name": "edit_file", "arguments": {"file_path": "a.txt", "old_string": "hello", "new_string": "bye"}}
    model = place.script({"tool_calls": [READ]}, {"tool_calls": [edit]}, {"text": "done"})
    assert place.exec("edit it", "--model", model).returncode == 0
    assert (place.workspace / "a.txt").read_text() == "bye\nworld\n"
    assert place.astrid("audit", "list", "--kind", "granted").stdout.rstrip().endswith("from file")


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o027, 0o640)])
def test_a_new_file_has_the_mode_that_the_persons_umask_gives_it(place: Place, umask: int, mode: int) -> None:
    write = {"name": "write_file", "arguments": {"file_path": "new.txt", "content": "x"}}
    model = place.script({"tool_calls": [write]}, {"text": "done"})
    assert place.exec("make it", "--model", model, umask=umask).returncode == 0
    assert (place.workspace / "new.txt").stat().st_mode & 0o777 == mode
    assert [path for path in place.home.root.rglob("*") if path.stat().st_mode & 0o077] == []


def test_a_call_of_a_tool_that_does_not_exist_is_denied_and_recorded_like_any_other(place: Place) -> None:
    model = place.script({"tool_calls": [{"name": "teleport", "arguments": {}}]}, {"text": "done"})
    done = place.exec("go there", "--model", model)
    assert done.returncode == 3
    assert "tool.unknown" in place.astrid("audit", "list", "--kind", "denied").stdout


def test_what_was_denied_is_told_with_layer_and_advice_and_exits_with_3(place: Place) -> None:
    model = place.script({"tool_calls": [OUTSIDE]}, {"text": "I may not."})
    done = place.exec("read it", "--model", model)
    assert done.returncode == 3
    assert "! read_file denied by policy:" in done.stderr
    assert "[policy.path]; work on files inside the workspace" in done.stderr


def test_what_needs_a_yes_is_denied_where_nobody_is_to_be_asked(place: Place) -> None:
    model = place.script({"tool_calls": [RUN]}, {"text": "not then"})
    done = place.exec("run it", "--mode", "safe", "--model", model)
    assert done.returncode == 3
    assert "! bash denied by capability:" in done.stderr
    assert not (place.workspace / "made").exists()


def test_every_line_of_json_is_an_event_and_the_last_one_is_the_result(place: Place) -> None:
    model = place.script({"text": "look", "tool_calls": [READ, OUTSIDE]}, {"text": "done"})
    done = place.exec("go", "--model", model, "--json")
    events = events_of(done.stdout)
    names = [event["event"] for event in events]
    assert done.returncode == 3
    assert names[-2:] == ["turn_complete", "result"]
    assert names.count("tool_call_start") == 2
    assert [event["layer"] for event in events if event["event"] == "denied"] == ["policy"]
    assert {event["session_id"] for event in events} == {events[-1]["session_id"]}
    counted = [event["seq"] for event in events[:-1] if event["event"] != "text"]
    assert counted == list(range(1, len(counted) + 1))
    assert {"exit": 3, "calls": 2, "denied": 1, "deferred": 0, "stop_reason": "end_turn"}.items() <= events[-1].items()


def test_a_second_task_uses_the_daemon_that_is_there(place: Place) -> None:
    with place.daemon():
        before = json.loads(place.astrid("daemon", "status", "--json").stdout)["log_size"]
        assert place.exec("go", "--model", place.script({"text": "done"})).returncode == 0
        after = json.loads(place.astrid("daemon", "status", "--json").stdout)
    assert (after["mode"], after["active_sessions"]) == ("persistent", 0)
    assert after["log_size"] > before


def test_a_folder_where_nothing_was_granted_is_refused_with_the_command_that_grants(tmp_path: Path) -> None:
    place = Place(tmp_path, granted=None)
    done = place.astrid("exec", "go", "--mode", "guided", "--model", place.script({"text": "done"}))
    place.stop()
    assert done.returncode == 1
    assert "[token.no-grant]" in done.stderr
    assert f"astrid tokens grant --workspace {place.workspace} --mode guided" in done.stderr


def test_a_grant_for_one_mode_is_none_for_a_wider_one(place: Place) -> None:
    model = place.script({"text": "done"})
    assert place.exec("go", "--model", model).returncode == 0
    wider = place.astrid("exec", "go", "--mode", "autonomous", "--model", model)
    assert (wider.returncode, "[token.no-grant]" in wider.stderr) == (1, True)


def test_text_from_a_file_reaches_the_model_with_the_task(place: Place) -> None:
    expects = {"expect": {"last_text_contains": "pears"}, "text": "I see pears."}
    (place.root / "list.txt").write_text("apples\npears\n")
    done = place.exec("what is on the list?", "--input", str(place.root / "list.txt"), "--model", place.script(expects))
    assert (done.returncode, done.stdout) == (0, "I see pears.\n"), done.stderr
    piped = place.exec("and?", "--input", "-", "--model", place.script(expects), input="pears, from a pipe")
    assert (piped.returncode, piped.stdout) == (0, "I see pears.\n"), piped.stderr


def test_a_task_may_not_cost_more_than_its_budget(place: Place) -> None:
    dear = {"model": {"price": {"input_usd_per_million": "1000", "output_usd_per_million": "1000"}}}
    done = place.exec("go", "--model", place.script(dear, {"text": "expensive"}), "--budget", "0.01")
    assert done.returncode == 3
    assert "! model denied by budget:" in done.stderr
    assert "expensive" not in done.stdout


def test_a_task_is_stopped_after_its_number_of_model_calls(place: Place) -> None:
    again = {"label": "a", "tool_calls": [READ], "goto": "a"}
    done = place.exec("go", "--model", place.script(again), "--max-turns", "2", "--json")
    result = events_of(done.stdout)[-1]
    assert (done.returncode, result["calls"], result["stop_reason"]) == (1, 2, "limit")


def test_an_escape_sequence_of_the_model_does_not_reach_the_terminal(place: Place) -> None:
    model = place.script({"text": "\x1b[2Jgone\x1b]0;title\x07 \u202efdp.exe\n"})
    done = place.exec("go", "--model", model)
    assert done.stdout == "\\u{1b}[2Jgone\\u{1b}]0;title\\u{7} \\u{202e}fdp.exe\n"


class Running:
    """A task whose model asks for the same file again and again."""

    def __init__(self, place: Place) -> None:
        endless = place.script({"label": "a", "text": "again ", "tool_calls": [READ], "goto": "a"})
        words = ["exec", "go", "--mode", "guided", "--approve", str(place.grants), "--model", endless]
        self._out, self._about = place.root / "out", place.root / "about"
        options = place.options()
        for name in ("timeout", "capture_output"):
            del options[name]
        with open(self._out, "wb") as out, open(self._about, "wb") as about:
            command = [*ASTRID, *words, "--max-turns", "100000"]
            self.process = subprocess.Popen(command, stdout=out, stderr=about, **options)

    @property
    def out(self) -> str:
        return self._out.read_text()

    @property
    def about(self) -> str:
        return self._about.read_text()

    def interrupt(self) -> None:
        self.process.send_signal(signal.SIGINT)

    def ends(self) -> int:
        return self.process.wait(DEADLINE_SECONDS)


class TestInterrupts:
    """Ctrl-C, once and twice."""

    @pytest.fixture
    def running(self, place: Place) -> Iterator[Running]:
        made = Running(place)
        try:
            wait_until(lambda: "again" in made.out, "the model spoke")
            yield made
        finally:
            made.process.kill()
            made.process.wait()

    def test_the_first_stops_the_turn_and_exits_with_130(self, place: Place, running: Running) -> None:
        running.interrupt()
        assert running.ends() == 130
        assert "= cancelled; " in running.about
        status = json.loads(place.astrid("daemon", "status", "--json").stdout)
        assert status["active_sessions"] == 0
        place.stop()
        assert json.loads(place.astrid("audit", "verify", "--json").stdout)["result"] == "sound"

    def test_the_second_leaves_at_once(self, place: Place, running: Running) -> None:
        daemon = int(place.home.lock.read_text())
        os.kill(daemon, signal.SIGSTOP)  # so that nothing can be stopped in order
        try:
            running.interrupt()
            wait_until(lambda: "Ctrl-C again" in running.about, "the first was noticed")
            running.interrupt()
            assert running.ends() == 130
            left = "again leaves at once\nleft; what was under way may go on: see `astrid sessions list`\n"
            assert (running.about.endswith(left), "Traceback" in running.about) == (True, False), running.about
        finally:
            os.kill(daemon, signal.SIGCONT)
        assert json.loads(place.astrid("daemon", "status", "--json").stdout)["running"]
