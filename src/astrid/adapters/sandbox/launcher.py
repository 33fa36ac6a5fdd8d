"""The one way to start a program for an agent: through the zygote, in a box, watched.

Never: starts anything below the least tier, starts a program itself, or goes on with a zygote that has died: a new one
is started, and what ran is told to be lost.

Source: architecture 3 ("No orphan, ever"), 4.
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import TypeVar

import msgspec
import trio

from astrid.adapters.sandbox.attending import attend
from astrid.adapters.sandbox.cage import newroot, wayout
from astrid.adapters.sandbox.cage.requests import TIERS
from astrid.adapters.sandbox.child import Child
from astrid.adapters.sandbox.line import Line, Tiers
from astrid.adapters.sandbox.scratch import make_scratch
from astrid.adapters.sandbox.starting import no_zygote, start_zygote
from astrid.box_ports import Box, Finished, Serve
from astrid.errors import LaunchError

GREET_SECONDS = 30.0
STARTS_AT_ONCE = 16
PAUSE_SECONDS = 0.05  # before another zygote; twice as long each time, until one has lived for a while
LONGEST_PAUSE_SECONDS = 10.0
_PROXY = f"http://{wayout.HOST}:{wayout.PORT}"
_PROXIES = {
    **dict.fromkeys(("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), _PROXY),
    **dict.fromkeys(("no_proxy", "NO_PROXY"), ""),
}

_C = TypeVar("_C", bound=Child)


class ZygoteLauncher:
    """See the module; ``box_ports.Launcher``.  ``never`` are the paths that no child ever sees, ``least`` the least
    tier; below ``temporary`` lie the temporary files of programs that have no root of their own.
    """

    def __init__(self, *, least: str, never: Sequence[str], temporary: Path) -> None:
        self._floor: dict[str, object] = {"least": least, "never": list(never)}
        self._temporary = temporary
        self._line: Line | None = None
        self._trouble: LaunchError | None = None  # why there is no zygote
        self._tiers = Tiers(works=(), why={}, landlock=0)
        self._ready = trio.Event()
        # The system bounds the descriptors that a user's processes have on their way, and everybody shares that.
        self._starts = trio.CapacityLimiter(STARTS_AT_ONCE)

    @property
    def tiers(self) -> Tiers:
        """What works here."""
        return self._tiers

    @property
    def zygote_pid(self) -> int:
        """The number of the zygote, 0 while there is none."""
        return 0 if self._line is None else self._line.process.pid

    async def keep(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep a zygote alive, for good.  Started as soon as the first has said what works, or that nothing does."""
        pause = PAUSE_SECONDS
        first = True
        while True:
            began = trio.current_time()
            line = await self._begin()
            if first:
                task_status.started()
                first = False
            if line is not None:
                try:
                    await line.listen()
                finally:
                    self._line, self._ready = None, trio.Event()
                    await line.end()
            pause = PAUSE_SECONDS if trio.current_time() - began > LONGEST_PAUSE_SECONDS else pause * 2
            await trio.sleep(min(pause, LONGEST_PAUSE_SECONDS))

    async def _begin(self) -> Line | None:
        """Another zygote that has said what works; ``None`` if there is none, which is then told to whoever asks."""
        try:
            line = Line(*start_zygote())
        except LaunchError as error:
            self._say_dead(error)
            return None
        try:
            with trio.fail_after(GREET_SECONDS):
                self._tiers = await line.greet(self._floor)
        except (LaunchError, trio.TooSlowError) as error:
            await line.end()
            self._say_dead(error if isinstance(error, LaunchError) else no_zygote("it did not say in time what works"))
            return None
        except trio.Cancelled:
            await line.end()
            raise
        self._line, self._trouble = line, None
        self._ready.set()
        return line

    def _say_dead(self, error: LaunchError) -> None:
        self._trouble = error
        if not self._tiers.works:
            self._tiers = Tiers(works=(), why=dict.fromkeys(reversed(TIERS[1:]), error.message), landlock=0)
        self._ready.set()

    async def start(self, box: Box, argv: Sequence[str], *, cwd: str, env: Mapping[str, str]) -> Child:
        """Start ``argv`` in ``box``."""
        return await self._start(box, argv, cwd, env, with_input=True)

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
        box = msgspec.structs.replace(box, network=serve is not None)
        child = await self._start(box, argv, cwd, env, with_input=False)
        try:
            return await attend(child, box, seconds=seconds, max_bytes=max_bytes, serve=serve)
        finally:
            await child.aclose()

    async def _start(
        self, box: Box, argv: Sequence[str], cwd: str, env: Mapping[str, str], *, with_input: bool
    ) -> Child:
        line = await self._alive()
        self._check_tier(box.tier)
        if box.network and box.tier != "l1":
            raise no_way_out(box.tier)
        with ExitStack() as theirs:
            child, streams = with_pipes(Child, theirs, with_input=with_input)
            try:
                if box.tier == "l0":
                    child.scratch = make_scratch(self._temporary)
                request = _request(box, argv, cwd, env, child.scratch)
                async with self._starts:
                    await line.ask(request, [*streams, box.folder], child)
                    theirs.close()
                    await child.wait_started()
            except LaunchError as error:
                child.has_failed(error)  # where it never was asked for, nobody else says so
                await child.aclose()
                raise
            except trio.Cancelled:
                await child.aclose()
                raise
        return child

    async def _alive(self) -> Line:
        while self._line is None:
            await self._ready.wait()
            if self._trouble is not None:
                raise self._trouble
        return self._line

    def _check_tier(self, tier: str) -> None:
        least = str(self._floor["least"])
        if TIERS.index(tier) < TIERS.index(least) or tier not in self._tiers.works:
            raise no_tier(tier, self._tiers.why.get(tier, f"the least tier is `{least}`"))


def with_pipes(kind: type[_C], theirs: ExitStack, *, with_input: bool) -> tuple[_C, list[int]]:
    """A child that has our ends of its pipes, and the other ends, which ``theirs`` closes."""

    def lent(descriptor: int) -> int:
        theirs.callback(os.close, descriptor)
        return descriptor

    with ExitStack() as undo:

        def pipe() -> tuple[int, int]:
            reads, writes = os.pipe()
            undo.callback(os.close, reads)
            undo.callback(os.close, writes)
            return reads, writes

        try:
            stdin = pipe() if with_input else None
            (out_r, out_w), (err_r, err_w) = pipe(), pipe()
            null = None if with_input else os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        except OSError as error:
            raise LaunchError(
                "sandbox.no-pipe",
                f"there is no pipe to a contained program: {error.strerror}",
                effect="none",
                advice="let other programs end first",
            ) from error
        undo.pop_all()
    reads = lent(stdin[0]) if stdin else lent(null if null is not None else -1)
    child = kind(stdin[1] if stdin else None, out_r, err_r)
    return child, [reads, lent(out_w), lent(err_w)]


def _request(
    box: Box, argv: Sequence[str], cwd: str, env: Mapping[str, str], scratch: Path | None
) -> dict[str, object]:
    """What the zygote is asked for.  Home and temporary files are the program's own, whatever ``env`` says."""
    home, temporary = (newroot.HOME, newroot.TEMPORARY) if scratch is None else (str(scratch), str(scratch))
    return {
        "tier": box.tier,
        "argv": list(argv),
        "env": {**env, **(_PROXIES if box.network else {}), "HOME": home, "TMPDIR": temporary},
        "workspace": box.workspace,
        "cwd": cwd,
        "rx": list(box.run),
        "ro": list(box.read),
        "lent": list(box.lent),
        "rw": [*box.write, *([] if scratch is None else [str(scratch)])],
        "protect": list(box.protect),
        "limits": dict(box.limits),
        "tmp_bytes": box.tmp_bytes,
        "network": box.network,
        "memory_bytes": box.memory_bytes,
        "processes": box.processes,
    }


def no_tier(tier: str, why: str) -> LaunchError:
    """What is told where a box of ``tier`` is asked for and not to be had."""
    return LaunchError(
        "sandbox.tier",
        f"nothing is started in a box of tier `{tier}`: {why}",
        effect="none",
        advice="run `astrid doctor` to see what this machine offers",
    )


def no_way_out(tier: str) -> LaunchError:
    """What is told where hosts are asked for in a box of ``tier``."""
    return LaunchError(
        "sandbox.no-way-out",
        f"a box of tier `{tier}` has no network of its own, so no single host can be let into it",
        effect="none",
        advice="`astrid doctor` tells why tier l1 does not work here; without the network the program can run",
    )


@asynccontextmanager
async def open_launcher(*, least: str, never: Sequence[str], temporary: Path) -> AsyncGenerator[ZygoteLauncher, None]:
    """A launcher while the context lasts; at its end nothing that it started is left."""
    launcher = ZygoteLauncher(least=least, never=never, temporary=temporary)
    opened = trio.open_nursery()
    nursery = await opened.__aenter__()
    try:
        await nursery.start(launcher.keep)
        yield launcher
    finally:
        nursery.cancel_scope.cancel()
        # As if all had gone well: what was raised inside goes on as it is, where the nursery would make a group of it.
        await opened.__aexit__(None, None, None)
