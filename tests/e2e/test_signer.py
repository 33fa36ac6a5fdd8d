"""The signer as a process, with a person at a terminal: what it draws, opens, and how it ends.  Threats 5, 6."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from astrid.core.canon import Domain, encode
from astrid.core.grants import Mode
from astrid.core.install import roots_of
from astrid.core.keys import SigningKey, is_sealed, unseal
from astrid.core.question import question_bytes
from astrid.core.tokens import Assurance, Scope, SignedBlock, verify_chain
from astrid.errors import AstridError, InternalError
from astrid.frontends.launch import start_signer
from astrid.frontends.person import ScriptedPerson
from astrid.frontends.signer.identity import load_identity
from astrid.frontends.signer.protocol import HEADER_BYTES, GrantWorkspace, Show, pack
from astrid.frontends.signing import Signer, token_of
from astrid.home import Home, open_home
from tests.fakes.authority import call, question
from tests.fakes.signing import Bench
from tests.fakes.terminal import DEADLINE_SECONDS, Terminal, astrid, installed

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(not installed(), reason="the product is not installed where an isolated Python finds it"),
]

PASSPHRASE = "correct horse"
SIGNER = [sys.executable, "-I", "-m", "astrid.frontends.signer"]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    (tmp_path / "project").mkdir()
    return Bench(tmp_path / "home").made()


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return open_home(tmp_path / "home", make=True)


class Desk:
    """Terminals that are closed when the test is over."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self._open: list[Terminal] = []

    def runs(self, *arguments: str) -> Terminal:
        """A command of the product at a terminal."""
        terminal = Terminal(astrid(*arguments), self.home)
        self._open.append(terminal)
        return terminal

    def close(self) -> None:
        for terminal in self._open:
            terminal.close()


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path / "home")
    yield made
    made.close()


# --- a person at the command line


def test_init_asks_twice_shows_nothing_and_seals_the_key(desk: Desk, tmp_path: Path) -> None:
    terminal = desk.runs("init")
    terminal.sees("New passphrase.*: ")
    terminal.types(f"{PASSPHRASE}\r")
    terminal.sees("once more: ")
    terminal.types(f"{PASSPHRASE}\r")
    assert terminal.ends() == 0
    assert PASSPHRASE not in terminal.text
    assert "(sealed)" in terminal.text
    home = open_home(tmp_path / "home")
    assert is_sealed(home.user_key.read_bytes())
    assert len(unseal(home.user_key.read_bytes(), PASSPHRASE.encode())) == 32


def test_init_that_was_broken_off_is_gone_on_with(desk: Desk, tmp_path: Path) -> None:
    terminal = desk.runs("init")
    terminal.sees("New passphrase.*: ")
    terminal.types("\x03")
    assert terminal.ends() == 130
    assert terminal.mode() == terminal.before
    assert desk.runs("init", "--plain").ends() == 0
    assert desk.runs("init", "--plain").ends() == 1


def test_init_takes_a_passphrase_from_a_descriptor_also_from_standard_input(home: Home) -> None:
    done = subprocess.run(
        astrid("init", "--passphrase-fd", "0", "--json"),
        input=f"{PASSPHRASE}\n".encode(),
        capture_output=True,
        env={**os.environ, "ASTRID_HOME": str(home.root)},
        start_new_session=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert b'"assurance": "sealed"' in done.stdout
    assert unseal(home.user_key.read_bytes(), PASSPHRASE.encode())


def test_plain_says_what_plain_means(desk: Desk) -> None:
    terminal = desk.runs("init", "--plain")
    assert terminal.ends() == 0
    assert "no protection against anything that runs as you" in terminal.text


@pytest.mark.parametrize(("typed", "code", "made"), [("yes\r", 0, True), ("no\r", 3, False), ("\x03", 130, False)])
def test_a_grant_is_signed_only_if_the_person_says_so(
    bench: Bench, desk: Desk, tmp_path: Path, typed: str, code: int, made: bool
) -> None:
    out = tmp_path / "token"
    terminal = desk.runs(
        "tokens", "grant", "--workspace", str(tmp_path / "project"), "--mode", "guided", "--out", str(out)
    )
    shown = terminal.sees("Type yes or no, and Enter: ")
    assert "mode: guided" in shown
    assert f'"{tmp_path}/project"' in shown.replace("|\n|", "")
    terminal.types(typed)
    assert terminal.ends() == code
    assert out.exists() is made
    if made:
        token = verify_chain(out.read_bytes(), bench.roots)
        assert token.leaf.scope == Scope.WORKSPACE


def test_a_signer_that_is_killed_while_it_asks_leaves_the_terminal_as_it_was(
    bench: Bench, desk: Desk, tmp_path: Path
) -> None:
    terminal = desk.runs(
        "tokens", "grant", "--workspace", str(tmp_path / "project"), "--mode", "safe", "--out", str(tmp_path / "token")
    )
    terminal.sees("Type yes or no, and Enter: ")
    assert terminal.mode() != terminal.before
    os.kill(child_of(terminal.process.pid, "astrid.frontends.signer"), signal.SIGKILL)
    assert terminal.ends() == 1
    assert "[signer.gone]" in terminal.text
    assert "Traceback" not in terminal.text
    assert terminal.mode() == terminal.before
    assert not (tmp_path / "token").exists()


def test_a_signer_that_is_told_to_end_puts_the_terminal_back_itself(bench: Bench, desk: Desk, tmp_path: Path) -> None:
    terminal = desk.runs(
        "tokens", "grant", "--workspace", str(tmp_path / "project"), "--mode", "safe", "--out", str(tmp_path / "token")
    )
    terminal.sees("Type yes or no, and Enter: ")
    os.kill(child_of(terminal.process.pid, "astrid.frontends.signer"), signal.SIGTERM)
    assert terminal.ends() == 1
    assert terminal.mode() == terminal.before


def open_terminal() -> tuple[int, int]:
    """Both ends of a terminal of 40 lines."""
    master, slave = os.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
    return master, slave


def child_of(parent: int, word: str) -> int:
    """The process whose parent is ``parent`` and whose command line holds ``word``."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            status, command = (folder / "status").read_text(), (folder / "cmdline").read_bytes()
        except OSError:
            continue  # it has ended meanwhile
        if f"PPid:\t{parent}\n" in status and word.encode() in command:
            return int(folder.name)
    raise AssertionError(f"{parent} has no child {word}")


def test_sealing_a_plain_key_says_that_it_was_plain_before(bench: Bench, desk: Desk) -> None:
    seed = bench.home.user_key.read_bytes()
    terminal = desk.runs("keys", "generate", "--seal")
    terminal.sees("New passphrase.*: ")
    terminal.types(f"{PASSPHRASE}\r")
    terminal.sees("once more: ")
    terminal.types(f"{PASSPHRASE}\r")
    assert terminal.ends() == 0
    assert "whoever copied it then can still use it" in terminal.text.replace("\n", " ")
    assert unseal(bench.home.user_key.read_bytes(), PASSPHRASE.encode()) == seed


def test_a_passphrase_is_set_and_taken_off_again(bench: Bench, desk: Desk) -> None:
    seed = bench.home.user_key.read_bytes()
    setting = desk.runs("keys", "passphrase", "set", "--json")
    setting.sees("New passphrase.*: ")
    setting.types(f"{PASSPHRASE}\r")
    setting.sees("once more: ")
    setting.types(f"{PASSPHRASE}\r")
    assert setting.ends() == 0
    assert '"passphrase": true' in setting.text
    assert "whoever copied it then can still use it" in setting.text.replace("\n", " ")
    assert unseal(bench.home.user_key.read_bytes(), PASSPHRASE.encode()) == seed
    removing = desk.runs("keys", "passphrase", "remove")
    removing.sees("Passphrase of your Astrid key: ")
    removing.types(f"{PASSPHRASE}\r")
    assert removing.ends() == 0
    assert "under no passphrase any more" in removing.text
    assert "A plain key is no protection" in removing.text
    assert bench.home.user_key.read_bytes() == seed


def test_keys_are_never_generated_over_others(bench: Bench, desk: Desk) -> None:
    before = bench.home.user_key.read_bytes()
    assert desk.runs("keys", "generate").ends() == 1
    assert desk.runs("keys", "generate", "--plain").ends() == 1
    assert bench.home.user_key.read_bytes() == before


# --- the process


async def test_a_scripted_person_gets_a_whole_install_and_a_grant(home: Home, tmp_path: Path) -> None:
    (tmp_path / "project").mkdir()
    person = ScriptedPerson(
        [("New passphrase.*:", PASSPHRASE), ("once more:", PASSPHRASE), ("mode: safe.*yes or no", "yes")]
    )
    with trio.fail_after(DEADLINE_SECONDS):
        async with person.signer(home) as signer:
            state = await signer.create(plain=False)
            reply = await signer.grant_workspace(tmp_path / "project", Mode.SAFE, days=1, purse_micros=0)
    roots = roots_of(load_identity(home).install, epoch=1)
    assert verify_chain(token_of(reply), roots).leaf.issuer == state.public
    assert person.left == 0


async def test_a_scripted_person_answers_a_question_that_takes_several_pages(bench: Bench) -> None:
    now = int(time.time())
    made = call(aud=bench.aud, args=b'{"text":"' + b"x" * 1000 + b'"}')
    raw = question_bytes(question(made, asked=now, expires=now + 300))
    person = ScriptedPerson([("write_file.*Your answer", "s")], rows=24)
    with trio.fail_after(DEADLINE_SECONDS):
        async with person.signer(bench.home) as signer:
            reply = await signer.answer(raw, bench.checkpoint())
    token = verify_chain(encode((SignedBlock(reply.payload, reply.token_signature),)), bench.roots)
    assert token.leaf.scope == Scope.SESSION
    assert "-- page 1 of " in person.screen


async def test_a_scripted_person_who_is_asked_something_else_ends_the_signer(bench: Bench, tmp_path: Path) -> None:
    person = ScriptedPerson([("mode: safe.*yes or no", "yes")])
    with trio.fail_after(DEADLINE_SECONDS):
        async with person.signer(bench.home) as signer:
            with pytest.raises(InternalError) as refused:
                await signer.grant_workspace(tmp_path / "project", Mode.GUIDED, days=1, purse_micros=0)
            assert refused.value.code == "person.unscripted"
            with pytest.raises(AstridError):
                await signer.show()


async def test_a_question_that_nobody_waits_for_any_more_ends_the_signer(bench: Bench, tmp_path: Path) -> None:
    master, slave = open_terminal()
    scope = trio.CancelScope()

    async def look() -> None:
        shown = b""
        while b"Enter:" not in shown:
            await trio.lowlevel.wait_readable(master)
            shown += os.read(master, 65536)
        scope.cancel()

    process = start_signer(bench.home, ["--home", str(bench.home.root), "--terminal-fd", str(slave)], pass_fds=(slave,))
    with trio.fail_after(DEADLINE_SECONDS):
        async with Signer.of(process) as signer, trio.open_nursery() as nursery:
            nursery.start_soon(look)
            with scope:
                await signer.grant_workspace(tmp_path / "project", Mode.SAFE, days=1, purse_micros=0)
            assert scope.cancelled_caught
            assert process.returncode == -signal.SIGKILL
            with pytest.raises(AstridError) as refused:
                await signer.show()
    assert refused.value.code == "signer.gone"
    os.close(master)
    os.close(slave)


async def test_without_a_terminal_questions_are_refused_and_grants_need_the_word_yes(
    bench: Bench, tmp_path: Path
) -> None:
    if has_terminal():
        pytest.skip("this test runs at a terminal itself")
    with trio.fail_after(DEADLINE_SECONDS):
        async with Signer.start(bench.home) as signer:
            with pytest.raises(AstridError) as refused:
                await signer.grant_workspace(tmp_path / "project", Mode.SAFE, days=1, purse_micros=0)
            assert refused.value.code == "signer.no-terminal"
        async with Signer.start(bench.home, assume_yes=True) as signer:
            reply = await signer.grant_workspace(tmp_path / "project", Mode.SAFE, days=1, purse_micros=0)
    assert verify_chain(token_of(reply), bench.roots).leaf.assurance == Assurance.PLAIN


def has_terminal() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDWR))
    except OSError:
        return False
    return True


def run_signer(home: Home, data: bytes) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [*SIGNER, "--home", str(home.root)], input=data, capture_output=True, timeout=DEADLINE_SECONDS, check=False
    )


def test_the_signer_ends_when_its_input_does(bench: Bench) -> None:
    done = run_signer(bench.home, pack(Show()))
    assert done.returncode == 0
    assert int.from_bytes(done.stdout[:HEADER_BYTES]) == len(done.stdout) - HEADER_BYTES
    assert done.stderr == b""


@pytest.mark.parametrize(
    "data",
    [(2**31).to_bytes(HEADER_BYTES), bytes(HEADER_BYTES), b"\0\0\0\x01x", b"\0\0\0\x02\x91\x90"],
    ids=["endless", "empty", "nonsense", "no request"],
)
def test_what_is_no_request_ends_the_signer_with_one_line_and_no_reply(bench: Bench, data: bytes) -> None:
    done = run_signer(bench.home, data)
    assert (done.returncode, done.stdout) == (1, b"")
    assert re.fullmatch(rb"astrid: [^\n]+\n", done.stderr)


def test_a_half_request_is_none(bench: Bench) -> None:
    done = run_signer(bench.home, pack(Show())[:-1])
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_a_home_that_others_can_enter_is_not_served(bench: Bench) -> None:
    bench.home.root.chmod(0o755)
    done = run_signer(bench.home, pack(Show()))
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"[home.open-to-others]" in done.stderr


def test_the_signers_core_is_never_dumped(bench: Bench) -> None:
    process = subprocess.Popen([*SIGNER, "--home", str(bench.home.root)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(pack(Show()))
    process.stdin.flush()
    process.stdout.read(HEADER_BYTES)
    limits = Path(f"/proc/{process.pid}/limits").read_text()
    process.stdin.close()
    process.stdout.close()
    process.wait()
    assert re.search(r"Max core file size +0 +0", limits)


def test_a_signer_whose_frontend_is_gone_does_not_go_on_asking(bench: Bench, tmp_path: Path) -> None:
    master, slave = open_terminal()
    try:
        process = subprocess.Popen(
            [*SIGNER, "--home", str(bench.home.root), "--terminal-fd", str(slave)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=(slave,),
        )
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(pack(GrantWorkspace(os.fsencode(tmp_path / "project"), "safe", 1, 0)))
        process.stdin.flush()
        shown = b""
        while b"Enter:" not in shown:
            shown += os.read(master, 65536)
        process.stdin.close()
        assert process.wait(DEADLINE_SECONDS) == 0
        assert b"signer.abandoned" in process.stdout.read()
        process.stdout.close()
        assert termios.tcgetattr(slave)[3] & termios.ISIG
    finally:
        os.close(master)
        os.close(slave)


# --- who opens the key


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_only_the_signer_opens_the_user_key_and_only_once_it_cannot_be_looked_into(
    bench: Bench, tmp_path: Path
) -> None:
    trace = tmp_path / "trace"
    grant = astrid("tokens", "grant", "--workspace", str(tmp_path / "project"), "--mode", "safe", "--yes")
    commands = [astrid("keys", "show"), grant, astrid("tokens", "list"), astrid("daemon", "stop")]
    shell = " && ".join(" ".join(command) for command in commands)
    done = subprocess.run(
        ["strace", "-f", "-qq", "-e", "trace=execve,prctl,?open,openat,?openat2", "-o", str(trace), "sh", "-c", shell],
        env={**os.environ, "ASTRID_HOME": str(bench.home.root)},
        capture_output=True,
        timeout=4 * DEADLINE_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = [line.split(maxsplit=1) for line in trace.read_text().splitlines()]
    signers = {pid for pid, what in lines if what.startswith("execve") and '"astrid.frontends.signer"' in what}
    daemons = {pid for pid, what in lines if what.startswith("execve") and '"astrid.daemon"' in what}
    openers = {pid for pid, what in lines if "open" in what and "user.key" in what}
    assert daemons
    assert len(signers) == 1
    assert openers == signers
    (signer,) = signers
    deeds = [what for pid, what in lines if pid == signer]
    closed = next(place for place, what in enumerate(deeds) if "PR_SET_DUMPABLE" in what and "DISABLE" in what)
    opened = next(place for place, what in enumerate(deeds) if "user.key" in what)
    assert closed < opened


def test_a_signature_made_elsewhere_with_another_key_is_none_of_ours(bench: Bench) -> None:
    stranger = SigningKey.from_seed(b"\x66" * 32)
    signed = SignedBlock(b"payload", stranger.sign(Domain.BLOCK, b"payload"))
    with pytest.raises(AstridError):
        verify_chain(encode((signed,)), bench.roots)
