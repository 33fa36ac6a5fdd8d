"""``astrid approvals``: the questions that wait for a person, and answering one.

Never: shows a question; the signer does, from its own bytes.

Source: the first Astrid; protocol N5, N6; threats 6.
"""

from __future__ import annotations

import argparse
import os
from typing import cast

from astrid.core.ids import parse_id
from astrid.core.quoting import quote
from astrid.errors import TokenError
from astrid.frontends.answering import answer_question
from astrid.frontends.cli import DONE
from astrid.frontends.cli.signed import print_json, run_signed
from astrid.frontends.client import connect
from astrid.frontends.signer.describe import time_text
from astrid.frontends.signing import Signer
from astrid.home import Home, home_folder, open_home
from astrid.wire import params as p
from astrid.wire import results as r


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``astrid approvals``."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    listing = actions.add_parser("list", help="the open questions")
    listing.add_argument("--json", action="store_true", help="print JSON")
    answer = actions.add_parser("answer", help="see one question and answer it")
    answer.add_argument("id", metavar="ID")
    answer.add_argument("--passphrase-fd", type=int, metavar="N", help="read the passphrase from descriptor N")
    answer.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Do what was asked for.

    Raises:
        AstridError: what went wrong.
    """
    home = open_home(home_folder(os.environ))
    if args.action == "list":
        return run_signed(lambda: _list(home, as_json=args.json))
    parse_id("question", args.id)
    return run_signed(lambda: _answer(home, args))


async def _list(home: Home, *, as_json: bool) -> int:
    async with connect(home, start_daemon=True) as client:
        known = cast("r.Approvals", await client.call("listApprovals", p.ListApprovals()))
    if as_json:
        names = ("question_id", "session_id", "asked_s", "expires_s")
        print_json({"questions": [{name: getattr(one, name) for name in names} for one in known.questions]})
        return DONE
    for one in known.questions:
        print(f"{one.question_id} of {one.session_id}, answer before {time_text(one.expires_s)}")
    return DONE


async def _answer(home: Home, args: argparse.Namespace) -> int:
    async with (
        connect(home, start_daemon=True) as client,
        Signer.start(home, passphrase_fd=args.passphrase_fd) as signer,
    ):
        with client.attended():
            settled = await answer_question(client, signer, home, args.id)
    if settled.outcome != "settled":
        raise TokenError(
            "approvals.not-settled",
            "the answer did not count",
            where=quote(settled.reason.encode()),
            advice="see `astrid approvals list`",
        )
    if args.json:
        print_json({"question": args.id, "outcome": settled.outcome})
    else:
        print(f"{args.id}: your answer is recorded")
    return DONE
