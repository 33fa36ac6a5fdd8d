"""Sessions that everybody left are ended, and no others."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
import trio
from trio.testing import MockClock

from astrid.daemon.health import LEFT_SECONDS, LOOK_SECONDS, Caretaker
from astrid.daemon.report import Report
from astrid.kernel import ChildSpec, SupervisorSpec, open_system
from astrid.messages.gateway import EndSession, ListSessions, SessionLine
from astrid.runtime.hub import Hub
from tests.fakes.connection_bench import SESSION, FakeActor, one_session


class Gateway:
    """One session, in a state that a test sets."""

    def __init__(self, state: str) -> None:
        (line,) = one_session(ListSessions())  # type: ignore[misc]
        self.line: SessionLine = msgspec.structs.replace(line, state=state)
        self.ended: list[float] = []

    def __call__(self, message: object) -> object:
        match message:
            case ListSessions():
                return () if self.ended else (self.line,)
            case EndSession(session=session, reason=reason):
                assert (session, reason) == (SESSION, "idle")
                self.ended.append(trio.current_time())
                return None
            case _:
                return None


async def look(tmp_path: Path, gateway: Gateway, hub: Hub, seconds: float) -> None:
    refs = {}
    report = Report(tmp_path / "log", verbose=False)
    spec = SupervisorSpec(
        id="root",
        children=(
            ChildSpec(id="gateway", factory=lambda: FakeActor(gateway), rank=50),
            ChildSpec(id="caretaker", factory=lambda: Caretaker(refs, hub, report), rank=55),
        ),
    )
    async with open_system(spec) as system:
        refs["root/gateway"] = system.ref("root/gateway")
        await trio.sleep(seconds)
    report.close()


async def test_a_session_that_is_idle_and_alone_is_ended_after_its_time(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    gateway, began = Gateway("idle"), trio.current_time()
    await look(tmp_path, gateway, Hub(), 2 * LEFT_SECONDS)
    (ended,) = gateway.ended
    assert LEFT_SECONDS <= ended - began <= LEFT_SECONDS + 3 * LOOK_SECONDS


@pytest.mark.parametrize(("state", "listened"), [("running", False), ("idle", True), ("asleep", False)])
async def test_a_session_that_works_or_has_a_listener_is_left_alone(
    autojump_clock: MockClock, tmp_path: Path, state: str, listened: bool
) -> None:
    gateway, hub = Gateway(state), Hub()
    if listened:
        hub.subscribe(SESSION, 0)
    await look(tmp_path, gateway, hub, 3 * LEFT_SECONDS)
    assert gateway.ended == []


async def test_the_time_begins_anew_when_somebody_came_back_meanwhile(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    gateway, hub = Gateway("idle"), Hub()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(look, tmp_path, gateway, hub, 1.6 * LEFT_SECONDS)
        await trio.sleep(0.8 * LEFT_SECONDS)
        subscription, _ = hub.subscribe(SESSION, 0)
        await trio.sleep(2 * LOOK_SECONDS)
        hub.unsubscribe(subscription)
    assert gateway.ended == []
