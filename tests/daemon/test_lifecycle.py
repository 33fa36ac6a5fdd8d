"""A daemon starts whole or not at all, and stops in order, faster when it is told twice."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from astrid.daemon.lifecycle import HURRIED, Daemon, Options, run_daemon
from astrid.daemon.report import Report
from astrid.errors import AstridError, LaunchError
from astrid.frontends.client import connect
from astrid.home import Home
from astrid.kernel import Actor, ChildSpec, Reason, Sender, SupervisorSpec, open_system
from astrid.runtime.verify import Result, Trust, verify_home
from astrid.wire import params as p
from tests.fakes.daemon_home import make_client_home
from tests.fakes.daemons import LIMIT_SECONDS, daemon_in, settled


async def started(home: Home) -> str:
    """The code with which a daemon does not start."""
    report = Report(home.daemon_log)
    try:
        with trio.fail_after(LIMIT_SECONDS), pytest.raises(AstridError) as caught:
            await Daemon(home, Options(), report).run()
    finally:
        report.close()
    assert not home.socket.exists()
    return caught.value.code


async def test_what_the_configuration_does_not_know_starts_nothing(tmp_path: Path) -> None:
    home, _ = make_client_home(tmp_path / "home")
    home.config.write_text("[budget]\nsession_max = '5'\n")
    home.config.chmod(0o600)
    assert await started(home) == "config.invalid"
    assert not home.log.exists()


async def test_a_log_that_does_not_hold_together_starts_nothing_and_is_tried_once(tmp_path: Path) -> None:
    async with daemon_in(tmp_path) as daemon:
        home = daemon.home
    data = bytearray(home.anchor.read_bytes())
    data[-5] ^= 1
    home.anchor.write_bytes(bytes(data))
    home.daemon_log.unlink()
    assert (await started(home)).startswith("checkpoint.")
    assert home.daemon_log.read_text().count("actor-failed") == 1


async def test_a_socket_that_cannot_be_made_starts_nothing(tmp_path: Path) -> None:
    home, _ = make_client_home(tmp_path / "home")
    home.socket.with_name("fresh.sock").mkdir()
    assert await started(home) == "daemon.no-socket"
    assert verify_home(home.root, Trust(), is_own=True).result is Result.SOUND


def test_the_lock_is_let_go_when_the_start_fails(tmp_path: Path) -> None:
    home, _ = make_client_home(tmp_path / "home")
    home.runtime_key.unlink()
    for _ in range(2):
        with pytest.raises(AstridError) as caught:
            run_daemon(home, Options())
        assert caught.value.code == "file.missing"


async def test_a_stop_before_anything_is_up_stops(tmp_path: Path) -> None:
    home, _ = make_client_home(tmp_path / "home")
    report = Report(home.daemon_log)
    daemon = Daemon(home, Options(), report)
    daemon._signals = 1  # it came while the actors were being started
    with trio.fail_after(LIMIT_SECONDS):
        await daemon.run()
    report.close()
    assert not home.socket.exists()


async def test_stopped_twice_or_once_the_log_is_signed_to_its_end(tmp_path: Path) -> None:
    for times in (1, 2):
        async with daemon_in(tmp_path / str(times)) as daemon, connect(daemon.home):
            for _ in range(times):
                daemon.daemon._stop()
        found = verify_home(daemon.home.root, Trust(), is_own=True)
        assert (found.result, found.signed) == (Result.SOUND, found.records)


async def test_a_peer_of_another_user_is_turned_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for user in (12345, None):
        monkeypatch.setattr("astrid.daemon.server.peer_user", lambda _, user=user: user)
        async with daemon_in(tmp_path / str(user)) as daemon:
            async with await trio.open_unix_socket(str(daemon.home.socket)) as stream:
                with trio.fail_after(LIMIT_SECONDS):
                    assert await stream.receive_some() == b""
            assert [line["user"] for line in daemon.told if line["event"] == "turned-away"] == [user or -1]


async def test_a_daemon_that_cannot_go_on_ends_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home, _ = make_client_home(tmp_path / "home")
    report = Report(home.daemon_log)
    daemon = Daemon(home, Options(), report)

    def broken(*_: object) -> bytes:
        raise LookupError("sk-canary")

    with trio.fail_after(LIMIT_SECONDS), pytest.RaisesGroup(LaunchError) as caught:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(daemon.run)
            await settled(home.socket.exists)
            monkeypatch.setattr("astrid.guard.audit.sign_checkpoint", broken)
            while True:  # until the daemon gives up, and this with it
                with suppress(AstridError):
                    async with connect(home) as client:
                        await client.call("auditProve", p.AuditRecordOf(seq=10**6), within=0.2)  # needs a checkpoint
                await trio.sleep(0.01)
    assert caught.value.exceptions[0].code == "daemon.gave-up"  # type: ignore[union-attr]
    report.close()
    assert "sk-canary" not in home.daemon_log.read_text()


class Stubborn(Actor):
    """Takes all the time it is given."""

    async def started(self) -> None:
        self.ctx.post(self.ctx.ref, "sleep")

    async def receive(self, message: object, sender: Sender) -> object:
        await trio.sleep_forever()

    async def stopping(self, reason: Reason) -> None:
        return


@pytest.mark.parametrize(("hurried", "seconds"), [(False, 30.0), (True, 0.0)])
async def test_who_is_hurried_is_not_waited_for(autojump_clock: MockClock, hurried: bool, seconds: float) -> None:
    group = SupervisorSpec(
        id="sessions", stop="together", children=(ChildSpec(id="one", factory=Stubborn, shutdown=30.0),)
    )
    async with open_system(SupervisorSpec(id="root", children=(group,))) as system:
        began = trio.current_time()
        if hurried:
            system.supervisor("root/sessions").hurry()
    assert trio.current_time() - began == pytest.approx(seconds)


def test_those_who_are_hurried_are_in_the_tree_and_the_log_is_not_among_them() -> None:
    assert set(HURRIED) == {"root/connections", "root/sessions", "root/tools"}
