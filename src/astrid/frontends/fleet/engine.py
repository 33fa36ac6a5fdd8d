"""Where a fleet's tasks run: the Protocol, and what comes back.

The one engine there is hands tasks to the daemon of this home (``daemon_engine``); another one could place the same
work elsewhere.

Source: architecture 2 (frontends know the wire and no port of the runtime's).
"""

from __future__ import annotations

from typing import Literal, Protocol

import msgspec

from astrid.frontends.fleet.tasks import Task

State = Literal["done", "failed", "denied", "cancelled"]


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """How a task ended.  ``name`` is what it is called where it ran, ``text`` the last thing that it said."""

    id: str
    name: str
    state: State
    code: str
    spent_micros: int
    text: str


class Engine(Protocol):
    """Something that does tasks."""

    async def submit(self, task: Task) -> str:
        """Begin ``task``; its name where it runs.

        Raises:
            AstridError: it was not begun.
        """
        ...

    async def result(self, task: Task, name: str) -> Result:
        """How the task that is called ``name`` there ended, once it has.

        Raises:
            AstridError: nobody can tell any more.
        """
        ...

    async def cancel(self, name: str) -> None:
        """Have the task end soon; ``result`` says how.

        Raises:
            AstridError: where it runs is gone.
        """
        ...
