"""A tool host between a probe for the gate and a server that does what a test says."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
import trio
from trio.testing import MockClock

from astrid.core.call import Call, Preparation, encode_call
from astrid.core.gate_messages import Execute, Executed, Prepare, Prepared, Progress, Unprepared, Withdraw
from astrid.core.tools import ToolSpec
from astrid.errors import EdgeError, InputError, InternalError, WorkspaceError
from astrid.hosts.tool_host import JOB_SECONDS, MAX_JOBS, MAX_SPARE, Ping, tool_host
from astrid.hosts.tool_worker import Looked, Ran
from astrid.kernel import ChildSpec, Down, Ref, SupervisorSpec, System, open_system
from astrid.kernel.testing import Probe, cancel_at_every_step, settle
from astrid.messages.gate import Offer, Strayed
from astrid.ports import ToolOutcome
from tests.fakes.authority import call
from tests.fakes.gate_bench import preparation
from tests.fakes.rules import spec

SPEC = spec("write_file", "staging")
CALL = call(tooldef=SPEC.tooldef(), max_micros=70)
DONE = ToolOutcome(content=b"done", is_error=False, effect="done", spent_micros=5)


class Server:
    """A ``ToolServer`` whose calls wait until the test lets them go on."""

    def __init__(self) -> None:
        self.prepared: list[bytes] = []
        self.executed: list[bytes] = []
        self.ended: list[str] = []
        self.wait = False  # whether calls wait for ``go``
        self.go = trio.Event()
        self.error: Exception | None = None
        self.cleanup_seconds = 0.0
        self.pieces: tuple[bytes, ...] = ()
        self.at_a_glance: Callable[[bytes], Preparation | None] = lambda args: None

    def specs(self) -> tuple[ToolSpec, ...]:
        return (SPEC,)

    def glance(self, tool: str, args: bytes) -> Preparation | None:
        return self.at_a_glance(args)

    async def prepare(self, tool: str, args: bytes) -> Preparation:
        self.prepared.append(args)
        await self._work()
        return preparation()

    async def execute(self, call: Call, report: Callable[[bytes], None]) -> ToolOutcome:
        self.executed.append(call.args)
        for piece in self.pieces:
            report(piece)
        await self._work()
        return DONE

    async def _work(self) -> None:
        try:
            if self.wait:
                await self.go.wait()
            if self.error is not None:
                raise self.error
            self.ended.append("ended")
        except trio.Cancelled:
            with trio.CancelScope(shield=True):
                await trio.sleep(self.cleanup_seconds)
            self.ended.append("cancelled")
            raise


class Bench:
    def __init__(self) -> None:
        self.server = Server()
        self.gate = Probe()
        self.made: list[Ref] = []
        self.failures: list[BaseException] = []

    def tree(self, system: System) -> SupervisorSpec:
        self.system = system
        self.interceptor = ChildSpec("interceptor", lambda: self.gate, rank=30)
        tools = SupervisorSpec("tools", rank=25, stop="together")
        return SupervisorSpec("root", children=(self.interceptor, tools))

    def start(self) -> None:
        gate = self.system.ref("root/interceptor")
        spec = tool_host("files", "box", lambda: self.server, gate, self.made.append)
        self.system.supervisor("root/tools").start_child(spec)

    @property
    def front(self) -> Ref:
        return self.system.ref("root/tools/files/front")

    def failed(self, _ref: object, _reason: object, error: BaseException) -> None:
        self.failures.append(error)

    def got(self, kind: type) -> list[Any]:
        return [message for message in self.gate.messages if isinstance(message, kind)]

    def workers(self) -> int:
        return len(self.system.snapshot().root.children[1].children[0].children) - 1  # type: ignore[union-attr]

    async def prepare(self, ref: int = 1, args: bytes = b"{}") -> None:
        self.gate.ctx.post(self.front, Prepare(ref=ref, tool="write_file", args=args), ("Prepare", ref))
        await settle()

    async def execute(self, ref: int = 1, seq: int = 10, made: Call = CALL, **fields: Any) -> None:
        message: dict[str, Any] = {"ref": ref, "permit_seq": seq, "call": encode_call(made)}
        message["incarnation"] = self.front.incarnation
        self.gate.ctx.post(self.front, Execute(**(message | fields)), ("Execute", ref))
        await settle()


@asynccontextmanager
async def running(*, broken: bool = False) -> AsyncIterator[Bench]:
    bench = Bench()
    async with open_system(bench.tree, on_failure=bench.failed):
        bench.start()
        await settle()
        yield bench
    assert broken or not bench.failures, bench.failures


# ---- on offer


async def test_a_host_offers_its_tools_before_it_says_that_it_is_there(autojump_clock: MockClock) -> None:
    async with running() as bench:
        assert bench.got(Offer) == [Offer(toolbox="box", specs=(SPEC,))]
        assert bench.made == [bench.front]
        assert await bench.system.ask(bench.front, Ping(), within=1) is True


# ---- looking


async def test_what_a_call_would_touch_is_answered(autojump_clock: MockClock) -> None:
    async with running() as bench:
        await bench.prepare(7, b'{"a":1}')
        assert bench.got(Prepared) == [Prepared(ref=7, preparation=preparation())]
        assert bench.server.prepared == [b'{"a":1}']


@pytest.mark.parametrize(
    ("error", "layer"),
    [
        (WorkspaceError("workspace.outside", "not here", effect="none", advice="stay"), "workspace"),
        (InputError("tool.arguments", "no sense", advice="correct them"), "input"),
        (EdgeError("model.down", "not there", effect="none"), "input"),
    ],
)
async def test_what_cannot_be_prepared_is_refused_with_its_reason(
    autojump_clock: MockClock, error: EdgeError | InputError, layer: str
) -> None:
    async with running() as bench:
        bench.server.error = error
        await bench.prepare()
        assert bench.got(Unprepared) == [
            Unprepared(ref=1, layer=layer, code=error.code, reason=error.message, advice=error.advice)
        ]


async def test_what_follows_from_the_call_alone_is_said_at_once_and_nobody_has_to_look(
    autojump_clock: MockClock,
) -> None:
    async with running() as bench:
        bench.server.at_a_glance = lambda args: preparation() if args == b'{"known": 1}' else None
        await bench.prepare(1, b'{"known": 1}')
        await bench.prepare(2, b"{}")
        assert bench.got(Prepared) == [Prepared(ref=ref, preparation=preparation()) for ref in (1, 2)]
        assert bench.server.prepared == [b"{}"]


@pytest.mark.parametrize(
    "error", [InputError("tool.arguments", "no sense"), ValueError("a bug"), RecursionError("a call made for it")]
)
async def test_what_goes_wrong_at_a_glance_is_met_again_by_a_worker_that_answers_for_it(
    autojump_clock: MockClock, error: Exception
) -> None:
    """A front that ended by it would take the calls of all sessions with it, each time that one of them sent it."""

    def fails(args: bytes) -> Preparation | None:
        raise error

    async with running(broken=not isinstance(error, InputError)) as bench:
        bench.server.wait = True
        await bench.execute(9)
        bench.server.at_a_glance, bench.server.error = fails, error
        bench.server.wait = False
        await bench.prepare(1)
        [refused] = bench.got(Unprepared)
        assert refused.code == ("tool.arguments" if isinstance(error, InputError) else "tool.failed")
        assert bench.front.incarnation == 1
        bench.server.error = None
        bench.server.go.set()
        await settle()
        assert [one.ref for one in bench.got(Executed)] == [9]


@pytest.mark.parametrize("error", [ValueError("a bug"), InternalError("a.bug", "a bug")])
async def test_a_bug_while_looking_is_a_refusal_and_the_host_goes_on(
    autojump_clock: MockClock, error: Exception
) -> None:
    async with running(broken=True) as bench:
        bench.server.error = error
        await bench.prepare()
        assert [(one.layer, one.code) for one in bench.got(Unprepared)] == [("tool", "tool.failed")]
        bench.server.error = None
        await bench.prepare(2)
        assert len(bench.got(Prepared)) == 1
        assert bench.front.incarnation == 1


# ---- running


async def test_a_call_runs_with_the_very_bytes_that_were_permitted(autojump_clock: MockClock) -> None:
    async with running() as bench:
        await bench.execute(3, 12, msgspec.structs.replace(CALL, args=b'{"x": 1 }'))
        assert bench.server.executed == [b'{"x": 1 }']
        assert bench.got(Executed) == [
            Executed(ref=3, permit_seq=12, content=b"done", is_error=False, effect="done", spent_micros=5)
        ]


async def test_what_streams_is_passed_on_before_the_end(autojump_clock: MockClock) -> None:
    async with running() as bench:
        bench.server.pieces = (b"a", b"b")
        await bench.execute()
        said = [message for message in bench.gate.messages if isinstance(message, Progress | Executed)]
        assert said[:2] == [Progress(ref=1, chunk=b"a"), Progress(ref=1, chunk=b"b")]
        assert isinstance(said[2], Executed)


UNFIT: dict[str, dict[str, Any]] = {
    "tool.changed": {"incarnation": 2},
    "tool.not-run": {"call": b"nonsense"},
    "tool.permit-used": {"seq": 10},
}


@pytest.mark.parametrize("code", UNFIT)
async def test_a_permit_that_does_not_fit_runs_nothing_and_costs_nothing(autojump_clock: MockClock, code: str) -> None:
    async with running() as bench:
        await bench.execute(1, 10)
        changed: dict[str, Any] = {"seq": 11} | UNFIT[code]
        await bench.execute(2, **changed)
        told = bench.got(Executed)[-1]
        assert (told.ref, told.effect, told.spent_micros, told.is_error) == (2, "none", 0, True)
        assert told.content.startswith(code.encode() + b":")
        assert len(bench.server.executed) == 1


@pytest.mark.parametrize("change", [{"tooldef": b"X" * 32}, {"tool": "other"}])
async def test_a_permit_for_another_definition_runs_nothing(autojump_clock: MockClock, change: dict[str, Any]) -> None:
    async with running() as bench:
        await bench.execute(made=msgspec.structs.replace(CALL, **change))
        assert [(one.effect, one.content[:12]) for one in bench.got(Executed)] == [("none", b"tool.changed")]
        assert bench.server.executed == []


async def test_a_permit_that_was_refused_is_used_up(autojump_clock: MockClock) -> None:
    async with running() as bench:
        await bench.execute(1, 10, incarnation=5)
        await bench.execute(2, 10)
        assert [one.effect for one in bench.got(Executed)] == ["none", "none"]
        assert bench.server.executed == []


@pytest.mark.parametrize(
    ("error", "effect", "spent"),
    [
        (EdgeError("model.late", "too late", effect="maybe"), "maybe", 70),
        (EdgeError("model.billed", "a bill", effect="done"), "done", 70),
        (EdgeError("model.refused", "never sent", effect="none"), "none", 0),
        (InputError("tool.arguments", "no sense"), "none", 0),
    ],
)
async def test_an_error_costs_what_it_may_have_done(
    autojump_clock: MockClock, error: EdgeError | InputError, effect: str, spent: int
) -> None:
    async with running() as bench:
        bench.server.error = error
        await bench.execute()
        [told] = bench.got(Executed)
        assert (told.effect, told.spent_micros, told.is_error) == (effect, spent, True)
        assert told.content == f"{error.code}: {error.message}".encode()


@pytest.mark.parametrize("error", [ValueError("a bug"), InternalError("a.bug", "a bug")])
async def test_a_bug_while_running_may_have_acted_and_is_paid_in_full(
    autojump_clock: MockClock, error: Exception
) -> None:
    async with running(broken=True) as bench:
        bench.server.error = error
        await bench.execute()
        [told] = bench.got(Executed)
        assert (told.effect, told.spent_micros, told.is_error) == ("maybe", 70, True)
        assert b"bug" not in told.content
        bench.server.error = None
        await bench.execute(2, 11)
        assert bench.got(Executed)[-1].effect == "done"
        assert bench.front.incarnation == 1


async def test_a_text_that_is_no_text_does_not_break_the_answer(autojump_clock: MockClock) -> None:
    async with running() as bench:
        bench.server.error = WorkspaceError("workspace.name", "no \udcff here", effect="none")
        await bench.execute()
        assert bench.got(Executed)[0].content == b"workspace.name: no ? here"


# ---- many at once


async def test_a_slow_call_holds_up_no_other(autojump_clock: MockClock) -> None:
    async with running() as bench:
        bench.server.wait = True
        await bench.execute(1, 10)
        await bench.prepare(2)
        bench.server.wait = False
        await bench.execute(3, 11)
        await bench.prepare(4)
        assert [one.ref for one in bench.got(Executed)] == [3]
        assert [one.ref for one in bench.got(Prepared)] == [4]
        bench.server.go.set()
        await settle()
        assert [one.ref for one in bench.got(Executed)] == [3, 1]
        assert [one.ref for one in bench.got(Prepared)] == [4, 2]


async def test_beyond_so_many_jobs_the_tool_is_busy(autojump_clock: MockClock) -> None:
    async with running() as bench:
        bench.server.wait = True
        for number in range(MAX_JOBS):
            await bench.prepare(number + 1)
        await bench.prepare(1000)
        await bench.execute(1001)
        assert [(one.ref, one.layer, one.code) for one in bench.got(Unprepared)] == [(1000, "tool", "tool.busy")]
        assert [(one.effect, one.content[:9]) for one in bench.got(Executed)] == [("none", b"tool.busy")]
        bench.server.go.set()
        await settle()
        await bench.execute(1002, 11)
        assert bench.got(Executed)[-1].effect == "done"


# ---- workers


async def test_one_worker_does_what_comes_one_after_the_other(autojump_clock: MockClock) -> None:
    async with running() as bench:
        for number in range(1, 6):
            await bench.prepare(number)
            await bench.execute(number, 10 + number)
        assert [one.effect for one in bench.got(Executed)] == ["done"] * 5
        assert bench.workers() == 1


async def test_no_more_workers_stay_than_so_many(autojump_clock: MockClock) -> None:
    async with running() as bench:
        bench.server.wait = True
        for number in range(MAX_SPARE + 5):
            await bench.execute(number + 1, 10 + number)
        assert bench.workers() == MAX_SPARE + 5
        bench.server.go.set()
        await settle()
        assert len(bench.got(Executed)) == MAX_SPARE + 5
        assert bench.workers() == MAX_SPARE


async def test_a_worker_that_broke_is_given_nothing_more(autojump_clock: MockClock) -> None:
    async with running(broken=True) as bench:
        await bench.execute(1, 10)
        bench.server.error = ValueError("a bug")
        await bench.execute(2, 11)
        assert bench.workers() == 0
        bench.server.error = None
        await bench.execute(3, 12)
        assert [one.effect for one in bench.got(Executed)] == ["done", "maybe", "done"]


async def test_a_worker_that_ended_while_it_waited_is_passed_over(autojump_clock: MockClock) -> None:
    async with running() as bench:
        await bench.execute(1, 10)
        bench.system.supervisor("root/tools/files").stop_child("worker-1")
        await settle()
        await bench.execute(2, 11)
        assert [one.effect for one in bench.got(Executed)] == ["done", "done"]
        assert bench.workers() == 1


async def test_a_call_that_is_given_to_a_worker_as_it_ends_is_answered(autojump_clock: MockClock) -> None:
    async with running() as bench:
        await bench.execute(1, 10)
        message = Execute(ref=2, permit_seq=11, call=encode_call(CALL), incarnation=1)
        bench.gate.ctx.post(bench.front, message, ("Execute", 2))
        bench.system.supervisor("root/tools/files").stop_child("worker-1")
        await settle()
        assert [one.ref for one in bench.got(Executed)] == [1, 2]


async def test_a_withdrawal_that_comes_late_does_not_reach_what_its_worker_does_next(autojump_clock: MockClock) -> None:
    async with running() as bench:
        await bench.execute(1, 10)
        bench.server.wait = True
        await bench.execute(2, 11)
        await withdraw(bench, 1)
        assert bench.server.ended == ["ended"]
        bench.server.go.set()
        await settle()
        assert [(one.ref, one.effect) for one in bench.got(Executed)] == [(1, "done"), (2, "done")]


async def test_what_follows_a_withdrawn_call_on_its_worker_is_not_withdrawn(autojump_clock: MockClock) -> None:
    async with running() as bench:
        bench.server.wait = True
        await bench.execute(1, 10)
        await withdraw(bench, 1)
        bench.server.wait = False
        await bench.execute(2, 11)
        assert [(one.ref, one.effect) for one in bench.got(Executed)] == [(1, "maybe"), (2, "done")]
        assert bench.workers() == 1


# ---- withdrawing


async def withdraw(bench: Bench, ref: int = 1) -> None:
    bench.gate.ctx.post(bench.front, Withdraw(ref=ref))
    await settle()


async def test_a_withdrawn_call_is_stopped_at_once_and_may_have_acted(autojump_clock: MockClock) -> None:
    async with running() as bench:
        bench.server.wait = True
        await bench.execute()
        began = trio.current_time()
        await withdraw(bench)
        [told] = bench.got(Executed)
        assert (told.effect, told.spent_micros, trio.current_time()) == ("maybe", 70, began)
        assert told.content.startswith(b"tool.stopped:")
        assert bench.server.ended == ["cancelled"]


async def test_a_withdrawn_call_is_answered_once_it_has_cleaned_up(autojump_clock: MockClock) -> None:
    async with running() as bench:
        bench.server.wait, bench.server.cleanup_seconds = True, JOB_SECONDS - 5
        await bench.execute()
        await withdraw(bench)
        assert bench.got(Executed) == []
        await trio.sleep(JOB_SECONDS)
        assert [one.effect for one in bench.got(Executed)] == ["maybe"]


async def test_what_is_withdrawn_before_it_began_did_nothing(autojump_clock: MockClock) -> None:
    async with running() as bench:
        message = Execute(ref=1, permit_seq=10, call=encode_call(CALL), incarnation=1)
        bench.gate.ctx.post(bench.front, message, ("Execute", 1))
        bench.gate.ctx.post(bench.front, Withdraw(ref=1))
        await settle()
        [told] = bench.got(Executed)
        assert (told.effect, told.spent_micros, bench.server.executed) in (
            ("none", 0, []),
            ("maybe", 70, [b'{"path":"a.txt"}']),
        )


async def test_a_withdrawal_of_what_is_not_running_is_nothing(autojump_clock: MockClock) -> None:
    async with running() as bench:
        await withdraw(bench, 5)
        await bench.execute()
        await withdraw(bench)
        assert len(bench.got(Executed)) == 1


async def test_a_call_that_ends_as_it_is_withdrawn_is_answered_once(autojump_clock: MockClock) -> None:
    async with running() as bench:
        bench.server.wait = True
        await bench.execute()
        bench.server.go.set()
        await withdraw(bench)
        assert len(bench.got(Executed)) == 1


# ---- ends


async def test_stopping_the_host_ends_every_call_at_once(autojump_clock: MockClock) -> None:
    async with running() as bench:
        bench.server.wait, bench.server.cleanup_seconds = True, 2.0
        for number in range(5):
            await bench.execute(number + 1, 10 + number)
        await bench.prepare(99)
        began = trio.current_time()
    assert trio.current_time() - began < 2.0 + 1.0
    assert bench.server.ended == ["cancelled"] * 6


async def test_a_front_that_breaks_takes_its_calls_with_it_and_begins_anew(autojump_clock: MockClock) -> None:
    async with running(broken=True) as bench:
        bench.server.wait = True
        await bench.execute()
        bench.gate.ctx.monitor(bench.front)
        bench.gate.ctx.post(bench.front, "nonsense")
        await trio.sleep(5)
        assert bench.server.ended == ["cancelled"]
        assert len(bench.got(Down)) == 1
        assert len(bench.got(Offer)) == 2
        assert bench.workers() == 0
        assert bench.got(Executed) == []
        bench.server.wait = False
        await bench.execute(2, 5)
        assert [(one.ref, one.effect) for one in bench.got(Executed)] == [(2, "done")]


async def test_a_host_that_keeps_breaking_is_given_up_and_nobody_else_is(autojump_clock: MockClock) -> None:
    async with running(broken=True) as bench:
        front = bench.front
        for _ in range(10):
            bench.gate.ctx.post(front, "nonsense")
            await trio.sleep(5)
        assert not front.alive
        assert bench.system.ref("root/interceptor").incarnation == 1
        assert bench.system.supervisor("root/tools").alive
        bench.start()
        await settle()
        await bench.execute()
        assert bench.got(Executed)[-1].effect == "done"


# ---- who may say what


@pytest.mark.parametrize(
    "message",
    [
        Prepare(ref=1, tool="write_file", args=b"{}"),
        Execute(ref=1, permit_seq=1, call=encode_call(CALL), incarnation=1),
        Withdraw(ref=1),
        "nonsense",
    ],
    ids=lambda message: type(message).__name__,
)
async def test_nobody_but_the_gate_has_anything_run(autojump_clock: MockClock, message: object) -> None:
    """And whoever else says it ends nothing: the calls that run there are not to suffer for it."""
    async with running() as bench:
        bench.system.post(bench.front, message)
        await settle()
        [told] = bench.got(Strayed)
        assert (told.ref, type(message).__name__ in told.what) == (0, True)
        assert (bench.server.prepared, bench.server.executed) == ([], [])
        assert bench.front.incarnation == 1


async def test_what_the_gate_may_not_say_is_a_bug_and_refused_loudly(autojump_clock: MockClock) -> None:
    async with running(broken=True) as bench:
        bench.gate.ctx.post(bench.front, "nonsense")
        await settle()
        assert [getattr(error, "code", "") for error in bench.failures] == ["tool.message"]


async def test_what_nobody_who_works_for_it_says_means_nothing(autojump_clock: MockClock) -> None:
    async with running() as bench:
        bench.server.wait = True
        await bench.execute()
        bench.gate.ctx.post(bench.front, Ran(ref=1, content=b"", is_error=False, effect="none", spent_micros=0))
        bench.gate.ctx.post(bench.front, Looked(ref=1, preparation=preparation()))
        await settle()
        assert (bench.got(Executed), bench.got(Prepared)) == ([], [])
        bench.server.go.set()
        await settle()
        assert len(bench.got(Executed)) == 1


# ---- cancellation


async def _life() -> None:
    bench = Bench()
    try:
        async with open_system(bench.tree, on_failure=bench.failed):
            bench.start()
            await settle()
            bench.server.wait, bench.server.cleanup_seconds = True, 1.0
            await bench.execute()
            await bench.prepare(2)
            await withdraw(bench)
            await trio.sleep(2)
    finally:
        begun = len(bench.server.executed) + len(bench.server.prepared)
        assert len(bench.server.ended) == begun
        assert not bench.failures
        assert len(bench.got(Executed)) <= 1


def test_wherever_it_is_cancelled_every_call_that_began_has_ended() -> None:
    assert cancel_at_every_step(_life) > 10
