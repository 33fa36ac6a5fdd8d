"""What a daemon finds when it looks at itself, when something is not as it should be."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from astrid.adapters.system import SystemEntropy
from astrid.core.checkpoint import Checkpoint, sign_checkpoint
from astrid.daemon.books import Books
from astrid.daemon.checkup import check_up
from astrid.runtime.boot import World
from tests.fakes.daemon_home import make_client_home
from tests.fakes.home import LOG_ID, RUNTIME


class FakeClock:
    def now_ns(self) -> int:
        return 10**18

    def running_ns(self) -> int:
        return 0


class FakeBooks:
    def __init__(self, size: int, signed: int | None) -> None:
        self._size = size
        self._signed = signed

    async def size(self) -> int:
        return self._size

    async def newest_checkpoint(self) -> tuple[int, bytes] | None:
        return None if self._signed is None else (self._signed, b"")


@pytest.fixture
def world(tmp_path: Path) -> World:
    home, _ = make_client_home(tmp_path / "home")
    return World(home, clock=FakeClock(), entropy=SystemEntropy())


def anchor(world: World, size: int) -> None:
    state = Checkpoint(log_id=LOG_ID, size=size, root=b"\1" * 32, tip=b"\2" * 32, boot=1)
    world.home.anchor.write_bytes(sign_checkpoint(state, RUNTIME))
    world.home.anchor.chmod(0o600)


async def states(world: World, size: int = 5, signed: int | None = 5) -> dict[str, str]:
    books: Books = FakeBooks(size, signed)  # type: ignore[assignment]
    return {one.name: one.state for one in await check_up(world, books)}


async def test_where_all_is_well_nothing_is_said_to_be_wrong(world: World) -> None:
    anchor(world, 5)
    assert set((await states(world)).values()) == {"ok"}


@pytest.mark.parametrize(("size", "signed", "state"), [(1005, 5, "ok"), (1006, 5, "fail"), (2000, None, "fail")])
async def test_a_long_unsigned_end_is_wrong(world: World, size: int, signed: int | None, state: str) -> None:
    assert (await states(world, size, signed))["checkpoints"] == state


async def test_an_anchor_that_lags_is_named_and_a_false_one_is_wrong(world: World) -> None:
    anchor(world, 3)
    assert (await states(world))["anchor"] == "warn"
    world.home.anchor.write_bytes(b"forged")
    assert (await states(world))["anchor"] == "fail"
    world.home.anchor.unlink()
    assert (await states(world))["anchor"] == "warn"


async def test_little_room_on_the_disk_is_named(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    anchor(world, 5)
    monkeypatch.setattr("astrid.daemon.checkup.LOW_DISK_BYTES", 2**62)
    assert (await states(world))["disk"] == "warn"


@pytest.mark.parametrize(("ahead_s", "state"), [(0, "ok"), (59, "ok"), (61, "warn")])
async def test_a_clock_that_is_before_the_last_record_is_named(world: World, ahead_s: int, state: str) -> None:
    anchor(world, 5)
    world.facts.durable_ns = world.clock.now_ns() + ahead_s * 10**9
    assert (await states(world))["clock"] == state


def test_the_disk_of_this_machine_can_be_asked() -> None:
    assert os.statvfs("/").f_frsize > 0
