"""``astrid daemon``: be the daemon of this home, look at it, or stop it.

Source: the first Astrid.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
from typing import cast

import trio

from astrid.errors import AstridError, LaunchError
from astrid.frontends.cli import DONE, FAILED, counted, lasting
from astrid.frontends.client import connect, run_client
from astrid.frontends.launch import run_daemon
from astrid.home import Home, home_folder, open_home
from astrid.wire import params as p
from astrid.wire import results as r

STOP_SECONDS = 60
LOOK_SECONDS = 0.02
_GONE = frozenset({"daemon.gone", "daemon.none", "daemon.stopping"})


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``astrid daemon``."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    run_parser = actions.add_parser("run", help="be the daemon, in the foreground")
    run_parser.add_argument("--ephemeral", action="store_true", help="end when nobody is connected any more")
    run_parser.add_argument("--grace-period", metavar="N", help="how many seconds nobody may be connected before that")
    run_parser.add_argument("-v", "--verbose", action="store_true", help="report more than failures")
    for name, says in (("status", "whether it runs, and how busy it is"), ("stop", "save all sessions and stop it")):
        actions.add_parser(name, help=says).add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Do what was asked for.

    Raises:
        AstridError: what went wrong.
    """
    home = open_home(home_folder(os.environ))
    match args.action:
        case "run":
            grace = () if args.grace_period is None else ("--grace-period", args.grace_period)
            flags = [flag for flag, given in (("--ephemeral", args.ephemeral), ("-v", args.verbose)) if given]
            return run_daemon(home, [*flags, *grace])
        case "status":
            return run_client(lambda: _status(home, as_json=args.json))
        case _:
            return run_client(lambda: _stop(home, as_json=args.json))


async def _status(home: Home, *, as_json: bool) -> int:
    try:
        async with connect(home, authenticate=False) as client:
            status = cast("r.Status", await client.call("status", p.Nothing()))
    except LaunchError as error:
        if error.code != "daemon.none":
            raise
        print(json.dumps({"running": False}) if as_json else "no daemon runs")
        return FAILED
    if as_json:
        fields = {name: getattr(status, name) for name in status.__struct_fields__}
        print(json.dumps({"running": True, **fields, "uptime_ns": int(status.uptime_ns)}))
        return DONE
    print(f"astrid {status.version}, {status.mode}, up for {lasting(int(status.uptime_ns) // 10**9)}")
    print(f"{counted(status.active_connections, 'connection')}, {counted(status.active_sessions, 'session')}")
    print(f"{counted(status.pending_approvals, 'open question')}, {counted(status.log_size, 'record')} in the log")
    return DONE


async def _stop(home: Home, *, as_json: bool) -> int:
    stopped = True
    try:
        async with connect(home) as client:
            await client.call("shutdown", p.ProvenNothing())
            await client.wait_gone()
    except AstridError as error:
        if error.code not in _GONE:
            raise
        stopped = error.code != "daemon.none"
    await _wait_free(home)
    print(json.dumps({"stopped": stopped}) if as_json else "stopped" if stopped else "no daemon runs")
    return DONE


async def _wait_free(home: Home) -> None:
    """Return when no daemon holds the home any more.

    Raises:
        LaunchError: one still does, after all the time that stopping may take.
    """
    lock = os.open(home.lock, os.O_RDONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with trio.move_on_after(STOP_SECONDS):
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
                except BlockingIOError:
                    await trio.sleep(LOOK_SECONDS)
                    continue
                return
    finally:
        os.close(lock)
    raise LaunchError(
        "daemon.still-there",
        f"the daemon has not ended within {STOP_SECONDS} s",
        effect="maybe",
        where=str(home.daemon_log),
        advice="see its log",
    )
