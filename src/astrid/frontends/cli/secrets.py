"""``astrid secrets``: keep a value under a name, list the names, forget one.

Never: shows a value, takes one from the command line, where every process could read it, or asks the daemon.

Source: threats 26, 41.
"""

from __future__ import annotations

import argparse
import getpass
import os
import sys

from astrid.core.redact import MOST_BYTES
from astrid.errors import EdgeError, InputError
from astrid.frontends.cli import DONE
from astrid.frontends.cli.signed import print_json
from astrid.home import Secrets, home_folder, open_home


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``astrid secrets``."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    keep = actions.add_parser("set", help="keep a value, read from a prompt or the standard input")
    listing = actions.add_parser("list", help="the names of all secrets; no value is ever shown")
    forget = actions.add_parser("remove", help="forget a secret")
    for one in (keep, forget):
        one.add_argument("name", metavar="NAME")
    for one in (keep, listing, forget):
        one.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Do what was asked for.

    Raises:
        AstridError: what went wrong.
    """
    secrets = Secrets(open_home(home_folder(os.environ)))
    match args.action:
        case "set":
            replaced = secrets.set(args.name, _read())
            _say(args, {"name": args.name, "replaced": replaced}, "replaced" if replaced else "kept")
        case "list":
            names = secrets.names()
            _say(args, {"secrets": names}, *names)
        case _:
            secrets.remove(args.name)
            _say(args, {"name": args.name, "removed": True}, "removed")
    return DONE


def _say(args: argparse.Namespace, fields: dict[str, object], *lines: str) -> None:
    if args.json:
        print_json(fields)
    else:
        for line in lines:
            print(line)


def _read() -> bytes:
    """The value: typed twice without echo, or all of the standard input but one line break at its end."""
    if not sys.stdin.isatty():
        return sys.stdin.buffer.read(MOST_BYTES + 2).removesuffix(b"\n")
    try:
        typed = getpass.getpass("Value (it is not shown): ", stream=sys.stderr)
        again = getpass.getpass("The same once more: ", stream=sys.stderr)
    except EOFError as error:
        raise EdgeError(
            "secrets.no-value", "no value was typed", effect="none", advice="type it, or pipe it in"
        ) from error
    if typed != again:
        raise InputError("secrets.typed", "the two are not the same; nothing was changed", advice="try again")
    return typed.encode("utf-8", "surrogateescape")
