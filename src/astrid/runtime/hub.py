"""Events on their way out: numbered per session, kept for a while, handed to whoever listens.  One event loop, no
locks.

Never: waits for a listener.  One that does not keep up loses provisional text first, and is then cut off with a gap
it can see and close (``subscribe`` again with ``after``).

Source: the first Astrid (a bounded channel per session); architecture 5 (streamed text is droppable).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import trio

KEPT_EVENTS = 4096
KEPT_BYTES = 16 * 1024 * 1024  # of one session
QUEUE_EVENTS = 1024
QUEUE_BYTES = 4 * 1024 * 1024


class Subscription:
    """One listener's queue.  Iterate over ``wait_events``; ``lost`` tells that events were dropped."""

    def __init__(self, session: bytes, kept: Iterable[bytes] = ()) -> None:
        self.session = session
        self.lost = False
        self.closed = False
        self._queue: list[bytes] = list(kept)
        self._bytes = 0
        self._wake = trio.Event()

    def push(self, event: bytes, *, provisional: bool) -> None:
        """Queue one event, or drop it where there is no room."""
        share = 2 if provisional else 1
        if len(self._queue) * share >= QUEUE_EVENTS or self._bytes * share >= QUEUE_BYTES:
            self.lost = self.lost or not provisional
            return
        self._queue.append(event)
        self._bytes += len(event)
        self._wake.set()

    def close(self) -> None:
        """Nothing more will come."""
        self.closed = True
        self._wake.set()

    async def wait_events(self) -> list[bytes]:
        """Everything that came since the last call, at least one event; empty only when closed.  Cancellable at no
        loss.
        """
        while not self._queue and not self.closed:
            await self._wake.wait()
            self._wake = trio.Event()
        events, self._queue, self._bytes = self._queue, [], 0
        return events


class _Kept:
    """The latest events of one session."""

    def __init__(self, number: int) -> None:
        self.number = number  # of the last event that counted
        self._events: list[bytes] = []  # a deque of a few events takes four times as much, in each session
        self._bytes = 0

    def add(self, event: bytes) -> None:
        self.number += 1
        self._events.append(event)
        self._bytes += len(event)
        while len(self._events) > KEPT_EVENTS or (self._bytes > KEPT_BYTES and len(self._events) > 1):
            self._bytes -= len(self._events.pop(0))

    def after(self, number: int) -> tuple[int, list[bytes]]:
        """The events after ``number``, or after the first that is still there; and that number."""
        begun = min(max(number, self.number - len(self._events)), self.number)
        return begun, self._events[len(self._events) - (self.number - begun) :]


class Hub:
    """All sessions' events.  ``before`` gives the number of the last event of a session that sleeps, 0 of others."""

    def __init__(self, before: Callable[[bytes], int] = lambda session: 0) -> None:
        self._before = before
        self._kept: dict[bytes, _Kept] = {}
        self._listeners: dict[bytes, list[Subscription]] = {}

    def number(self, session: bytes) -> int:
        """The number of the last event of ``session`` that counted; 0 if there was none, or the session is over."""
        kept = self._kept.get(session)
        return self._before(session) if kept is None else kept.number

    def publish(self, session: bytes, event: bytes, *, provisional: bool = False) -> None:
        """Say ``event`` to whoever listens to ``session``; one that is not provisional must carry ``number(session)
        + 1``.
        """
        if not provisional:
            kept = self._kept.get(session)
            if kept is None:
                kept = self._kept[session] = _Kept(self._before(session))
            kept.add(event)
        for listener in self._listeners.get(session, ()):
            listener.push(event, provisional=provisional)

    def subscribe(self, session: bytes, after: int) -> tuple[Subscription, int]:
        """Listen to ``session`` from the event after number ``after`` on; also the number really begun after."""
        begun, events = (self._kept.get(session) or _Kept(self._before(session))).after(after)
        subscription = Subscription(session, events)
        self._listeners.setdefault(session, []).append(subscription)
        return subscription, begun

    def unsubscribe(self, subscription: Subscription) -> None:
        """Listen no more."""
        listeners = self._listeners.get(subscription.session, [])
        if subscription in listeners:
            listeners.remove(subscription)
        if not listeners:
            self._listeners.pop(subscription.session, None)
        subscription.close()

    def listeners(self, session: bytes) -> int:
        """How many listen to ``session``."""
        return len(self._listeners.get(session, ()))

    def rest(self, session: bytes) -> None:
        """The session sleeps: drop its events.  Whoever listens goes on listening."""
        self._kept.pop(session, None)

    def wake(self, session: bytes) -> None:
        """The session sleeps no more in a moment: its events are numbered on."""
        if session not in self._kept:
            self._kept[session] = _Kept(self._before(session))

    def forget(self, session: bytes) -> None:
        """The session is over and nobody will ask again."""
        for listener in self._listeners.pop(session, []):
            listener.close()
        self._kept.pop(session, None)
