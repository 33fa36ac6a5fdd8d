"""Looks after what nobody looks after: sessions that no client listens to and that do nothing are ended.

Source: the first Astrid (the cleanup loop); architecture 4 ("health, clean-up").
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, cast

from astrid.daemon.report import Report
from astrid.kernel import Actor, KernelError, Lane, Message, Ref, Sender
from astrid.messages.gateway import EndSession, ListSessions, SessionLine
from astrid.runtime.hub import Hub

RANK = 55
GATEWAY = "root/gateway"
LOOK_SECONDS = 60.0
LEFT_SECONDS = 900.0
ASK_SECONDS = 10.0


class Look(Message, frozen=True, kw_only=True):
    """Time to look around."""

    lane: ClassVar[Lane] = Lane.CONTROL


class Caretaker(Actor):
    """See the module."""

    def __init__(self, refs: Mapping[str, Ref], hub: Hub, report: Report) -> None:
        self._refs = refs
        self._hub = hub
        self._report = report
        self._since: dict[bytes, float] = {}  # when each session was first seen idle and alone

    async def started(self) -> None:
        """Look around from time to time."""
        self.ctx.start_timer(LOOK_SECONDS, Look())

    async def receive(self, message: object, sender: Sender) -> object:
        """Look around."""
        if isinstance(message, Look):
            self.ctx.start_timer(LOOK_SECONDS, Look())
            await self._look()
        return None

    async def _look(self) -> None:
        try:
            lines = await self._ask(ListSessions())
            for line in self._forgotten(cast("tuple[SessionLine, ...]", lines)):
                self._report.note("session-left")
                await self._ask(EndSession(session=line.session, reason="idle"))
        except KernelError as error:
            self._report.failed("no-look", error)  # the gateway is restarting; there is another look soon

    async def _ask(self, message: Message) -> object:
        return await self.ctx.ask(self._refs[GATEWAY], message, ASK_SECONDS)

    def _forgotten(self, lines: tuple[SessionLine, ...]) -> list[SessionLine]:
        """Those that have been idle and alone for long enough."""
        now = self.ctx.now()
        alone = [line for line in lines if line.state == "idle" and not self._hub.listeners(line.session)]
        self._since = {line.session: self._since.get(line.session, now) for line in alone}
        return [line for line in alone if now - self._since[line.session] >= LEFT_SECONDS]
