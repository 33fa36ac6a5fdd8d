"""Events on their way out: numbered per session, kept for a while, handed to whoever listens.  One event loop, no
locks.

Never: waits for a listener.  One that does not keep up loses provisional text first, and is then cut off with a gap
it can see and close (``subscribe`` again with ``after``).

Source: the first Astrid (a bounded channel per session); architecture 5 (streamed text is droppable).
"""

from __future__ import annotations

from collections import deque

import trio

KEPT_EVENTS = 4096
QUEUE_EVENTS = 1024


class Subscription:
    """One listener's queue.  Iterate over ``wait_events``; ``lost`` tells that events were dropped."""

    def __init__(self, session: bytes) -> None:
        self.session = session
        self.lost = False
        self.closed = False
        self._queue: deque[bytes] = deque()
        self._wake = trio.Event()

    def push(self, event: bytes, *, provisional: bool) -> None:
        """Queue one event, or drop it where there is no room."""
        if len(self._queue) >= (QUEUE_EVENTS // 2 if provisional else QUEUE_EVENTS):
            self.lost = self.lost or not provisional
            return
        self._queue.append(event)
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
        events = list(self._queue)
        self._queue.clear()
        return events


class Hub:
    """All sessions' events."""

    def __init__(self) -> None:
        self._kept: dict[bytes, deque[tuple[int, bytes]]] = {}
        self._numbers: dict[bytes, int] = {}
        self._listeners: dict[bytes, list[Subscription]] = {}

    def number(self, session: bytes) -> int:
        """The number of the last event of ``session`` that counted."""
        return self._numbers.get(session, 0)

    def publish(self, session: bytes, event: bytes, *, provisional: bool = False) -> None:
        """Say ``event`` to whoever listens to ``session``; one that is not provisional must carry ``number(session)
        + 1``.
        """
        if not provisional:
            number = self._numbers[session] = self.number(session) + 1
            self._kept.setdefault(session, deque(maxlen=KEPT_EVENTS)).append((number, event))
        for listener in self._listeners.get(session, ()):
            listener.push(event, provisional=provisional)

    def subscribe(self, session: bytes, after: int) -> tuple[Subscription, int]:
        """Listen to ``session`` from the event after number ``after`` on; also the number really begun after."""
        subscription = Subscription(session)
        kept = self._kept.get(session, deque())
        first = kept[0][0] if kept else self.number(session) + 1
        for number, event in kept:
            if number > after:
                subscription.push(event, provisional=False)
        self._listeners.setdefault(session, []).append(subscription)
        return subscription, max(after, first - 1)

    def unsubscribe(self, subscription: Subscription) -> None:
        """Listen no more."""
        listeners = self._listeners.get(subscription.session, [])
        if subscription in listeners:
            listeners.remove(subscription)
        subscription.close()

    def listeners(self, session: bytes) -> int:
        """How many listen to ``session``."""
        return len(self._listeners.get(session, ()))

    def forget(self, session: bytes) -> None:
        """The session is over and nobody will ask again."""
        for listener in self._listeners.pop(session, []):
            listener.close()
        self._kept.pop(session, None)
        self._numbers.pop(session, None)
