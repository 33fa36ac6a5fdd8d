"""``astrid sandbox``: the box that agents' commands run in, for you: run a program in it, or see what it is.

Never: starts a program itself, or outside of the box.

Source: architecture, principle 4; docs/sandbox.md.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import msgspec

from astrid.errors import LaunchError
from astrid.frontends.cli import DONE, plain
from astrid.frontends.cli.signed import print_json
from astrid.frontends.launch import become_boxed, explain_box
from astrid.home import Home, home_folder
from astrid.wire.boxes import BoxReport

_BY_THE_SYSTEM = "commands run in a box of tier l0: sandbox-exec, limits"  # where there is no Landlock
_HOLDS = {
    "l1": "commands run in a box of tier l1: namespaces, a root of its own, Landlock, a filter of system calls, limits",
    "l0": "commands run in a box of tier l0: Landlock, a filter of system calls, limits",
    "none": "commands run with your own rights: no box works here, and the configuration asks for none",
    "refused": "no command is run: no box works here that would do",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``astrid sandbox``."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    run_ = actions.add_parser("run", help="run a program in the box; exits as the program does")
    run_.add_argument("argv", nargs="+", metavar="COMMAND", help="the program and its arguments, behind --")
    run_.add_argument(
        "--allow-host",
        action="append",
        default=[],
        metavar="HOST[:PORT]",
        help="a host that it may reach (port 443 unless given), *.HOST for those below it; may be repeated",
    )
    run_.add_argument(
        "--show-connections", action="store_true", help="print a line on standard error for each connection"
    )
    explain = actions.add_parser("explain", help="what the box is on this machine, and what a program sees in it")
    explain.add_argument("--json", action="store_true", help="print JSON")
    for action in (run_, explain):
        action.add_argument(
            "--workspace", type=Path, default=Path(), metavar="DIR", help="the folder (the current one)"
        )


def run(args: argparse.Namespace) -> int:
    """Do what was asked for.

    Raises:
        AstridError: what went wrong.
    """
    home = Home(home_folder(os.environ))
    if args.action == "run":
        become_boxed(home, args.workspace, args.argv, args.allow_host, aloud=args.show_connections)
    report = read_report(home, args.workspace)
    if args.json:
        print_json(msgspec.to_builtins(report))
    else:
        for line in describe(report):
            print(plain(line))
    return DONE


def read_report(home: Home, workspace: Path | None = None) -> BoxReport:
    """What the box of this machine is, and what a program in ``workspace`` sees.

    Raises:
        LaunchError: that cannot be found out.
    """
    code, said = explain_box(home, workspace)
    try:
        return msgspec.json.decode(said, type=BoxReport)
    except msgspec.DecodeError as error:
        raise LaunchError(
            "sandbox.unexplained",
            f"what the box is cannot be found out: the process that looks ended with {code}",
            effect="none",
            advice="what it printed says why",
        ) from error


def holds(report: BoxReport) -> str:
    """What holds commands here, in a sentence."""
    return _BY_THE_SYSTEM if report.tier == "l0" and not report.landlock else _HOLDS[report.tier]


def held_together(report: BoxReport) -> str:
    """What holds all processes of one program together, in a sentence."""
    if not report.groups:
        return "the kernel holds all processes of a program together: each program has a control group of its own"
    return f"a watch holds all processes of a program together, and can be late: {report.groups}"


def describe(report: BoxReport) -> list[str]:
    """The report as lines for people."""
    lines = [holds(report), f"the least that will do is {report.least}"]
    lines += [f"tier {one.tier}: {one.why or 'works'}" for one in report.tiers]
    if report.tier in ("l1", "l0"):
        lines.append(held_together(report))
    if not report.limits:
        return lines
    parts = {
        "reads and writes": [report.workspace, "a home and temporary files of its own"],
        "reads and runs": report.run,
        "reads": report.read,
        "cannot change": report.protected,
        "never sees": report.never,
        "network": ["none, but for the hosts that are allowed" if report.tier == "l1" else "none"],
        "limits": [f"{one.name} {one.most}" for one in report.limits],
    }
    for name, entries in parts.items():
        lines += [f"{name}:", *(f"  {entry}" for entry in entries)]
    return lines
