"""``astrid audit accept-loss``: the one way on when the daemon refuses a log that was lost.

Never: decides that anything was lost, or changes anything itself; the signer looks, shows it, and does it once the
person agreed there.

Source: protocol N11; threats 11, 12.
"""

from __future__ import annotations

import argparse
import os

from astrid.core.checkpoint import origin
from astrid.core.ids import show_id
from astrid.core.quoting import quote
from astrid.frontends.cli import DONE
from astrid.frontends.cli.signed import print_json, run_signed
from astrid.frontends.signing import LossAccepted, Signer
from astrid.home import Home, home_folder, open_home


def run_accept_loss(args: argparse.Namespace) -> int:
    """Have the person give the log up.

    Raises:
        AstridError: nothing was lost, a daemon runs, or what went wrong.
    """
    root = home_folder(os.environ)
    # The folder of the log may be lost with it, or have been moved by a run that broke off.
    home = open_home(root, make=os.path.lexists(Home(root).install))
    return run_signed(lambda: _accept_loss(home, args))


async def _accept_loss(home: Home, args: argparse.Namespace) -> int:
    async with Signer.start(home, passphrase_fd=args.passphrase_fd, assume_yes=args.yes) as signer:
        accepted = await signer.accept_loss()
        user_key = (await signer.show()).public
    if args.json:
        print_json(
            {
                "install": show_id("install", accepted.install),
                "log": origin(accepted.log_id),
                "lost_log": origin(accepted.old_log_id),
                "lost_records": accepted.old_size,
                "lost_tip": accepted.old_tip.hex(),
                "kept": os.fsdecode(accepted.kept),
                "resumed": accepted.resumed,
            }
        )
    else:
        _say(accepted, user_key)
    return DONE


def _say(accepted: LossAccepted, user_key: bytes) -> None:
    kept = quote(accepted.kept)
    before = " by an earlier run, finished now" if accepted.resumed else ""
    print(f"given up  {origin(accepted.old_log_id)}, of which {accepted.old_size} records had been seen{before}")
    print(f"kept in   {kept}")
    print(f"          what is left of it: astrid audit verify --home {kept} --key {user_key.hex()}")
    print(f"install   {show_id('install', accepted.install)}")
    print(f"new log   {origin(accepted.log_id)}")
    print("next      every grant has ended; sign anew what you still want, such as:")
    print("          cd into a project and run: astrid tokens grant --workspace . --mode guided")
