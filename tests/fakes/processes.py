"""The product's own processes, started as a person starts them, in a home of their own, and never left behind."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from astrid.core.grants import Mode
from astrid.core.tokens import Assurance
from astrid.home import Home
from tests.fakes.daemon_home import grant_workspace, make_client_home

DEADLINE_SECONDS = 30.0  # far more than anything here takes; a test fails by it, and never passes by it
ASTRID = [sys.executable, "-I", "-m", "astrid.frontends.cli"]
ASTRIDD = [sys.executable, "-I", "-m", "astrid.daemon"]

READ = {"id": "t1", "name": "read_file", "arguments": {"file_path": "a.txt"}}
OUTSIDE = {"id": "t2", "name": "read_file", "arguments": {"file_path": "/etc/passwd"}}
RUN = {"id": "t3", "name": "bash", "arguments": {"command": "touch made"}}


def wait_until(holds: Callable[[], bool], what: str) -> None:
    """Look until it holds."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not holds():
        assert time.monotonic() < deadline, f"never happened: {what}"
        time.sleep(0.01)


class Place:
    """A home, a workspace in which a mode is granted, and scripts for the model.

    With ``assurance`` plain, the signer has the user's key, so that a person at a terminal can answer.
    """

    def __init__(
        self, root: Path, *, granted: Mode | None = Mode.GUIDED, assurance: Assurance = Assurance.SEALED
    ) -> None:
        self.root = root
        self.home, self.aud = make_client_home(root / "home", assurance=assurance)
        self.workspace = root / "ws"
        self.workspace.mkdir()
        (self.workspace / "a.txt").write_text("hello\nworld\n")
        self.grants = root / "grants"
        if granted is not None:
            grant = grant_workspace(self.home, self.aud, self.workspace, granted, assurance=assurance)
            self.grants.write_bytes(grant)
            self.grants.chmod(0o600)

    def script(self, *turns: dict[str, Any], name: str = "script.jsonl") -> str:
        """The name of a model that says these."""
        path = self.root / name
        path.write_text("".join(f"{json.dumps(turn)}\n" for turn in turns))
        return f"scripted:{path}"

    def astrid(self, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """One command, without a terminal."""
        return subprocess.run([*ASTRID, *arguments], **self.options(**options), check=False)

    def options(self, **options: Any) -> dict[str, Any]:
        """How every process is started."""
        environment = {**os.environ, "ASTRID_HOME": str(self.home.root), **options.pop("env", {})}
        given = {"cwd": self.workspace, "stdin": subprocess.DEVNULL, "timeout": DEADLINE_SECONDS, **options}
        if "input" in given:
            del given["stdin"]
        return {"env": environment, "capture_output": True, "text": True, "start_new_session": True, **given}

    def start(self, command: list[str], out: int = subprocess.DEVNULL) -> subprocess.Popen[str]:
        """A process that goes on by itself."""
        given = self.options()
        for name in ("timeout", "capture_output"):
            del given[name]
        return subprocess.Popen(command, stdout=out, stderr=out, **given)

    def exec(self, task: str, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """A task, with the grant handed over."""
        return self.astrid("exec", task, "--mode", "guided", "--approve", str(self.grants), *arguments, **options)

    @contextmanager
    def daemon(self, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
        """A daemon that serves this home; stopped in order on the way out, if it is still there."""
        with open(self.root / "daemon.out", "ab") as out:
            process = subprocess.Popen(
                [*ASTRIDD, "run", *arguments],
                env={**os.environ, "ASTRID_HOME": str(self.home.root)},
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        try:
            wait_until(lambda: self.connects() or process.poll() is not None, "the daemon is up")
            yield process
        finally:
            end(process)

    def connects(self) -> bool:
        """Whether a daemon answers at the socket."""
        with socket.socket(socket.AF_UNIX) as client:
            try:
                client.connect(str(self.home.socket))
            except OSError:
                return False
        return True

    @property
    def said(self) -> str:
        """What daemons that were started here printed."""
        return (self.root / "daemon.out").read_text()

    def stop(self) -> None:
        """Whatever daemon serves the home ends."""
        stop_daemon(self.home)


def end(process: subprocess.Popen[bytes]) -> int:
    """Have a process end in order; its exit code."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        return process.wait(DEADLINE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise


def stop_daemon(home: Home) -> None:
    """Whatever daemon serves ``home`` ends, however it was started."""
    if not home.lock.exists():
        return
    with open(home.lock, "rb") as lock:

        def free() -> bool:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            return True

        if not free():
            os.kill(int(lock.read()), signal.SIGTERM)
            wait_until(free, "the daemon ends")


def events_of(output: str) -> list[dict[str, Any]]:
    """What ``--json`` printed."""
    return [json.loads(line) for line in output.splitlines()]


__all__ = [
    "ASTRID",
    "ASTRIDD",
    "OUTSIDE",
    "READ",
    "RUN",
    "Assurance",
    "Mode",
    "Place",
    "end",
    "events_of",
    "stop_daemon",
    "wait_until",
]
