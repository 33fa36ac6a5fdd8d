"""The socket: who may connect, how many, and when nobody has for long enough.

The socket appears under its name only when everything behind it is up, and is gone before anything is stopped.

Invariant: a stranger, who has not shown the key of a client, takes no place from whoever has, nor from another
stranger for longer than it takes until so many have come after.

Source: architecture 4; threats 30; unix(7).
"""

from __future__ import annotations

import errno
import math
import os
import socket
from collections.abc import Callable, Mapping
from itertools import count

import trio

from astrid.daemon.attendance import Attendance
from astrid.daemon.connection import RANK, Connection
from astrid.daemon.process import peer_user
from astrid.daemon.report import Report
from astrid.daemon.shared import Shared
from astrid.errors import LaunchError
from astrid.home import Home
from astrid.kernel import ChildSpec, KernelError, Ref, SupervisorHandle, SupervisorSpec

MAX_CONNECTIONS = 32  # of clients who have shown who they are
MAX_STRANGERS = 32  # beside them; as many, so that all may come at once
BACKLOG = 64
FULL_SECONDS = 0.1
CONNECTIONS = SupervisorSpec(id="connections", rank=RANK, stop="together")
_NO_ROOM = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS})


def bind(home: Home) -> trio.SocketListener:
    """Listen at the home's socket; whatever lies there is left over, since the caller holds the home's lock.

    Raises:
        LaunchError: the socket cannot be made.
    """
    fresh = home.socket.with_name("fresh.sock")
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # Under another name first: whoever finds the socket under its own can connect to it.
        fresh.unlink(missing_ok=True)
        listening.bind(os.fspath(fresh))
        fresh.chmod(0o600)
        listening.listen(BACKLOG)
        fresh.rename(home.socket)
    except OSError as error:
        listening.close()
        raise LaunchError(
            "daemon.no-socket",
            f"the daemon's socket cannot be made: {error.strerror}",
            effect="none",
            where=str(home.socket),
            advice="check the owner and mode of the home, and that its disk can be written",
        ) from error
    return trio.SocketListener(trio.socket.from_stdlib_socket(listening))


class Server:
    """Accepts clients until it is stopped, or nobody has been connected for ``grace_seconds``."""

    def __init__(
        self,
        shared: Shared,
        refs: Mapping[str, Ref],
        supervisor: Callable[[], SupervisorHandle],
        report: Report,
        *,
        grace_seconds: float = math.inf,
    ) -> None:
        self._shared = shared
        self._refs = refs
        self._supervisor = supervisor
        self._report = report
        self._grace_seconds = grace_seconds
        self._attendance = Attendance()
        self._numbers = count(1)
        self._present: dict[Connection, None] = {}  # all that have not ended
        self._proven: set[Connection] = set()
        self._strangers: dict[Connection, None] = {}  # who are to stay, the oldest first
        self._empty = trio.Event()
        self._accepting = trio.CancelScope()

    def connections(self) -> int:
        """How many are connected."""
        return len(self._present)

    def stop(self) -> None:
        """Accept nobody any more."""
        self._accepting.cancel()

    async def serve(self, listener: trio.SocketListener) -> None:
        """Accept clients; returns when stopped, with the connections still there."""
        with self._accepting:
            self._watch()
            while True:
                try:
                    stream = await listener.accept()
                except OSError as error:
                    if error.errno not in _NO_ROOM:
                        raise
                    self._report.failed("no-room-to-accept", error)
                    await trio.sleep(FULL_SECONDS)
                    continue
                await self._admit(stream)

    async def say_goodbye(self, within_seconds: float) -> None:
        """Have every connection end in good order, as far as that goes in time."""
        self._empty = trio.Event()
        for connection in self._present:
            connection.leave_soon()
        with trio.move_on_after(within_seconds):
            while self._present:
                await self._empty.wait()

    async def close(self) -> None:
        """Cut whatever is left."""
        for connection in list(self._present):
            await connection.close_stream()

    async def _admit(self, stream: trio.SocketStream) -> None:
        user = peer_user(stream.socket)
        if user != os.geteuid() or len(self._proven) >= MAX_CONNECTIONS:
            self._report.note("turned-away", user=-1 if user is None else user, connected=len(self._present))
            await trio.aclose_forcefully(stream)
            return
        connection = Connection(
            stream, self._shared, self._attendance, self._refs, self._report, proven=self._prove, left=self._left
        )
        self._present[connection] = self._strangers[connection] = None
        await self._make_room()
        self._watch()
        name = f"connection-{next(self._numbers)}"
        spec = ChildSpec(id=name, factory=lambda: connection, restart="temporary", rank=RANK, shutdown=1.0)
        try:
            self._supervisor().start_child(spec)
        except KernelError as error:  # everything is being restarted
            self._report.failed("turned-away", error)
            await connection.close_stream()
            self._left(connection)

    async def _make_room(self) -> None:
        """Have the strangers who have been here longest leave, if there are too many.

        SAFETY: any process of the user can come here and be silent.  If the newest were turned away instead, so many
        of those would keep everybody out who has a key, and with them ``daemon stop`` and each revocation.
        """
        while len(self._strangers) > MAX_STRANGERS:
            oldest = next(iter(self._strangers))
            del self._strangers[oldest]
            self._report.note("made-room", connected=len(self._present))
            await oldest.cut_off()

    def _prove(self, connection: Connection) -> None:
        """``connection`` has shown the key of a client."""
        self._strangers.pop(connection, None)
        self._proven.add(connection)

    def _left(self, connection: Connection) -> None:
        self._present.pop(connection, None)
        self._strangers.pop(connection, None)
        self._proven.discard(connection)
        self._watch()
        if not self._present:
            self._empty.set()

    def _watch(self) -> None:
        """Nobody there: the clock runs."""
        alone = not self._present
        self._accepting.deadline = trio.current_time() + self._grace_seconds if alone else math.inf
