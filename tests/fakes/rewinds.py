"""Files put back in a runtime, as a client of a daemon has them put back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from astrid.core.ids import show_id
from astrid.daemon.rewinding import Rewinding
from astrid.errors import InputError
from astrid.messages.gate import Failed
from astrid.messages.gateway import ListSessions, RewindFiles
from astrid.wire import params as p
from astrid.wire import undone as u
from tests.daemon.test_resuming import histories
from tests.fakes.runtime import Runtime
from tests.fakes.sleepers import ask

Tree = dict[str, bytes]


def snapshot(folder: Path) -> Tree:
    """Every file below ``folder``, and what it holds."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def rewinding(runtime: Runtime) -> Rewinding:
    async def note(make: Callable[[int], RewindFiles]) -> int:
        made = await runtime.by_ticket(make)
        if isinstance(made, Failed):
            raise InputError(made.code, made.reason)
        return made.seq

    async def lines() -> Any:
        return await ask(runtime, ListSessions())

    return Rewinding(runtime.world, histories(runtime), lines, note)


async def planned(runtime: Runtime, session: bytes, to: int) -> u.FilesRewound:
    return await rewinding(runtime).answer(p.PlanRewind(session_id=show_id("session", session), to=to))


async def rewound(runtime: Runtime, session: bytes, to: int) -> u.FilesRewound:
    """Put back all that can be."""
    plan = await planned(runtime, session, to)
    wanted = p.RewindFiles(session_id=plan.session_id, to=to, plan=plan.plan)
    return await rewinding(runtime).answer(wanted)
