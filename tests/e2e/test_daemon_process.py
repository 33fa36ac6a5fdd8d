"""The daemon as a process: alone in its home, ready when it says so, gone without a trace, whole after a crash."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fakes.processes import ASTRIDD, DEADLINE_SECONDS, Place, end
from tests.fakes.terminal import installed

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(not installed(), reason="the product is not installed where an isolated Python finds it"),
]
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can start a process as somebody else")
NOBODY = 65534


def start(place: Place, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A daemon that is not expected to stay."""
    return subprocess.run([*ASTRIDD, *arguments], **place.options(), check=False)


def test_a_daemon_serves_from_the_moment_its_socket_is_there_until_it_is_told_to_stop(place: Place) -> None:
    with place.daemon() as daemon:
        assert place.connects()
        status = json.loads(place.astrid("daemon", "status", "--json").stdout)
        assert (status["running"], status["mode"]) == (True, "persistent")
        assert end(daemon) == 0
    assert not place.home.socket.exists()
    assert place.astrid("daemon", "status").returncode == 1


def test_the_socket_and_the_log_are_for_nobody_else(place: Place) -> None:
    with place.daemon():
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (place.home.socket, place.home.daemon_log)}
    assert modes == {"astridd.sock": 0o600, "daemon.log": 0o600}


def test_a_stop_in_order_leaves_a_log_that_is_signed_to_its_end(place: Place) -> None:
    with place.daemon() as daemon:
        assert end(daemon) == 0
    found = json.loads(place.astrid("audit", "verify", "--json").stdout)
    assert (found["result"], found["records"]) == ("sound", found["signed"])


def test_the_command_that_stops_the_daemon_returns_when_it_is_gone(place: Place) -> None:
    with place.daemon() as daemon:
        assert place.astrid("daemon", "stop").stdout == "stopped\n"
        assert daemon.wait(DEADLINE_SECONDS) == 0
    assert place.astrid("daemon", "stop").stdout == "no daemon runs\n"


def test_a_second_daemon_is_refused_and_the_first_goes_on(place: Place) -> None:
    with place.daemon() as daemon:
        second = start(place)
        assert second.returncode == 1
        assert f"another daemon (process {daemon.pid}) serves this home" in second.stderr
        assert "[daemon.running]" in second.stderr
        assert place.connects()


def test_what_a_daemon_that_was_killed_left_behind_does_not_hinder_the_next(place: Place) -> None:
    with place.daemon() as first:
        first.kill()
        first.wait()
    assert place.home.socket.exists()
    place.home.socket.with_name("fresh.sock").touch()
    with place.daemon():
        assert place.astrid("daemon", "status").returncode == 0


def test_a_log_whose_daemon_was_killed_verifies_and_is_gone_on_with(place: Place) -> None:
    with place.daemon() as first:
        place.exec("go", "--model", place.script({"text": "done"}))
        first.kill()
        first.wait()
    before = json.loads(place.astrid("audit", "verify", "--json").stdout)
    assert before["result"] == "sound"
    with place.daemon():
        assert place.astrid("daemon", "status").returncode == 0
    after = json.loads(place.astrid("audit", "verify", "--json").stdout)
    assert (after["result"], after["signed"]) == ("sound", after["records"])
    assert after["records"] > before["records"]


def test_a_daemon_nobody_is_connected_to_ends_after_its_grace_period(place: Place) -> None:
    with place.daemon("--ephemeral", "--grace-period", "1") as daemon:
        assert daemon.wait(DEADLINE_SECONDS) == 0
    assert not place.home.socket.exists()


def test_a_signal_while_nothing_is_connected_ends_the_daemon_at_once_and_a_second_does_no_harm(place: Place) -> None:
    with place.daemon() as daemon:
        daemon.send_signal(signal.SIGINT)
        daemon.send_signal(signal.SIGINT)
        assert daemon.wait(DEADLINE_SECONDS) == 0
    assert json.loads(place.astrid("audit", "verify", "--json").stdout)["result"] == "sound"


def test_however_often_it_is_told_to_stop_it_has_stopped_in_order(place: Place) -> None:
    with place.daemon() as daemon:
        while daemon.poll() is None:  # up to its very end, and not only while it listens
            daemon.send_signal(signal.SIGTERM)
            daemon.send_signal(signal.SIGINT)
        assert daemon.returncode == 0
    found = json.loads(place.astrid("audit", "verify", "--json").stdout)
    assert (found["result"], found["records"]) == ("sound", found["signed"])


def test_nothing_of_the_daemon_can_be_read_by_another_process_of_the_user_and_it_leaves_no_core(place: Place) -> None:
    if sys.platform != "linux":
        pytest.skip("only Linux shows limits below /proc")
    with place.daemon() as daemon:
        limits = Path(f"/proc/{daemon.pid}/limits").read_text()
        core = next(line for line in limits.splitlines() if line.startswith("Max core file size"))
        assert core.split()[4:6] == ["0", "0"]
        # What is not dumpable belongs to root below /proc, whoever runs it.
        assert os.stat(f"/proc/{daemon.pid}/mem").st_uid == 0


@needs_root
def test_another_user_is_cut_off_before_a_word_is_said(place: Place) -> None:
    become = f"import os,socket,sys; os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY}); "
    script = become + "s=socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); print(s.recv(100))"
    with place.daemon():
        for folder in (place.home.socket, *place.home.socket.parents):  # as if the folders had been left open
            if folder.is_relative_to(place.root.parent.parent):
                folder.chmod(0o777)
        done = subprocess.run(
            [sys.executable, "-I", "-c", script, str(place.home.socket)],
            capture_output=True,
            text=True,
            timeout=DEADLINE_SECONDS,
            check=False,
        )
        assert (done.returncode, done.stdout.strip()) in ((0, "b''"), (1, "")), done.stderr


@pytest.mark.parametrize("name", ["PYTHONPATH", "PYTHONHOME"])
def test_a_daemon_whose_code_the_environment_would_choose_does_not_start(place: Place, name: str) -> None:
    source = str(Path(__file__).resolve().parents[2] / "src")
    done = subprocess.run(
        [sys.executable, "-m", "astrid.daemon"],
        **place.options(env={name: source if name == "PYTHONPATH" else sys.base_prefix}),
        check=False,
    )
    assert done.returncode == 1
    assert "[environment.python]" in done.stderr


def test_the_command_line_comes_back_isolated_from_what_the_environment_and_the_folder_offer(place: Place) -> None:
    (place.workspace / "trio.py").write_text("raise SystemExit('the workspace chose the code')")
    source = str(Path(__file__).resolve().parents[2] / "src")
    done = subprocess.run(
        [sys.executable, "-m", "astrid.frontends.cli", "daemon", "status"],
        **place.options(env={"PYTHONPATH": f"{source}{os.pathsep}{place.workspace}"}),
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "no daemon runs\n"), done.stderr


def test_help_and_version_need_no_home(tmp_path: Path) -> None:
    for flag in ("--help", "--version"):
        done = subprocess.run([*ASTRIDD, flag], env={"PATH": ""}, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        assert "astridd" in done.stdout


@pytest.mark.parametrize("arguments", [["fly"], ["run", "--grace-period", "0"], ["run", "--grace-period", "x"], ["-x"]])
def test_words_that_make_no_sense_are_a_usage_error(place: Place, arguments: list[str]) -> None:
    done = start(place, *arguments)
    assert (done.returncode, "usage: astridd" in done.stderr) == (2, True)
