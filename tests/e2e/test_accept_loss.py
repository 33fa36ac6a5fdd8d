"""A log that was rolled back, as a person meets it: the daemon refuses, one command leads on, nothing old is live."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from astrid.home import Home
from tests.fakes.processes import DEADLINE_SECONDS, READ, stop_daemon
from tests.fakes.terminal import Terminal, astrid, installed

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(not installed(), reason="the product is not installed where an isolated Python finds it"),
]

PASSPHRASE = "correct horse"
SIGNED = ("--yes", "--passphrase-fd", "0")
TERMS = ("--mode", "guided", *SIGNED, "--json")


class Person:
    """A home made by ``astrid init``, a project, and somebody at the command line."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.home = Home(root / "home")
        self.project = root / "project"
        self.project.mkdir()
        (self.project / "a.txt").write_text("hello\n")
        script = root / "script.jsonl"
        script.write_text(f"{json.dumps({'text': 'look', 'tool_calls': [READ]})}\n{json.dumps({'text': 'done'})}\n")
        self.model = f"scripted:{script}"

    def __call__(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """One command without a terminal, with the passphrase on its standard input."""
        return subprocess.run(
            astrid(*arguments),
            input=f"{PASSPHRASE}\n",
            capture_output=True,
            text=True,
            cwd=self.project,
            env={**os.environ, "ASTRID_HOME": str(self.home.root)},
            start_new_session=True,
            timeout=DEADLINE_SECONDS,
            check=False,
        )

    def does(self, *arguments: str) -> dict[str, Any]:
        """What a command that works says with ``--json``."""
        done = self(*arguments)
        assert done.returncode == 0, done.stderr + done.stdout
        return json.loads(done.stdout.splitlines()[-1])

    def works(self, *more: str) -> subprocess.CompletedProcess[str]:
        """A task that reads a file."""
        return self("exec", "look around", "--mode", "guided", "--model", self.model, *more)


@pytest.fixture
def person(tmp_path: Path) -> Iterator[Person]:
    """They granted a workspace and had a task done; the daemon is stopped, and a backup was made."""
    made = Person(tmp_path)
    made.does("init", "--passphrase-fd", "0", "--json")
    made.does("tokens", "grant", "--workspace", ".", *TERMS)
    made.does("tokens", "grant", "--workspace", ".", *TERMS, "--out", str(tmp_path / "grant"))
    try:
        assert made.works().returncode == 0
        stop_daemon(made.home)
        shutil.copytree(made.home.log.parent, tmp_path / "backup" / "log")
        shutil.copy(made.home.anchor, tmp_path / "backup" / "daemon")
        yield made
    finally:
        stop_daemon(made.home)


def roll_back(person: Person) -> None:
    """More is done and seen; then a backup of the daemon's files is put back, and what the command line keeps stays."""
    assert person.works().returncode == 0
    stop_daemon(person.home)
    shutil.rmtree(person.home.log.parent)
    shutil.copytree(person.root / "backup" / "log", person.home.log.parent)
    shutil.copy(person.root / "backup" / "daemon", person.home.anchor)


def test_a_log_that_was_rolled_back_is_refused_given_up_and_begun_anew(person: Person) -> None:
    old_token = person.home.client_token.read_bytes()
    roll_back(person)
    refused = person.works()
    assert (refused.returncode, "astrid audit accept-loss" in refused.stderr) == (1, True), refused.stderr
    assert "astrid audit accept-loss" in person("doctor").stdout

    terminal = Terminal(astrid("audit", "accept-loss"), person.home.root)
    try:
        shown = terminal.sees('Type "accept the loss" and Enter: ')
        assert "every grant and every answer that you signed so far ends" in shown.replace("|\n|", "")
        terminal.types("accept the loss\r")
        terminal.sees("Passphrase of your Astrid key: ")
        terminal.types(f"{PASSPHRASE}\r")
        assert terminal.ends() == 0
        assert "tokens grant" in terminal.text
    finally:
        terminal.close()

    assert person.works().returncode == 1  # what was granted has ended
    kept_one = person.works("--approve", str(person.root / "grant"))  # also for whoever kept it
    assert (kept_one.returncode, "token.audience" in kept_one.stderr) == (1, True), kept_one.stderr
    new_token = person.home.client_token.read_bytes()
    person.home.client_token.write_bytes(old_token)
    stale = person("tokens", "list")
    assert (stale.returncode, "[client.token-dead]" in stale.stderr) == (1, True), stale.stderr
    person.home.client_token.write_bytes(new_token)

    person.does("tokens", "grant", "--workspace", ".", *TERMS)
    assert person.works().returncode == 0
    found = person.does("audit", "verify", "--json")
    assert (found["result"], "log.astrid/" in found["after"]) == ("sound", True)
    assert person.does("audit", "list", "--json", "--limit", "1")["summary"].count("after one that was given up") == 1

    (kept,) = person.home.lost.iterdir()
    (key,) = (one["public_key"] for one in person.does("keys", "show", "--json")["keys"] if one["role"] == "user")
    old = ("audit", "verify", "--home", str(kept), "--key", key, "--json")
    assert person.does(*old)["result"] == "sound"
    whole = person(*old, "--witness", str(kept / "witnesses" / "cli"))
    assert (whole.returncode, json.loads(whole.stdout)["code"]) == (1, "chain.cut")


def test_without_a_terminal_the_loss_is_accepted_on_the_command_line(person: Person) -> None:
    roll_back(person)
    asks = person("audit", "accept-loss", "--passphrase-fd", "0")
    assert (asks.returncode, "[signer.no-terminal]" in asks.stderr) == (1, True)
    told = person.does("audit", "accept-loss", *SIGNED, "--json")
    assert (told["resumed"], told["lost_records"] > 0, told["log"] != told["lost_log"]) == (False, True, True)
    assert (Path(told["kept"]) / "log" / "audit.db").is_file()
    again = person("audit", "accept-loss", *SIGNED)
    assert (again.returncode, "[loss.none]" in again.stderr) == (1, True)


def test_a_sound_log_and_one_that_a_daemon_has_are_not_given_up(person: Person) -> None:
    sound = person("audit", "accept-loss", *SIGNED)
    assert (sound.returncode, "[loss.none]" in sound.stderr) == (1, True)
    assert person("sessions", "list").returncode == 0  # starts a daemon
    running = person("audit", "accept-loss", *SIGNED)
    assert (running.returncode, "[daemon.running]" in running.stderr) == (1, True)


def test_a_log_folder_that_was_removed_is_a_loss_too(person: Person) -> None:
    shutil.rmtree(person.home.log.parent)
    assert person.works().returncode == 1
    person.does("audit", "accept-loss", *SIGNED, "--json")
    person.does("tokens", "grant", "--workspace", ".", *TERMS)
    assert person.works().returncode == 0
