"""What stands behind the ports besides the disk: clock, entropy, tools and models, hostile as the plan says.

A tool's behaviour goes by how many calls were looked at or run before, never by the call, so that the same call meets
different worlds.  Every call that a server is really given is told to the checker (``ran``), which keeps count.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from typing import Any

import msgspec
import trio

from astrid.core.blocks import Permission
from astrid.core.call import Call, Need, Preparation
from astrid.core.conversation import AnyStreamEvent, Done, ModelRequest, Text, TextDelta, ToolCallReady, Usage
from astrid.core.money import Price
from astrid.core.tools import OutputTrust, ToolSpec
from astrid.errors import InputError, ModelError, WorkspaceError
from astrid.ports import ToolOutcome
from tests.simulation.plan import Answer, Plan
from tests.simulation.plan import Call as PlannedCall

ROOT = "file://sim/work"
MODEL = "sim/shared"
START_NS = 1_790_000_000 * 10**9
PRICE = Price(input_micros_per_million=500_000, output_micros_per_million=2_000_000)
_ZEROS = bytes(32)
_EFFECTS = {
    "look": "read",
    "note": "staging",
    "pay": "staging",
    "run": "exec",
    "send": "egress",
    "wipe": "destructive",
    "trusted": "read",
    "fresh": "read",
    "secret": "read",
}
_MARK = re.compile(r"talk ([0-9]+) ")


class Planned(Exception):  # noqa: N818 - it is no error of ours
    """A bug of a tool or a model, as planned."""


class SimClock:
    """The ``Clock`` port: it runs with Trio's clock, and the wall can be set."""

    def __init__(self, wall_ns: int) -> None:
        self.wall_ns = wall_ns
        self.set_s = 0  # by how much it was set in this start

    def now_ns(self) -> int:
        return self.wall_ns + _elapsed_ns()

    def running_ns(self) -> int:
        return 10**12 + _elapsed_ns()

    def set_by(self, seconds: int) -> None:
        """Somebody sets the wall clock."""
        self.wall_ns += seconds * 10**9
        self.set_s += seconds

    def set_right(self) -> None:
        """Somebody sets it to where it would be."""
        self.set_by(-self.set_s)


def _elapsed_ns() -> int:
    try:
        return int(trio.current_time() * 10**9)
    except RuntimeError:  # before or after the run
        return 0


class SimEntropy:
    """The ``Entropy`` port: bytes that only the seed decides, never the same twice."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._count = 0

    def random_bytes(self, count: int) -> bytes:
        self._count += 1
        return hashlib.blake2b(f"{self._seed}/{self._count}".encode(), digest_size=count).digest()


def tool_spec(name: str) -> ToolSpec:
    """One of the workspace's tools."""
    return ToolSpec(
        name=name,
        host_kind="workspace",
        host_id="sim",
        description=b"",
        schema=b"{}",
        effect=_EFFECTS[name],
        control=(),
        verbs=(),
        nouns=(),
        output_trust=OutputTrust.FIRST_PARTY if name == "trusted" else OutputTrust.THIRD_PARTY,
        endorsed_fields=(),
        creates_id="",
        code=_ZEROS,
        profile=_ZEROS,
        fresh=name == "fresh",
    )


SPECS = tuple(map(tool_spec, _EFFECTS))
_NEEDS = {
    "look": Need(f"{ROOT}/a.txt", Permission.READ),
    "note": Need(f"{ROOT}/a.txt", Permission.WRITE),
    "pay": Need(f"{ROOT}/a.txt", Permission.READ),
    "run": Need("tool://sim/run", Permission.EXECUTE),
    "send": Need("net://443/com/example", Permission.INVOKE),
    "wipe": Need(f"{ROOT}/**", Permission.DELETE),
    "trusted": Need(f"{ROOT}/b.txt", Permission.READ | Permission.LIST),
    "fresh": Need(f"{ROOT}/b.txt", Permission.READ),
    "secret": Need("file://etc/shadow", Permission.READ),
}
_OTHER = {"look": Need(f"{ROOT}/c/d.txt", Permission.READ), "note": Need(f"{ROOT}/new.txt", Permission.CREATE)}


def arguments(call: PlannedCall) -> str:
    """The arguments of a planned call, as a model writes them."""
    match call.variant:
        case "malformed":
            return '{"n": '
        case "twice":
            return '{"n":1,"n":2}'
        case "huge":
            return '{"n":1,"pad":"' + "x" * 6_000 + '"}'
        case "deep":
            return "[" * 80 + "]" * 80
        case "surrogate":
            return '{"n":1,"s":"\\ud800"}'
        case variant:
            number = {"other": 2, "outside": 3}.get(variant, 1)
            micros = {"dear": 8_000, "too-dear": 70_000}.get(variant, 500)
            return f'{{"n":{number},"micros":{micros}}}'


class SimTools:
    """The ``ToolServer`` port: the workspace's tools.  ``gone`` says whether the machine has stopped."""

    def __init__(
        self, plan: Plan, note: Callable[[str], None], ran: Callable[[Call], None], gone: Callable[[], bool]
    ) -> None:
        self._plan = plan
        self._note = note
        self._ran = ran
        self._gone = gone
        self._looks = self._runs = self._hung = 0
        self.calm = False  # nothing special happens any more

    def specs(self) -> tuple[ToolSpec, ...]:
        return SPECS

    def glance(self, tool: str, args: bytes) -> None:
        """Has to look."""

    async def prepare(self, tool: str, args: bytes) -> Preparation:
        fault = "" if self.calm else self._plan.looks[self._looks % len(self._plan.looks)]
        self._looks += 1
        if fault:
            self._note(f"look:{fault}")
        await trio.lowlevel.checkpoint()
        match fault:
            case "slow":
                await trio.sleep(0.7)
            case "refuse":
                raise InputError("input.sim", "the tool cannot make sense of it")
            case "workspace":
                raise WorkspaceError("workspace.sim", "the folder is not there", effect="none")
            case "bug":
                raise Planned
            case "hang":
                await self._hang()
            case _:
                pass
        fields = _fields(args)
        need = _OTHER.get(tool, _NEEDS[tool]) if fields.get("n") == 2 else _NEEDS[tool]
        if fields.get("n") == 3:
            need = Need("file://sim/elsewhere/x.txt", need.permission)
        needs = (need, need) if fault == "unsorted" else () if fault == "wrong" else (need,)
        micros = int(fields.get("micros", 0)) if tool == "pay" else 0
        risk = 1 if tool == "note" else 0
        return Preparation(needs=needs, max_micros=micros, risk=risk, fresh=tool == "fresh", why="")

    async def execute(self, call: Call, report: Callable[[bytes], None]) -> ToolOutcome:
        if self._gone():
            await trio.sleep_forever()
        self._ran(call)
        fault = "" if self.calm else self._plan.runs[self._runs % len(self._plan.runs)]
        self._runs += 1
        if fault:
            self._note(f"run:{fault}")
        if fault == "hang":
            await self._hang()
        await trio.sleep(0.9 if fault == "slow" else 0.003)
        spent, said = call.max_micros, b"" if call.tool == "trusted" else b"UNTRUSTED "
        match fault:
            case "none" | "maybe" | "done":
                raise WorkspaceError("workspace.sim", "it went wrong", effect=fault)
            case "input":
                raise InputError("input.sim", "not like this")
            case "bug":
                raise Planned
            case "long":
                for _ in range(40):
                    report(b"z" * 200)
                return _outcome(said + b"y" * 30_000, spent)
            case "overspend":
                return _outcome(said + b"dear", spent + 40_000)
            case "negative":
                return _outcome(said + b"cheap", -5)
            case "lie":
                answer: Any = "surely"
                return ToolOutcome(content=b"x", is_error=False, effect=answer, spent_micros=0)
            case "text":
                text: Any = "no bytes"
                return _outcome(text, spent)
            case _:
                report(b"half")
                return _outcome(said + b"fine", spent)

    async def _hang(self) -> None:
        """The first that hangs does so for longer than anybody waits."""
        self._hung += 1
        await trio.sleep(900 if self._hung == 1 else 20)


def _outcome(content: bytes, spent: int) -> ToolOutcome:
    return ToolOutcome(content=content, is_error=False, effect="done", spent_micros=spent)


def _fields(args: bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(args, type=dict[str, Any])
    except msgspec.MsgspecError as error:
        raise InputError("input.sim", "not an object") from error


class SimModel:
    """The ``Model`` port: what each session's model says, by how often it was asked, so that it changes its mind."""

    name = MODEL
    price = PRICE

    def __init__(self, plan: Plan, note: Callable[[str], None], *, scripted: bool) -> None:
        self.scripted = scripted
        self._plan = plan
        self._note = note
        self._asked: dict[int, int] = {}

    def stream(self, request: ModelRequest) -> AbstractAsyncContextManager[AsyncIterator[AnyStreamEvent]]:
        return self._open(request)

    @asynccontextmanager
    async def _open(self, request: ModelRequest) -> AsyncGenerator[AsyncIterator[AnyStreamEvent]]:
        talk = talk_of(request)
        asked = self._asked[talk] = self._asked.get(talk, -1) + 1
        answers = self._plan.talks[talk].answers
        answer = answers[asked % len(answers)] if asked < 12 else Answer("", ())
        if answer.fault:
            self._note(f"model:{answer.fault}")
        await trio.sleep({"slow": 1.5, "hang": 25.0}.get(answer.fault, 0.004))
        match answer.fault:
            case "none" | "maybe" | "done":
                raise ModelError("model.sim", "the vendor failed", effect=answer.fault)
            case "bug":
                raise Planned
            case _:
                async with aclosing(self._events(answer, asked)) as events:
                    yield events

    async def _events(self, answer: Answer, asked: int) -> AsyncGenerator[AnyStreamEvent]:
        await trio.lowlevel.checkpoint()
        yield TextDelta(text="so" if answer.fault != "surrogate" else "\ud800")
        calls = answer.calls * 24 if answer.fault == "many" else answer.calls
        for number, call in enumerate(calls):
            # Ids that repeat, and one that is none: nobody may believe them.
            name = "session:" + "0" * 32 if call.variant == "other" else f"c{asked % 2}-{number}"
            yield ToolCallReady(id=name, name=call.tool, arguments=arguments(call))
        counted = {"overrun": 90_000, "negative": -1}.get(answer.fault, 30)
        yield Usage(input_tokens=counted, output_tokens=counted)
        if answer.fault != "cut":
            yield Done(stop_reason="tool_use" if calls else "end_turn")


def talk_of(request: ModelRequest) -> int:
    """Whose conversation this is: the first thing said in it names the session."""
    first = request.messages[0].parts[0]
    found = _MARK.match(first.text) if isinstance(first, Text) else None
    return int(found[1]) if found else 0
