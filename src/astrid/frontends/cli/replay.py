"""``astrid replay``: live through a session of the log again, and see whether, or by another policy what, would come
out otherwise.

Never: asks the daemon.  The log is read in a process of its own, which has no gate, no tools and no model.

Source: threats 42; the first Astrid has none.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from astrid.core.ids import parse_id, show_id
from astrid.frontends.launch import run_replayer


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``astrid replay``."""
    parser.add_argument("id", metavar="ID", help="a session, as `astrid sessions list --all` shows it")
    parser.add_argument(
        "--policy", type=Path, metavar="FILE", help="a configuration: which decisions its policy would have changed"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    """0 if nothing comes out otherwise, 4 if something does, 1 if that cannot be told.

    Raises:
        AstridError: what went wrong.
    """
    arguments = [show_id("session", parse_id("session", args.id))]
    arguments += [] if args.policy is None else [f"--policy={args.policy.absolute()}"]
    return run_replayer([*arguments, *(["--json"] if args.json else [])])
