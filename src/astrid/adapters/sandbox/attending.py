"""Waiting for one contained program: its output is read, its limits are watched, and it ends in time.

Never: waits for the end of an output: that is its program's to give.

Source: a background process that held the pipe; the watchdog of the escape corpus.
"""

from __future__ import annotations

import signal

import trio

from astrid.adapters.sandbox.child import Child
from astrid.adapters.sandbox.watching import wait_for_excess
from astrid.box_ports import Box, Finished, Serve

DRAIN_SECONDS = 0.2
GRACE_SECONDS = 2.0
FLOOD = 64  # an output may be so many times what is kept of it; what is more fills nothing, but it is no use either
_OF_SIGNALS = {-signal.SIGXCPU: "cpu", -signal.SIGXFSZ: "file size"}


class _Attendance:
    """What is known of one run so far."""

    def __init__(self, child: Child, max_bytes: int) -> None:
        self._child = child
        self._max_bytes = max_bytes
        self.stopped = ""
        self.truncated = False
        self.out, self.err = bytearray(), bytearray()
        self._open = 2
        self._drained = trio.Event()

    def stop(self, limit: str) -> None:
        """End it, since it has reached ``limit``."""
        self.stopped = self.stopped or limit
        self._child.kill()

    async def drain(self, stream: trio.abc.ReceiveStream, kept: bytearray) -> None:
        """Read ``stream`` to its end; keep what there is room for."""
        heard = 0
        async for chunk in stream:
            heard += len(chunk)
            kept += chunk[: self._max_bytes - len(kept)]
            self.truncated = self.truncated or heard > len(kept)
            if heard > FLOOD * self._max_bytes:
                self.stop("output")
                break
        self._open -= 1
        if not self._open:
            self._drained.set()

    async def watch(self, box: Box) -> None:
        """Stop it when it exceeds what the kernel does not hold it to."""
        self.stop(await wait_for_excess(box, self._child.pid))

    @property
    def is_drained(self) -> bool:
        """Whether what it wrote has been read to the end."""
        return self._drained.is_set()

    async def wait_drained(self) -> None:
        """Return when what it wrote has been read; what somebody else may still write is not waited for."""
        with trio.move_on_after(DRAIN_SECONDS):
            await self._drained.wait()


async def attend(child: Child, box: Box, *, seconds: float, max_bytes: int, serve: Serve | None = None) -> Finished:
    """How ``child`` ended, by itself or at a limit; after ``seconds`` it is asked to end, then killed.  As long as it
    runs, ``serve`` has its way out.

    Raises:
        LaunchError: the zygote died, and the child with it.
    """
    run = _Attendance(child, max_bytes)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run.drain, child.stdout, run.out)
        nursery.start_soon(run.drain, child.stderr, run.err)
        nursery.start_soon(run.watch, box)
        if serve is not None:
            nursery.start_soon(serve, child.way_out)
        with trio.move_on_after(seconds) as deadline:
            await child.wait_over()
        if deadline.cancelled_caught:
            run.stopped = run.stopped or "time"
            child.ask_to_end()
            with trio.move_on_after(GRACE_SECONDS):
                await child.wait_over()
            child.kill()
            await child.wait_over()
        if not run.is_drained:
            await run.wait_drained()
        nursery.cancel_scope.cancel()
    ended = await child.wait()
    return Finished(
        returncode=ended.returncode,
        stdout=bytes(run.out),
        stderr=bytes(run.err),
        truncated=run.truncated,
        stopped=run.stopped or ended.stopped or _OF_SIGNALS.get(ended.returncode, ""),
    )
