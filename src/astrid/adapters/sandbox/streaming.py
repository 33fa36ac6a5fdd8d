"""One contained program on our own standard streams, as if it were ours.

Never: waits for input that nobody gives: the program's end is the end.

Source: attending.py, which keeps the output instead.
"""

from __future__ import annotations

import os

import trio

from astrid.adapters.sandbox.child import Child
from astrid.adapters.sandbox.watching import wait_for_excess
from astrid.box_ports import Box, Serve

_CHUNK_BYTES = 64 * 1024


class Passage:
    """See the module.  ``stopped`` names the limit at which the program was ended, if it was."""

    def __init__(self, child: Child, box: Box, serve: Serve | None = None) -> None:
        self._child = child
        self._box = box
        self._serve = serve
        self.stopped = ""

    async def run(self) -> int:
        """What a shell would say the program ended with.

        Raises:
            LaunchError: the zygote died, and the program with it.
        """
        async with trio.open_nursery() as beside:
            beside.start_soon(self._feed)
            beside.start_soon(self._watch)
            if self._serve is not None:
                beside.start_soon(self._serve, self._child.way_out)
            async with trio.open_nursery() as copying:
                copying.start_soon(_copy, self._child.stdout, 1)
                copying.start_soon(_copy, self._child.stderr, 2)
                await self._child.wait_over()  # nothing is left that could write, so both copies come to an end
            beside.cancel_scope.cancel()
        ended = await self._child.wait()
        self.stopped = self.stopped or ended.stopped
        code = ended.returncode
        return code if code >= 0 else 128 - code

    async def _watch(self) -> None:
        self.stopped = await wait_for_excess(self._box, self._child.pid)
        self._child.kill()

    async def _feed(self) -> None:
        stdin = self._child.stdin
        try:
            while data := await trio.to_thread.run_sync(os.read, 0, _CHUNK_BYTES, abandon_on_cancel=True):
                await stdin.send_all(data)
        except (OSError, trio.BrokenResourceError):
            pass  # we have no input, or it wants none
        await stdin.aclose()


async def _copy(stream: trio.abc.ReceiveStream, out: int) -> None:
    try:
        async for chunk in stream:
            await trio.to_thread.run_sync(_write, out, bytes(chunk))
    except OSError:
        await stream.aclose()  # whoever read us has left: the program hears of it as it would have without us


def _write(out: int, data: bytes) -> None:
    while data:
        data = data[os.write(out, data) :]
