"""``kill -9`` of each process at each step: what is durable counts, nothing is done twice, and the next start goes on.

The rows are those of the crash table (architecture 5).  A step is met exactly by what the scripted model asks for: a
command that leaves a mark and then waits at a fifo, or a question that nobody has answered yet.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.processes import ASTRID, ASTRIDD, DEADLINE_SECONDS, Assurance, Mode, Place, wait_until
from tests.fakes.terminal import Terminal, astrid, installed

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(not installed(), reason="the product is not installed where an isolated Python finds it"),
    pytest.mark.skipif(sys.platform != "linux", reason="looks at processes below /proc"),
]
Json = dict[str, Any]
ROWS = 80  # so that a question is one page
BLOCKS = {"name": "bash", "arguments": {"command": "echo began >> marker; cat fifo; echo ended >> marker"}}
WRITES = {"name": "write_file", "arguments": {"file_path": "made.txt", "content": "x"}}


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path, assurance=Assurance.PLAIN)
    os.mkfifo(made.workspace / "fifo")
    yield made
    made.stop()


def accept_grant(place: Place) -> None:
    """What was signed for the workspace is in the log; a daemon runs."""
    assert place.exec("hello", "--model", place.script({"text": "hello"})).returncode == 0


class Watching:
    """``astrid exec`` at a terminal."""

    def __init__(self, place: Place, *turns: Json, mode: str = "safe") -> None:
        words = ["exec", "go", "--mode", mode, "--workspace", str(place.workspace), "--model", place.script(*turns)]
        self.terminal = Terminal(astrid(*words), place.home.root, rows=ROWS)

    def __enter__(self) -> Terminal:
        return self.terminal

    def __exit__(self, *_: object) -> None:
        self.terminal.close()


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


def kill_daemon(daemon: subprocess.Popen[bytes] | subprocess.Popen[str]) -> None:
    daemon.kill()
    daemon.wait()


def read(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def records(place: Place, *arguments: str) -> list[Json]:
    done = place.astrid("audit", "list", "--json", *arguments)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def body(place: Place, record: Json) -> Json:
    return json.loads(place.astrid("audit", "show", str(record["seq"]), "--json").stdout)["body"]


def told(place: Place, *arguments: str) -> Json:
    done = place.astrid(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def is_sound(place: Place) -> bool:
    done = place.astrid("audit", "verify", "--json")
    return done.returncode == 0 and json.loads(done.stdout)["result"] == "sound"


def running_in(folder: Path) -> list[int]:
    """The processes that work in ``folder``."""
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit() and is_in(entry, folder)]


def is_in(entry: Path, folder: Path) -> bool:
    try:
        return os.readlink(entry / "cwd") == str(folder)
    except OSError:  # ended meanwhile, or another user's
        return False


def child_of(pid: int, module: str) -> int:
    """The process of ``module`` that ``pid`` started."""
    [found] = [
        int(child)
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        if module.encode() in Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0")
    ]
    return found


# --- the daemon


def test_a_command_ends_with_its_daemon_is_told_as_unknown_and_never_run_again(place: Place) -> None:
    with place.daemon() as daemon:
        accept_grant(place)
        with Watching(place, {"tool_calls": [BLOCKS]}, {"text": "done"}) as terminal:
            terminal.sees("and Enter: ")
            terminal.types("o\r")
            wait_until(lambda: read(place.workspace / "marker") == "began\n", "the command runs")
            assert running_in(place.workspace)
            kill_daemon(daemon)
            wait_until(lambda: not running_in(place.workspace), "the command is gone with its daemon")
            assert (terminal.ends(), "[daemon.gone]" in terminal.text) == (1, True), terminal.text
    for _ in range(2):  # the second start finds nothing left to settle
        with place.daemon():
            assert is_sound(place)
            assert told(place, "sessions", "list") == {"sessions": [], "left_out": 0}
            permit = records(place, "--tool", "bash", "--decision", "permit")
            outcomes = [one for one in records(place, "--kind", "outcome") if body(place, one)["unknown"] == "True"]
            assert [body(place, one)["permit_seq"] for one in outcomes] == [str(one["seq"]) for one in permit]
            assert "unknown" in outcomes[0]["summary"]
            why = place.astrid("audit", "explain", str(outcomes[0]["seq"])).stdout
            assert "how far it came is not known" in why
    assert read(place.workspace / "marker") == "began\n"


def test_a_model_call_that_was_under_way_is_paid_in_full_out_of_every_purse(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "no-key")
    words = ["exec", "go", "--mode", "guided", "--approve", str(place.grants), "--model", "anthropic/claude-haiku-4-5"]
    with socket.create_server(("127.0.0.1", 0)) as vendor:  # hears the request, and never answers
        vendor.settimeout(DEADLINE_SECONDS)
        place.home.config.write_text(
            f'[model]\napi_url = "http://127.0.0.1:{vendor.getsockname()[1]}"\n[budget]\nworkspace_max_usd = "0.05"\n'
        )
        with place.daemon() as daemon:
            client = place.start([*ASTRID, *words], out=subprocess.PIPE)
            called, _ = vendor.accept()
            with called:
                assert called.recv(4)
                kill_daemon(daemon)
                _, complaint = client.communicate()
        assert (client.returncode, "[daemon.gone]" in complaint) == (1, True)
        with place.daemon():
            assert is_sound(place)
            permit, outcome = (body(place, records(place, "--kind", kind)[-1]) for kind in ("permit", "outcome"))
            assert (outcome["unknown"], outcome["spent"]) == ("True", permit["micros"])
            assert 25_000 < int(permit["micros"]) <= 50_000  # once, and not twice
            again = place.astrid(*words)
            assert (again.returncode, "denied by budget" in again.stderr) == (3, True), again.stderr


def test_a_question_outlives_the_daemon_and_what_its_answer_grants_holds(tmp_path: Path) -> None:
    place = Place(tmp_path, granted=Mode.SAFE, assurance=Assurance.PLAIN)
    hello = place.script({"text": "hello"})
    with place.daemon() as daemon:
        assert place.astrid("exec", "go", "--mode", "safe", "--approve", str(place.grants), "--model", hello)
        with Watching(place, {"tool_calls": [WRITES]}, {"text": "done"}, mode="safe") as terminal:
            terminal.sees("and Enter: ")
            kill_daemon(daemon)  # while the person reads
            assert (terminal.ends(), "[daemon.gone]" in terminal.text) == (1, True), terminal.text
            assert terminal.mode() == terminal.before
    with place.daemon() as daemon:
        [question] = told(place, "approvals", "list")["questions"]
        answer(place, question["question_id"], "w")
        kill_daemon(daemon)  # just after the answer
    with place.daemon():
        assert told(place, "approvals", "list") == {"questions": []}
        again = place.astrid("approvals", "answer", question["question_id"])
        assert (again.returncode, "[approval.unknown]" in again.stderr) == (1, True)
        assert not (place.workspace / "made.txt").exists()
        with Watching(place, {"tool_calls": [WRITES]}, {"text": "done"}, mode="safe") as terminal:
            assert terminal.ends() == 0, terminal.text  # without a question
        assert read(place.workspace / "made.txt") == "x"
        assert is_sound(place)


def test_once_is_once_also_when_the_daemon_dies_under_the_call_that_it_was_for(place: Place) -> None:
    with place.daemon() as daemon:
        accept_grant(place)
        with Watching(place, {"tool_calls": [BLOCKS]}, {"text": "done"}) as terminal:
            terminal.sees("and Enter: ")
            terminal.types("\x03")
            assert terminal.ends() == 130
        [question] = told(place, "approvals", "list")["questions"]
        answer(place, question["question_id"], "o")
        kill_daemon(daemon)
    with place.daemon():
        once = [one for one in told(place, "tokens", "list")["tokens"] if one["scope"] == "once"]
        assert [(one["uses"], one["used"], one["revoked"]) for one in once] == [(1, 0, False)]
        asks = place.script({"tool_calls": [BLOCKS]}, {"text": "done"})
        done = place.astrid("exec", "go", "--mode", "safe", "--approve", "never", "--model", asks)
        assert done.returncode == 3, done  # the yes was for that one call of that one session
        assert is_sound(place)
    assert read(place.workspace / "marker") == ""


def answer(place: Place, question_id: str, key: str) -> None:
    terminal = Terminal(astrid("approvals", "answer", question_id), place.home.root, rows=ROWS)
    try:
        terminal.sees("and Enter: ")
        terminal.types(f"{key}\r")
        assert (terminal.ends(), "your answer is recorded" in terminal.text) == (0, True), terminal.text
    finally:
        terminal.close()


def test_a_daemon_that_is_killed_while_it_reads_its_log_does_not_hinder_the_next(place: Place) -> None:
    accept_grant(place)
    place.stop()
    with sqlite3.connect(place.home.log) as holder:  # who has the log holds the start up there
        holder.execute("PRAGMA locking_mode=EXCLUSIVE")
        holder.execute("BEGIN EXCLUSIVE")
        kill_start(place, lambda pid: str(place.home.log) in open_files(pid))
        assert not place.home.socket.exists()
    holder.close()
    accept_grant(place)
    assert is_sound(place)


@pytest.mark.parametrize("step", ["lock", "log", "anchor"])
def test_a_daemon_that_is_killed_at_its_first_start_does_not_hinder_the_next(place: Place, step: str) -> None:
    kill_start(place, lambda pid: getattr(place.home, step).exists())
    accept_grant(place)
    assert is_sound(place)


def kill_start(place: Place, reached: Callable[[int], bool]) -> None:
    """Start a daemon and kill it as soon as it has come that far."""
    daemon = place.start([*ASTRIDD, "run"])
    try:
        while not reached(daemon.pid):  # looks without a pause, so as not to come too late
            assert daemon.poll() is None
    finally:
        kill_daemon(daemon)


def open_files(pid: int) -> set[str]:
    found: set[str] = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            found.add(os.readlink(link))
    return found


# --- the command line and the signer


def test_a_turn_goes_on_and_is_settled_when_its_command_line_is_killed(place: Place) -> None:
    with place.daemon() as daemon:
        accept_grant(place)
        with Watching(place, {"tool_calls": [BLOCKS]}, {"text": "done"}) as terminal:
            terminal.sees("and Enter: ")
            terminal.types("o\r")
            wait_until(lambda: read(place.workspace / "marker") == "began\n", "the command runs")
            kill(terminal.process.pid)
            assert terminal.process.wait() == -signal.SIGKILL
        [session] = told(place, "sessions", "list")["sessions"]
        assert session["state"] == "running"
        (place.workspace / "fifo").write_text("go on")
        wait_until(lambda: read(place.workspace / "marker") == "began\nended\n", "the command ends by itself")
        wait_until(lambda: told(place, "sessions", "list")["sessions"][0]["state"] == "idle", "the turn is over")
        permit, outcome = records(place, "--tool", "bash")[-1], records(place, "--kind", "outcome")[-2]
        assert (body(place, outcome)["permit_seq"], body(place, outcome)["effect"]) == (str(permit["seq"]), "done")
        assert place.astrid("sessions", "end", session["session_id"]).returncode == 0
        assert daemon.poll() is None
        assert is_sound(place)


def test_a_question_is_put_again_when_the_signer_dies_under_it(place: Place) -> None:
    with place.daemon():
        accept_grant(place)
        with Watching(place, {"tool_calls": [BLOCKS]}, {"text": "done"}) as terminal:
            terminal.sees("and Enter: ")
            kill(child_of(terminal.process.pid, "astrid.frontends.signer"))
            terminal.sees("the signer ended before it answered.*and Enter: ")
            assert len(told(place, "approvals", "list")["questions"]) == 1
            assert records(place, "--kind", "settled") == []
            terminal.types("o\r")
            (place.workspace / "fifo").write_text("go on")
            assert (terminal.ends(), read(place.workspace / "marker")) == (0, "began\nended\n"), terminal.text
        assert is_sound(place)


def test_a_question_stays_open_when_the_signer_dies_again(place: Place) -> None:
    with place.daemon():
        accept_grant(place)
        with Watching(place, {"tool_calls": [BLOCKS]}, {"text": "done"}) as terminal:
            for _ in range(2):
                terminal.sees("and Enter: ")
                kill(child_of(terminal.process.pid, "astrid.frontends.signer"))
            terminal.sees("the question stays open: `astrid approvals answer question:[0-9a-f]+`")
            [question] = told(place, "approvals", "list")["questions"]
            answer(place, question["question_id"], "d")  # from elsewhere
            assert (terminal.ends(), read(place.workspace / "marker")) == (3, ""), terminal.text
            assert terminal.mode() == terminal.before


@pytest.mark.parametrize("victim", ["command line", "signer", "daemon"])
def test_nothing_is_granted_by_a_grant_that_was_cut_off(tmp_path: Path, victim: str) -> None:
    place = Place(tmp_path, granted=None, assurance=Assurance.PLAIN)
    words = ("tokens", "grant", "--workspace", str(place.workspace), "--mode", "guided")
    with place.daemon() as daemon:
        terminal = Terminal(astrid(*words), place.home.root)
        try:
            terminal.sees("and Enter: ")
            match victim:
                case "command line":
                    kill(terminal.process.pid)
                case "signer":
                    kill(child_of(terminal.process.pid, "astrid.frontends.signer"))
                case _:
                    kill_daemon(daemon)
            assert terminal.ends() == (-signal.SIGKILL if victim == "command line" else 1)
            assert victim == "command line" or f"[{victim}.gone]" in terminal.text
        finally:
            terminal.close()
    with place.daemon():
        assert told(place, "tokens", "list") == {"tokens": []}
        assert place.astrid(*words, "--yes").returncode == 0
        assert len(told(place, "tokens", "list")["tokens"]) == 1
        assert is_sound(place)


# --- the start of a home


def made_by_init(root: Path) -> dict[str, Callable[[], bool]]:
    """The steps of ``astrid init``, in order."""
    return {
        "folders": (root / "actors").exists,
        "user key": (root / "keys" / "user.key").exists,
        "install statement": (root / "install").exists,
        "token": (root / "keys" / "client.token").exists,
    }


@pytest.mark.parametrize("step", made_by_init(Path()))
def test_an_init_that_was_killed_is_gone_on_with_by_the_next(tmp_path: Path, step: str) -> None:
    root, workspace = tmp_path / "home", tmp_path / "ws"
    workspace.mkdir()
    environment = {**os.environ, "ASTRID_HOME": str(root)}

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*ASTRID, *arguments], env=environment, capture_output=True, text=True, start_new_session=True, check=False
        )

    reached = made_by_init(root)[step]
    with subprocess.Popen(
        [*ASTRID, "init", "--plain"],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as process:
        while not reached() and process.poll() is None:  # looks without a pause, so as not to come too late
            continue
        os.killpg(process.pid, signal.SIGKILL)
    whole = (root / "keys" / "client.token").exists()
    kept = {path: path.read_bytes() for path in (root / "keys").glob("*.key")}
    if not whole:
        refused = run("exec", "go", "--workspace", str(workspace), "--model", "scripted:none")
        assert (refused.returncode, "run `astrid init`" in refused.stderr) == (1, True), refused.stderr
    again = run("init", "--plain")
    assert (again.returncode, "Traceback" in again.stderr) == (1 if whole else 0, False), again.stderr
    assert not whole or "[file.exists]" in again.stderr
    assert {path: path.read_bytes() for path in kept} == kept
    assert [path.name for path in (root / "keys").iterdir() if path.name.startswith(".")] == []
    granted = run("tokens", "grant", "--workspace", str(workspace), "--mode", "guided", "--yes")
    assert granted.returncode == 0, granted.stderr
    assert run("daemon", "stop").returncode == 0
