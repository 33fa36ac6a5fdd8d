"""``astrid tokens``: grants beforehand, what was granted, and taking it back.

Never: makes or signs a grant itself; the signer draws it, the person agrees there, and the daemon gets what was signed.

Source: the first Astrid; architecture 6; protocol N1; threats 5, 51, 52.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from pathlib import Path
from typing import cast

from astrid.core.canon import decode
from astrid.core.grants import Mode
from astrid.core.ids import parse_id, show_id
from astrid.core.money import parse_usd
from astrid.core.quoting import quote
from astrid.core.resources import file_pattern_tree, parse_pattern
from astrid.core.risk import Risk
from astrid.core.tokens import (
    MAX_CHAIN_BYTES,
    MAX_PAYLOAD_BYTES,
    UNLIMITED_MICROS,
    UNLIMITED_USES,
    Block,
    Permission,
    SignedBlock,
    block_id,
)
from astrid.errors import InputError, TokenError
from astrid.frontends.cli import DONE
from astrid.frontends.cli.signed import print_json, run_signed, signing_options
from astrid.frontends.client import connect
from astrid.frontends.signer.describe import describe_block, permissions_text, purse_text, time_text
from astrid.frontends.signing import SignedReply, Signer, Terms, token_of
from astrid.home import Home, home_folder, open_home, write_guarded
from astrid.wire import params as p
from astrid.wire import results as r

DEFAULT_DAYS = 30
_READ = Permission.READ | Permission.LIST
_WRITE = _READ | Permission.WRITE | Permission.CREATE


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``astrid tokens``."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    grant = actions.add_parser("grant", help="sign a grant: a mode in a folder, paths beside it, or some patterns")
    grant.add_argument(
        "--workspace", type=Path, metavar="DIR", help="the folder; without it a pattern holds everywhere"
    )
    grant.add_argument("--mode", choices=[mode.value for mode in Mode], help="let Astrid work in the folder")
    for name, what in (("read", "read"), ("write", "read, made and written")):
        grant.add_argument(
            f"--also-{name}",
            action="append",
            default=[],
            type=Path,
            metavar="PATH",
            help=f"what lies outside of the folder and may be {what} from there without a question",
        )
    grant.add_argument("--pattern", action="append", default=[], metavar="P", help="such as file://home/me/notes/**")
    grant.add_argument("--perms", metavar="LIST", help="of the patterns, such as read,list")
    grant.add_argument(
        "--risk", choices=[risk.name.lower() for risk in Risk], help="up to this level (medium; --also-write: high)"
    )
    grant.add_argument("--days", type=int, default=DEFAULT_DAYS, metavar="N", help="how long it lasts (30)")
    grant.add_argument("--uses", type=int, metavar="N", help="how often the patterns may be used")
    grant.add_argument("--purse", metavar="USD", help="the most that may be spent under it")
    grant.add_argument(
        "--tainted-ok", action="store_true", help="the patterns hold while untrusted text is in view, too"
    )
    grant.add_argument(
        "--out", type=Path, metavar="FILE", help="write the token there, and do not hand it to the daemon"
    )
    signing_options(grant)
    listing = actions.add_parser("list", help="the tokens this home knows")
    listing.add_argument("--json", action="store_true", help="print JSON")
    show = actions.add_parser("show", help="one token, read from its own bytes")
    show.add_argument("id", metavar="ID")
    show.add_argument("--json", action="store_true", help="print JSON")
    revoke = actions.add_parser("revoke", help="end a token and all that was passed on from it, now and for good")
    revoke.add_argument("id", metavar="ID")
    signing_options(revoke)


def run(args: argparse.Namespace) -> int:
    """Do what was asked for.

    Raises:
        AstridError: what went wrong.
    """
    home = open_home(home_folder(os.environ))
    match args.action:
        case "grant":
            asked = _asked(args)
            return run_signed(lambda: _grant(home, args, asked))
        case "list":
            return run_signed(lambda: _list(home, as_json=args.json))
        case "show":
            identity = parse_id("token", args.id)
            return run_signed(lambda: _show(home, identity, as_json=args.json))
        case _:
            identity = parse_id("token", args.id)
            return run_signed(lambda: _revoke(home, identity, args))


# --- grant


def _asked(args: argparse.Namespace) -> Terms:
    """How far the grant reaches, after everything that could be wrong with the words for it was looked at."""
    also = args.also_read or args.also_write
    if [bool(args.mode), bool(args.pattern), bool(args.also_read), bool(args.also_write)].count(True) != 1:
        raise InputError(
            "tokens.what",
            "a grant is either a mode in a folder, paths to read or paths to write from there, or some patterns",
            advice="give --mode, --also-read or --also-write with --workspace, or --pattern with --perms",
        )
    if also and (args.workspace is None or args.perms or args.tainted_ok):
        raise InputError(
            "tokens.also",
            "paths beside a folder need --workspace, and decide permissions themselves",
            advice="give --workspace DIR --also-read PATH or --also-write PATH",
        )
    if args.mode and (args.workspace is None or args.perms or args.uses is not None or args.tainted_ok):
        raise InputError(
            "tokens.mode",
            "a mode needs --workspace, and decides permissions and uses itself",
            advice="give --workspace DIR --mode MODE",
        )
    for pattern in () if args.mode else _named(args)[0]:
        parse_pattern(pattern)
    if args.uses is not None and not 1 <= args.uses <= UNLIMITED_USES:
        raise InputError("tokens.uses", "a grant has at least one use", advice="give --uses 1 or more")
    if not 1 <= args.days <= 0xFFFF:
        raise InputError("tokens.days", "a grant lasts at least one day", advice="give --days 1 or more")
    return Terms(
        days=args.days,
        uses=UNLIMITED_USES if args.uses is None else args.uses,
        purse_micros=UNLIMITED_MICROS if args.purse is None else parse_usd(args.purse),
        folder=args.workspace,
        # A workspace is full of text that nobody vouches for; without this the grant would end with the first file.
        tainted_ok=args.tainted_ok or bool(also),
    )


def _named(args: argparse.Namespace) -> tuple[list[str], Permission, Risk]:
    """The patterns of a grant, what may be done with them, and up to which level: that of a tool's call there.

    Raises:
        InputError: a path that leads nowhere, or has no pattern.
    """
    perms, risk = _READ, Risk.MEDIUM
    if args.also_write:
        # SAFETY: the level of a write outside with nothing untrusted in view; afterwards it is one higher, and asks.
        perms, risk = _WRITE, Risk.HIGH
    elif args.pattern:
        perms = parse_permissions(args.perms or "")
    patterns = [*args.pattern, *map(_tree, (*args.also_read, *args.also_write))]
    return patterns, perms, Risk[args.risk.upper()] if args.risk else risk


def _tree(path: Path) -> str:
    """The pattern of ``path`` and what lies below it, where it really is: outside of a workspace tools follow no link.

    Raises:
        InputError: nothing is there.
        PatternError: its name cannot be spelt.
    """
    try:
        return file_pattern_tree(os.path.realpath(path, strict=True)).text
    except OSError as error:
        raise InputError(
            "tokens.path",
            f"`{quote(os.fsencode(path))}` cannot be found: {error.strerror}",
            advice="name a file or folder that is there",
        ) from error


def parse_permissions(text: str) -> Permission:
    """The permissions that a list such as ``read,write`` names.

    Raises:
        InputError: none, or one that does not exist.
    """
    known = {one.name.lower(): one for one in Permission if one.name}
    named = Permission(0)
    for word in filter(None, text.split(",")):
        if word not in known:
            raise InputError(
                "tokens.permission", f"`{word[:40]}` is no permission", advice=f"write some of {','.join(known)}"
            )
        named |= known[word]
    if not named:
        raise InputError("tokens.permission", "a pattern needs permissions", advice=f"write some of {','.join(known)}")
    return named


async def _grant(home: Home, args: argparse.Namespace, terms: Terms) -> int:
    if args.out is not None:
        token = token_of(await _sign(home, args, terms))
        write_guarded(args.out, token, what="the token")
        _say_granted(token, args)
        return DONE
    async with connect(home, start_daemon=True) as client:  # first, so that nobody agrees to what cannot be handed over
        with client.attended():
            token = token_of(await _sign(home, args, terms))
        await client.call("tokensAdd", p.TokensAdd(token=token))
    _say_granted(token, args)
    return DONE


async def _sign(home: Home, args: argparse.Namespace, terms: Terms) -> SignedReply:
    async with Signer.start(home, passphrase_fd=args.passphrase_fd, assume_yes=args.yes) as signer:
        if args.mode:
            return await signer.grant_workspace(
                args.workspace, Mode(args.mode), days=terms.days, purse_micros=terms.purse_micros
            )
        return await signer.grant(*_named(args), terms)


def _say_granted(token: bytes, args: argparse.Namespace) -> None:
    (signed,) = read_chain(token)
    identity = show_id("token", block_id(signed.payload))
    block = read_block(signed)
    if args.json:
        out = "" if args.out is None else str(args.out)
        print_json({"token": identity, "expires_s": block.expires, "file": out})
        return
    where = "" if args.out is None else f", written to {quote(os.fsencode(args.out))}"
    print(f"granted {identity} until {time_text(block.expires)}{where}")


# --- list, show, revoke


async def _list(home: Home, *, as_json: bool) -> int:
    async with connect(home, start_daemon=True) as client:
        known = cast("r.Tokens", await client.call("tokensList", p.ProvenNothing()))
    if as_json:
        print_json({"tokens": [_plain(info) for info in known.tokens]})
        return DONE
    for info in known.tokens:
        for line in _lines(info):
            print(line)
    return DONE


def _lines(info: r.TokenInfo) -> Iterator[str]:
    state = "revoked" if info.revoked else f"until {time_text(int(info.expires_s))}"
    yield f"{info.token_id} {info.scope} {state}, signed {info.assurance}"
    uses = "any number of uses" if info.uses == UNLIMITED_USES else f"{info.used} of {info.uses} uses"
    spent, purse = purse_text(int(info.spent_micros)), int(info.purse_micros)
    of = "" if purse == UNLIMITED_MICROS else f" of {purse_text(purse)}"
    yield f"  {uses}, {spent}{of} spent"
    for grant in info.grants:
        risk = Risk(min(grant.max_risk, max(Risk))).name.lower()
        yield f"  {permissions_text(grant.perms)} {quote(grant.pattern.encode())}, up to risk {risk}"


def _plain(info: r.TokenInfo) -> dict[str, object]:
    return {
        "token": info.token_id,
        "scope": info.scope,
        "assurance": info.assurance,
        "issuer": info.issuer.hex(),
        "holder": info.holder.hex(),
        "not_before_s": int(info.not_before_s),
        "expires_s": int(info.expires_s),
        "uses": info.uses,
        "used": info.used,
        "purse_micros": int(info.purse_micros),
        "spent_micros": int(info.spent_micros),
        "revoked": info.revoked,
        "grants": [
            {"pattern": one.pattern, "perms": permissions_text(one.perms).split("+"), "max_risk": one.max_risk}
            for one in info.grants
        ],
    }


async def _show(home: Home, identity: bytes, *, as_json: bool) -> int:
    async with connect(home, start_daemon=True) as client:
        name = show_id("token", identity)
        shown = cast("r.TokenShown", await client.call("tokensShow", p.TokensShow(token_id=name)))
    chain = read_chain(shown.chain)
    if block_id(chain[-1].payload) != identity:
        raise TokenError(
            "tokens.other",
            "the daemon showed another token than was asked for",
            advice="stop the daemon and run `astrid audit verify`",
        )
    if as_json:
        print_json({**_plain(shown.info), "chain": shown.chain.hex()})
        return DONE
    for line in _lines(shown.info):
        print(line)
    for number, signed in enumerate(chain):
        print(f"block {number} of the token says:")
        print(describe_block(read_block(signed)), end="")
    return DONE


def read_chain(token: bytes) -> tuple[SignedBlock, ...]:
    """The blocks of a token, not verified.

    Raises:
        CanonError: it is none.
    """
    return decode(token, tuple[SignedBlock, ...], max_bytes=MAX_CHAIN_BYTES, what="a token")


def read_block(signed: SignedBlock) -> Block:
    """What a block says.

    Raises:
        CanonError: it is none.
    """
    return decode(signed.payload, Block, max_bytes=MAX_PAYLOAD_BYTES, what="a token block")


async def _revoke(home: Home, identity: bytes, args: argparse.Namespace) -> int:
    async with connect(home, start_daemon=True) as client:
        async with Signer.start(home, passphrase_fd=args.passphrase_fd, assume_yes=args.yes) as signer:
            with client.attended():
                signed = await signer.revoke(identity)
        ended = cast("r.TokensRevoked", await client.call("tokensRevoke", p.TokensRevoke(statement=signed.statement)))
    if args.json:
        print_json({"token": show_id("token", identity), "revoked": ended.revoked})
    else:
        print(f"revoked {show_id('token', identity)}: {ended.revoked} known tokens ended with it")
    return DONE
