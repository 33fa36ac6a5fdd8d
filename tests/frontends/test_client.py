"""The client trusts no daemon that cannot show that its log only grew, and every call of it ends."""

from __future__ import annotations

import contextlib
import errno
import math
import os
import socket
from pathlib import Path

import pytest
import trio

from astrid.core.canon import Domain
from astrid.core.checkpoint import Checkpoint, sign_checkpoint, verify_checkpoint
from astrid.core.install import NO_LOSS, Install, Root, sign_statement
from astrid.core.keys import SigningKey, load_public_key
from astrid.core.tokens import Assurance
from astrid.errors import AstridError, ChainError, ConfigError
from astrid.frontends.client import connect, run_client
from astrid.frontends.meeting import keep_checkpoint, kept_checkpoint, load_install
from astrid.home import Home
from astrid.wire import params as p
from astrid.wire import results as r
from tests.fakes.daemon_home import make_client_home
from tests.fakes.daemons import LIMIT_SECONDS, InProcess, daemon_in, settled
from tests.fakes.home import LOG_ID, RUNTIME, USER


def note(size: int, *, boot: int = 1, key: SigningKey = RUNTIME) -> bytes:
    return sign_checkpoint(Checkpoint(log_id=LOG_ID, size=size, root=b"\1" * 32, tip=b"\2" * 32, boot=boot), key)


def keep(home: Home, data: bytes) -> None:
    home.witness.write_bytes(data)
    home.witness.chmod(0o600)


async def grow(daemon: InProcess) -> None:
    """The log gets longer, and a checkpoint over all of it is signed and stored."""
    async with connect(daemon.home) as client:
        await client.call("tokensAdd", p.TokensAdd(token=daemon.grant()))
        status = await client.call("status", p.Nothing())
        assert isinstance(status, r.Status)
        await client.call("auditProve", p.AuditRecordOf(seq=status.log_size))


async def refusal(home: Home) -> str:
    """The code with which a connection is refused."""
    with trio.fail_after(LIMIT_SECONDS), pytest.raises(AstridError) as caught:
        async with connect(home):
            pytest.fail("it was trusted")
    return caught.value.code


def judged(daemon: InProcess) -> bool:
    """Whether the client has presented its token to this daemon."""
    return any(line["event"] == "client-judged" for line in daemon.told)


class TestDistrust:
    """Nothing is presented to a daemon that is not to be trusted."""

    async def test_a_log_that_was_set_back(self, tmp_path: Path) -> None:
        async with daemon_in(tmp_path) as daemon:
            keep(daemon.home, note(10_000, boot=7))
            assert await refusal(daemon.home) == "checkpoint.rollback"
            assert not judged(daemon)

    async def test_another_log_of_the_same_length(self, tmp_path: Path) -> None:
        async with daemon_in(tmp_path) as daemon:
            async with connect(daemon.home):
                pass
            kept = kept_checkpoint(daemon.home, load_install(daemon.home))
            assert kept is not None
            keep(daemon.home, note(kept.size, boot=0))
            assert await refusal(daemon.home) in ("checkpoint.fork", "checkpoint.split-view")

    async def test_a_past_that_was_written_again(self, tmp_path: Path) -> None:
        async with daemon_in(tmp_path) as daemon:
            await grow(daemon)
            keep(daemon.home, note(1))
            before = len(daemon.told)
            assert await refusal(daemon.home) == "checkpoint.split-view"
            assert [line for line in daemon.told[before:] if line["event"] == "client-judged"] == []

    async def test_an_old_copy_that_went_on_growing(self, tmp_path: Path) -> None:
        async with daemon_in(tmp_path) as daemon:
            keep(daemon.home, note(1, boot=5))
            assert await refusal(daemon.home) == "checkpoint.restored"

    async def test_a_checkpoint_of_ours_that_somebody_else_signed(self, tmp_path: Path) -> None:
        async with daemon_in(tmp_path) as daemon:
            keep(daemon.home, note(1, key=SigningKey.from_seed(b"\x44" * 32)))
            assert await refusal(daemon.home) == "checkpoint.unsigned"

    async def test_a_daemon_of_another_install(self, tmp_path: Path) -> None:
        async with daemon_in(tmp_path) as daemon:
            install = Install(1, b"\x08" * 32, RUNTIME.public, (Root(USER.public, Assurance.SEALED),), 1, NO_LOSS)
            daemon.home.install.write_bytes(sign_statement(Domain.INSTALL, install, USER))
            assert await refusal(daemon.home) == "client.other-install"
            assert not judged(daemon)

    async def test_an_install_statement_that_was_touched(self, tmp_path: Path) -> None:
        async with daemon_in(tmp_path) as daemon:
            data = bytearray(daemon.home.install.read_bytes())
            data[-1] ^= 1
            daemon.home.install.write_bytes(bytes(data))
            assert await refusal(daemon.home) == "install.signature"


@pytest.fixture
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that leaves only when all is said, however slow this machine is."""
    monkeypatch.setattr("astrid.frontends.client.LEAVE_SECONDS", 60.0)


@pytest.mark.usefixtures("unhurried")
async def test_what_the_daemon_stands_by_is_kept_and_only_moves_forward(tmp_path: Path) -> None:
    async with daemon_in(tmp_path) as daemon:
        sizes: list[int] = []
        for _ in range(2):
            await grow(daemon)
            async with connect(daemon.home):
                pass
            kept = kept_checkpoint(daemon.home, load_install(daemon.home))
            assert kept is not None
            sizes.append(kept.size)
    assert sizes[0] < sizes[1]


@pytest.mark.usefixtures("unhurried")
async def test_what_was_done_on_a_connection_is_kept_when_it_ends(tmp_path: Path) -> None:
    async with daemon_in(tmp_path) as daemon:
        async with connect(daemon.home) as client:
            await client.call("tokensAdd", p.TokensAdd(token=daemon.grant()))
            status = await client.call("status", p.Nothing())
            assert isinstance(status, r.Status)
        kept = kept_checkpoint(daemon.home, load_install(daemon.home))
        assert kept is not None
        assert kept.size >= status.log_size


@pytest.mark.usefixtures("unhurried")
async def test_a_log_that_is_another_one_at_the_end_of_a_connection_is_found_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def forked(self: object) -> tuple[int, bytes]:
        return 99, note(99)  # longer than any that this daemon has

    async with daemon_in(tmp_path) as daemon:
        async with connect(daemon.home, authenticate=False):
            pass  # from here on there is a checkpoint to be greeted with
        monkeypatch.setattr("astrid.daemon.service.Service._fresh_checkpoint", forked)
        monkeypatch.setattr("astrid.daemon.books.Books.consistency", lambda *_: no_path())
        with pytest.raises(ChainError) as caught:
            async with connect(daemon.home):
                pass
        assert caught.value.code == "checkpoint.split-view"
        kept = kept_checkpoint(daemon.home, load_install(daemon.home))
        assert kept is not None
        assert kept.root != b"\1" * 32


async def no_path() -> tuple[bytes, ...]:
    return ()


def test_a_client_that_saw_less_does_not_set_back_what_another_kept(tmp_path: Path) -> None:
    home, _ = make_client_home(tmp_path / "home")
    install = load_install(home)
    key = load_public_key(install.runtime_key)
    for size in (5, 3, 5, 9):
        data = note(size)
        keep_checkpoint(home, install, verify_checkpoint(data, key, LOG_ID), data)
    kept = kept_checkpoint(home, install)
    assert kept is not None
    assert kept.size == 9
    assert home.witness.stat().st_mode & 0o777 == 0o600


async def test_where_no_daemon_runs_that_is_said(tmp_path: Path) -> None:
    home, _ = make_client_home(tmp_path / "home")
    assert await refusal(home) == "daemon.none"
    with socket.socket(socket.AF_UNIX) as left_over:
        left_over.bind(str(home.socket))
    assert await refusal(home) == "daemon.none"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may connect to any socket")
async def test_a_socket_that_may_not_be_opened_is_named(tmp_path: Path) -> None:
    async with daemon_in(tmp_path) as daemon:
        daemon.home.socket.chmod(0)
        assert await refusal(daemon.home) == "daemon.unreachable"


async def test_a_socket_behind_which_nobody_speaks_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home, _ = make_client_home(tmp_path / "home")
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(home.socket))
        silent.listen(0)
        monkeypatch.setattr("astrid.frontends.client.CONNECT_SECONDS", 0.05)
        assert await refusal(home) == "daemon.full"


@pytest.mark.parametrize("heard", [False, True], ids=["at once", "when something was said"])
@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 101 Swit"], ids=["nothing", "half of an answer"])
async def test_a_client_that_is_hung_up_on_before_it_is_answered_says_so_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, heard: bool, said: bytes
) -> None:
    home, _ = make_client_home(tmp_path / "home")
    monkeypatch.setattr("astrid.frontends.client.CONNECT_SECONDS", math.inf)  # whoever waits for that, waits for ever

    async def hang_up() -> None:
        async with listener, await listener.accept() as stream:
            if heard:
                await stream.receive_some(1)
            with contextlib.suppress(trio.BrokenResourceError):
                await stream.send_all(said)

    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(home.socket))
        bound.listen(1)
        listener = trio.SocketListener(trio.socket.from_stdlib_socket(bound.dup()))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(hang_up)
            with trio.fail_after(LIMIT_SECONDS), pytest.raises(AstridError) as caught:
                async with connect(home):
                    pytest.fail("it was trusted")
    assert caught.value.code == "daemon.hung-up"
    assert caught.value.advice


@pytest.mark.parametrize(
    ("damage", "code"),
    [
        (lambda home: home.client_key.unlink(), "file.missing"),
        (lambda home: home.client_key.write_bytes(b"short"), "key.length"),
        (lambda home: home.client_key.write_bytes(b"\x0b" * 32), "client.other-key"),
        (lambda home: home.client_token.write_bytes(b"\x90"), "canon.malformed"),
        (lambda home: home.client_token.chmod(0o644), "file.open-to-others"),
    ],
    ids=["missing", "short", "other", "empty", "open"],
)
async def test_credentials_that_are_none_are_refused_here(tmp_path: Path, damage: object, code: str) -> None:
    async with daemon_in(tmp_path) as daemon:
        damage(daemon.home)  # type: ignore[operator]
        assert await refusal(daemon.home) == code
        assert not judged(daemon)


async def test_what_may_be_asked_without_a_token_needs_no_credentials(tmp_path: Path) -> None:
    async with daemon_in(tmp_path) as daemon:
        daemon.home.client_key.unlink()
        async with connect(daemon.home, authenticate=False) as client:
            assert isinstance(await client.call("status", p.Nothing()), r.Status)


async def test_every_call_ends_when_the_daemon_does(tmp_path: Path) -> None:
    with trio.fail_after(LIMIT_SECONDS):
        async with daemon_in(tmp_path) as daemon, connect(daemon.home) as client:
            daemon.daemon._stop()
            await client.wait_gone()
            with pytest.raises(AstridError) as caught:
                await client.call("listSessions", p.ListSessions())
            assert caught.value.code in ("daemon.gone", "daemon.stopping")
            with pytest.raises(AstridError):
                await client.next_event("session:" + "0" * 32)


async def test_what_still_arrives_when_a_connection_is_over_here_breaks_nothing(tmp_path: Path) -> None:
    with trio.fail_after(LIMIT_SECONDS):
        async with daemon_in(tmp_path) as daemon, connect(daemon.home) as client:
            client.abandon()
            daemon.daemon._stop()  # which says goodbye, to nobody
            await settled(lambda: client._web.closed is not None)
            with pytest.raises(AstridError) as caught:
                await client.call("status", p.Nothing())
            assert caught.value.code == "daemon.gone"


async def test_what_a_person_is_waited_for_with_is_given_up_when_the_daemon_goes(tmp_path: Path) -> None:
    with trio.fail_after(LIMIT_SECONDS):
        async with daemon_in(tmp_path) as daemon, connect(daemon.home) as client:
            daemon.daemon._stop()
            for _ in range(2):  # under way, and when it is gone already
                with pytest.raises(AstridError) as caught, client.attended():
                    await trio.sleep_forever()
                assert caught.value.code in ("daemon.gone", "daemon.stopping")
                assert caught.value.where == str(daemon.home.daemon_log)


async def test_what_is_done_inside_comes_out_while_the_daemon_is_there(tmp_path: Path) -> None:
    async with daemon_in(tmp_path) as daemon, connect(daemon.home) as client:
        with pytest.raises(ConfigError), client.attended():
            raise ConfigError("exec.task", "not this")
        with client.attended():
            await client.call("status", p.Nothing())


@pytest.mark.parametrize(("number", "goes_on"), [(errno.ENOSPC, True), (errno.EDQUOT, True), (errno.EACCES, False)])
async def test_a_full_disk_keeps_nobody_from_the_daemon_and_any_other_failure_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], number: int, goes_on: bool
) -> None:
    def fail(*_: object) -> None:
        cause = OSError(number, os.strerror(number))
        raise ConfigError("file.unwritable", "it cannot be written", where="there", advice="make room") from cause

    async with daemon_in(tmp_path) as daemon:
        monkeypatch.setattr("astrid.frontends.meeting.keep_checkpoint", fail)
        if goes_on:
            async with connect(daemon.home) as client:
                assert isinstance(await client.call("status", p.Nothing()), r.Status)
            assert capsys.readouterr().err == "astrid: it cannot be written (there) [file.unwritable]; make room\n"
        else:
            assert await refusal(daemon.home) == "file.unwritable"


async def test_a_failure_of_ours_comes_out_as_itself(tmp_path: Path) -> None:
    async with daemon_in(tmp_path) as daemon:
        with pytest.raises(ConfigError) as caught:
            async with connect(daemon.home):
                raise ConfigError("exec.task", "something else went wrong")
        assert caught.value.code == "exec.task"


async def test_many_calls_side_by_side_each_get_their_own_answer(tmp_path: Path) -> None:
    async with daemon_in(tmp_path) as daemon, connect(daemon.home) as client:
        answers: dict[int, r.Answer] = {}

        async def ask(number: int) -> None:
            params = p.AuditList(limit=number) if number % 2 else p.ListSessions()
            answers[number] = await client.call("auditList" if number % 2 else "listSessions", params)

        async with trio.open_nursery() as nursery:
            for number in range(1, 21):
                nursery.start_soon(ask, number)
        assert {type(answer) for number, answer in answers.items() if number % 2} == {r.AuditRecords}
        assert {type(answer) for number, answer in answers.items() if not number % 2} == {r.Sessions}


def test_an_interrupt_comes_out_as_one() -> None:
    async def interrupted() -> None:
        async with trio.open_nursery():
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_client(interrupted)


def test_what_the_work_gives_is_given() -> None:
    async def work() -> int:
        await trio.lowlevel.checkpoint()
        return 7

    assert run_client(work) == 7
