"""What starts programs for agents, and the boxes that hold them, as Protocols and data.  As ``ports``, for what runs.

Never: imports an adapter, or lets the one who asks for a program choose its box.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Literal, Protocol

import msgspec
import trio

Tier = Literal["l1", "l0"]
Serve = Callable[[trio.abc.Listener[trio.abc.HalfCloseableStream]], Awaitable[object]]
"""Takes what a program connects to, until it is cancelled; then all of that is closed."""


class Box(msgspec.Struct, frozen=True, kw_only=True):
    """What the programs of one session see and may use, all of it the same for each call.

    ``folder`` is the workspace, open; it must stay so while the box is used.  ``lent`` and ``write`` are real paths of
    what lies elsewhere, to read and run, and to change.  ``protect`` are names below the workspace that stay as they
    are, also where they are not there yet.  ``network`` is whether a program has a way out of its own empty network:
    one TCP port in there, which it finds by the usual variables for a proxy.  The last four are kept by a watch, which
    can be late: how much all processes together may hold in memory, how many there may be, how much the workspace may
    grow, by how many files.
    """

    tier: Tier
    workspace: str
    folder: int
    run: tuple[str, ...] = ()
    read: tuple[str, ...] = ()
    lent: tuple[str, ...] = ()
    write: tuple[str, ...] = ()
    protect: tuple[str, ...] = ()
    limits: Mapping[str, int] = {}
    tmp_bytes: int = 256 << 20
    network: bool = False
    memory_bytes: int = 4 << 30
    processes: int = 512
    growth_bytes: int = 2 << 30
    growth_files: int = 200_000


class Leave(msgspec.Struct, frozen=True, kw_only=True):
    """What one program gets on top of its session's box, each of it decided about: real paths outside of the workspace
    to ``read``, and to read and ``write``; what ``serve`` has its way out, if the shell lets it out.
    """

    read: tuple[str, ...] = ()
    write: tuple[str, ...] = ()
    serve: Serve | None = None


NO_LEAVE = Leave()


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """How a contained program ended.  ``returncode`` is negative for a signal; ``stopped`` names the limit of all its
    processes together at which the kernel ended it, if it did.
    """

    returncode: int
    cpu_seconds: float
    max_rss_kb: int
    stopped: str = ""


class Finished(msgspec.Struct, frozen=True, kw_only=True):
    """A program that ran to its end, or to a limit: ``stopped`` names that, and is empty otherwise.  ``returncode`` is
    negative for a signal; the outputs are cut at the caller's limit.
    """

    returncode: int
    stdout: bytes
    stderr: bytes
    truncated: bool
    stopped: str


class Contained(Protocol):
    """A program that runs in a box.  When its supervisor is gone, so is everything that it started."""

    @property
    def stdin(self) -> trio.abc.SendStream:
        """What it reads."""
        ...

    @property
    def stdout(self) -> trio.abc.ReceiveStream:
        """What it writes."""
        ...

    @property
    def stderr(self) -> trio.abc.ReceiveStream:
        """What it complains of."""
        ...

    @property
    def way_out(self) -> trio.abc.Listener[trio.abc.HalfCloseableStream]:
        """Where what it connects to is accepted, if its box has a way out."""
        ...

    @property
    def pid(self) -> int:
        """The number of its supervisor, from which its whole tree descends."""
        ...

    async def wait(self) -> Ended:
        """Its end: nothing of it is left then.

        Raises:
            LaunchError: who it was started by died, and it with that.
        """
        ...

    async def stop(self, *, grace_seconds: float) -> Ended:
        """Ask it to end, and kill it and all it started when it has not after ``grace_seconds``."""
        ...

    def kill(self) -> None:
        """Kill it and all it started."""
        ...

    async def aclose(self) -> None:
        """Kill it, if it still runs, and let go of it.  Cancelled, all that still happens."""
        ...


class Launcher(Protocol):
    """The one way to start a program for an agent."""

    async def start(self, box: Box, argv: Sequence[str], *, cwd: str, env: Mapping[str, str]) -> Contained:
        """Start ``argv`` in ``box``, in the folder ``cwd`` below the workspace, with ``env`` and nothing else.

        Raises:
            LaunchError: it could not be started (``effect`` none).
        """
        ...

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
        """Run ``argv`` without input to its end, or to a limit: of time, output, or one of the box.  With ``serve`` the
        box has a way out, which that serves meanwhile.

        Raises:
            LaunchError: it could not be started (``effect`` none), or was lost (``maybe``).
        """
        ...


class Shell(Protocol):
    """Where the command lines of workspaces run, and what holds them there.  Chosen once, for all sessions."""

    @property
    def profile(self) -> bytes:
        """The digest that names what holds them; part of every call that is decided on."""
        ...

    @property
    def about(self) -> str:
        """What a model is to know of it, as a sentence; empty if there is nothing."""
        ...

    @property
    def contains(self) -> bool:
        """Whether the box holds all that a line can do: it changes files of the workspace that no rule protects, and
        nothing else.
        """
        ...

    @property
    def lets_out(self) -> bool:
        """Whether a line has a network of its own, which is empty but for a way out that ``run`` is given."""
        ...

    @property
    def why(self) -> str:
        """Why a person is asked about a line."""
        ...

    def check(self) -> None:
        """Return if lines are run at all.

        Raises:
            LaunchError: nothing is started here.
        """
        ...

    async def run(
        self,
        argv: Sequence[str],
        *,
        workspace: str,
        folder: int,
        env: Mapping[str, str],
        seconds: float,
        max_bytes: int,
        cwd: str = "",
        leave: Leave = NO_LEAVE,
    ) -> Finished:
        """Run ``argv`` without input in the folder ``workspace``, which is open as ``folder``, or in ``cwd`` below it,
        for at most ``seconds``.

        Raises:
            LaunchError: it could not be started (``effect`` none), was lost (``maybe``), or would not die (``done``).
        """
        ...
