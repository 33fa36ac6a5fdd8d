"""Sessions that fall asleep in the whole tree and are spoken to: what tests of that share."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from trio.testing import MockClock, wait_all_tasks_blocked

from astrid.core.grants import Mode
from astrid.messages.gateway import ListSessions, SessionLine, Taken
from tests.fakes.runtime import Runtime

IDLE = 300.0
TRIES = 100_000


async def ask(runtime: Runtime, message: Any) -> Any:
    return await runtime.system.ask(runtime.gateway, message, within=10)


async def line(runtime: Runtime, session: bytes) -> SessionLine | None:
    found = await ask(runtime, ListSessions(session=session))
    return found[0] if found else None


async def states(runtime: Runtime) -> list[str]:
    return [one.state for one in await ask(runtime, ListSessions())]


async def until(true: Callable[[], Awaitable[bool]]) -> None:
    """Threads finish when they finish, and no clock says when; but nothing takes this many tries."""
    for _ in range(TRIES):
        await wait_all_tasks_blocked()
        if await true():
            return
    raise AssertionError("it never came to that")


async def is_in(runtime: Runtime, session: bytes, state: str) -> None:
    async def there() -> bool:
        found = await line(runtime, session)
        return found is not None and found.state == state

    await until(there)


async def pass_time(clock: MockClock, seconds: float = 1.5 * IDLE) -> None:
    """In pieces, so that whoever looks from time to time does."""
    for _ in range(12):
        clock.jump(seconds / 12)
        await wait_all_tasks_blocked()


async def sleep(runtime: Runtime, clock: MockClock) -> None:
    """Nobody listens any more, and the session falls asleep."""
    runtime.world.hub.unsubscribe(runtime.events)
    await pass_time(clock)
    await is_in(runtime, runtime.session, "asleep")


async def listen(runtime: Runtime, after: int = 0) -> int:
    runtime.events, begun = runtime.world.hub.subscribe(runtime.session, after)
    runtime._behind = []
    return begun


async def talk(runtime: Runtime, text: str = "go") -> list[dict[str, Any]]:
    said = await runtime.say(text)
    assert isinstance(said, Taken), said
    return await runtime.until("turn_complete")


async def opened(runtime: Runtime, mode: Mode = Mode.GUIDED, **options: Any) -> bytes:
    await runtime.grant(mode)
    return await runtime.open_shared(mode=mode.value, **options)


def actor(runtime: Runtime, session: bytes) -> Any:
    ref: Any = runtime.directory.by_path[f"root/sessions/{session.hex()}"]
    return ref.cell.life._actor


def children(runtime: Runtime) -> list[str]:
    root: Any = runtime.system.snapshot().root
    found = next(child for child in root.children if child.path == "root/sessions")
    return [child.path for child in found.children]
