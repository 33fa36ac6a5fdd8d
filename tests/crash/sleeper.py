"""The play of a session that sleeps: it asks, falls asleep, is answered, is woken, acts, and asks once more.

The daemon may be struck from the moment on at which nobody listens any more (``begun``): the falling asleep, the
answer to who sleeps, the waking and what it does then.

Never: waits for time; it looks whether the session sleeps.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import trio

from astrid.core.answers import Verdict
from astrid.core.ids import show_id
from astrid.errors import InternalError
from tests.crash.person import Person, Told
from tests.crash.scene import leaves
from tests.crash.vendor import NAME, text, uses

LOOKS = 200  # far more than it takes; only where nothing can be written does it stay awake
LOOK_SECONDS = 0.1
SAID: tuple[dict[str, Any], ...] = (
    uses(leaves("nap")),  # nobody is there, so the question stays open; it is answered while the session sleeps
    text("I wait"),
    uses(leaves("dream")),  # and this one nobody answers
    text("I wait"),
    uses(leaves("nap")),  # awake again, it may
    uses(leaves("nap")),  # and once was once
    text("done"),
)


async def sleep_and_wake(person: Person, told: Told, begun: Callable[[], None]) -> None:
    """Play it."""
    await person.add(person.scene.grant())
    session = await person.open(NAME, there=False)
    await person.say(session, "go")
    await person.follow(session, [], there=False)
    [nap] = told.deferred
    await person.say(session, "go on", turn=2)
    await person.follow(session, [], there=False)
    begun()
    await person.leave(session)
    await _until_asleep(person, session)
    await person.answer(show_id("question", nap), Verdict.ONCE)
    await person.listen(session)
    await person.say(session, "go on", turn=3)
    await person.follow(session, [], there=False)
    told.through = True


async def _until_asleep(person: Person, session: str) -> None:
    for _ in range(LOOKS):
        if await person.state(session) == "asleep":
            return
        await trio.sleep(LOOK_SECONDS)
    raise InternalError("crash.turn", "the session does not fall asleep")
