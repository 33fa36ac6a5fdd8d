"""Running a command that needs the person: what their own no, or their breaking off, means for the exit code.

Source: the first Astrid (exit codes).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Awaitable, Callable

from astrid.errors import AstridError
from astrid.frontends.cli import DENIED, INTERRUPTED
from astrid.frontends.client import run_client

_EXITS = {"signer.refused": DENIED, "signer.aborted": INTERRUPTED}


def run_signed(work: Callable[[], Awaitable[int]]) -> int:
    """The exit code of ``work``: its own, or what the person's answer at the terminal makes of it.

    Raises:
        AstridError: anything else that went wrong.
    """
    try:
        return run_client(work)
    except AstridError as error:
        if error.code not in _EXITS:
            raise
        sys.stderr.write(f"astrid: {error.render()}\n")
        return _EXITS[error.code]


def signing_options(parser: argparse.ArgumentParser) -> None:
    """The options of whatever the person signs."""
    parser.add_argument("--yes", action="store_true", help="do not ask again at the terminal")
    parser.add_argument("--passphrase-fd", type=int, metavar="N", help="read the passphrase from descriptor N")
    parser.add_argument("--json", action="store_true", help="print JSON")


def print_json(value: object) -> None:
    """One line of JSON."""
    print(json.dumps(value, ensure_ascii=True, sort_keys=True))
