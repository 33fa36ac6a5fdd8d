"""Doing a fleet's tasks: so many at once, each once, its end kept before the next one begins.

Never: does a task again that ended, or one that was under way when a run died, unless that is asked for.

Invariant: a task is submitted only after it is on the disk that it began.

Source: architecture 5; threats 9.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Iterable

import trio

from astrid.errors import AstridError
from astrid.frontends.fleet.daemon_engine import failure
from astrid.frontends.fleet.engine import Engine, Result
from astrid.frontends.fleet.keeping import Keeping
from astrid.frontends.fleet.tasks import Task


class Run:
    """See the module.  ``told`` is given each result once it is kept, ``noted`` what people should know besides."""

    def __init__(
        self,
        engine: Engine,
        keeping: Keeping,
        tasks: Iterable[Task],
        *,
        told: Callable[[Result], None],
        noted: Callable[[str], None],
    ) -> None:
        self._engine = engine
        self._keeping = keeping
        self._waiting = deque(tasks)
        self._running: dict[str, str] = {}  # the names of tasks where they run
        self._told = told
        self._noted = noted

    async def work(self, concurrency: int, interrupted: Callable[[], Awaitable[None]]) -> None:
        """Do all tasks.  ``interrupted`` returns each time that somebody wants an end: the first time no more tasks are
        begun, the second time those under way are cancelled, the third time they are left alone.

        Raises:
            AstridError: the engine is gone, or what happens cannot be kept.
        """
        failures: list[AstridError] = []
        async with trio.open_nursery() as outer:
            outer.start_soon(self._watch, interrupted, failures, outer.cancel_scope)
            async with trio.open_nursery() as nursery:
                for _ in range(min(concurrency, len(self._waiting))):
                    nursery.start_soon(self._worker, failures, outer.cancel_scope)
            outer.cancel_scope.cancel()
        if failures:
            raise failures[0]

    async def _watch(
        self, interrupted: Callable[[], Awaitable[None]], failures: list[AstridError], scope: trio.CancelScope
    ) -> None:
        await interrupted()
        self._waiting.clear()
        self._noted(f"no new tasks; {len(self._running)} are under way, and Ctrl-C again cancels them")
        await interrupted()
        try:
            for name in list(self._running.values()):
                await self._engine.cancel(name)
            await interrupted()
        except AstridError as error:
            failures.append(error)
        scope.cancel()

    async def _worker(self, failures: list[AstridError], scope: trio.CancelScope) -> None:
        try:
            while self._waiting:
                await self._do(self._waiting.popleft())
        except AstridError as error:
            failures.append(error)
            scope.cancel()  # what the others do cannot be kept, or heard, either

    async def _do(self, task: Task) -> None:
        self._keeping.begin(task.id)
        try:
            name = self._running[task.id] = await self._engine.submit(task)
            result = await self._engine.result(task, name)
        except AstridError as error:
            if error.code.startswith("daemon."):  # nobody knows how the task goes on: it stays one that began
                raise
            result = failure(task, error)
        finally:
            self._running.pop(task.id, None)
        self._keeping.end(result)
        self._told(result)
