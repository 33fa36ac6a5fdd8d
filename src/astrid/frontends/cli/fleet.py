"""``astrid fleet run``: see ``frontends.fleet``.

Source: architecture 4, 6; protocol, "Keys and who holds them".
"""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import msgspec
import trio

from astrid.core.grants import Mode
from astrid.core.money import parse_usd
from astrid.errors import AstridError, ConfigError, InputError
from astrid.frontends.cli import DENIED, DONE, FAILED, INTERRUPTED
from astrid.frontends.cli.exec import model_name
from astrid.frontends.cli.interrupts import Interrupts
from astrid.frontends.client import Client, connect, run_client
from astrid.frontends.fleet.daemon_engine import DaemonEngine, open_purses
from astrid.frontends.fleet.keeping import Keeping, Plan
from astrid.frontends.fleet.run import Run
from astrid.frontends.fleet.show import ForPeople, ForPrograms, Show, Summary
from astrid.frontends.fleet.tasks import Task, parse_tasks
from astrid.home import Home, home_folder, identify_workspace, open_home

MAX_CONCURRENCY = 32
MAX_FILE_BYTES = 256 * 1024 * 1024


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked for, read and checked before anything is started."""

    tasks: tuple[Task, ...]
    digest: str
    out: Path
    concurrency: int
    max_micros: int | None
    mode: Mode | None
    model: str | None
    agent: str | None
    retry_unknown: bool


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``astrid fleet``."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    run_ = actions.add_parser("run", help="do the tasks of a file; what is done already is not done again")
    run_.add_argument("tasks", type=Path, metavar="TASKS", help="a file with a JSON object a line")
    run_.add_argument("--concurrency", type=_count, default=8, metavar="N", help="so many at once (8, at most 32)")
    run_.add_argument("--max-usd", metavar="USD", help="at most so many dollars, all tasks together")
    run_.add_argument("--workspace", type=Path, metavar="DIR", help="of tasks that name none (the current folder)")
    run_.add_argument("--mode", choices=[mode.value for mode in Mode], help="how far they may go")
    run_.add_argument("--model", metavar="NAME", help="the model, or scripted:FILE; default: the configured one")
    run_.add_argument("--agent", metavar="NAME", help="the definition that each task follows, such as explorer")
    run_.add_argument("--out", type=Path, metavar="DIR", help="where results are kept (a folder in the home)")
    run_.add_argument("--retry-unknown", action="store_true", help="do tasks again that were under way or cancelled")
    run_.add_argument("--dry-run", action="store_true", help="check the file and do nothing")
    run_.add_argument("--json", action="store_true", help="print one JSON object a line")


def run(args: argparse.Namespace) -> int:
    """Have the tasks done.

    Raises:
        AstridError: nothing was begun, or the daemon is gone.
    """
    home = open_home(home_folder(os.environ))
    job = _job(args, home)
    people = sys.stderr.isatty() and not args.json
    if args.dry_run:
        empty = Summary(len(job.tasks), 0, 0, 0, 0, 0, len(job.tasks), 0, 0.0)
        print(f"{len(job.tasks)} tasks are in order; nothing was run") if people else ForPrograms().summary(empty)
        return DONE
    keeping = Keeping(job.out)
    try:
        again = _todo(job, keeping)
        show = ForPeople(len(again)) if people else ForPrograms()
        return run_client(lambda: _perform(home, job, keeping, again, show))
    finally:
        keeping.close()


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 0 < int(text) <= MAX_CONCURRENCY:
        raise argparse.ArgumentTypeError(f"`{text}` is not a number from 1 to {MAX_CONCURRENCY}")
    return int(text)


def _job(args: argparse.Namespace, home: Home) -> Job:
    data = _read(args.tasks)
    tasks = _placed(parse_tasks(data, str(args.tasks)), args.workspace or Path.cwd(), home)
    digest = hashlib.sha256(data).hexdigest()
    out = (args.out or home.root / "fleets" / digest[:16]).resolve()
    for workspace in {task.workspace for task in tasks}:
        if out.is_relative_to(workspace):
            # SAFETY: what works there could write itself the results, and which tasks are done.
            raise ConfigError(
                "fleet.out-inside",
                "the folder for results lies in a workspace",
                where=str(out),
                advice="name another one with --out",
            )
    return Job(
        tasks=tasks,
        digest=digest,
        out=out,
        concurrency=args.concurrency,
        max_micros=None if args.max_usd is None else parse_usd(args.max_usd),
        mode=None if args.mode is None else Mode(args.mode),
        model=model_name(args.model),
        agent=args.agent,
        retry_unknown=args.retry_unknown,
    )


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ConfigError(
            "fleet.unreadable",
            f"the tasks cannot be read: {error.strerror}",
            where=str(path),
            advice="name a file of yours",
        ) from error
    if len(data) > MAX_FILE_BYTES:
        raise ConfigError(
            "fleet.too-long", f"a file of tasks has at most {MAX_FILE_BYTES} bytes", where=str(path), advice="split it"
        )
    return data


def _placed(tasks: Sequence[Task], otherwise: Path, home: Home) -> tuple[Task, ...]:
    """The tasks, each in a workspace that is there."""
    known: dict[str, str] = {}
    placed: list[Task] = []
    for task in tasks:
        if task.workspace not in known:
            try:
                known[task.workspace] = identify_workspace(Path(task.workspace or otherwise), home).path
            except AstridError as error:
                raise InputError(
                    "fleet.workspace",
                    f"task `{task.id}`: {error.message}",
                    where=task.workspace or str(otherwise),
                    advice=error.advice,
                ) from error
        placed.append(msgspec.structs.replace(task, workspace=known[task.workspace]))
    return tuple(placed)


def _todo(job: Job, keeping: Keeping) -> list[Task]:
    """What is still to be done."""
    open_ends = _open_ends(keeping)
    settled = keeping.ended.keys() - open_ends
    skipped = settled if job.retry_unknown else settled | open_ends
    return [task for task in job.tasks if task.id not in skipped]


def _open_ends(keeping: Keeping) -> set[str]:
    """The tasks of which nobody knows how much was done: they were under way when a run died, or were cancelled."""
    cancelled = {one.id for one in keeping.ended.values() if one.state == "cancelled"}
    return cancelled | (keeping.began - keeping.ended.keys())


async def _perform(home: Home, job: Job, keeping: Keeping, todo: list[Task], show: Show) -> int:
    began = time.monotonic()
    unknown = _open_ends(keeping)
    if unknown and not job.retry_unknown:
        show.note(f"{len(unknown)} tasks were under way when a run ended; --retry-unknown does them again")
    with Interrupts() as interrupts:

        async def interrupted() -> None:
            with interrupts.next():
                await trio.sleep_forever()
            interrupts.take()

        async with connect(home, start_daemon=True) as client:
            plan = await _plan(client, job, keeping)
            mode = Mode(plan.mode).value
            engine = DaemonEngine(client, mode=mode, model=job.model, agent=plan.agent, fleets=plan.fleets)
            await Run(engine, keeping, todo, told=show.told, noted=show.note).work(job.concurrency, interrupted)
    summary = _summary(job, keeping, time.monotonic() - began)
    show.summary(summary)
    show.note(f"results are in {job.out}")
    if interrupts.count:
        return INTERRUPTED
    if summary.failed or summary.unknown or summary.cancelled or summary.left:
        return FAILED
    return DENIED if summary.denied else DONE


async def _plan(client: Client, job: Job, keeping: Keeping) -> Plan:
    """What the folder belongs to; a new one gets its purse now."""
    plan = keeping.plan()
    mode = job.mode or Mode(client.welcome.session_mode)
    if plan is None:
        fleets = (
            {} if job.max_micros is None else await open_purses(client, shares(job.tasks, job.max_micros), mode.value)
        )
        plan = Plan(job.digest, job.max_micros, mode.value, fleets, job.agent)
        keeping.keep_plan(plan)
    elif (plan.tasks, plan.max_micros, plan.mode, plan.agent) != (job.digest, job.max_micros, mode.value, job.agent):
        # SAFETY: another purse beside the one that is there would add to it.
        raise ConfigError(
            "fleet.other",
            "the folder belongs to other tasks, or another purse, mode or agent",
            where=str(job.out),
            advice="give what was given before, or name another folder with --out",
        )
    return plan


def shares(tasks: Sequence[Task], micros: int) -> dict[str, int]:
    """``micros`` shared out to the workspaces of ``tasks``, by their number; together never more.

    A purse is a block below the grant of one workspace, so that each workspace has one.
    """
    counts = Counter(task.workspace for task in tasks)
    return {workspace: micros * count // len(tasks) for workspace, count in counts.items()}


def _summary(job: Job, keeping: Keeping, seconds: float) -> Summary:
    mine = {task.id for task in job.tasks}
    states = Counter(one.state for one in keeping.ended.values())
    unknown = len(keeping.began - keeping.ended.keys())
    return Summary(
        tasks=len(mine),
        done=states["done"],
        failed=states["failed"],
        denied=states["denied"],
        cancelled=states["cancelled"],
        unknown=unknown,
        left=len(mine - keeping.began),
        spent_micros=keeping.spent_micros,
        seconds=round(seconds, 1),
    )
