"""Grants beforehand, and revocations: the block or statement, made here from the person's own words.  Pure.

Source: protocol N1, "Keys and who holds them"; architecture 6; threats 5, 51, 52.
"""

from __future__ import annotations

import msgspec

from astrid.core.canon import MAX_U64
from astrid.core.grants import MAX_GRANT_SECONDS, SESSION_DEPTH, GrantTerms, Mode, workspace_grant
from astrid.core.ids import InstallId
from astrid.core.install import Revocation
from astrid.core.keys import PublicKey
from astrid.core.resources import parse_pattern
from astrid.core.risk import Risk
from astrid.core.tokens import NO_PARENT, UNLIMITED_MICROS, UNLIMITED_USES, Assurance, Block, Grant, Permission, Scope
from astrid.errors import InputError
from astrid.frontends.signer.protocol import GrantPatterns, GrantWorkspace, Revoke

DAY_SECONDS = 24 * 3600
MAX_STANDING_DAYS = 366
CLIENT_PATTERN = "rpc://*"


class Signing(msgspec.Struct, frozen=True):
    """Who signs what for whom, and when."""

    issuer: PublicKey
    assurance: Assurance
    holder: PublicKey
    aud: InstallId
    now_s: int
    nonce: bytes


def workspace_block(asked: GrantWorkspace, signing: Signing, *, root: str, workspace: bytes) -> Block:
    """The block that lets Astrid work in the folder ``root``.

    Raises:
        InputError: no such mode, or a number of days that is not 1 to 30.
        PatternError: the path cannot be spelt as a resource.
    """
    terms = GrantTerms(
        issuer=signing.issuer,
        holder=signing.holder,
        aud=signing.aud,
        workspace=workspace,
        root=root,
        not_before_s=signing.now_s,
        expires_s=signing.now_s + _days(asked.days, MAX_GRANT_SECONDS // DAY_SECONDS),
        purse_micros=asked.purse,
        assurance=signing.assurance,
        nonce=signing.nonce,
    )
    return workspace_grant(_mode(asked.mode), terms)


def patterns_block(asked: GrantPatterns, signing: Signing, *, workspace: bytes) -> Block:
    """The block that lets sessions use what the patterns name; with an empty ``workspace``, in every folder.

    Raises:
        InputError: a permission, risk level or number of days that does not exist.
        PatternError: a pattern that cannot be read.
    """
    if not asked.perms or asked.perms & ~sum(Permission):
        raise InputError(
            "signer.permissions",
            "a grant names permissions that exist, at least one",
            advice="give --perms some of read, write, execute, delete, invoke, list, create",
        )
    if asked.risk > max(Risk):
        raise InputError(
            "signer.risk",
            "a grant names a level of risk from low to critical",
            advice="write low, medium, high or critical",
        )
    most = MAX_GRANT_SECONDS // DAY_SECONDS if workspace else MAX_STANDING_DAYS
    grants = {Grant(parse_pattern(text).text, asked.perms, 0, asked.risk, b"") for text in asked.patterns}
    return Block(
        version=1,
        algorithm=1,
        parent=NO_PARENT,
        nonce=signing.nonce,
        issuer=signing.issuer,
        holder=signing.holder,
        aud=signing.aud,
        session=b"",
        workspace=workspace,
        scope=Scope.WORKSPACE if workspace else Scope.ALWAYS,
        grants=tuple(sorted(grants)),
        not_before=signing.now_s,
        expires=signing.now_s + _days(asked.days, most),
        uses=asked.uses,
        purse=asked.purse,
        depth=SESSION_DEPTH + 1,
        tainted_ok=asked.tainted_ok,
        call=b"",
        question=b"",
        assurance=signing.assurance,
    )


def client_block(signing: Signing) -> Block:
    """The block that lets the command line ask the daemon for things; it covers no file, command or model."""
    return Block(
        version=1,
        algorithm=1,
        parent=NO_PARENT,
        nonce=signing.nonce,
        issuer=signing.issuer,
        holder=signing.holder,
        aud=signing.aud,
        session=b"",
        workspace=b"",
        scope=Scope.ALWAYS,
        grants=(Grant(CLIENT_PATTERN, Permission.INVOKE, 0, Risk.MEDIUM, b""),),
        not_before=signing.now_s,
        expires=MAX_U64,
        uses=UNLIMITED_USES,
        purse=UNLIMITED_MICROS,
        depth=0,
        tainted_ok=False,
        call=b"",
        question=b"",
        assurance=signing.assurance,
    )


def revocation(asked: Revoke, *, aud: InstallId, signer: PublicKey, now_s: int) -> Revocation:
    """The statement that revokes a token or a key."""
    return Revocation(aud=aud, target=asked.target, kind=asked.kind, asked_s=now_s, signer=signer)


def _days(days: int, most: int) -> int:
    if not 1 <= days <= most:
        raise InputError("signer.days", f"this grant lasts 1 to {most} days, not {days}", advice="give --days")
    return days * DAY_SECONDS


def _mode(name: str) -> Mode:
    for mode in Mode:
        if mode.value == name:
            return mode
    raise InputError("signer.mode", "there is no such mode", advice="write safe, guided or autonomous")
