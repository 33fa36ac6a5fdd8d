"""``astrid fleet run`` against a daemon in this process: tasks are done once, together within their purse."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from astrid.core.money import parse_usd
from astrid.errors import AstridError, ConfigError, InputError
from astrid.frontends.cli import DENIED, DONE, FAILED, fleet
from astrid.frontends.cli.fleet import shares
from astrid.frontends.client import Client, connect
from astrid.frontends.fleet.engine import Result
from astrid.frontends.fleet.keeping import Keeping
from astrid.frontends.fleet.show import ForPeople, ForPrograms, Summary
from astrid.frontends.fleet.tasks import Task
from astrid.wire import params as p
from astrid.wire import results as r
from tests.fakes.daemons import LIMIT_SECONDS, InProcess, daemon_in
from tests.fakes.home import make_home

PRICED = {"model": {"name": "m", "price": {"input_usd_per_million": "1", "output_usd_per_million": "1"}}}


@asynccontextmanager
async def served(root: Path) -> AsyncIterator[tuple[InProcess, Client]]:
    with trio.fail_after(LIMIT_SECONDS):
        async with daemon_in(root) as daemon, connect(daemon.home) as client:
            await client.call("tokensAdd", p.TokensAdd(token=daemon.grant()))
            yield daemon, client


def file_of(root: Path, count: int, **fields: Any) -> Path:
    path = root / "tasks.jsonl"
    tasks = [{"id": f"t{number}", "prompt": "go", **fields} for number in range(count)]
    path.write_text("".join(f"{json.dumps(task)}\n" for task in tasks))
    return path


def job_of(daemon: InProcess, tasks: Path, model: str, *words: str) -> fleet.Job:
    parser = argparse.ArgumentParser()
    fleet.add_arguments(parser)
    given_words = [
        "run",
        str(tasks),
        "--workspace",
        str(daemon.workspace),
        "--mode",
        "guided",
        "--model",
        model,
        *words,
    ]
    return fleet._job(parser.parse_args(given_words), daemon.home)


async def perform(daemon: InProcess, job: fleet.Job) -> int:
    keeping = Keeping(job.out)
    try:
        return await fleet._perform(daemon.home, job, keeping, fleet._todo(job, keeping), ForPrograms())
    finally:
        keeping.close()


def said(capsys: pytest.CaptureFixture[str]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The tasks that ended, and the summary."""
    *tasks, summary = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    return tasks, summary


async def sessions(client: Client) -> set[str]:
    records = cast("r.AuditRecords", await client.call("auditList", p.AuditList(kind="session-started", limit=1000)))
    return {one.session_id for one in records.records if one.session_id}


async def test_each_task_is_a_session_whose_words_are_untrusted_and_whose_result_is_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with served(tmp_path) as (daemon, client):
        job = job_of(daemon, file_of(tmp_path, 5), daemon.script({"text": "the answer"}), "--concurrency", "3")
        assert await perform(daemon, job) == DONE
        prompts = cast("r.AuditRecords", await client.call("auditList", p.AuditList(kind="prompt"))).records
        tasks, summary = said(capsys)
        assert {one["name"] for one in tasks} == await sessions(client)
        assert len(prompts) == 5
        assert all("untrusted" in one.summary for one in prompts)
    assert (summary["tasks"], summary["done"], summary["left"]) == (5, 5, 0)
    assert (job.out / "text" / "t4.txt").read_text() == "the answer"
    assert len((job.out / "results.jsonl").read_text().splitlines()) == 5


async def test_what_is_done_is_not_done_again_and_what_was_under_way_only_if_that_is_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with served(tmp_path) as (daemon, client):
        script = daemon.script({"text": "done"})
        tasks = file_of(tmp_path, 4)
        job = job_of(daemon, tasks, script)
        died = Keeping(job.out)
        died.begin("t2")  # and then the run died
        died.close()
        assert await perform(daemon, job) == FAILED
        ended, summary = said(capsys)
        assert sorted(one["id"] for one in ended) == ["t0", "t1", "t3"]
        assert (summary["done"], summary["unknown"]) == (3, 1)
        assert await perform(daemon, job) == FAILED
        assert said(capsys)[0] == []
        assert await perform(daemon, job_of(daemon, tasks, script, "--retry-unknown")) == DONE
        ended, summary = said(capsys)
        assert ([one["id"] for one in ended], summary["unknown"]) == (["t2"], 0)
        assert len(await sessions(client)) == 4


async def test_all_tasks_together_spend_no_more_than_the_fleet_may_also_when_it_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with served(tmp_path) as (daemon, client):
        script = daemon.script(PRICED, {"text": "done"})
        tasks = file_of(tmp_path, 12)
        assert await perform(daemon, job_of(daemon, tasks, script, "--out", str(tmp_path / "free"))) == DONE
        each = said(capsys)[1]["spent_micros"] // 12
        listed = cast("r.AuditRecords", await client.call("auditList", p.AuditList(kind="permit"))).records
        [reserved] = {parse_usd(re.findall(r"\$[0-9.]+", one.summary)[0]) for one in listed}
        cap = reserved + 4 * each
        usd = f"{cap // 10**6}.{cap % 10**6:06}"
        capped = job_of(daemon, tasks, script, "--max-usd", usd, "--concurrency", "1")
        assert await perform(daemon, capped) == DENIED
        ended, summary = said(capsys)
        assert (summary["done"], summary["denied"]) == (5, 7)
        assert {one["code"] for one in ended if one["state"] == "denied"} == {"budget.exceeded"}
        tokens = cast("r.Tokens", await client.call("tokensList", p.ProvenNothing())).tokens
        [purse] = [one for one in tokens if one.purse_micros == str(cap)]
        assert int(purse.spent_micros) == 5 * each <= cap
        for other in (("--max-usd", "9"), (), ("--max-usd", usd, "--agent", "explorer")):
            with pytest.raises(AstridError) as refused:
                await perform(daemon, job_of(daemon, tasks, script, *other))
            assert refused.value.code == "fleet.other"


async def test_each_task_follows_the_definition_that_the_fleet_is_given(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with served(tmp_path) as (daemon, _):
        script = daemon.script({"text": "done"})
        for agent, code in (("explorer", ""), ("nobody", "agent.unknown")):
            where = str(tmp_path / agent)
            job = job_of(daemon, file_of(tmp_path, 1), script, "--agent", agent, "--out", where)
            assert await perform(daemon, job) == (FAILED if code else DONE)
            assert [one["code"] for one in said(capsys)[0]] == [code]


@pytest.mark.parametrize("what", ["no folder", "results inside"])
async def test_what_cannot_be_done_is_said_before_anything_runs(tmp_path: Path, what: str) -> None:
    async with served(tmp_path) as (daemon, client):
        script = daemon.script({"text": "done"})
        missing = {"workspace": str(tmp_path / "none")} if what == "no folder" else {}
        tasks = file_of(tmp_path, 2, **missing)
        with pytest.raises((InputError, ConfigError)) as refused:
            job_of(daemon, tasks, script, *([] if missing else ["--out", str(daemon.workspace / "out")]))
        assert refused.value.code == ("fleet.workspace" if what == "no folder" else "fleet.out-inside")
        assert await sessions(client) == set()


def test_a_dry_run_checks_the_file_and_starts_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    home, _ = make_home(tmp_path / "home", now_s=1)
    (tmp_path / "ws").mkdir()
    monkeypatch.setenv("ASTRID_HOME", str(home.root))
    parser = argparse.ArgumentParser()
    fleet.add_arguments(parser)
    words = ["run", str(file_of(tmp_path, 3)), "--workspace", str(tmp_path / "ws"), "--dry-run"]
    assert fleet.run(parser.parse_args(words)) == DONE
    assert said(capsys) == ([], {**said_nothing(3), "event": "summary"})
    assert not (home.root / "fleets").exists()


def said_nothing(tasks: int) -> dict[str, Any]:
    figures = dict.fromkeys(("done", "failed", "denied", "cancelled", "unknown", "spent_micros"), 0)
    return {**figures, "tasks": tasks, "left": tasks, "seconds": 0.0}


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=30), st.integers(0, 10**9))
def test_the_shares_of_a_purse_are_never_more_than_the_purse(places: list[str], micros: int) -> None:
    tasks = [Task(str(number), "p", place, 0) for number, place in enumerate(places)]
    shared = shares(tasks, micros)
    assert sum(shared.values()) <= micros
    assert set(shared) == set(places)
    assert micros - sum(shared.values()) < len(shared)


def test_at_a_terminal_a_bar_moves_and_a_table_ends_it(capsys: pytest.CaptureFixture[str]) -> None:
    show = ForPeople(2)
    show.told(Result(id="a", name="n", state="done", code="", spent_micros=10, text=""))
    show.told(Result(id="b\x1b", name="n", state="failed", code="model.away", spent_micros=0, text=""))
    show.summary(Summary(2, 1, 1, 0, 0, 0, 0, 10, 1.25))
    out, about = capsys.readouterr()
    assert "[############............] 1 of 2, 0 not done, $0.00001" in about
    assert "b\\u{1b}: failed [model.away]" in about
    assert [line.split() for line in out.splitlines()][-2:] == [["cost", "$0.00001"], ["time", "1.2", "s"]]
