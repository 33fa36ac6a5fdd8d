"""Starting programs for agents on macOS: each under ``sandbox-exec``, which closes the box and becomes the program.

There is no zygote: nothing of ours has to run between us and what closes the box.  There is no namespace either, and
nobody dies with us if we are killed on the spot; what ends a family of processes is looking for it (``families``).

Never: starts a program before a self-test has shown that what must be refused is, or one that is not wrapped.

Source: architecture 4; ``seatbelt`` for the rules.  Shown with a stand-in for ``sandbox-exec``, not on a Mac.
"""

from __future__ import annotations

import math
import os
import signal
from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager, suppress
from pathlib import Path

import msgspec
import trio

from astrid.adapters.sandbox.attending import attend
from astrid.adapters.sandbox.cage.requests import RequestError
from astrid.adapters.sandbox.child import Child
from astrid.adapters.sandbox.families import Member, family_of, has_ended, kill_family, parse_processes
from astrid.adapters.sandbox.launcher import no_tier, no_way_out, with_pipes
from astrid.adapters.sandbox.line import Tiers, refusal, undead
from astrid.adapters.sandbox.profile import build_box, protected_in
from astrid.adapters.sandbox.scratch import make_scratch, remove_scratch
from astrid.adapters.sandbox.seatbelt import PROGRAM, wrap
from astrid.adapters.sandbox.starting import Process, list_processes, reap, start_program
from astrid.box_ports import Box, Ended, Finished, Serve
from astrid.errors import LaunchError

FIRST_LOOK_SECONDS = 0.01
LONGEST_LOOK_SECONDS = 0.25
TEST_SECONDS = 30.0
# It writes in its workspace, and neither reads a file outside nor writes a protected one, however that is spelt.
_TEST = 'echo x > made && ! cat "$1" && ! (echo x > .ENVRC) && ! (echo x > "$1")'
_NO_NAMESPACES = "this system has no namespaces"


class _Program(Child):
    """One program: the leader of a group and a session, not reaped before all of its family is killed."""

    process: Process

    def ask_to_end(self) -> None:
        """Give its group the signal that it may tidy up on."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """Kill its group; who is not in that is killed when it has ended."""
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        # SAFETY: it is reaped last, and it is over then: until then the number is its.
        if self.pid and not self._over.is_set():
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, number)

    async def tend(self) -> None:
        """Look who belongs to it until it has ended, then kill the rest and tell its end."""
        known: set[Member] = set()
        pause = FIRST_LOOK_SECONDS
        try:
            while True:
                processes = parse_processes(await trio.to_thread.run_sync(list_processes))
                known |= family_of(self.pid, known, processes)
                if has_ended(self.pid, processes):
                    break
                await trio.sleep(pause)
                pause = min(2 * pause, LONGEST_LOOK_SECONDS)
        except OSError:
            pass  # nobody can be watched any more: it ends here
        finally:
            self.finish(known)

    def finish(self, known: Collection[Member]) -> None:
        """Kill it and its family, those that are ``known`` and who is found; then tell its end."""
        kill_family(self.pid, known, lambda: parse_processes(list_processes()))
        code = reap(self.process)
        if code is None:
            self.has_failed(undead())
        else:
            self.has_ended(Ended(returncode=code, cpu_seconds=0.0, max_rss_kb=0))  # what it used, nobody counts


class SeatbeltLauncher:
    """See the module; ``box_ports.Launcher``.  ``never`` are the paths that no program ever sees; below ``temporary``
    lie temporary files; ``program`` closes the box.
    """

    def __init__(self, *, least: str, never: Sequence[str], temporary: Path, program: str = PROGRAM) -> None:
        self._least = least
        self._never = tuple(sorted({os.path.realpath(path) for path in never}))
        self._temporary = temporary
        self._program = program
        self._started, self._starting = trio.open_memory_channel[_Program](math.inf)
        self.tiers = Tiers(works=(), why={}, landlock=0)

    async def keep(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Tend what is started, for good.  Started when it is known whether anything can be."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._tend_all)
            why = await self._why_not()
            works, groups = (() if why else ("l0",)), "this system has no control groups"
            whys = {"l1": _NO_NAMESPACES, **({"l0": why} if why else {})}
            self.tiers = Tiers(works=works, why=whys, landlock=0, groups=groups)
            task_status.started()

    async def _tend_all(self) -> None:
        try:
            async with trio.open_nursery() as nursery:
                async for program in self._starting:
                    nursery.start_soon(program.tend)
        finally:
            with suppress(trio.WouldBlock):  # who was started while we were told to end
                while True:
                    self._starting.receive_nowait().finish(())

    async def _why_not(self) -> str:
        """Why no box can be closed here; empty if one was, and held."""
        try:
            place = make_scratch(self._temporary)
        except LaunchError as error:
            return error.message
        try:
            (place / "workspace").mkdir()
            (place / "outside").write_text("outside")
            folder = os.open(place / "workspace", os.O_RDONLY | os.O_DIRECTORY)
            try:
                box = build_box("l0", str(place / "workspace"), folder)
                child = await self._begin(box, ["/bin/sh", "-c", _TEST, "sh", str(place / "outside")], "", {}, ())
                done = await self._finish(child, box, seconds=TEST_SECONDS, max_bytes=1000)
            finally:
                os.close(folder)
        except LaunchError as error:
            return error.message
        finally:
            remove_scratch(place)
        if done.returncode or done.stopped:
            return "a program under sandbox-exec could not do its work, or could do what it must not"
        return ""

    async def start(self, box: Box, argv: Sequence[str], *, cwd: str, env: Mapping[str, str]) -> Child:
        """Start ``argv`` in ``box``."""
        self._check(box)
        return await self._begin(box, argv, cwd, env, self._never, with_input=True)

    async def run(
        self,
        box: Box,
        argv: Sequence[str],
        *,
        cwd: str,
        env: Mapping[str, str],
        seconds: float,
        max_bytes: int,
        serve: Serve | None = None,
    ) -> Finished:
        """Run ``argv`` in ``box`` to its end, or to a limit."""
        self._check(msgspec.structs.replace(box, network=serve is not None))
        child = await self._begin(box, argv, cwd, env, self._never)
        return await self._finish(child, box, seconds=seconds, max_bytes=max_bytes)

    def _check(self, box: Box) -> None:
        if self._least == "l1" or box.tier not in self.tiers.works:
            raise no_tier(box.tier, self.tiers.why.get(box.tier, f"the least tier is `{self._least}`"))
        if box.network:
            raise no_way_out(box.tier)

    async def _finish(self, child: Child, box: Box, *, seconds: float, max_bytes: int) -> Finished:
        try:
            return await attend(child, box, seconds=seconds, max_bytes=max_bytes)
        finally:
            await child.aclose()

    async def _begin(
        self,
        box: Box,
        argv: Sequence[str],
        cwd: str,
        env: Mapping[str, str],
        never: Sequence[str],
        *,
        with_input: bool = False,
    ) -> Child:
        scratch = make_scratch(self._temporary)
        with ExitStack() as theirs:
            try:
                child, streams = with_pipes(_Program, theirs, with_input=with_input)
            except LaunchError:
                remove_scratch(scratch)
                raise
            child.scratch = scratch
            try:
                wrapped = wrap(argv, _real(box), scratch=str(scratch), protect=protected_in(box.folder), never=never)
                command = (self._program, *wrapped.argv[1:])
                own = {**env, "HOME": str(scratch), "TMPDIR": str(scratch)}
                child.process = start_program(command, streams, cwd=os.path.join(box.workspace, cwd), env=own)
            except (RequestError, OSError, ValueError) as error:
                refused = refusal(getattr(error, "errno", 0) or 0, str(error))
                child.has_failed(refused)
                await child.aclose()
                raise refused from error
            child.has_started(child.process.pid, -1, -1)
            self._started.send_nowait(child)
        return child


def _real(box: Box) -> Box:
    """``box`` with each path as the kernel knows it.

    Raises:
        RequestError: one that was decided about has a link on the way, or the workspace is another folder by now.
    """
    for path in (*box.lent, *box.write, box.workspace):
        if os.path.realpath(path) != path:
            raise RequestError("there is a link on the way to a path")
    if not os.path.samestat(os.stat(box.workspace), os.fstat(box.folder)):
        raise RequestError("the workspace is another folder by now")
    return msgspec.structs.replace(
        box, run=tuple(map(os.path.realpath, box.run)), read=tuple(map(os.path.realpath, box.read))
    )


@asynccontextmanager
async def open_seatbelt(
    *, least: str, never: Sequence[str], temporary: Path, program: str = PROGRAM
) -> AsyncGenerator[SeatbeltLauncher, None]:
    """A launcher while the context lasts; at its end nothing that it started is left, as far as it can be found."""
    launcher = SeatbeltLauncher(least=least, never=never, temporary=temporary, program=program)
    opened = trio.open_nursery()
    nursery = await opened.__aenter__()
    try:
        await nursery.start(launcher.keep)
        yield launcher
    finally:
        nursery.cancel_scope.cancel()
        await opened.__aexit__(None, None, None)  # as in ``open_launcher``
