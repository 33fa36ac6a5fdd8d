"""``astrid demo``: see ``frontends.demo``.

Source: architecture 5; the README's first command.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from functools import partial
from pathlib import Path

import msgspec

from astrid.frontends.client import run_client
from astrid.frontends.demo.many import TASKS, play_many, verified
from astrid.frontends.demo.play import play
from astrid.frontends.demo.proof import damages, hostile_child, inclusion
from astrid.frontends.demo.stage import Stage
from astrid.frontends.demo.table import Row, render
from astrid.frontends.fleet.show import ForPeople, Silent
from astrid.frontends.waiting import interrupts_held

INTRODUCTION = """\
Astrid demo. Scripted: the model (it follows a file) and the person (they type what was written down before).
Everything else is real: daemon, gate, log, tools, files, the signer, its terminal and its signatures.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``astrid demo``."""
    parser.add_argument(
        "what", nargs="?", choices=["fleet"], help="fleet: two hundred tasks at once, every tenth of them hijacked"
    )
    parser.add_argument("--keep", action="store_true", help="leave the folder of the demo where it is")
    parser.add_argument("--json", action="store_true", help="print every expectation as JSON")


def run(args: argparse.Namespace) -> int:
    """Play it; 0 only if every expectation held."""
    folder = Path(tempfile.mkdtemp(prefix="astrid-demo-"))
    try:
        perform = _perform if args.what is None else _perform_many
        rows = perform(Stage(folder), quiet=args.json)
    finally:
        with interrupts_held():
            if args.keep:
                sys.stderr.write(f"the demo's folder is {folder}\n")
            else:
                shutil.rmtree(folder, ignore_errors=True)
    held = all(row.held for row in rows)
    if args.json:
        print(json.dumps({"held": held, "expectations": [msgspec.to_builtins(row) for row in rows]}))
        return 0 if held else 1
    print()
    print(render(rows, columns=min(shutil.get_terminal_size((100, 24)).columns, 120)))
    broken = [row.what for row in rows if not row.held]
    print(f"{len(rows) - len(broken)} of {len(rows)} expectations held." + (f" Broken: {broken}" if broken else ""))
    return 0 if held else 1


def _perform_many(stage: Stage, *, quiet: bool) -> list[Row]:
    def say(text: str) -> None:
        if not quiet:
            print(text, flush=True)

    say(INTRODUCTION)
    stage.enter()
    show = ForPeople(TASKS) if sys.stderr.isatty() and not quiet else Silent()
    rows = run_client(partial(play_many, stage, show, say))
    return [*rows, verified(stage)]


def _perform(stage: Stage, *, quiet: bool) -> list[Row]:
    def say(text: str) -> None:
        if not quiet:
            print(text, flush=True)

    say(INTRODUCTION)
    stage.enter()
    rows = run_client(partial(play, stage, say))
    rows += hostile_child(say)
    rows += run_client(partial(inclusion, stage, say))
    return rows + damages(stage, say)
