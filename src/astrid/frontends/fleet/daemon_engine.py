"""The engine of this home: each task is a session of its daemon, with one turn.

Source: architecture 4; threats 9 (a task's words are not signed, so they are untrusted).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from astrid.errors import AstridError
from astrid.frontends.client import Client
from astrid.frontends.fleet.engine import Result, State
from astrid.frontends.fleet.tasks import Task
from astrid.wire import params as p
from astrid.wire import results as r
from astrid.wire.events import Budget, Denied, FinalMessage, SessionEnded, TurnComplete
from astrid.wire.fields import Mode

_GOOD_ENDS = frozenset({"end_turn", "stop_sequence"})


class DaemonEngine:
    """See the module.  ``fleets`` are the tokens of the fleet's purse by workspace; empty where it has none."""

    def __init__(
        self, client: Client, *, mode: Mode, model: str | None, agent: str | None, fleets: Mapping[str, str]
    ) -> None:
        self._client = client
        self._mode: Mode = mode
        self._model = model
        self._agent = agent
        self._fleets = fleets

    async def submit(self, task: Task) -> str:
        """Open a session for ``task`` and say its prompt there.

        Raises:
            AstridError: the daemon did not take it.
        """
        options = p.SessionOptions(
            budget_micros=str(task.max_micros) if task.max_micros else None,
            interactive=False,
            fleet=self._fleets.get(task.workspace),
            agent=self._agent,
        )
        asked = p.CreateSession(workspace=task.workspace, mode=self._mode, model=self._model, options=options)
        name = cast("r.SessionInfo", await self._client.call("createSession", asked)).session_id
        await self._client.subscribe(name)
        await self._client.call("sendInput", p.SendInput(session_id=name, turn=1, input=task.prompt))
        return name

    async def result(self, task: Task, name: str) -> Result:
        """Follow the session to the end of its turn, and end it.

        Raises:
            AstridError: the daemon is gone.
        """
        text, code, reason, spent, denied = "", "", "", 0, False
        while not reason:
            match await self._client.next_event(name):
                case FinalMessage() as said:
                    text = said.text
                case Denied() as refusal:
                    denied, code = True, code or refusal.code
                case Budget() as money:
                    spent = int(money.spent_micros)
                case TurnComplete() as over:
                    reason, code = over.stop_reason, code or over.code or ""
                case SessionEnded() as ended:
                    reason, code = "ended", f"session.{ended.reason}"
                case _:
                    continue
        if reason != "ended":
            await self._client.call("endSession", p.OfSession(session_id=name))
        state = _state(reason, denied=denied)
        return Result(id=task.id, name=name, state=state, code=code, spent_micros=spent, text=text)

    async def cancel(self, name: str) -> None:
        """Stop the session's turn."""
        await self._client.call("cancelTurn", p.OfSession(session_id=name))


async def open_purses(client: Client, shares: Mapping[str, int], mode: Mode) -> dict[str, str]:
    """A token for the share of a fleet's purse in each workspace.

    Raises:
        AstridError: nothing is granted there.
    """
    opened: dict[str, str] = {}
    for workspace, micros in shares.items():
        asked = p.CreateFleet(workspace=workspace, mode=mode, purse_micros=str(micros))
        opened[workspace] = cast("r.TokenAdded", await client.call("createFleet", asked)).token_id
    return opened


def failure(task: Task, error: AstridError) -> Result:
    """How a task ended that was not begun."""
    return Result(id=task.id, name="", state="failed", code=error.code, spent_micros=0, text=error.render())


def _state(reason: str, *, denied: bool) -> State:
    if reason == "cancelled":
        return "cancelled"
    if denied:
        return "denied"
    return "done" if reason in _GOOD_ENDS else "failed"
