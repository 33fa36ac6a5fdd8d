"""A fleet's tasks: so many at once, each once, and what is on the disk says how far it came."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from astrid.errors import ConfigError, EdgeError, InputError
from astrid.frontends.fleet.engine import Result
from astrid.frontends.fleet.keeping import Keeping, Plan
from astrid.frontends.fleet.run import Run
from astrid.frontends.fleet.tasks import Task

TASKS = [Task(f"t{number}", "do it", "/w", 0) for number in range(6)]


class FakeEngine:
    """Tasks end when the test says so; ``refuses`` are those that are not begun, and why."""

    def __init__(self, keeping: Keeping, *, refuses: dict[str, str] | None = None) -> None:
        self.keeping = keeping
        self.refuses = refuses or {}
        self.stubborn = False
        self.begun: list[str] = []
        self.cancelled: list[str] = []
        self.ends: dict[str, trio.Event] = {}

    async def submit(self, task: Task) -> str:
        assert task.id in self.keeping.began, "it is on the disk before it is begun"
        await trio.lowlevel.checkpoint()
        if task.id in self.refuses:
            kind = EdgeError if self.refuses[task.id].startswith("daemon.") else InputError
            given = {"effect": "maybe"} if kind is EdgeError else {}
            raise kind(self.refuses[task.id], "no", **given)  # type: ignore[arg-type]
        self.begun.append(task.id)
        self.ends[f"at {task.id}"] = trio.Event()
        return f"at {task.id}"

    async def result(self, task: Task, name: str) -> Result:
        await self.ends[name].wait()
        state = "cancelled" if name in self.cancelled else "done"
        return Result(id=task.id, name=name, state=state, code="", spent_micros=5, text=f"text of {task.id}")

    async def cancel(self, name: str) -> None:
        self.cancelled.append(name)
        if not self.stubborn:
            self.ends[name].set()

    def end(self, *ids: str) -> None:
        for one in ids:
            self.ends[f"at {one}"].set()


class Bench:
    def __init__(self, folder: Path, *, refuses: dict[str, str] | None = None) -> None:
        self.keeping = Keeping(folder)
        self.engine = FakeEngine(self.keeping, refuses=refuses)
        self.told: list[str] = []
        self.notes: list[str] = []
        self._send, self._interrupts = trio.open_memory_channel[None](10)

    def run(self, tasks: Sequence[Task] = TASKS) -> Run:
        return Run(
            self.engine,
            self.keeping,
            tasks,
            told=lambda result: self.told.append(f"{result.id} {result.state}"),
            noted=self.notes.append,
        )

    async def interrupted(self) -> None:
        await self._interrupts.receive()

    async def interrupt(self) -> None:
        self._send.send_nowait(None)
        await wait_all_tasks_blocked()


async def test_no_more_tasks_are_under_way_than_was_said_and_each_is_done_once(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "out")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bench.run().work, 2, bench.interrupted)
        for number in range(6):
            await wait_all_tasks_blocked()
            assert len(bench.engine.begun) == min(number + 2, 6)
            bench.engine.end(bench.engine.begun[number])
    assert sorted(bench.engine.begun) == [task.id for task in TASKS]
    assert (tmp_path / "out" / "text" / "t3.txt").read_text() == "text of t3"
    bench.keeping.close()
    again = Keeping(tmp_path / "out")
    assert (set(again.ended), again.spent_micros) == ({task.id for task in TASKS}, 30)


async def test_the_first_interrupt_begins_no_more_and_waits_for_those_under_way(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "out")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bench.run().work, 2, bench.interrupted)
        await wait_all_tasks_blocked()
        await bench.interrupt()
        bench.engine.end("t0", "t1")
    assert (sorted(bench.told), bench.engine.cancelled) == (["t0 done", "t1 done"], [])
    assert "2 are under way" in bench.notes[0]


async def test_the_second_interrupt_cancels_them_and_the_third_leaves_them_alone(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "out")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bench.run().work, 2, bench.interrupted)
        await wait_all_tasks_blocked()
        await bench.interrupt()
        await bench.interrupt()
    assert sorted(bench.told) == ["t0 cancelled", "t1 cancelled"]
    stubborn = Bench(tmp_path / "other")
    stubborn.engine.stubborn = True
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stubborn.run().work, 2, stubborn.interrupted)
        await wait_all_tasks_blocked()
        for _ in range(3):
            await stubborn.interrupt()
    assert (stubborn.told, stubborn.keeping.began) == ([], {"t0", "t1"})


async def test_a_task_that_is_not_begun_has_failed_and_the_others_go_on(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    bench = Bench(tmp_path / "out", refuses={"t0": "token.no-grant"})
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bench.run(TASKS[:2]).work, 1, bench.interrupted)
        await wait_all_tasks_blocked()
        bench.engine.end("t1")
    assert bench.told == ["t0 failed", "t1 done"]
    assert bench.keeping.ended["t0"].code == "token.no-grant"


async def test_where_the_daemon_is_gone_the_run_ends_and_what_was_under_way_stays_open(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "out", refuses={"t1": "daemon.gone"})
    with pytest.raises(EdgeError, match="no"):
        await bench.run().work(2, bench.interrupted)
    assert (bench.keeping.began, bench.keeping.ended) == ({"t0", "t1"}, {})


# ---- what is kept


def result(name: str) -> Result:
    return Result(id=name, name="n", state="done", code="", spent_micros=1, text="said")


def test_a_line_that_was_being_written_when_the_run_died_does_not_count(tmp_path: Path) -> None:
    keeping = Keeping(tmp_path)
    for name in ("a", "b"):
        keeping.begin(name)
        keeping.end(result(name))
    keeping.close()
    path = tmp_path / "results.jsonl"
    path.write_bytes(path.read_bytes()[:-3])
    again = Keeping(tmp_path)
    assert (again.began, set(again.ended)) == ({"a", "b"}, {"a"})
    again.end(result("b"))
    again.close()
    assert set(Keeping(tmp_path).ended) == {"a", "b"}


def test_two_runs_are_not_at_one_folder(tmp_path: Path) -> None:
    first = Keeping(tmp_path)
    with pytest.raises(ConfigError) as refused:
        Keeping(tmp_path)
    assert refused.value.code == "fleet.running"
    first.close()
    Keeping(tmp_path).close()


@pytest.mark.parametrize("name", ["fleet.json", "results.jsonl", "started.jsonl"])
def test_what_a_fleet_did_not_write_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("{}\n")
    with pytest.raises(ConfigError) as refused:
        Keeping(tmp_path).plan()
    assert refused.value.code == "fleet.damaged"


def test_a_folder_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError) as refused:
        Keeping(tmp_path / "file" / "out")
    assert refused.value.code == "fleet.folder"


def test_what_a_folder_belongs_to_is_kept(tmp_path: Path) -> None:
    keeping, plan = Keeping(tmp_path), Plan("digest", 5, "safe", {"/w": "token"})
    assert keeping.plan() is None
    keeping.keep_plan(plan)
    assert keeping.plan() == plan
