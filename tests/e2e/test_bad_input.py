"""What a person can get wrong: each is refused with one clear line that says what to do, and nothing is started."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.processes import ASTRID, ASTRIDD, READ, Assurance, Place
from tests.fakes.terminal import installed

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(not installed(), reason="the product is not installed where an isolated Python finds it"),
]
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can start a process as somebody else")
NOBODY = 65534
STARTING = "the daemon did not start: "
KEYS = "see docs/configuration.md for the keys and their values"
DOLLARS = "write dollars with at most six decimals, such as 1.25 or $0.000001"
WAY_ON = "put back a copy that verifies, or give this log up: `astrid audit accept-loss`"
APART = "work in another folder, or set ASTRID_HOME to a folder outside the workspace"


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path, assurance=Assurance.PLAIN)
    yield made
    made.stop()


def refused(done: subprocess.CompletedProcess[str], *words: str) -> None:
    """It failed with one line for a person, which says all of this."""
    assert done.returncode == 1, done
    assert "Traceback" not in done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert [word for word in words if word not in done.stderr] == [], done.stderr


def says(done: subprocess.CompletedProcess[str], code: str, what: str, advice: str, *, where: object = "") -> None:
    """It failed with one line for a person: what is wrong, where, and what to do, in this order; nothing else."""
    place = f" ({where})" if where else ""
    line = f"{what}{place} [{code}]; {advice}"
    expected = (f"astrid: {line}\n", f"astridd: {line}\n", f"astrid: {STARTING}{line} [daemon.did-not-start]\n")
    assert (done.returncode, done.stdout, done.stderr in expected) == (1, "", True), done


def works(place: Place) -> None:
    """A task is done, and the log is sound."""
    assert place.exec("go", "--model", place.script({"text": "done"})).returncode == 0
    place.stop()
    assert place.astrid("audit", "verify").returncode == 0


def recorded(place: Place) -> None:
    """There is a log with something in it."""
    assert place.exec("go", "--model", place.script({"text": "done"})).returncode == 0
    place.stop()


@pytest.mark.parametrize(
    ("text", "code", "what", "advice"),
    [
        ("[security]\nallow_evrything = true", "config.invalid", "there is no key `security.allow_evrything`", KEYS),
        ("[modle]\nmodel = 'x'", "config.invalid", "there is no key `modle`", KEYS),
        ("[runtime]\nmax_turns = 0", "config.invalid", "`runtime.max_turns`: expected a whole number >= 1", KEYS),
        ("[budget]\nsession_max_usd = 'ten'", "config.invalid", "`ten` is not an amount of dollars", DOLLARS),
        ("[workspace]\nmode = 'wild'", "config.invalid", "`wild` is not a mode", "write safe, guided or autonomous"),
        (
            "[security.policy]\ndenied_paths = ['here/**']",
            "config.policy",
            "`here/**` is not a path policy understands: the path is not absolute",
            "write /dir, /dir/** or ~/dir, with * for any part of a name",
        ),
    ],
    ids=["unknown key", "unknown table", "number", "amount", "mode", "path"],
)
def test_a_configuration_that_makes_no_sense(place: Place, text: str, code: str, what: str, advice: str) -> None:
    place.home.config.write_text(f"{text}\n")
    says(place.exec("go"), code, what, advice, where=place.home.config)
    assert not place.home.log.exists()


def test_a_configuration_that_is_not_toml_and_is_mended(place: Place) -> None:
    place.home.config.write_text("[model\n")
    done = place.exec("go")
    refused(done, "not valid TOML", "line 1", f"({place.home.config}) [config.syntax]; correct the file")
    place.home.config.write_text("[model]\n")
    works(place)


@pytest.mark.parametrize("name", ["runtime.key", "holder.key", "client.key", "user.key"])
def test_a_key_file_that_others_can_read(place: Place, name: str) -> None:
    key = place.home.root / "keys" / name
    key.chmod(0o640)
    what = f"the {key.stem} key has mode 0640, so others can get at it"
    grant = ("tokens", "grant", "--workspace", str(place.workspace), "--mode", "guided", "--yes")
    done = place.astrid(*grant) if name == "user.key" else place.exec("go")
    says(done, "file.open-to-others", what, f"chmod 0600 {key}", where=key)
    place.stop()
    key.chmod(0o600)
    works(place)


def test_a_key_of_another_home(place: Place) -> None:
    place.home.runtime_key.unlink()
    place.home.runtime_key.write_bytes(b"\x77" * 32)
    place.home.runtime_key.chmod(0o600)
    what = "the runtime key is not the one that the install statement names"
    advice = "restore the key file that belongs to this home"
    says(place.exec("go"), "install.runtime-key", what, advice, where=place.home.runtime_key)


def test_no_home_at_all(place: Place, tmp_path: Path) -> None:
    done = place.astrid("exec", "go", env={"ASTRID_HOME": str(tmp_path / "nowhere")})
    says(done, "home.missing", "there is no home yet", "run `astrid init`", where=tmp_path / "nowhere")


def test_a_home_that_others_can_get_into(place: Place) -> None:
    place.home.root.chmod(0o755)
    refused(place.exec("go"), f"chmod 0700 {place.home.root}", "[home.open-to-others]")


def test_a_home_that_is_named_by_a_relative_path(place: Place) -> None:
    refused(place.astrid("exec", "go", env={"ASTRID_HOME": "here"}), "[home.relative]")


def as_nobody(place: Place, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A command of somebody whose home this is, but who is not root."""
    for path in (place.home.root, *place.home.root.rglob("*")):
        os.chown(path, NOBODY, NOBODY, follow_symlinks=False)
    place.root.chmod(0o755)
    # What is imported only later could not be read any more.
    become = (
        "import os, sys, astrid.daemon.lifecycle, astrid.frontends.cli.exec, astrid.frontends.cli.audit; "
        "from astrid.daemon.__main__ import main; from astrid.frontends.cli import run; "
        f"os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY}); "
        "sys.exit(main(sys.argv[2:]) if sys.argv[1] == 'astridd' else run(sys.argv[2:]))"
    )
    return subprocess.run([sys.executable, "-I", "-c", become, *arguments], **place.options(cwd="/"), check=False)


@pytest.fixture
def open_place() -> Iterator[Place]:
    """One that others can get to: pytest closes the folders above its own."""
    with tempfile.TemporaryDirectory() as folder:
        made = Place(Path(folder))
        yield made
        made.stop()


@needs_root
def test_a_home_that_cannot_be_written(open_place: Place) -> None:
    place, run = open_place, open_place.home.lock.parent
    run.chmod(0o500)
    what, advice = "Permission denied", "check the owner and mode of the home"
    done = as_nobody(place, "astridd", "run")
    writable = f"{advice}, and that its disk can be written"
    says(done, "daemon.no-lock", f"the daemon's lock cannot be opened: {what}", writable, where=place.home.lock)
    for words in (["exec", "go", "--workspace", str(place.workspace)], ["audit", "list"]):
        done = as_nobody(place, "astrid", *words)
        log = place.home.daemon_log
        says(done, "launch.log", f"the daemon's log cannot be written: {what}", advice, where=log)
    assert list(run.iterdir()) == []


@needs_root
def test_a_home_on_a_disk_that_is_mounted_to_be_read_only(tmp_path: Path) -> None:
    with disk(tmp_path / "home", "size=2m") as folder:
        place = Place(tmp_path)
        subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
        advice = "check the owner and mode of the home"
        what = "the daemon's log cannot be written: Read-only file system"
        says(place.exec("go"), "launch.log", what, advice, where=place.home.daemon_log)


@contextmanager
def disk(folder: Path, options: str) -> Iterator[Path]:
    """A small disk at ``folder``, where this machine lets us have one."""
    folder.mkdir(mode=0o700)
    words = ["mount", "-t", "tmpfs", "-o", f"{options},mode=0700", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(words, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        mounted = False
    if not mounted:
        pytest.skip("no disk can be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@needs_root
def test_a_full_disk(tmp_path: Path) -> None:
    """Nothing runs, what is there can be seen and taken back, nothing is lost, and with room it goes on."""
    with disk(tmp_path / "home", "size=24m"):  # the room that is kept for last words is 8 MiB
        place = Place(tmp_path, assurance=Assurance.PLAIN)
        asks = place.script({"tool_calls": [READ]}, {"text": "done"})
        with place.daemon() as daemon:
            assert place.exec("go", "--model", asks).returncode == 0
            fill(place.home.root / "filler")
            done = place.exec("go", "--model", asks)
            assert (done.returncode, done.stdout) == (3, ""), done
            denial = "! model denied by audit: the disk is full; free some space [audit.suspended]; then try again\n"
            assert denial in done.stderr
            assert "Traceback" not in done.stderr
            doctor = place.astrid("doctor").stdout
            assert "free some space: nothing runs on a full disk" in doctor
            [token] = json.loads(place.astrid("tokens", "list", "--json").stdout)["tokens"]
            revoked = place.astrid("tokens", "revoke", token["token"], "--yes")
            assert revoked.returncode == 0, revoked.stderr  # the room is kept for that
            (place.home.root / "filler").unlink()
            refused(place.exec("go", "--model", asks), "[token.revoked]")
            assert daemon.poll() is None
        (place.home.log.parent / "ballast").unlink(missing_ok=True)
        fill(place.home.root / "filler")  # and not even room for the start
        what = f"{STARTING}the disk is full"
        says(place.exec("go"), "daemon.did-not-start", what, "free some space", where=place.home.daemon_log)
        (place.home.root / "filler").unlink()
        assert place.astrid("audit", "list", "--kind", "revoked").stdout.count("\n") == 1
        place.stop()
        assert place.astrid("audit", "verify").returncode == 0


def fill(path: Path) -> None:
    """Write until nothing fits any more."""
    with open(path, "wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))
    assert os.statvfs(path).f_bavail == 0


def test_a_log_that_was_cut_short(place: Place) -> None:
    recorded(place)
    for suffix in ("-wal", "-shm"):
        place.home.log.with_name(place.home.log.name + suffix).unlink(missing_ok=True)
    data = place.home.log.read_bytes()
    place.home.log.write_bytes(data[: len(data) // 2])
    what = "the log is damaged: database disk image is malformed"
    says(place.exec("go"), "journal.corrupt", what, WAY_ON, where=place.home.log)
    assert len(place.home.log.read_bytes()) == len(data) // 2  # as it was found
    found = place.astrid("audit", "verify")
    assert (found.returncode, found.stdout.startswith("tampered: the log is damaged")) == (1, True), found
    place.home.log.write_bytes(data)
    works(place)


def test_a_log_that_is_gone_while_a_checkpoint_remembers_it(place: Place) -> None:
    recorded(place)
    for path in place.home.log.parent.iterdir():
        path.unlink()
    refused(place.exec("go"), "the log is gone", f"({place.home.log}) [chain.missing]; {WAY_ON}")
    assert place.astrid("audit", "verify").returncode == 1


def test_a_log_that_another_process_holds(place: Place) -> None:
    recorded(place)
    holder = sqlite3.connect(place.home.log)
    try:
        holder.execute("PRAGMA locking_mode=EXCLUSIVE")
        holder.execute("BEGIN EXCLUSIVE")
        what = "cannot open the log: another process holds it"
        says(place.exec("go"), "journal.locked", what, "stop the other process", where=place.home.log)
        assert place.astrid("audit", "verify").returncode == 2  # it could not tell
    finally:
        holder.close()
    works(place)


def test_a_log_that_was_set_back_to_an_older_one(place: Place) -> None:
    recorded(place)
    kept = {path: path.read_bytes() for path in place.home.log.parent.iterdir()}
    recorded(place)
    for path in place.home.log.parent.iterdir():
        path.unlink()
    for path, data in kept.items():
        path.write_bytes(data)
        path.chmod(0o600)
    refused(place.exec("go"), "[chain.cut]")


def test_a_log_that_was_set_back_with_its_anchor_is_noticed_by_what_the_client_kept(place: Place) -> None:
    recorded(place)
    kept = {path: path.read_bytes() for path in [*place.home.log.parent.iterdir(), place.home.anchor]}
    recorded(place)
    recorded(place)
    for path in place.home.log.parent.iterdir():
        path.unlink()
    for path, data in kept.items():
        path.write_bytes(data)
        path.chmod(0o600)
    refused(place.exec("go"), "[chain.cut]", "a checkpoint covers")


def test_a_script_that_is_not_json(place: Place) -> None:
    path = place.root / "bad.jsonl"
    path.write_text("this is no JSON\n")
    what = "the text is not JSON: invalid character (byte 4)"
    advice = 'correct the line; it is an object such as {"text": "done"}, and docs/model-scripts.md shows all of it'
    done = place.exec("go", "--model", f"scripted:{path}")
    says(done, "model.script-line", what, advice, where=f"{path}:1")


def test_a_script_that_is_not_there(place: Place) -> None:
    done = place.exec("go", "--model", "scripted:no such file")
    what = "the script cannot be read: No such file or directory"
    says(done, "model.script-unreadable", what, "name a file of yours", where=place.workspace / "no such file")


def test_an_unknown_model(place: Place) -> None:
    done = place.exec("go", "--model", "gpt-17")
    refused(done, "there is no model `gpt-17` [model.unknown]; name one", "anthropic/claude-", "or scripted:FILE")


def test_no_model_at_all(place: Place) -> None:
    advice = "name one: --model anthropic/... or scripted:FILE"
    says(place.exec("go"), "model.none", "no model is configured", advice, where=place.home.config)


def test_a_model_without_its_key(place: Place) -> None:
    advice = (
        "set ANTHROPIC_API_KEY, or name a key_file in [providers.anthropic], and stop the daemon "
        "(`astrid daemon stop`): the next one reads it"
    )
    done = place.exec("go", "--model", "anthropic/claude-opus-5")
    says(done, "model.key-missing", "there is no key for `anthropic/claude-opus-5`", advice)


def test_a_workspace_that_is_a_file(place: Place) -> None:
    file = place.workspace / "a.txt"
    done = place.exec("go", "--workspace", str(file))
    says(done, "workspace.not-folder", "the workspace is a file", "name a folder", where=file)


def test_a_workspace_that_is_not_there(place: Place) -> None:
    what = "the workspace cannot be opened: No such file or directory"
    says(place.exec("go", "--workspace", "nowhere"), "workspace.missing", what, "name a folder", where="nowhere")


def test_a_workspace_in_which_the_home_lies(place: Place) -> None:
    done = place.exec("go", "--workspace", str(place.root))
    says(done, "workspace.home-inside", "the home and the workspace lie in each other", APART, where=place.home.root)


def test_a_workspace_that_lies_in_the_home(place: Place) -> None:
    done = place.exec("go", "--workspace", str(place.home.root / "keys"))
    says(done, "workspace.home-inside", "the home and the workspace lie in each other", APART, where=place.home.root)


def test_tokens_from_a_file_in_the_workspace(place: Place) -> None:
    inside = place.workspace / "grants"
    inside.write_bytes(place.grants.read_bytes())
    inside.chmod(0o600)
    done = place.astrid("exec", "go", "--approve", str(inside))
    refused(done, "the file with tokens lies in the workspace", "[exec.approve-inside]")


def test_tokens_from_a_file_that_others_can_read(place: Place) -> None:
    place.grants.chmod(0o644)
    refused(place.exec("go"), "[file.open-to-others]")


def test_tokens_from_a_file_that_holds_none(place: Place) -> None:
    place.grants.write_text("not base64, not a token!\n")
    refused(place.exec("go"), "[exec.approve-file]")


def test_a_token_that_somebody_else_signed(place: Place) -> None:
    data = bytearray(place.grants.read_bytes())
    data[-1] ^= 1
    place.grants.write_bytes(bytes(data))
    refused(place.exec("go", "--model", place.script({"text": "done"})), "[token.signature]")


def test_asking_where_there_is_no_terminal(place: Place) -> None:
    refused(place.astrid("exec", "go", "--approve", "ask"), "there is no terminal to ask at", "[exec.no-terminal]")


@pytest.mark.parametrize("amount", ["1e3", "-1", "NaN", "0.0000001", "", "1,50"])
def test_a_budget_that_is_no_amount(place: Place, amount: str) -> None:
    refused(place.exec("go", f"--budget={amount}"), "is not an amount of dollars", "[money.malformed]")


def test_an_empty_task(place: Place) -> None:
    refused(place.exec(" "), "[exec.task]")


def test_an_input_that_is_not_there_or_is_no_text(place: Place) -> None:
    (place.root / "binary").write_bytes(b"\xff\xfe\x00")
    refused(place.exec("go", "--input", "nowhere"), "the input cannot be read", "[exec.input]")
    refused(place.exec("go", "--input", str(place.root / "binary")), "the input is not UTF-8", "[exec.input]")


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["fly"],
        ["exec"],
        ["exec", "go", "--mode", "reckless"],
        ["exec", "go", "--max-turns", "0"],
        ["exec", "go", "--wat"],
        ["audit"],
        ["audit", "show", "zero"],
        ["audit", "list", "--since", "yesterday-ish"],
        ["daemon", "fly"],
    ],
    ids=" ".join,
)
def test_words_that_make_no_sense_exit_with_2(place: Place, arguments: list[str]) -> None:
    done = place.astrid(*arguments)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert done.stderr


def test_a_reader_that_leaves_early_is_no_error_message(place: Place) -> None:
    recorded(place)
    command = " ".join([*ASTRID, "audit", "list"]) + " | head -n 1"
    done = subprocess.run(command, shell=True, **place.options(), check=False)  # noqa: S602 - a pipe is the point
    assert done.stderr == ""
    assert "genesis" in done.stdout


def test_a_reader_of_what_the_verifier_finds_that_leaves_is_no_error_message(place: Place) -> None:
    recorded(place)
    reading, writing = os.pipe()
    os.close(reading)
    given: dict[str, Any] = {**place.options(), "stdout": writing, "stderr": subprocess.PIPE}
    del given["capture_output"]
    try:
        done: subprocess.CompletedProcess[str] = subprocess.run([*ASTRID, "audit", "verify"], **given, check=False)
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (0, "")


def _interrupted() -> None:
    """What a process is that Ctrl-C reached before it could do anything."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize("words", [["audit", "verify"], ["daemon", "status"], ["demo"]], ids=" ".join)
def test_ctrl_c_while_a_command_begins_ends_it_without_a_word(place: Place, words: list[str]) -> None:
    done = subprocess.run([*ASTRID, *words], **place.options(), check=False, preexec_fn=_interrupted)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


@pytest.mark.parametrize("command", [ASTRIDD, [*ASTRID, "daemon"]], ids=["astridd", "astrid daemon"])
def test_two_daemons_on_one_home(place: Place, command: list[str]) -> None:
    advice = "use that one, or stop it with `astrid daemon stop`"
    with place.daemon() as daemon:
        what = f"another daemon (process {daemon.pid}) serves this home"
        for _ in range(2):
            done = subprocess.run([*command, "run"], **place.options(), check=False)
            says(done, "daemon.running", what, advice, where=place.home.root)
        assert (daemon.poll(), place.connects()) == (None, True)
