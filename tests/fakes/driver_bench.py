"""A driver on a bench: an install, a session, and a tool that does as it is told and writes down what it ran."""

from __future__ import annotations

from typing import Any

import msgspec

from astrid.core.call import Call, Preparation, decode_call
from astrid.core.canon import Domain
from astrid.core.chain import Frame, decode_body, decode_frame
from astrid.core.decide import Limits
from astrid.core.driver import Driver, FromHost
from astrid.core.driver_disk import Disk, Setup
from astrid.core.facts import Principal
from astrid.core.gate_messages import Connecting, Execute, Executed, Prepare, Prepared, ToHost, Unprepared, Withdraw
from astrid.core.install import Revocation, sign_statement
from astrid.core.records import BODIES, Kind
from astrid.core.verify import LogKeys
from tests.fakes.authority import AUD, HOLDER, NOW, ROOTS, SESSION, SESSION_KEY, USER, WORKSPACE
from tests.fakes.gate_bench import RICH, SECOND, STANDING, preparation
from tests.fakes.logs import LOG_ID, RUNTIME
from tests.fakes.rules import policy, spec

SETUP = Setup(
    keys=LogKeys(AUD, LOG_ID, RUNTIME.public),
    runtime_key=RUNTIME,
    roots=ROOTS,
    policy=policy(),
    keeper=HOLDER.public,
    seed=b"s" * 32,
)
READ_FILE = spec("read_file", "read", output_trust=1)
ASKS = preparation(fresh=True, why="a person has to see it")


class Tool:
    """A host.  ``look`` is what it says of the next calls, ``fields`` what it says of their end; ``silent``: it runs
    them and says nothing (``owed``).
    """

    def __init__(self) -> None:
        self.look: Preparation | Unprepared = preparation()
        self.fields: dict[str, Any] = {}
        self.silent = False
        self.asked: list[ToHost] = []
        self.owed: list[Execute] = []

    def __call__(self, asked: ToHost) -> FromHost | None:
        self.asked.append(asked)
        match asked:
            case Prepare():
                if isinstance(self.look, Unprepared):
                    return msgspec.structs.replace(self.look, ref=asked.ref)
                return Prepared(ref=asked.ref, preparation=self.look)
            case Execute() if self.silent:
                self.owed.append(asked)
                return None
            case Execute():
                return executed(asked, **self.fields)
            case Withdraw() | Connecting():
                return None

    @property
    def ran(self) -> list[Execute]:
        """What it was told to run."""
        return [one for one in self.asked if isinstance(one, Execute)]

    @property
    def calls(self) -> list[Call]:
        """The calls of these."""
        return [decode_call(one.call) for one in self.ran]


def executed(asked: Execute, **fields: Any) -> Executed:
    """What a host says that ran a call."""
    said = Executed(
        ref=asked.ref, permit_seq=asked.permit_seq, content=b"ok", is_error=False, effect="done", spent_micros=0
    )
    return msgspec.structs.replace(said, **fields)


class Bench:
    """A driver with one tool and one session.  A start on what another one left has both anew."""

    def __init__(self, driver: Driver | None = None, *, limits: Limits = RICH, asks: bool = True) -> None:
        self.driver = driver or Driver(SETUP, now_ns=NOW * SECOND)
        self.tool = Tool()
        self.limits = limits
        self.host = self.driver.offer("box", (READ_FILE,), self.tool)
        self.me = self.driver.register(principal(limits=limits, asks=asks))

    def call(self, *tokens: bytes, tool: str = "read_file", args: bytes = b"{}") -> Any:
        """One call to its end, on the strength of ``tokens``, or of the one that lets it do everything."""
        return self.driver.call(self.me, tool, args, *(tokens or (STANDING.raw,)))

    def propose(self, *tokens: bytes, tool: str = "read_file", args: bytes = b"{}") -> int:
        """A call that only begins."""
        return self.driver.propose(self.me, tool, args, *(tokens or (STANDING.raw,)))

    def permitted(self) -> int:
        """A call whose permit waits to be written."""
        number = self.propose()
        self.driver.step()
        self.driver.step()
        return number

    def asking(self, look: Preparation = ASKS, args: bytes = b"{}") -> tuple[int, bytes, bytes]:
        """A call that waits for a person; with the id and the bytes of its question, which is the newest."""
        self.tool.look = look
        number = self.propose(args=args)
        self.driver.run()
        qid, one = self.driver.approvals.waiting()[-1]
        return number, qid, one.raw

    def restart_tool(self) -> None:
        """The host dies; another one has its tool."""
        self.driver.kill_host(self.host)
        self.tool = Tool()
        self.host = self.driver.offer("box", (READ_FILE,), self.tool)

    def crash(self) -> Bench:
        """Another start on what is durable."""
        return Bench(self.driver.crash(), limits=self.limits)


def principal(**fields: Any) -> Principal:
    """The session that STANDING was made for."""
    made = Principal(
        key=SESSION_KEY.public, session=SESSION, workspace=WORKSPACE, toolboxes=("box",), limits=RICH, asks=True
    )
    return msgspec.structs.replace(made, **fields)


def revocation(target: bytes, kind: str = "token") -> bytes:
    """A person's word that ``target`` holds no longer."""
    return sign_statement(Domain.REVOKE, Revocation(AUD, target, kind, NOW, USER.public), USER)


def frames(disk: Disk) -> list[tuple[Frame, Any]]:
    """What the log says, decoded."""
    return [(frame, decode_body(frame)) for frame in map(decode_frame, disk.frames())]


def bodies(disk: Disk, kind: Kind) -> list[Any]:
    """What the records of one kind say."""
    return [body for _, body in frames(disk) if isinstance(body, BODIES[kind])]
