"""The sessions that are there, awake or asleep: how they are opened, hear something, and end.  The gateway's own.

Never: grants anything, or lets a session be a principal; who is one, the gate says.

Source: architecture 4; threats 30, 52.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from astrid.core.facts import Facts
from astrid.errors import AstridError, InputError
from astrid.guard.door import APPROVALS, INTERCEPTOR
from astrid.kernel import Context, Down, KernelError, Posted, Ref
from astrid.messages.approvals import SessionOver
from astrid.messages.gate import Ending, Failed, Finish, Register
from astrid.messages.gateway import (
    Declined,
    EndSession,
    Input,
    OpenSession,
    Revive,
    SessionLine,
    Taken,
    TurnConversation,
)
from astrid.messages.session import GoOn, Hear, StopTurn, TurnBack
from astrid.runtime.dormant import Dormitory, Numbers, dormant
from astrid.runtime.hearing import hear
from astrid.runtime.herald import Herald
from astrid.runtime.opening import Opener
from astrid.runtime.parts import Live, Options, Stage, Why
from astrid.runtime.roster import Roster
from astrid.runtime.sleeping import Sleeping

MAX_SESSIONS = 100  # that are awake
IN_LOG: Mapping[Why, str] = {
    "asked": "client",
    "idle": "idle",
    "failed": "failed",
    "done": "done",
}  # what the log calls it


class Sessions:
    """See the module.  ``roster`` and ``dormitory`` outlive the gateway's restarts; ``ended`` is told of each session
    that ends, before it does.
    """

    def __init__(
        self,
        *,
        facts: Callable[[], Facts],
        opener: Opener,
        herald: Herald,
        sleeping: Sleeping,
        roster: Roster,
        dormitory: Dormitory,
        refs: Mapping[str, Ref],
        ended: Callable[[bytes, Context], None],
    ) -> None:
        self._facts = facts
        self._opener = opener
        self._herald = herald
        self._sleeping = sleeping
        self._roster = roster
        self._dormitory = dormitory
        self._refs = refs
        self._ended = ended

    def come_back(self, ctx: Context) -> None:
        """After a restart of the gateway: watch those that outlived it, and end those of whom nobody knows enough."""
        for live in self._roster.lives():
            if not live.ref.alive:
                self._over(live, "failed", ctx)
                continue
            ctx.monitor(live.ref)
            # Nobody knows whether the gate let it go, or who waits for what a sub-agent does.
            if live.stage in (Stage.DROWSY, Stage.LEAVING) or live.stem.parent:
                self.close(live, "failed", ctx)
        for session in self._sleeping.give_up():
            self._end_asleep(session, "failed", ctx)

    # --- begin

    async def open(self, message: OpenSession, number: int, ctx: Context) -> Register | Failed:
        """Start a session; what makes it a principal, to be asked of the gate under ``number``, or why there is
        none.
        """
        try:
            if not self._has_room:
                raise InputError("session.too-many", f"{MAX_SESSIONS} sessions are awake", advice="end one first")
            live, register = await self._opener.open(message, number, ctx)
        except AstridError as error:
            reason = f"{error.message} ({error.where})" if error.where else error.message
            return Failed(id=message.ticket, code=error.code, reason=reason, advice=error.advice)
        except KernelError as error:
            return Failed(id=message.ticket, code="session.host", reason=str(error), advice="see the daemon's log")
        self._roster.add(live)
        ctx.monitor(live.ref)
        return register

    def admitted(self, session: bytes, first: int) -> None:
        """The gate made a principal of it; record ``first`` says so."""
        live = self._roster.get(session)
        if live is not None:
            live.stage, live.first = Stage.AWAKE, first

    def turned_away(self, session: bytes) -> None:
        """The gate did not."""
        if session in self._roster:
            self._opener.close(self._roster[session])

    @property
    def _has_room(self) -> bool:
        """Whether one session more may be awake."""
        awake = sum(not live.stem.parent for live in self._roster.lives())  # sub-agents have limits of their own
        return awake + len(self._dormitory.waking) < MAX_SESSIONS

    # --- hear

    def hear(self, message: Input, ctx: Context) -> Taken | Declined:
        """Somebody says something to a session."""
        turns = self._turns_of_idle(message.session)
        if isinstance(turns, Declined):
            return turns
        if message.turn != turns + 1:
            return Declined(
                code="session.turn", reason=f"the next turn is number {turns + 1}", advice="send the input again"
            )
        said = hear(message, self._facts())
        if isinstance(said, Declined):
            return said
        return self._say(message.session, self._roster.get(message.session), said, message.turn, ctx)

    def turn_back(self, message: TurnConversation, ctx: Context) -> Taken | Declined:
        """Somebody wants the conversation of a session to be what it was.  Until it says what came of it, it is at work
        as if on its next turn, so that nothing is said to it meanwhile.
        """
        turns = self._turns_of_idle(message.session)
        if isinstance(turns, Declined):
            return turns
        back = TurnBack(to=message.to)
        return self._say(message.session, self._roster.get(message.session), back, turns + 1, ctx)

    def _turns_of_idle(self, session: bytes) -> int | Declined:
        """How many turns a session had that may be spoken to now."""
        live, record = self._roster.get(session), self._dormitory.get(session)
        if live is not None and live.stem.parent:
            return Declined(
                code="session.subagent", reason="a sub-agent hears only its task", advice="say it to its session"
            )
        if live is not None:
            running, turns = live.running, live.turns
        elif record is not None:
            running, turns = self._dormitory.hears_something(session), record.numbers.turns
        else:
            return _unknown_session()
        if running:
            return Declined(code="session.busy", reason="a turn is running", advice="wait for it or cancel it")
        return turns

    def _say(
        self, session: bytes, live: Live | None, said: Hear | TurnBack | GoOn, turn: int, ctx: Context
    ) -> Taken | Declined:
        """Have a session hear something, now or as soon as it can."""
        if live is None:
            if session not in self._dormitory.waking and not self._has_room:
                return Declined(
                    code="session.too-many",
                    reason=f"{MAX_SESSIONS} sessions are awake",
                    advice="try again when one is idle",
                )
            self._sleeping.wake(session, said)
            return Taken(number=turn)
        if live.stage in (Stage.DROWSY, Stage.LEAVING) and not isinstance(said, GoOn):
            live.held = said
        elif ctx.post(live.ref, said) is not Posted.ACCEPTED:
            return Declined(code="session.busy", reason="the session takes no input now", advice="try again")
        live.running, live.turns, live.active = True, turn, ctx.now()
        return Taken(number=turn)

    def revive(self, message: Revive, ctx: Context) -> Taken | Declined:
        """Have a session that another daemon had be there: asleep, or at work on the turn that was cut off.

        SAFETY: not one that the log shows as ended.  What is said here of its options is verified when it wakes.
        """
        session, live, record = message.session, self._roster.get(message.session), self._dormitory.get(message.session)
        if live is not None or record is not None:
            return Taken(number=live.turns if live is not None else record.numbers.turns if record is not None else 0)
        if not self._facts().quota.knows(session):
            return Declined(code="session.over", reason="the session has ended", advice="start another one")
        if self._dormitory.is_full:
            return Declined(code="session.too-many", reason="too many sessions sleep", advice="end some first")
        options = Options(
            message.workspace,
            message.mode,
            message.model,
            message.name,
            message.budget_micros,
            0,  # how many calls of the model, its journal says
            message.interactive and not message.fleet,
            message.fleet,
            message.agent,
        )
        turns = message.turns - message.unfinished  # a turn counts when it is heard
        numbers = Numbers(message.created_ns, message.first, turns, 0, int(ctx.now()), 0)
        self._dormitory.put(session, dormant(options, numbers))
        if not message.unfinished:
            return Taken(number=turns)
        return self._say(session, None, GoOn(), message.turns, ctx)

    def cancel(self, session: bytes, ctx: Context) -> Taken | Declined:
        """Have the turn of a session stop."""
        live, record = self._roster.get(session), self._dormitory.get(session)
        if live is None and record is None:
            return _unknown_session()
        if not self._sleeping.cancel(session) and live is not None:
            ctx.post(live.ref, StopTurn())
        return Taken(number=live.turns if live is not None else record.numbers.turns if record is not None else 0)

    def speaks(self, ref_id: int, now: float) -> Live | None:
        """The session whose actor has this ref and has just said something; ``None`` if it is over."""
        live = self._roster.of_actor(ref_id)
        if live is not None:
            live.active = now
        return live

    # --- end

    def end(self, message: EndSession, ctx: Context) -> Taken | Declined:
        """Have a session end for good."""
        live, record = self._roster.get(message.session), self._dormitory.get(message.session)
        if live is not None:
            self.close(live, message.reason, ctx)
            return Taken(number=live.turns)
        if record is None:
            return _unknown_session()
        self._end_asleep(message.session, message.reason, ctx)
        return Taken(number=record.numbers.turns)

    def down(self, message: Down, ctx: Context) -> None:
        """An actor has ended."""
        live = self._roster.of_actor(message.ref.id)
        if live is not None and live.stage is Stage.LEAVING:
            self._sleeping.asleep(live, ctx.now())
        elif live is not None:
            self._over(live, "failed" if message.reason.abnormal else live.ending or "asked", ctx)
        lost = self._sleeping.gone(message.ref)
        if lost:
            self._end_asleep(lost, "failed", ctx)

    def look(self, ctx: Context) -> None:
        """Have those go to sleep that are idle, and those end that slept for too long."""
        self._sleeping.look(ctx.now())
        for session in self._dormitory.overslept(ctx.now()):
            self._end_asleep(session, "idle", ctx)

    def close(self, live: Live, why: Why, ctx: Context) -> None:
        """Have a session end, and before it whatever is done for it."""
        live.ending = why
        self._ended(live.session, ctx)
        if live.stage is Stage.LEAVING:
            live.stage = Stage.DROWSY
        ctx.post(self._refs[INTERCEPTOR], Ending(session=live.session, reason=IN_LOG[why]))
        self._opener.close(live)

    def _over(self, live: Live, reason: Why, ctx: Context) -> None:
        """A session has ended: forget it, tell its listeners, and let go of what was there for it."""
        self._ended(live.session, ctx)
        self._roster.remove(live)
        self._opener.close(live)
        if live.stage is Stage.DROWSY:  # the gate may have let it go, and then does not see its end
            ctx.post(self._refs[INTERCEPTOR], Finish(session=live.session, reason=IN_LOG[reason]))
        ctx.post(self._refs[APPROVALS], SessionOver(session=live.session))
        self._herald.over(live.session, reason)

    def _end_asleep(self, session: bytes, reason: Why, ctx: Context) -> None:
        """As ``_over``, of one that sleeps or was about to wake."""
        if session in self._dormitory.waking:  # the gate may have it awake already
            ctx.post(self._refs[INTERCEPTOR], Ending(session=session, reason=IN_LOG[reason]))
        if self._sleeping.end(session):
            ctx.post(self._refs[INTERCEPTOR], Finish(session=session, reason=IN_LOG[reason]))
            ctx.post(self._refs[APPROVALS], SessionOver(session=session))
            self._herald.over(session, reason)

    # --- list

    def lines(self, session: bytes) -> tuple[SessionLine, ...]:
        """All sessions, or the one."""
        if not session:
            return (*(live.line() for live in self._roster.lives()), *self._dormitory.lines())
        live, record = self._roster.get(session), self._dormitory.get(session)
        if live is not None:
            return (live.line(),)
        return () if record is None else (self._dormitory.line(session, record),)


def _unknown_session() -> Declined:
    return Declined(code="session.unknown", reason="there is no such session", advice="see `astrid sessions list`")
