"""Senders that wait for room in one lane of a mailbox, in the order of their arrival.

Invariant: whoever leaves the line by being cancelled leaves nothing behind; whoever is let in has been sent.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from outcome import Error
from trio.lowlevel import Abort, Task, current_task, reschedule, wait_task_rescheduled

from astrid.kernel.entry import Entry


class Line:
    """See the module."""

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        self._waiting: OrderedDict[Task, Entry] = OrderedDict()

    def __len__(self) -> int:
        return len(self._waiting)

    async def wait(self, entry: Entry) -> None:
        """Stand in the line with ``entry`` until it is let in.

        Raises:
            KernelError: what ``send_away`` was given.
        """
        task = current_task()
        self._waiting[task] = entry

        def leave(_raise_cancel: Callable[[], object]) -> Abort:
            del self._waiting[task]
            return Abort.SUCCEEDED

        await wait_task_rescheduled(leave)

    def let_in(self) -> Entry:
        """What the first of the line sends; it goes on."""
        task, entry = self._waiting.popitem(last=False)
        reschedule(task)
        return entry

    def send_away(self, why: Callable[[], Exception]) -> None:
        """Nobody will be let in any more."""
        while self._waiting:
            task, _ = self._waiting.popitem(last=False)
            reschedule(task, Error(why()))
