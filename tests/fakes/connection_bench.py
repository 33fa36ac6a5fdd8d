"""One connection between two memory streams, with a gateway that answers as it is told: no socket, disk or thread."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import trio
import trio.testing
from trio_websocket import wrap_client_stream

from astrid.adapters.system import SystemClock, SystemEntropy
from astrid.core.checkpoint import Checkpoint, sign_checkpoint
from astrid.daemon.attendance import Attendance
from astrid.daemon.connection import Connection
from astrid.daemon.report import Report
from astrid.daemon.shared import Shared
from astrid.frontends.client import Client
from astrid.kernel import Actor, ChildSpec, Ref, Sender, SupervisorSpec, open_system
from astrid.messages.approvals import ListOpen
from astrid.messages.gateway import Attended, ListSessions, SessionLine
from astrid.runtime.boot import World
from tests.fakes.daemon_home import make_client_home
from tests.fakes.home import LOG_ID, RUNTIME

SESSION = b"\x0a" * 16
NAME = f"session:{SESSION.hex()}"


class FakeBooks:
    """A log of one record, whose checkpoint is signed."""

    async def newest_checkpoint(self) -> tuple[int, bytes]:
        state = Checkpoint(log_id=LOG_ID, size=1, root=b"\1" * 32, tip=b"\2" * 32, boot=1)
        return 1, sign_checkpoint(state, RUNTIME)

    async def messages(self, session: bytes) -> int:
        return 0

    async def consistency(self, old: int, new: int) -> tuple[bytes, ...]:
        return ()


class FakeActor(Actor):
    """Answers asks by ``answer`` and keeps what else it got."""

    def __init__(self, answer: Callable[[object], object]) -> None:
        self._answer = answer
        self.got: list[object] = []

    async def receive(self, message: object, sender: Sender) -> object:
        self.got.append(message)
        answer = self._answer(message)
        if answer is NEVER:
            await trio.sleep_forever()
        return answer


NEVER = object()


def one_session(message: object) -> object:
    """A gateway with one idle session."""
    match message:
        case ListSessions():
            return (
                SessionLine(
                    session=SESSION,
                    workspace="/w",
                    mode="safe",
                    model="m",
                    state="idle",
                    created_ns=0,
                    turns=0,
                    deferred=0,
                ),
            )
        case ListOpen() | Attended():
            return ()
        case _:
            return None


class Bench:
    """What a test looks at."""

    def __init__(self, world: World, gateway: FakeActor, connection: Connection, ref: Ref) -> None:
        self.world = world
        self.gateway = gateway
        self.connection = connection
        self.ref = ref
        self.left: list[Connection] = []

    @property
    def attended(self) -> list[bool]:
        return [message.present for message in self.gateway.got if isinstance(message, Attended)]


@asynccontextmanager
async def bench(
    root: Path,
    *,
    answer: Callable[[object], object] = one_session,
    streams: tuple[trio.abc.Stream, trio.abc.Stream] | None = None,
) -> AsyncIterator[tuple[Bench, trio.abc.Stream]]:
    """A connection that runs, and the client's end of its stream."""
    home, _ = make_client_home(root / "home")
    world = World(home, clock=SystemClock(), entropy=SystemEntropy())
    mine, theirs = streams or trio.testing.memory_stream_pair()
    gateway, refs, report = FakeActor(answer), {}, Report(home.daemon_log, verbose=True)
    shared = Shared(
        world=world,
        books=FakeBooks(),  # type: ignore[arg-type]
        ephemeral=False,
        began=trio.current_time(),
        stop=lambda: None,
        connections=lambda: 1,
    )
    gone: list[Connection] = []
    connection = Connection(theirs, shared, Attendance(), refs, report, proven=lambda _: None, left=gone.append)
    spec = SupervisorSpec(
        id="root",
        children=(
            ChildSpec(id="gateway", factory=lambda: gateway, rank=50),
            ChildSpec(id="approvals", factory=lambda: FakeActor(answer), rank=20),
            SupervisorSpec(id="connections", rank=60),
        ),
    )
    try:
        async with open_system(spec) as system:
            refs.update({path: system.ref(path) for path in ("root/gateway", "root/approvals")})
            child = ChildSpec(id="one", factory=lambda: connection, restart="temporary", rank=60, shutdown=1.0)
            made = Bench(world, gateway, connection, system.supervisor("root/connections").start_child(child))
            made.left = gone
            yield made, mine
    finally:
        await trio.aclose_forcefully(mine)
        report.close()


@asynccontextmanager
async def client_on(made: Bench, stream: trio.abc.Stream) -> AsyncIterator[Client]:
    """The product's client on the other end, admitted."""
    async with trio.open_nursery() as nursery:
        web = await wrap_client_stream(nursery, stream, "localhost", "/")  # type: ignore[arg-type]
        client = Client(made.world.home, web)
        nursery.start_soon(client.listen)
        await client.meet(authenticate=True)
        yield client
        nursery.cancel_scope.cancel()
