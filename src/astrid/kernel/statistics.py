"""What a system looks like at one moment: a frozen tree of numbers.  It holds no refs and no messages."""

from __future__ import annotations

import msgspec

from astrid.kernel.errors import Misuse


class ActorStatistics(msgspec.Struct, frozen=True, kw_only=True, tag="actor"):
    """One actor.  Counters run over all its incarnations; times are in seconds."""

    id: int
    path: str
    rank: int
    state: str  # down, starting, up, stopping
    incarnation: int
    restarts: int
    age_seconds: float  # since this incarnation was started; 0 while it is down
    depth: int
    capacity: int
    control_depth: int
    control_capacity: int
    reserved: int  # answers that are awaited
    waiting: int  # senders that wait for room
    received: int
    refused: int
    dropped: int
    dead_letters: int
    late: int  # answers that came when nobody waited for them
    last_failure: str  # the type of the last error, or ""


class SupervisorStatistics(msgspec.Struct, frozen=True, kw_only=True, tag="supervisor"):
    """One supervisor and, left to right, what it supervises."""

    path: str
    rank: int
    strategy: str
    state: str  # down, up, stopping
    incarnation: int
    restarts: int  # of its children, by this incarnation
    children: tuple[ActorStatistics | SupervisorStatistics, ...]


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """A message that nobody handled.  Its type, never its content."""

    to: str
    incarnation: int
    sender: str
    message: str


class SystemStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """The whole system."""

    now_seconds: float
    root: SupervisorStatistics
    actors: int
    timers: int  # timers and asks whose time has not come
    dead_letters: int
    last_dead_letters: tuple[DeadLetter, ...]

    def actor(self, path: str) -> ActorStatistics:
        """The actor at this path.

        Raises:
            Misuse: no living actor is there.
        """
        node = _find(self.root, path)
        if not isinstance(node, ActorStatistics):
            raise Misuse("kernel.unknown_path", f"there is no actor at `{path}`")
        return node

    def supervisor(self, path: str) -> SupervisorStatistics:
        """The supervisor at this path.

        Raises:
            Misuse: no living supervisor is there.
        """
        node = _find(self.root, path)
        if not isinstance(node, SupervisorStatistics):
            raise Misuse("kernel.unknown_path", f"there is no supervisor at `{path}`")
        return node


def _find(node: ActorStatistics | SupervisorStatistics, path: str) -> ActorStatistics | SupervisorStatistics | None:
    if node.path == path:
        return node
    children = node.children if isinstance(node, SupervisorStatistics) else ()
    return next((found for child in children if (found := _find(child, path)) is not None), None)
