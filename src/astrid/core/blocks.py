"""One block of a token: its fields, what it must satisfy alone, and what it must satisfy below another block.  Pure.

Never: sees a signature, a clock or a counter (``tokens`` does), or decides whether a resource may be touched
(``decide``).

Invariant: every use that a block allows, the block above it allows, except what a person approves in answer to a
question.

Source: protocol N1, N2 a and b; threats 2, 3, 14, 16, 51.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated

import msgspec

from astrid.core.canon import MAX_U64, U8, U16, U32, U64, Ascii, Bytes16, Bytes32, Domain, Signed, digest
from astrid.core.ids import BlockId
from astrid.core.resources import Pattern, check_exec_pattern, covers, parse_pattern
from astrid.core.risk import Risk
from astrid.errors import PatternError, TokenError

MAX_PAYLOAD_BYTES = 4 * 1024
MAX_GRANTS = 64
UNLIMITED_USES = 2**32 - 1
UNLIMITED_MICROS = MAX_U64
NO_PARENT = b"\0" * 32
_NONE_OR_32 = frozenset((0, 32))

Bytes0or16 = Annotated[bytes, msgspec.Meta(max_length=16)]  # empty or whole; whoever decodes one checks
Bytes0or32 = Annotated[bytes, msgspec.Meta(max_length=32)]


class Permission(enum.IntFlag):
    """What may be done with a resource."""

    READ = 1
    WRITE = 2
    EXECUTE = 4
    DELETE = 8
    INVOKE = 16
    LIST = 32
    CREATE = 64
    DELEGATE = 128


ALL_PERMISSIONS = 0xFF  # a plain number: the complement of a flag with every bit is empty and finds no unknown bit


class Scope(enum.IntEnum):
    """How long an authorisation stands, narrowest first."""

    ONCE = 0
    SESSION = 1
    WORKSPACE = 2
    ALWAYS = 3


class Assurance(enum.IntEnum):
    """How well the key that said yes is kept.  ``PLAIN`` means nothing against another process of the same user;
    ``RELAYED`` means that others could have put the words into the key's mouth."""

    PLAIN = 1
    SEALED = 2
    DEVICE = 3
    RELAYED = 4


# Plain numbers, for what is compared in every block: a member is looked up anew each time.
_ONCE, _SESSION, _WORKSPACE, _ALWAYS = map(int, Scope)
_PLAIN, _RELAYED = int(Assurance.PLAIN), int(Assurance.RELAYED)
_MEDIUM, _CRITICAL = int(Risk.MEDIUM), int(Risk.CRITICAL)

STRONG_ASSURANCES = frozenset({Assurance.SEALED, Assurance.DEVICE})


class Grant(Signed, frozen=True, array_like=True, order=True):
    """Permissions on the resources of one pattern.  ``issuable`` permissions authorise no use; their holder may grant
    them to the principal of an open question.  ``tooldef`` is empty for any tool."""

    pattern: Ascii
    perms: U16
    issuable: U16
    max_risk: U8
    tooldef: Bytes0or32


class Block(Signed, frozen=True, array_like=True):
    """The payload of one block, in the order it is signed.  A numeric field at its maximum means "no limit"."""

    version: U8
    algorithm: U8
    parent: Bytes32
    nonce: Bytes16
    issuer: Bytes32
    holder: Bytes32
    aud: Bytes32
    session: Bytes0or16
    workspace: Bytes0or32
    scope: U8
    grants: tuple[Grant, ...]
    not_before: U64
    expires: U64
    uses: U32
    purse: U64
    depth: U8
    tainted_ok: bool
    call: Bytes0or32
    question: Bytes0or32
    assurance: U8


class Link(msgspec.Struct, frozen=True):
    """A block that is right by itself, with its id and the patterns of its grants, in their order."""

    block: Block
    id: BlockId
    patterns: tuple[Pattern, ...]


def block_id(payload: bytes) -> BlockId:
    """The id under which uses and money are counted, and by which a block is revoked."""
    return BlockId(digest(Domain.BLOCK, payload))


def check_block(block: Block) -> tuple[Pattern, ...]:
    """What a block must satisfy alone; the patterns of its grants.

    Raises:
        TokenError: names the rule that is broken.
    """
    if (block.version, block.algorithm) != (1, 1):
        raise TokenError("token.version", "only version 1 with Ed25519 is understood")
    sizes = (len(block.workspace), len(block.call), len(block.question))
    if len(block.session) not in (0, 16) or not _NONE_OR_32.issuperset(sizes):
        raise TokenError("token.field-size", "a field of a block has the wrong size")
    if block.scope > _ALWAYS or not _PLAIN <= block.assurance <= _RELAYED:
        raise TokenError("token.field-range", "a field of a block is out of range")
    if block.scope == _ONCE and (block.depth != 0 or not block.call or block.uses != 1):
        raise TokenError("token.once", "a once block names one call, has one use and cannot be passed on")
    if (block.scope == _SESSION and not block.session) or (block.scope == _WORKSPACE and not block.workspace):
        raise TokenError("token.unbound", "a block whose scope is a session or a workspace names it")
    if block.scope == _ALWAYS and block.tainted_ok:
        raise TokenError(
            "token.tainted-always",
            "a standing grant without end cannot cover tainted contexts",
            advice="sign it for one folder (--workspace), or without --tainted-ok",
        )
    patterns = check_grants(block.grants)
    highest = max([grant.max_risk for grant in block.grants])
    if block.assurance == _RELAYED and (block.scope != _ONCE or highest > _MEDIUM):
        raise TokenError("token.relayed", "a relayed yes is good for one call of at most medium risk")
    if block.scope != _ONCE and highest > _MEDIUM and block.assurance not in STRONG_ASSURANCES:
        raise TokenError(
            "token.weak-key",
            "a standing grant above medium risk needs a sealed key or a device",
            advice="ask for at most medium risk, or make a home whose key is sealed from the start",
        )
    return patterns


def check_grants(grants: Sequence[Grant]) -> tuple[Pattern, ...]:
    """What the grants of a block or an enrolment must satisfy; their patterns.

    Raises:
        TokenError: names the rule that is broken.
    """
    if not 1 <= len(grants) <= MAX_GRANTS or any(a >= b for a, b in pairwise(grants)):
        raise TokenError("token.grants", f"there are 1 to {MAX_GRANTS} grants, sorted and listed once")
    for grant in grants:
        if not 0 < (grant.perms | grant.issuable) <= ALL_PERMISSIONS:
            raise TokenError("token.permission", "a grant names permissions that exist, at least one")
        if grant.max_risk > _CRITICAL or len(grant.tooldef) not in (0, 32):
            raise TokenError("token.field-range", "a field of a grant is out of range")
    try:
        patterns = tuple([parse_pattern(grant.pattern) for grant in grants])
        for pattern in patterns:
            check_exec_pattern(pattern)
    except PatternError as error:
        raise TokenError("token.pattern", error.message, advice=error.advice) from error
    return patterns


def check_linked(above: Block, above_id: BlockId, block: Block) -> None:
    """N2 a, without signatures: ``block`` continues ``above``.

    Raises:
        TokenError: it does not.
    """
    if block.issuer != above.holder:
        raise TokenError("token.issuer", "a block is not issued by the holder of the one before")
    if block.parent != above_id:
        raise TokenError("token.parent", "a block names another parent")


def asks_anew(above: Block, block: Block) -> bool:
    """Whether ``block`` itself answers a question; the blocks below it only carry that question on."""
    return bool(block.question) and not above.question


def check_narrower(above: Link, block: Block, patterns: Sequence[Pattern]) -> None:
    """N2 b: ``block``, whose grants have ``patterns``, allows nothing that ``above`` does not allow.

    Raises:
        TokenError: names the first field that is wider.
    """
    parent = above.block
    if block.aud != parent.aud:
        raise TokenError("token.audience", "a block names another install than its parent")
    for name in ("workspace", "session", "call", "question"):
        before = getattr(parent, name)
        if before and before != getattr(block, name):
            raise TokenError("token.rebound", f"a block names another {name} than its parent")
    for name in ("scope", "expires", "uses", "purse", "tainted_ok"):
        if getattr(block, name) > getattr(parent, name):
            raise TokenError("token.wider", f"a block widens `{name}`")
    if block.not_before < parent.not_before:
        raise TokenError("token.wider", "a block widens `not_before`")
    if block.depth >= parent.depth:
        raise TokenError(
            "token.depth", "the parent may not be passed on this far", advice="sign another with `astrid tokens grant`"
        )
    approved = asks_anew(parent, block)
    # The block of an answer has the assurance of who answered (the caller knows it); every other has its parent's.
    if not approved and block.assurance != parent.assurance:
        raise TokenError("token.assurance", "a block declares another assurance than its parent")
    outer = tuple(zip(above.patterns, parent.grants, strict=True))
    for pattern, grant in zip(patterns, block.grants, strict=True):
        for outer_pattern, outer_grant in outer:
            if _grant_within(grant, pattern, outer_pattern, outer_grant, approved=approved):
                break
        else:
            raise TokenError("token.wider", f"no single grant of the parent covers `{grant.pattern}` as it is granted")


def _grant_within(inner: Grant, pattern: Pattern, outer_pattern: Pattern, outer: Grant, *, approved: bool) -> bool:
    # SAFETY: the one exception to narrowing.  Only the block that answers a question may turn `issuable` into
    # permissions, so that whoever holds an approved token cannot do it again further down.
    available = outer.perms | outer.issuable if approved else outer.perms
    return (
        not inner.perms & ~available
        and not inner.issuable & ~outer.issuable
        and inner.max_risk <= outer.max_risk
        and (not outer.tooldef or outer.tooldef == inner.tooldef)
        and covers(outer_pattern, pattern)
    )
