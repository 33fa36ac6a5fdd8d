"""One contained program, as its owner sees it.

Never: signals by a number: the supervisor and the program are held by descriptors, which nobody else can become.

Source: pidfd_open(2), pidfd_send_signal(2).
"""

from __future__ import annotations

import os
import signal
import socket
from contextlib import suppress
from pathlib import Path

import trio

from astrid.adapters.sandbox.scratch import remove_empty, remove_scratch
from astrid.box_ports import Ended
from astrid.errors import InternalError, LaunchError

CLOSE_SECONDS = 5.0


class Child:
    """See the module.  ``has_started``, and once ``has_failed`` or ``has_ended``, are called by the line."""

    def __init__(self, stdin: int | None, stdout: int, stderr: int) -> None:
        """With our ends of its pipes.  ``scratch`` is a folder that goes when it is over."""
        self._stdin = None if stdin is None else trio.lowlevel.FdStream(stdin)
        self.scratch: Path | None = None
        self.stdout = trio.lowlevel.FdStream(stdout)
        self.stderr = trio.lowlevel.FdStream(stderr)
        self._up = trio.Event()
        self._over = trio.Event()
        self._supervisor = -1
        self._program = -1
        self._way_out: trio.SocketListener | None = None
        self._doomed = False
        self._pid = 0
        self._ended: Ended | None = None
        self._error: LaunchError | None = None

    @property
    def stdin(self) -> trio.lowlevel.FdStream:
        """What it reads."""
        if self._stdin is None:
            raise InternalError("internal.no-input", "a contained program was started without input")
        return self._stdin

    @property
    def way_out(self) -> trio.SocketListener:
        """Where what it connects to is accepted."""
        if self._way_out is None:
            raise InternalError("internal.no-way-out", "a contained program was started without a way out")
        return self._way_out

    @property
    def pid(self) -> int:
        """The number of its supervisor."""
        return self._pid

    # --- what the line tells

    def has_started(self, pid: int, supervisor: int, program: int, way_out: int = -1) -> None:
        """It runs; the descriptors are ours now."""
        self._pid, self._supervisor, self._program = pid, supervisor, program
        if way_out >= 0:
            listener = socket.socket(fileno=way_out)
            if self._doomed:
                listener.close()  # its owner has let go of it already
            else:
                self._way_out = trio.SocketListener(trio.socket.from_stdlib_socket(listener))
        self._up.set()
        if self._doomed:  # killed before there was anything to kill
            self.kill()

    def has_failed(self, error: LaunchError) -> None:
        """It never ran, or nobody knows how it ended."""
        self._error = error
        self._let_go()

    def has_ended(self, ended: Ended) -> None:
        """It ended, and nothing of it is left."""
        self._ended = ended
        self._let_go()

    def _let_go(self) -> None:
        for descriptor in (self._supervisor, self._program):
            if descriptor >= 0:
                os.close(descriptor)
        self._supervisor = self._program = -1
        self._up.set()
        self._over.set()

    # --- what its owner does

    async def wait_started(self) -> None:
        """Return when it runs.

        Raises:
            LaunchError: it does not.
        """
        await self._up.wait()
        if self._error is not None:
            raise self._error

    async def wait(self) -> Ended:
        """Its end."""
        await self._over.wait()
        if self._error is not None:
            raise self._error
        if self._ended is None:
            raise InternalError("internal.no-end", "a contained program is over and did not end")
        return self._ended

    async def wait_over(self) -> None:
        """Return when nothing of it is left, however that came about."""
        await self._over.wait()

    def ask_to_end(self) -> None:
        """Give it the signal that it may tidy up on."""
        _signal(self._program, signal.SIGTERM)

    async def stop(self, *, grace_seconds: float) -> Ended:
        """Ask it to end; kill it when it has not after ``grace_seconds``."""
        self.ask_to_end()
        with trio.move_on_after(grace_seconds):
            return await self.wait()
        self.kill()
        return await self.wait()

    def kill(self) -> None:
        """Kill the supervisor: the kernel then kills its namespace, or the zygote what it left behind."""
        self._doomed = True
        _signal(self._supervisor, signal.SIGKILL)

    async def aclose(self) -> None:
        """Kill it, if it still runs, and let go of it."""
        if not self._over.is_set():
            self.kill()
        for stream in (self._stdin, self.stdout, self.stderr):
            if stream is not None:
                stream.close()
        if self._way_out is not None:
            self._way_out.socket.close()
        with trio.move_on_after(CLOSE_SECONDS, shield=True):
            await self._over.wait()
            if self.scratch is not None:
                scratch, self.scratch = self.scratch, None
                if not remove_empty(scratch):
                    await trio.to_thread.run_sync(remove_scratch, scratch)


def _signal(descriptor: int, number: signal.Signals) -> None:
    if descriptor >= 0:
        with suppress(ProcessLookupError):  # it has just ended
            signal.pidfd_send_signal(descriptor, number)
