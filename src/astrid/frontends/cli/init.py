"""``astrid init``: makes a home with its keys, its install statement and a commented configuration.

A start that broke off is gone on with by the next one; nothing that is there is overwritten.

Never: sees a key or a passphrase (the signer makes the keys, and asks for the passphrase itself).

Source: the first Astrid; protocol N7; threats 5, 43.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from astrid.core.ids import show_id
from astrid.core.quoting import quote
from astrid.core.tokens import Assurance
from astrid.errors import ConfigError
from astrid.frontends.cli import DONE
from astrid.frontends.cli.signed import print_json, run_signed
from astrid.frontends.cli.template import TEMPLATE
from astrid.frontends.signer.identity import load_identity
from astrid.frontends.signing import KeyState, Signer
from astrid.home import Home, home_folder, open_home, write_guarded

PLAIN_WARNING = """\
A plain key is no protection against anything that runs as you: every program you start can read it and sign in your
name, so a grant signed with it shows only that somebody on this account wanted it. Astrid therefore takes no standing
grant above medium risk from it, and no approval of sending data, spending money or changing who has access.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``astrid init``."""
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--plain", action="store_true", help="no passphrase; says what that means")
    kind.add_argument("--passphrase-fd", type=int, metavar="N", help="read the passphrase from descriptor N")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Make what is missing of the home.

    Raises:
        AstridError: ``file.exists`` if nothing is, or what went wrong.
    """
    if args.plain:
        sys.stderr.write(PLAIN_WARNING)
    home = open_home(home_folder(os.environ), make=True)
    write_template(home)
    return run_signed(lambda: _init(home, args))


def write_template(home: Home) -> None:
    """The commented configuration, unless there is one."""
    try:
        write_guarded(home.config, TEMPLATE.encode(), what="the configuration")
    except ConfigError as error:
        if error.code != "file.exists":
            raise


async def _init(home: Home, args: argparse.Namespace) -> int:
    async with Signer.start(home, passphrase_fd=args.passphrase_fd) as signer:
        state = await signer.create(plain=args.plain)
    print_created(home, state, as_json=args.json)
    return DONE


def print_created(home: Home, state: KeyState, *, as_json: bool) -> None:
    """What there is now, and what to do next."""
    install = show_id("install", load_identity(home).aud)
    assurance = Assurance(state.assurance).name.lower()
    if as_json:
        made = {"home": str(home.root), "install": install, "user_key": state.public.hex(), "assurance": assurance}
        print_json(made)
        return
    print(f"home      {_shown(home.root)}")
    print(f"install   {install}")
    print(f"user key  {state.public.hex()} ({assurance})")
    print("next      cd into a project and run: astrid tokens grant --workspace . --mode guided")


def _shown(path: Path) -> str:
    return quote(os.fsencode(path))
