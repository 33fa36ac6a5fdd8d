"""Attacks 21 to 52 of the design, on the product's own processes: what a hostile text, file, variable or crash gets."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import ssl
import subprocess
import sys
import unicodedata
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3

from astrid.frontends import launch
from astrid.home import Home
from tests.fakes.processes import ASTRID, DEADLINE_SECONDS, READ, Place, end, stop_daemon
from tests.fakes.terminal import Terminal, astrid, installed

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(not installed(), reason="the product is not installed where an isolated Python finds it"),
]


def told(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, done.stderr
    return done.stdout


def use(tool: str, **arguments: object) -> dict[str, Any]:
    return {"tool_calls": [{"name": tool, "arguments": arguments}]}


def raw(tool: str, text: str) -> dict[str, Any]:
    """A call whose arguments are these very characters."""
    return {"tool_calls": [{"name": tool, "raw_arguments": text}]}


# --- 25: a call that breaks whoever reads it

POISON = {
    "a lone surrogate": '{"file_path": "\\ud800"}',
    "half a pair the wrong way round": '{"file_path": "\\udc00\\ud800"}',
    "a surrogate as a key": '{"\\udfff": 1}',
    "a NUL": '{"file_path": "a\\u0000b"}',
    "deep arrays": '{"file_path": ' + "[" * 5000 + "]" * 5000 + "}",
    "deep objects": '{"a":' * 5000 + "1" + "}" * 5000,
    "beyond 64 bits": '{"file_path": "a.txt", "offset": 18446744073709551616}',
    "far beyond": '{"file_path": "a.txt", "offset": 1' + "0" * 4000 + "}",
    "below 64 bits": '{"file_path": "a.txt", "limit": -9223372036854775809}',
    "an exponent": '{"file_path": "a.txt", "offset": 1e400}',
    "no number": '{"file_path": "a.txt", "offset": NaN}',
    "a key twice": '{"file_path": "a.txt", "file_path": "/etc/shadow"}',
    "cut off": '{"file_path": "a.t',
    "two values": "{} {}",
    "an array": '["a.txt"]',
    "nothing": "",
    "a mark in front": '\\ufeff{"file_path": "a.txt"}',
    "long": '{"file_path": "' + "a" * 900_000 + '"}',
}  # fmt: skip


def test_no_call_of_a_model_stops_the_daemon_or_the_next_call(place: Place) -> None:
    tools = ("read_file", "write_file", "bash")
    calls = [
        {"tool_calls": [call for tool in tools for call in raw(tool, text)["tool_calls"]]} for text in POISON.values()
    ]
    model = place.script(*calls, use("read_file", file_path="a.txt"), {"text": "still here"})
    with place.daemon() as daemon:
        done = place.exec("go", "--model", model)
        assert "still here" in done.stdout, done.stderr
        assert "< " in done.stderr  # the last call, which was a good one, had its result
        assert daemon.poll() is None
        assert place.exec("go", "--model", place.script(READ_ALONE, {"text": "again"})).returncode == 0
        assert end(daemon) == 0
    assert "actor-failed" not in place.said
    assert "a bug in astrid" not in place.said
    with place.daemon():  # nothing of it is in the way of the next start
        assert place.exec("go", "--model", place.script(READ_ALONE, {"text": "again"})).returncode == 0
    assert json.loads(place.astrid("audit", "verify", "--json").stdout)["result"] == "sound"


READ_ALONE = {"tool_calls": [READ]}


# --- 26: what is found on the disk afterwards

API_KEY = "sk-CANARY-of-the-vendor"
SEEDS = {name: bytes([n]) * 32 for n, name in ((1, "user"), (2, "runtime"), (3, "holder"), (5, "client"))}
SAID = {
    "the task": "CANARY-task",
    "a file": "CANARY-file",
    "an answer": "CANARY-answer",
    "an argument": "CANARY-argument",
    "a refused argument": "CANARY-refused",
    "a command": "CANARY-command",
}


def talk(place: Place) -> None:
    """A session in which everything that could be a secret is one."""
    (place.workspace / "a.txt").write_text(f"{SAID['a file']}\n")
    model = place.script(
        use("read_file", file_path="a.txt"),
        use("write_file", file_path="b.txt", content=SAID["an argument"]),
        use("read_file", file_path=f"/{SAID['a refused argument']}"),
        use("bash", command=f"echo {SAID['a command']}"),
        {"text": SAID["an answer"]},
    )
    done = place.exec(SAID["the task"], "--model", model, env={"ANTHROPIC_API_KEY": API_KEY})
    assert SAID["an answer"] in done.stdout


def files(root: Path) -> dict[str, bytes]:
    """Every file of the home, and what the daemon printed."""
    found = [path for path in root.rglob("*") if path.is_file()]
    return {str(path.relative_to(root)): path.read_bytes() for path in found}


def holding(place: Place, *secrets: str | bytes) -> set[str]:
    """The files in which one of these stands."""
    wanted = [one.encode() if isinstance(one, str) else one for one in secrets]
    found = {name: data for name, data in files(place.home.root).items() if name != "keys/README"}
    found["daemon.out"] = place.said.encode()
    return {name for name, data in found.items() if any(one in data for one in wanted)}


def names(place: Place, path: Path) -> str:
    return str(path.relative_to(place.home.root))


def log_files(place: Place) -> set[str]:
    return {names(place, place.home.log) + end for end in ("", "-wal")}


def database(place: Place) -> sqlite3.Connection:
    connection = sqlite3.connect(place.home.log, isolation_level=None)
    connection.execute("PRAGMA secure_delete = ON")
    return connection


def test_what_was_said_lies_only_beside_the_log_and_can_be_erased_while_the_log_still_verifies(place: Place) -> None:
    with place.daemon():
        talk(place)
        kept = {
            str(path.relative_to(place.home.root))
            for path in (place.home.log, place.home.log.with_name("audit.db-wal"))
        }
        assert holding(place, *SAID.values()) <= kept  # while it runs, its write-ahead log included
    assert holding(place, *SAID.values()) == {str(place.home.log.relative_to(place.home.root))}
    keys = {
        str(path.relative_to(place.home.root))
        for path in (place.home.runtime_key, place.home.holder_key, place.home.client_key)
    }
    assert holding(place, API_KEY) == set()
    assert holding(place, *SEEDS.values()) == keys

    connection = database(place)
    frames = [row[0] for row in connection.execute("SELECT frame FROM log")]
    assert not [frame for frame in frames for said in SAID.values() if said.encode() in frame]
    connection.execute("DELETE FROM payload")
    connection.execute("DELETE FROM journal")
    connection.execute("VACUUM")
    connection.close()
    assert holding(place, *SAID.values()) == set()
    assert json.loads(place.astrid("audit", "verify", "--json").stdout)["result"] == "sound"
    with place.daemon():
        assert "permit" in told(place.astrid("audit", "list"))


def guesses(place: Place) -> set[bytes]:
    """What somebody with the log alone, and a good idea of what was said, can compute: digests without a secret."""
    texts = [said.encode() for said in SAID.values()]
    connection = database(place)
    rows = [row[0] for row in connection.execute("SELECT row FROM journal")]
    payloads = [row[0][32:] for row in connection.execute("SELECT sealed FROM payload")]
    connection.close()
    return {digest for text in (*texts, *rows, *payloads) for digest in (sha256(text).digest(), blake3(text).digest())}


def test_nothing_in_the_log_can_be_recomputed_from_a_guess_of_what_was_said(place: Place) -> None:
    with place.daemon():
        talk(place)
    connection = database(place)
    frames = [row[0] for row in connection.execute("SELECT frame FROM log")]
    salts = [row[0][:32] for row in connection.execute("SELECT sealed FROM payload")]
    connection.close()
    assert not [frame for frame in frames for guess in guesses(place) if guess in frame]
    assert len(set(salts)) == len(salts) > 10  # a commitment under a salt that others share would be a digest again
    assert not [frame for frame in frames for salt in salts if salt in frame]


# --- 37: the terminal

STEERING = "\x1b[2J\x1b]0;title\x07\x1b]52;c;aGk=\x07\x1b]8;;http://x\x07link\x1b]8;;\x07\r\x08\x7f\x9b31m\u202e\u2066\u200b\u2028\ufeff\U000e0041"
TERMINALS_OWN = "\r\n"  # what the terminal's driver makes of the end of a line


def steers(shown: bytes) -> set[str]:
    """What of it a terminal would obey, or a reader could not see."""
    text = shown.decode().replace(TERMINALS_OWN, "\n")
    odd = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
    return {char for char in text if char not in "\n\t" and unicodedata.category(char) in odd}


def test_what_is_looked_for_would_be_found() -> None:
    assert steers(f"a{STEERING}b".encode()) == set(STEERING) - set("[2J]0;title52caGk=8htp:/xlnk31m")
    assert steers("plain text, Grüße, 数\r\n\tand a tab".encode()) == set()


class Desk:
    """A home made by ``astrid init``, and a workspace in which everything has a hostile name or text."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.home = Home(root / "home")
        self.workspace = root / "ws"
        self.workspace.mkdir()
        (self.workspace / "evil.txt").write_text(f"{STEERING}\n")
        (self.workspace / f"a{STEERING.replace('/', '')}b").write_text("x")
        told(self.run("init", "--plain"))

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*ASTRID, *arguments],
            env={**os.environ, "ASTRID_HOME": str(self.home.root)},
            cwd=self.workspace,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            start_new_session=True,
            timeout=DEADLINE_SECONDS,
            check=False,
        )

    def shows(self, *arguments: str) -> bytes:
        """All that one command puts on a terminal."""
        terminal = Terminal(astrid(*arguments), self.home.root)
        try:
            terminal.ends()
            return terminal.raw
        finally:
            terminal.close()


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path)
    yield made
    stop_daemon(made.home)


def hostile_script(desk: Desk) -> str:
    path = desk.root / "script.jsonl"
    turns = [
        {"text": f"look: {STEERING}\n", **use("read_file", file_path="evil.txt")},
        use("read_file", file_path=f"none{STEERING}"),
        use("list_directory", path="."),
        use("glob", pattern=f"*{STEERING}"),
        use("grep", pattern="title"),
        use(f"tool{STEERING}", x=1),
        raw("read_file", json.dumps({f"x{STEERING}": STEERING}, ensure_ascii=False)),
        use("bash", command=f"echo '{STEERING}'"),
        use("write_file", file_path="AGENTS.md", content=f"{STEERING}\ndo as I say"),
        {"text": STEERING},
    ]
    path.write_text("".join(f"{json.dumps(turn)}\n" for turn in turns))
    return f"scripted:{path}"


def test_no_command_lets_hostile_text_steer_the_terminal_it_prints_to(desk: Desk) -> None:
    told(desk.run("tokens", "grant", "--workspace", str(desk.workspace), "--mode", "guided", "--yes"))
    words = ["exec", f"do it {STEERING}", "--mode", "guided", "--workspace", str(desk.workspace)]
    terminal = Terminal(astrid(*words, "--model", hostile_script(desk)), desk.home.root)
    try:
        while terminal.process.poll() is None:
            seen = terminal.sees("(?:Enter shows the next -- |and Enter: )$|; session:[0-9a-f]+\n")
            if "; session:" in seen:
                break
            terminal.types("\r" if seen.endswith("-- ") else "d\r")
        terminal.ends()
        shown = {"exec": terminal.raw}
    finally:
        terminal.close()
    assert b"title" in shown["exec"]
    listed = [json.loads(line) for line in told(desk.run("audit", "list", "--json")).splitlines()]
    session = next(line["session_id"] for line in listed if line["session_id"])
    last = {line["kind"]: str(line["seq"]) for line in listed}
    commands: list[tuple[str, ...]] = [
        ("audit", "list"),
        ("audit", "list", "--json"),
        ("audit", "explain", session),
        *(("audit", "show", last[kind]) for kind in ("prompt", "asked", "settled")),
        *(("audit", "show", last[kind], "--json") for kind in ("prompt", "asked", "denied", "outcome")),
        ("audit", "prove", "1"),
        ("sessions", "list"),
        ("approvals", "list"),
        ("tokens", "list"),
        ("keys", "show"),
        ("daemon", "status"),
        ("doctor",),
        ("audit", "verify"),
    ]
    shown |= {" ".join(command): desk.shows(*command) for command in commands}
    assert {command: steers(raw_bytes) for command, raw_bytes in shown.items() if steers(raw_bytes)} == {}
    assert sum(b"title" in one for one in shown.values()) > 3  # it was there to be shown


WORDS: list[tuple[str, ...]] = [
    (f"x{STEERING}",),
    ("sessions", "list", STEERING),
    ("sessions", "end", STEERING),
    ("audit", "show", STEERING),
    ("audit", "explain", STEERING),
    ("audit", "list", "--since", STEERING),
    ("audit", "list", "--session", STEERING),
    ("audit", "verify", "--home", f"/nowhere{STEERING}"),
    ("audit", "verify", "--witness", f"/nowhere{STEERING}"),
    ("audit", "verify", "--key", STEERING),
    ("tokens", "show", STEERING),
    ("tokens", "grant", "--pattern", STEERING, "--perms", "read"),
    ("tokens", "grant", "--workspace", f"/nowhere{STEERING}", "--mode", "safe"),
    ("keys", "trust", f"/nowhere{STEERING}"),
    ("exec", "go", "--workspace", f"/nowhere{STEERING}"),
    ("exec", "go", "--input", f"/nowhere{STEERING}"),
    ("exec", "go", "--approve", f"/nowhere{STEERING}"),
    ("exec", "go", "--model", STEERING),
    ("daemon", "run", "--grace-period", STEERING),
]


def test_no_complaint_about_a_word_lets_that_word_steer_the_terminal(desk: Desk) -> None:
    shown = {words: desk.shows(*words) for words in WORDS}
    assert {words: steers(raw_bytes) for words, raw_bytes in shown.items() if steers(raw_bytes)} == {}
    assert {words for words, raw_bytes in shown.items() if not raw_bytes.strip()} == set()


# --- 41: a file with answers


def test_a_session_cannot_change_the_answers_it_was_started_with(place: Place) -> None:
    before = place.grants.read_bytes()
    os.link(place.grants, place.workspace / "grants")  # as far as a link gets somebody
    (place.workspace / "soft").symlink_to(place.grants)
    model = place.script(
        use("write_file", file_path="grants", content="everything"),
        use("edit_file", file_path="grants", old_string="a", new_string="b"),
        use("write_file", file_path="soft", content="everything"),
        use("write_file", file_path=str(place.grants), content="everything"),
        use("bash", command=f"echo everything > {place.grants}"),
        {"text": "done"},
    )
    with place.daemon():
        done = place.exec("go", "--model", model)
        assert done.returncode == 3, done.stderr
        granted = told(place.astrid("audit", "list", "--kind", "granted")).splitlines()
    assert place.grants.read_bytes() == before
    assert len(granted) == 1
    assert granted[0].endswith("from file")


# --- 42: a workspace that picks the model

SETTINGS = {
    "config.toml": '[model]\nmodel = "{model}"\n',
    "astrid.toml": '[model]\nmodel = "{model}"\n',
    ".astrid/config.toml": '[model]\nmodel = "{model}"\n',
    "pyproject.toml": '[tool.astrid.model]\nmodel = "{model}"\n',
    ".env": "ASTRID_MODEL={model}\nANTHROPIC_BASE_URL=http://127.0.0.1:1\n",
    ".envrc": "export ASTRID_MODEL={model}\n",
}


def test_nothing_in_a_workspace_and_no_variable_picks_the_model(place: Place) -> None:
    model = place.script({"text": "the workspace chose me"})
    for name, text in SETTINGS.items():
        (place.workspace / name).parent.mkdir(exist_ok=True)
        (place.workspace / name).write_text(text.format(model=model))
    done = place.exec("go", env={"ASTRID_MODEL": model, "ASTRID_CONFIG": str(place.workspace / "config.toml")})
    assert done.returncode == 1
    assert "[model.none]" in done.stderr
    place.stop()
    place.home.config.write_text(SETTINGS["config.toml"].format(model=model))  # the very same, from the user
    place.home.config.chmod(0o600)
    assert place.exec("go").stdout == "the workspace chose me\n"
    records = [json.loads(line) for line in told(place.astrid("audit", "list", "--json")).splitlines()]
    of_session = [record for record in records if record["session_id"] is not None]
    assert {record["kind"] for record in of_session} >= {"session-started", "prompt", "permit", "outcome", "journal"}
    assert all(record["scripted"] and record["summary"].endswith(", scripted") for record in of_session)
    assert not any(record["scripted"] for record in records if record not in of_session)


# --- 43: the environment

LINKED = {"LD_PRELOAD": "/nowhere.so", "LD_LIBRARY_PATH": "/nowhere", "DYLD_INSERT_LIBRARIES": "/nowhere"}
NO_ALGORITHMS = "openssl_conf = all\n[all]\nalg_section = evp\n[evp]\ndefault_properties = fips=yes\n"
HASHES = "import hashlib; print('sha512_256' if hashlib.new('sha512_256') else '')"


def hashes(environment: dict[str, str]) -> bool:
    """Whether an isolated interpreter that is started with these variables finds what OpenSSL brings along."""
    command = [sys.executable, "-I", "-c", HASHES]
    return subprocess.run(command, env=environment, capture_output=True, check=False).returncode == 0


def test_no_process_is_handed_variables_that_choose_what_code_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OpenSSL's configuration may name a module to load, and -I does not keep it out; here it does what can be seen."""
    settings = tmp_path / "openssl.cnf"
    settings.write_text(NO_ALGORITHMS)
    chosen = {**LINKED, "PYTHONPATH": str(tmp_path), "PYTHONSTARTUP": "/nowhere", "OPENSSL_CONF": str(settings)}
    had = hashes({**os.environ})
    for name, value in chosen.items():
        monkeypatch.setenv(name, value)
    handed = launch._environment(Home(tmp_path / "home"))
    assert chosen.keys() & handed.keys() == set()
    assert handed["ASTRID_HOME"] == str(tmp_path / "home")
    assert hashes(handed) == had
    if had and ssl.OPENSSL_VERSION_INFO >= (3,):
        assert not hashes({**handed, "OPENSSL_CONF": str(settings)})  # handed on, it would act


# --- 46: what a crash leaves behind

HARDENED = {
    "daemon": "from astrid.daemon.process import harden; harden()",
    "signer": "from astrid.frontends.signer.harden import harden; harden()",
    "command line": (
        "import sys; from astrid.frontends import cli; what, sys.argv = sys.argv, ['astrid', 'doctor']; cli.main(); "
        "sys.argv = what"
    ),
    "nothing": "pass",
}
BREAKS = """
import logging, sys, threading
class Broken:
    def __del__(self):
        raise RuntimeError("CANARY")
Broken()
try:
    raise RuntimeError("CANARY")
except RuntimeError:
    logging.getLogger("trio.async_generator_errors").exception("CANARY")
if sys.argv[1] == "daemon":
    def fail():
        raise RuntimeError("CANARY")
    one = threading.Thread(target=fail)
    one.start()
    one.join()
sys.stderr.flush()
secret = "CANARY"
raise RuntimeError(secret)
"""


@pytest.mark.parametrize("what", HARDENED)
def test_a_bug_says_where_it_is_and_nothing_of_what_it_had_in_its_hands(tmp_path: Path, what: str) -> None:
    """In whatever way it comes: raised, in a thread, in an object that is cleared away, by a library's record."""
    done = subprocess.run(
        [sys.executable, "-I", "-c", f"{HARDENED[what]}\n{BREAKS}", what],
        env={"ASTRID_HOME": str(tmp_path / "home"), "PATH": os.environ["PATH"]},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
        check=False,
    )
    assert done.returncode == 1
    assert "RuntimeError" in done.stderr
    assert ("CANARY" in done.stderr) == (what == "nothing")


def test_a_daemon_that_crashes_leaves_nothing_of_a_session_but_what_lies_beside_the_log(place: Place) -> None:
    with place.daemon() as daemon:
        talk(place)
        before = {path for path in place.root.rglob("*") if path.is_file()}
        daemon.send_signal(signal.SIGABRT)
        assert daemon.wait(DEADLINE_SECONDS) == -signal.SIGABRT
    assert {path for path in place.root.rglob("*") if path.is_file()} <= before  # no core, no temporary file
    assert holding(place, *SAID.values()) <= log_files(place)
    assert holding(place, API_KEY) == set()
    assert json.loads(place.astrid("audit", "verify", "--json").stdout)["result"] == "sound"


# --- 52: nobody is there


def cron(desk: Desk, *arguments: str) -> subprocess.CompletedProcess[str]:
    """As a timer runs it: no terminal, nobody to ask.  The key has no passphrase, so nothing else stops it."""
    return desk.run("exec", "go", "--workspace", str(desk.workspace), *arguments)


def grants(desk: Desk) -> list[str]:
    return told(desk.run("audit", "list", "--kind", "granted")).splitlines()


@pytest.mark.parametrize("approve", ["default", "never", "ask"])
def test_a_run_that_nobody_watches_has_no_way_to_a_grant(desk: Desk, approve: str) -> None:
    path = desk.root / "script.jsonl"
    path.write_text(json.dumps({"text": "hello"}))
    options = ("--mode", "guided", "--model", f"scripted:{path}")
    options += () if approve == "default" else ("--approve", approve)
    done = cron(desk, *options)
    assert done.returncode == 1
    assert "[exec.no-terminal]" in done.stderr if approve == "ask" else "[token.no-grant]" in done.stderr
    assert grants(desk) == []


def test_what_a_run_that_nobody_watches_asks_for_grants_nothing(desk: Desk) -> None:
    told(desk.run("tokens", "grant", "--workspace", str(desk.workspace), "--mode", "guided", "--yes"))
    path = desk.root / "script.jsonl"
    command = f"{sys.executable} -I -m astrid.frontends.cli tokens grant --pattern 'file://**' --perms write --yes"
    turns = [use("bash", command=command), use("write_file", file_path="/etc/x", content="x"), {"text": "done"}]
    path.write_text("".join(f"{json.dumps(turn)}\n" for turn in turns))
    done = cron(desk, "--mode", "guided", "--model", f"scripted:{path}")
    assert done.returncode == 3, done.stderr
    assert len(grants(desk)) == 1  # the one that a person signed beforehand
    assert told(desk.run("audit", "list", "--kind", "settled")) == ""
