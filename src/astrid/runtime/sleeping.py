"""Putting sessions to sleep that have nothing to do, and waking them when somebody says something to them.

    awake ──look──► drowsy ──the gate lets go──► leaving ──its actor is gone──► asleep
      ▲                │ refused: awake again
      │                                  asleep ──Input──► checkpoint ──► recalled ──► admitted ──► awake
      └──────────────────────────────────────────────────────────────────────────────────┘

Whoever sleeps has no actor, is no principal and can do nothing.  Who wakes is the same principal, with its journal as
the log shows it and with what the user's grants allow then.  Nothing of either is in the log, for nothing changes that
it tells: a session that sleeps when the daemon dies has no end there, like one that the same death took.

Never: puts to sleep who is listened to, at work, or follows a script (that is read once, and its place in it is known
to its host alone).

Invariants:
  A turn that was taken is heard by the session, or is said to be over.
  A session is in the roster or in the dormitory, and in one only.

Source: architecture 3, 4; protocol N9; threats 15, 24, 25, 29.
"""

from __future__ import annotations

import enum
from collections.abc import Callable

import msgspec

from astrid.core.facts import Facts
from astrid.core.ids import SessionId
from astrid.errors import AstridError
from astrid.guard.door import ARCHIVE, AUDIT, INTERCEPTOR
from astrid.kernel import Context, KernelError, Message, Posted, Ref
from astrid.messages.archive import Recall, Recalled
from astrid.messages.gate import Done, Failed, Register, Release
from astrid.messages.log import Checkpointed, TakeCheckpoint
from astrid.messages.session import GoOn, Hear, TurnBack
from astrid.runtime.dormant import Dormitory, Numbers, dormant
from astrid.runtime.herald import Herald
from astrid.runtime.hub import Hub
from astrid.runtime.opening import Opener
from astrid.runtime.parts import Live, Stage
from astrid.runtime.roster import Roster

Request = Release | TakeCheckpoint | Recall | Register


class Step(enum.Enum):
    """What was asked, on the way to sleep or back."""

    RELEASE = "release"
    CHECKPOINT = "checkpoint"
    RECALL = "recall"
    ADMIT = "admit"


class Asked(msgspec.Struct, frozen=True):
    """A request of ours to somebody below, about ``session``."""

    step: Step
    session: bytes


Send = Callable[[str, Callable[[int], Request], Asked], None]


class Sleeping:
    """See the module.  The gateway's own: ``send`` asks somebody below, ``over`` ends a session for good."""

    def __init__(
        self,
        *,
        facts: Callable[[], Facts],
        opener: Opener,
        herald: Herald,
        hub: Hub,
        dormitory: Dormitory,
        roster: Roster,
        idle_seconds: float,
        send: Send,
    ) -> None:
        self._facts = facts
        self._opener = opener
        self._herald = herald
        self._hub = hub
        self._dormitory = dormitory
        self._roster = roster
        self._idle_seconds = idle_seconds
        self._send = send

    # --- to sleep

    def look(self, now: float) -> None:
        """Have those go to sleep that have been idle for long enough."""
        for live in self._roster.lives():
            if self._may_sleep(live, now) and not self._dormitory.is_full:
                live.stage = Stage.DROWSY
                ref = live.ref.id
                self._send(INTERCEPTOR, lambda n, ref=ref: Release(id=n, ref=ref), Asked(Step.RELEASE, live.session))

    def _may_sleep(self, live: Live, now: float) -> bool:
        return (
            live.stage is Stage.AWAKE
            and not live.running
            and not live.stem.parent
            and not live.own_host
            and not self._hub.listeners(live.session)
            and now - live.active >= self._idle_seconds
        )

    def _released(self, session: bytes, answer: Message, ctx: Context) -> None:
        live = self._roster.get(session)
        if live is None or live.stage is not Stage.DROWSY or live.ending is not None:
            return  # it is over, or soon will be: whoever is ended for good does not sleep
        if isinstance(answer, Done):
            live.stage = Stage.LEAVING
            self._opener.close(live)
            return
        live.stage, live.active = Stage.AWAKE, ctx.now()
        hear, live.held = live.held, None
        if hear is not None:
            self._hear(live, hear, ctx)

    def asleep(self, live: Live, now: float) -> None:
        """The actor of one that was leaving is gone."""
        hear = live.held
        record = dormant(
            live.options,
            Numbers(
                created_ns=live.created_ns,
                first=live.first,
                turns=live.turns - (hear is not None),
                events=self._hub.number(live.session),
                since_s=int(now),
                deferred=live.deferred,
            ),
        )
        self._roster.remove(live)
        self._opener.gone(live.ref)
        self._dormitory.put(live.session, record)
        self._hub.rest(live.session)
        if hear is not None:
            self.wake(live.session, hear)

    # --- and back

    def wake(self, session: bytes, hear: Hear | TurnBack | GoOn) -> None:
        """Somebody says something to one that sleeps; one that is being woken already hears it then."""
        begun = session in self._dormitory.waking
        self._dormitory.hears(session, hear)
        if not begun:
            # What the log's writer says now covers all that the session ever said, and is durable.
            self._send(AUDIT, lambda n: TakeCheckpoint(id=n), Asked(Step.CHECKPOINT, session))

    def answered(self, asked: Asked, answer: Done | Failed | Checkpointed, ctx: Context) -> None:
        """Somebody below has answered."""
        session = asked.session
        if asked.step is Step.RELEASE:
            self._released(session, answer, ctx)
            return
        record = self._dormitory.get(session)
        if record is None or session not in self._dormitory.waking:
            return  # it was ended meanwhile
        match answer:
            case Checkpointed(note=note) if asked.step is Step.CHECKPOINT:
                first, rows = record.numbers.first, self._facts().rows.get(session, 0)
                resumes = isinstance(self._dormitory.waking[session].hear, GoOn)
                self._send(
                    ARCHIVE,
                    lambda n: Recall(id=n, session=session, first=first, rows=rows, note=note, resumes=resumes),
                    Asked(Step.RECALL, session),
                )
            case Done() if asked.step is Step.ADMIT:
                self._admitted(session, ctx)
            case Failed(code=code, reason=reason, advice=advice):
                self._fail(session, code, reason, advice)
            case _:
                self._fail(session, "session.asleep", "the session could not be woken", "try again")

    async def recalled(self, asked: Asked, message: Recalled, ctx: Context) -> None:
        """The archive has found what the log says of one: have it there again."""
        session = SessionId(asked.session)
        record = self._dormitory.get(session)
        if record is None or session not in self._dormitory.waking:
            return  # it was ended meanwhile
        try:
            live, register = await self._opener.wake(session, record, message, ctx)
        except AstridError as error:
            self._fail(session, error.code, error.message, error.advice)
        except KernelError as error:
            self._fail(session, "session.host", str(error), "see the daemon's log")
        else:
            self._dormitory.waking[session].live = live
            ctx.monitor(live.ref)
            self._send(INTERCEPTOR, lambda n: msgspec.structs.replace(register, id=n), Asked(Step.ADMIT, session))

    def _admitted(self, session: bytes, ctx: Context) -> None:
        waking = self._dormitory.waking.pop(session)
        if waking.live is None:
            return
        self._hub.wake(session)
        self._dormitory.take(session)
        live = waking.live
        self._roster.add(live)
        live.stage, live.active = Stage.AWAKE, ctx.now()
        if waking.hear is not None:
            live.running, live.turns = True, live.turns + 1
            self._hear(live, waking.hear, ctx)

    def _fail(self, session: bytes, code: str, reason: str, advice: str) -> None:
        """It sleeps on; what it was to hear is lost, and that is said."""
        waking, record = self._dormitory.waking.pop(session), self._dormitory.get(session)
        if waking.live is not None:
            self._opener.close(waking.live)
        if waking.hear is not None and record is not None:
            self._herald.turn_over(session, record.numbers.turns + 1, code=code, reason=reason, advice=advice)

    def _hear(self, live: Live, hear: Hear | TurnBack | GoOn, ctx: Context) -> None:
        if ctx.post(live.ref, hear) is not Posted.ACCEPTED:
            live.running, live.turns = False, live.turns - 1
            self._herald.turn_over(
                live.session, live.turns + 1, code="session.busy", reason="the session takes no input now"
            )

    # --- stopped on the way

    def cancel(self, session: bytes) -> bool:
        """A person wants the turn to stop; whether it has not begun, and now will not."""
        live, waking = self._roster.get(session), self._dormitory.waking.get(session)
        if live is not None and live.held is not None:
            live.held, live.running, live.turns = None, False, live.turns - 1
            self._herald.turn_over(session, live.turns + 1)
            return True
        record = self._dormitory.get(session)
        if waking is not None and waking.hear is not None and record is not None:
            waking.hear = None
            self._herald.turn_over(session, record.numbers.turns + 1)
            return True
        return False

    def end(self, session: bytes) -> bool:
        """Forget one that sleeps; whether there was one."""
        waking = self._dormitory.waking.pop(session, None)
        if waking is not None and waking.live is not None:
            self._opener.close(waking.live)
        return self._dormitory.take(session) is not None

    def gone(self, ref: Ref) -> bytes:
        """The session whose actor ended while it was waking; nothing if it was none of those."""
        lost = [one for one, waking in self._dormitory.waking.items() if waking.live and waking.live.ref == ref]
        return lost[0] if lost else b""

    def give_up(self) -> list[bytes]:
        """After a restart of the gateway nobody answers any more: who was being woken sleeps on.  Those of whom the
        gate may have heard already, which are to be ended.
        """
        begun: list[bytes] = []
        for session, waking in list(self._dormitory.waking.items()):
            if waking.live is not None:
                begun.append(session)
            else:
                self._fail(session, "daemon.restarted", "a part of the daemon broke", "say it again")
        return begun
