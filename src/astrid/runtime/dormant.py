"""Sessions that sleep: of each one record in one dict, and nothing of it anywhere else.

What a session is made of again is in the log (``archive``); what is here is what must be known without reading it: the
options it was opened with, where the log begins to speak of it, and what people are shown of it.

Invariants:
  A record is small: its numbers are packed, and sessions that are alike share their options.
  The dict is in the order in which the sessions fell asleep.

Source: architecture 3, 4; docs/performance.md (a passivated session).
"""

from __future__ import annotations

from struct import Struct as Packing

import msgspec

from astrid.messages.gateway import SessionLine
from astrid.messages.session import GoOn, Hear, TurnBack
from astrid.runtime.parts import Live, Options

MAX_ASLEEP = 10_000
LONGEST_SECONDS = 7 * 24 * 3600  # asleep; by then no question of the session's can be open any more
_NUMBERS = Packing(">QQIIIH")
_MOST = 2**16 - 1


class Numbers(msgspec.Struct, frozen=True):
    """What differs between sessions: when each was opened, the record that says so, how many turns it had, events
    people were told, and calls were put off; and when, by the clock of the run, it fell asleep.
    """

    created_ns: int
    first: int
    turns: int
    events: int
    since_s: int
    deferred: int


class Dormant(msgspec.Struct, frozen=True, gc=False):
    """The record of one session."""

    options: Options
    packed: bytes

    @property
    def numbers(self) -> Numbers:
        """Its numbers."""
        return Numbers(*_NUMBERS.unpack(self.packed))


def dormant(options: Options, numbers: Numbers) -> Dormant:
    """The record of a session with these numbers."""
    packed = _NUMBERS.pack(
        numbers.created_ns,
        numbers.first,
        numbers.turns,
        numbers.events,
        numbers.since_s,
        min(numbers.deferred, _MOST),
    )
    return Dormant(options, packed)


class Waking(msgspec.Struct):
    """One that is being woken: what it is to hear (nothing, if that was taken back), and its actor once there is
    one.
    """

    hear: Hear | TurnBack | GoOn | None
    live: Live | None = None


class Dormitory:
    """All sessions that sleep.  ``waking`` are those among them that are being woken."""

    def __init__(self) -> None:
        self._asleep: dict[bytes, Dormant] = {}
        self.waking: dict[bytes, Waking] = {}

    def __len__(self) -> int:
        return len(self._asleep)

    @property
    def is_full(self) -> bool:
        """Whether nobody more may fall asleep."""
        return len(self._asleep) >= MAX_ASLEEP

    def get(self, session: bytes) -> Dormant | None:
        """The record of ``session``, if it sleeps."""
        return self._asleep.get(session)

    def put(self, session: bytes, record: Dormant) -> None:
        """``session`` has fallen asleep."""
        self._asleep[session] = record

    def take(self, session: bytes) -> Dormant | None:
        """``session`` sleeps no more."""
        return self._asleep.pop(session, None)

    def hears(self, session: bytes, hear: Hear | TurnBack | GoOn) -> None:
        """``session`` is to wake and hear this."""
        if session in self.waking:
            self.waking[session].hear = hear
        else:
            self.waking[session] = Waking(hear)

    def hears_something(self, session: bytes) -> bool:
        """Whether something was said to ``session`` that it has not heard yet."""
        waking = self.waking.get(session)
        return waking is not None and waking.hear is not None

    def lines(self) -> list[SessionLine]:
        """All of them, as they are listed; who fell asleep last is first."""
        return [self.line(session, record) for session, record in reversed(self._asleep.items())]

    def line(self, session: bytes, record: Dormant) -> SessionLine:
        """One of them, as it is listed."""
        numbers, options = record.numbers, record.options
        return SessionLine(
            session=session,
            workspace=options.workspace,
            mode=options.mode,
            model=options.name,
            state="running" if self.hears_something(session) else "asleep",
            created_ns=numbers.created_ns,
            turns=numbers.turns,
            deferred=numbers.deferred,
            budget_micros=options.budget_micros,
        )

    def events(self, session: bytes) -> int:
        """The number of the last event of ``session`` that counted, before it fell asleep; 0 if it does not sleep."""
        record = self._asleep.get(session)
        return 0 if record is None else record.numbers.events

    def overslept(self, now_s: float) -> list[bytes]:
        """Those that have slept for as long as anybody may."""
        found: list[bytes] = []
        for session, record in self._asleep.items():
            if now_s - record.numbers.since_s < LONGEST_SECONDS:
                break
            found.append(session)
        return found
