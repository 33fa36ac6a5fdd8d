"""Threat 5: whoever runs sessions never opens the user's key, watched from outside while real processes do real work.

Source: docs/security/threats.md.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from astrid.home import Home
from tests.fakes.processes import RUN, stop_daemon
from tests.fakes.terminal import DEADLINE_SECONDS, Terminal, astrid, installed

STRACE = shutil.which("strace")
pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(STRACE is None, reason="strace is not installed"),
    pytest.mark.skipif(not installed(), reason="the product is not installed where an isolated Python finds it"),
]
# Every call by which a file can be read, or given another name under which it could be.
CALLS = "execve,?open,openat,?openat2,?creat,?link,?linkat,?symlink,?symlinkat,?rename,?renameat,?renameat2"
KEY = re.compile(r'(?<![\w.-])user\.key"')


class Watched:
    """A home with a plain key, which no passphrase would protect, and a workspace in which a mode is granted."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.home = Home(root / "home")
        self.workspace = root / "ws"
        self.workspace.mkdir()
        self.trace = root / "trace"
        self.environ = {**os.environ, "ASTRID_HOME": str(self.home.root)}
        for command in (
            astrid("init", "--plain"),
            astrid("tokens", "grant", "--workspace", str(self.workspace), "--mode", "guided", "--yes"),
            astrid("daemon", "stop"),
        ):
            subprocess.run(
                command,
                env=self.environ,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                check=True,
                timeout=DEADLINE_SECONDS,
                start_new_session=True,
            )
        self.home.config.write_text('[security.policy]\napproval_required_tools = ["bash"]\n')

    def under_watch(self, *commands: list[str]) -> list[str]:
        """These commands one after the other, every process below them watched."""
        line = "; ".join(shlex.join(command) for command in commands)
        assert STRACE is not None
        return [STRACE, "-f", "-qq", "-e", f"trace={CALLS}", "-o", str(self.trace), "/bin/sh", "-c", line]

    def exec(self, *turns: dict[str, object]) -> list[str]:
        script = self.root / "script.jsonl"
        script.write_text("".join(f"{json.dumps(turn)}\n" for turn in turns))
        return astrid(
            *("exec", "make it", "--mode", "guided", "--workspace", str(self.workspace)),
            *("--model", f"scripted:{script}"),
        )

    def seen(self) -> tuple[set[str], set[str], set[str]]:
        """Who opened the key, who was a signer, and who was a daemon: by process."""
        lines = [line.split(maxsplit=1) for line in self.trace.read_text(errors="replace").splitlines()]
        became = {pid: what for pid, what in lines if what.startswith("execve") and what.endswith("= 0")}
        return (
            {pid for pid, what in lines if KEY.search(what) and not what.startswith("execve")},
            {pid for pid, what in became.items() if '"astrid.frontends.signer"' in what},
            {pid for pid, what in became.items() if '"astrid.daemon"' in what},
        )


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    made = Watched(tmp_path)
    yield made
    stop_daemon(made.home)


def test_a_task_at_a_terminal_that_is_signed_and_asks_opens_the_key_in_the_signer_alone(watched: Watched) -> None:
    task = watched.exec({"text": "a command", "tool_calls": [RUN]}, {"text": "done"})
    terminal = Terminal(watched.under_watch(task, astrid("daemon", "stop")), watched.home.root)
    try:
        terminal.sees("touch made")
        terminal.sees("and Enter: ")
        terminal.types("o\r")
        terminal.ends()
    finally:
        terminal.close()
    assert (watched.workspace / "made").exists(), terminal.text
    openers, signers, daemons = watched.seen()
    assert len(daemons) == 1
    assert openers
    assert openers <= signers


def test_a_task_without_a_terminal_opens_the_key_nowhere(watched: Watched) -> None:
    run(watched, watched.exec({"text": "done"}), astrid("daemon", "stop"))
    openers, signers, daemons = watched.seen()
    assert (openers, signers) == (set(), set())
    assert len(daemons) == 1


def test_whoever_else_opened_the_key_would_be_seen(watched: Watched) -> None:
    """A plain key is no secret from another process of the same user: this is what the watch is for."""
    key = str(watched.home.user_key)
    run(watched, ["/bin/cp", key, str(watched.root / "x")], ["/bin/ln", key, str(watched.root / "y")])
    openers, signers, _ = watched.seen()
    assert len(openers) == 2
    assert signers == set()


def test_the_demo_opens_its_key_in_its_signers_alone(watched: Watched) -> None:
    run(watched, astrid("demo", "--json"))
    openers, signers, daemons = watched.seen()
    assert daemons
    assert openers
    assert openers <= signers


def run(watched: Watched, *commands: list[str]) -> None:
    done = subprocess.run(
        watched.under_watch(*commands),
        env=watched.environ,
        cwd=watched.workspace,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        start_new_session=True,
        timeout=6 * DEADLINE_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
