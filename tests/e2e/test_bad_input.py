"""What a person can get wrong: each is refused with one clear line that says what to do, and nothing is started."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.processes import ASTRID, ASTRIDD, Place
from tests.fakes.terminal import installed

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(not installed(), reason="the product is not installed where an isolated Python finds it"),
]
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can start a process as somebody else")
NOBODY = 65534


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    yield made
    made.stop()


def refused(done: subprocess.CompletedProcess[str], *words: str) -> None:
    """It failed with one line for a person, which says all of this."""
    assert done.returncode == 1, done
    assert "Traceback" not in done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert [word for word in words if word not in done.stderr] == [], done.stderr


def recorded(place: Place) -> None:
    """There is a log with something in it."""
    assert place.exec("go", "--model", place.script({"text": "done"})).returncode == 0
    place.stop()


def test_an_unknown_key_in_the_configuration(place: Place) -> None:
    place.home.config.write_text("[security]\nallow_evrything = true\n")
    refused(place.exec("go"), "allow_evrything", str(place.home.config), "[config.invalid]")
    assert not place.home.log.exists()


def test_a_configuration_that_is_not_toml(place: Place) -> None:
    place.home.config.write_text("[model\n")
    refused(place.exec("go"), "not valid TOML", "[config.syntax]")


@pytest.mark.parametrize("name", ["runtime.key", "holder.key"])
def test_a_key_file_that_others_can_read(place: Place, name: str) -> None:
    key = place.home.root / "keys" / name
    key.chmod(0o640)
    refused(place.exec("go"), f"chmod 0600 {key}", "[file.open-to-others]")


def test_the_clients_own_key_when_others_can_read_it(place: Place) -> None:
    place.home.client_key.chmod(0o644)
    refused(place.exec("go"), f"chmod 0600 {place.home.client_key}", "[file.open-to-others]")


def test_a_key_of_another_home(place: Place) -> None:
    place.home.runtime_key.unlink()
    place.home.runtime_key.write_bytes(b"\x77" * 32)
    place.home.runtime_key.chmod(0o600)
    refused(place.exec("go"), "the runtime key is not the one", "[install.runtime-key]")


def test_no_home_at_all(place: Place, tmp_path: Path) -> None:
    done = place.astrid("exec", "go", env={"ASTRID_HOME": str(tmp_path / "nowhere")})
    refused(done, "there is no home yet", "run `astrid init`", "[home.missing]")


def test_a_home_that_others_can_get_into(place: Place) -> None:
    place.home.root.chmod(0o755)
    refused(place.exec("go"), f"chmod 0700 {place.home.root}", "[home.open-to-others]")


def test_a_home_that_is_named_by_a_relative_path(place: Place) -> None:
    refused(place.astrid("exec", "go", env={"ASTRID_HOME": "here"}), "[home.relative]")


@needs_root
def test_a_home_that_cannot_be_written(place: Place) -> None:
    """As another user whose home it is, but in which nothing can be made."""
    run = place.home.lock.parent
    for path in (place.home.root, *place.home.root.rglob("*")):
        os.chown(path, NOBODY, NOBODY)
    run.chmod(0o500)
    for folder in place.root.parents[:3]:
        folder.chmod(folder.stat().st_mode | 0o111)
    place.root.chmod(0o755)
    become = (
        "import os, sys, astrid.daemon.lifecycle; from astrid.daemon.__main__ import main; "
        f"os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY}); sys.exit(main(['run']))"
    )
    done = subprocess.run([sys.executable, "-I", "-c", become], **place.options(cwd="/"), check=False)
    refused(done, "the daemon's lock cannot be opened", str(place.home.lock), "[daemon.no-lock]")


def test_a_log_that_was_cut_short(place: Place) -> None:
    recorded(place)
    for suffix in ("-wal", "-shm"):
        place.home.log.with_name(place.home.log.name + suffix).unlink(missing_ok=True)
    data = place.home.log.read_bytes()
    place.home.log.write_bytes(data[: len(data) // 2])
    refused(place.exec("go"), "[journal.", str(place.home.log))
    assert place.astrid("audit", "verify").returncode == 1


def test_a_log_that_is_gone_while_a_checkpoint_remembers_it(place: Place) -> None:
    recorded(place)
    for path in place.home.log.parent.iterdir():
        path.unlink()
    refused(place.exec("go"), "the log is gone", "[chain.missing]")
    assert place.astrid("audit", "verify").returncode == 1


def test_a_log_that_another_process_holds(place: Place) -> None:
    recorded(place)
    holder = sqlite3.connect(place.home.log)
    try:
        holder.execute("PRAGMA locking_mode=EXCLUSIVE")
        holder.execute("BEGIN EXCLUSIVE")
        refused(place.exec("go"), "[journal.locked]")
    finally:
        holder.close()


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
    refused(place.exec("go", "--model", f"scripted:{path}"), f"{path}:1", "[model.script-")


def test_a_script_that_is_not_there(place: Place) -> None:
    refused(place.exec("go", "--model", "scripted:no such file"), "no such file", "[model.script-unreadable]")


def test_an_unknown_model(place: Place) -> None:
    refused(place.exec("go", "--model", "gpt-17"), "there is no model `gpt-17`", "[model.unknown]")


def test_no_model_at_all(place: Place) -> None:
    refused(place.exec("go"), "no model is configured", "[model.none]")


def test_a_model_without_its_key(place: Place) -> None:
    refused(place.exec("go", "--model", "anthropic/claude-opus-5"), "there is no key", "[model.key-missing]")


def test_a_workspace_that_is_a_file(place: Place) -> None:
    done = place.exec("go", "--workspace", str(place.workspace / "a.txt"))
    refused(done, "the workspace is a file", "[workspace.not-folder]")


def test_a_workspace_that_is_not_there(place: Place) -> None:
    refused(place.exec("go", "--workspace", "nowhere"), "[workspace.missing]")


def test_a_workspace_in_which_the_home_lies(place: Place) -> None:
    done = place.exec("go", "--workspace", str(place.root))
    refused(done, "the home and the workspace lie in each other", "[workspace.home-inside]")


def test_a_workspace_that_lies_in_the_home(place: Place) -> None:
    refused(place.exec("go", "--workspace", str(place.home.root / "keys")), "[workspace.home-inside]")


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


def test_a_full_house_does_not_take_another_daemon_down(place: Place) -> None:
    with place.daemon() as daemon:
        for _ in range(3):
            done = subprocess.run([*ASTRIDD, "run"], **place.options(), check=False)
            refused(done, "[daemon.running]")
        assert daemon.poll() is None
