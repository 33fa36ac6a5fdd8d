"""When a chain of blocks is one, and what its blocks allow: from the words of the protocol, by trying a small universe.

It shares with the product the shape of a block and the hash that names one; no rule.  A grant is the set of those uses
of a small universe that it allows; to be narrower is to be a subset.  The universe tells any two of the patterns apart
that chains are drawn from here (a test compares ``includes`` with ``covers``).

Source: protocol N0, N1, N2 a and b.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

import msgspec

from astrid.core.blocks import Block, Grant
from astrid.core.canon import Domain, digest
from astrid.core.patterns import parse_resource
from astrid.core.tokens import Roots
from tests.fakes.naive_patterns import naive_regex, naive_value

ONCE, SESSION, WORKSPACE, ALWAYS = range(4)
PLAIN, SEALED, DEVICE, RELAYED = range(1, 5)
ZEROS = b"\0" * 32
SMALL_ORDER = b"\1" + b"\0" * 31  # the neutral element: a key that anybody can sign for

PATTERNS = (
    *("file://w/**", "file://**", "file://w/a", "file://w/b", "file://w/*", "file://w/a*", "file://w/a/**"),
    *("file://*/a", "file://w", "exec://%2Fbin%2Fls", "exec://%2Fbin%2Fls/a", "net://443/com/**", "net://443/com/a"),
)
OPEN_COMMANDS = ("exec://*", "exec://%2Fbin%2Fls/*", "exec://%2Fbin%2Fls/**", "exec://")
RESOURCES = (
    *("file://", "file://v", "file://w", "file://w/a", "file://w/b", "file://w/a0", "file://w/0", "file://v/a"),
    *("file://v/0", "file://w/a/0", "file://w/a/0/0", "file://w/0/0", "file://v/0/0"),
    *("exec://%2Fbin%2Fls", "exec://%2Fbin%2Fls/a", "exec://%2Fbin%2Fls/0", "exec://%2F0/0"),
    *("net://443/com", "net://443/com/a", "net://443/com/0", "net://443/com/a/0", "net://1/com/a"),
)
TOOLDEFS = (b"T" * 32, b"X" * 32)
VALUES = [naive_value(parse_resource(text)) for text in RESOURCES]
_ROW = len(RESOURCES) * len(TOOLDEFS) * 4  # bits of one permission


class Made(NamedTuple):
    """A block as somebody made it; ``signer`` is who really signed, ``genuine``: over these bytes, for this use."""

    block: Block
    payload: bytes
    signature: bytes
    signer: bytes
    genuine: bool = True


def faults(chain: Sequence[Made], roots: Roots) -> Iterator[str]:
    """Every rule that the chain breaks, by name."""
    if not 1 <= len(chain) <= 8:
        yield "length"
        return
    blocks = [made.block for made in chain]
    first, holders = blocks[0], [block.holder for block in blocks]
    if first.issuer not in roots.keys or roots.keys[first.issuer] != first.assurance:
        yield "root"
    if first.parent != ZEROS:
        yield "parent"
    if not all(made.genuine and made.signer == made.block.issuer for made in chain):
        yield "signature"
    if len(set(holders)) < len(holders) or not roots.keys.keys().isdisjoint(holders) or SMALL_ORDER in holders:
        yield "holder"
    for block in blocks:
        yield from alone(block)
    for above, below in pairwise(chain):
        if below.block.issuer != above.block.holder or below.block.parent != digest(Domain.BLOCK, above.payload):
            yield "link"
        yield from wider(above.block, below.block, roots)


def alone(block: Block) -> Iterator[str]:
    """N1: what a block must satisfy alone."""
    if (block.version, block.algorithm) != (1, 1):
        yield "version"
    if len(block.session) not in (0, 16) or any(len(x) not in (0, 32) for x in (block.workspace, block.call)):
        yield "size"
    if len(block.question) not in (0, 32):
        yield "size"
    if block.scope > ALWAYS or not PLAIN <= block.assurance <= RELAYED:
        yield "range"
    if not block.grants or any(a >= b for a, b in pairwise(_key(grant) for grant in block.grants)):
        yield "grants"
    for grant in block.grants:
        if not grant.perms | grant.issuable or (grant.perms | grant.issuable) > 255 or grant.max_risk > 3:
            yield "grant"
        if len(grant.tooldef) not in (0, 32):
            yield "size"
        if grant.pattern in OPEN_COMMANDS:
            yield "open command"
    if block.scope == ONCE and not (block.depth == 0 and block.call and block.uses == 1):
        yield "once"
    if (block.scope == SESSION and not block.session) or (block.scope == WORKSPACE and not block.workspace):
        yield "unbound"
    if block.scope == ALWAYS and block.tainted_ok:
        yield "tainted always"
    highest = max((grant.max_risk for grant in block.grants), default=0)
    if block.assurance == RELAYED and not (block.scope == ONCE and highest <= 1):
        yield "relayed"
    if block.scope > ONCE and highest > 1 and block.assurance not in (SEALED, DEVICE):
        yield "weak key"


def wider(above: Block, below: Block, roots: Roots) -> Iterator[str]:
    """N2 b: each field in which ``below`` is not narrower than ``above``."""
    for name in ("workspace", "session", "call", "question"):
        if getattr(above, name) not in (b"", getattr(below, name)):
            yield name
    for name in ("scope", "expires", "uses", "purse", "tainted_ok"):
        if not getattr(below, name) <= getattr(above, name):
            yield name
    if below.aud != above.aud:
        yield "aud"
    if not below.not_before >= above.not_before:
        yield "not_before"
    if not below.depth < above.depth:
        yield "depth"
    answers = below.question != b"" and above.question == b""
    if answers:
        enrolled = roots.devices.get(below.issuer)
        if enrolled is None or enrolled.assurance != below.assurance:
            yield "assurance"
    elif below.assurance != above.assurance:
        yield "assurance"
    for grant in below.grants:
        if not any(_inside(grant, outer, answers=answers) for outer in above.grants):
            yield "grants"


def _inside(inner: Grant, outer: Grant, *, answers: bool) -> bool:
    use = allowed(outer) | (allowed(outer, issuing=True) if answers else 0)
    return not allowed(inner) & ~use and not allowed(inner, issuing=True) & ~allowed(outer, issuing=True)


@lru_cache(maxsize=65536)
def allowed(grant: Grant, *, issuing: bool = False) -> int:
    """The uses (permission, resource, risk, definition) that a grant allows, or lets its holder issue, as bits."""
    match, bits, place = naive_regex(grant.pattern).match, 0, 0
    for value in VALUES:
        for tooldef in TOOLDEFS:
            for risk in range(4):
                if match(value) and risk <= grant.max_risk and grant.tooldef in (b"", tooldef):
                    bits |= 1 << place
                place += 1
    permissions = grant.issuable if issuing else grant.perms
    return sum(bits << bit * _ROW for bit in range(16) if permissions >> bit & 1)


def read(raw: bytes) -> list[tuple[bytes, Block]]:
    """The id and the block of each link of a chain that was honestly made, first to last."""
    links = msgspec.msgpack.decode(raw, type=list[tuple[bytes, bytes]])
    return [(digest(Domain.BLOCK, payload), msgspec.msgpack.decode(payload, type=Block)) for payload, _ in links]


def revocable(chain: Sequence[tuple[bytes, Block]]) -> set[bytes]:
    """N2 c: whatever must not be revoked for the chain to live."""
    return {name for identity, block in chain for name in (identity, block.issuer, block.holder)}


# --- what a block allows, field by field

TIMES = tuple(range(0, 1300, 50))
COUNTS = (*range(12), 50, 99, 100, 101, 2**31, 2**32 - 2)
MONEY = (0, 1, 9, 10, 11, 99, 100, 101, 10**6, 2**63, 2**64 - 1)
CALLS, QUESTIONS = (b"C" * 32, b"D" * 32), (b"Q" * 32, b"R" * 32)
SESSIONS, WORKSPACES, AUDS = (b"S" * 16, b"Z" * 16), (b"W" * 32, b"V" * 32), (b"A" * 32, b"B" * 32)


def effect(block: Block) -> dict[str, frozenset[object] | int]:
    """Of each kind of circumstance, those in which ``block`` by itself allows anything, and what it then allows.

    A use is allowed if every single one of them is; so a block allows no more than another if none of these sets is
    larger.
    """
    return {
        "use": _union(block, issuing=False),
        "issue": _union(block, issuing=True),
        "time": frozenset(t for t in TIMES if block.not_before <= t < block.expires),
        "use number": frozenset(n for n in COUNTS if n < block.uses),
        "money": frozenset(m for m in MONEY if m <= block.purse),
        "handed on": frozenset(range(block.depth)),
        "taint": frozenset((False, True) if block.tainted_ok else (False,)),
        "lifetime": frozenset(range(block.scope + 1)),
        "session": frozenset(s for s in SESSIONS if block.session in (b"", s)),
        "workspace": frozenset(w for w in WORKSPACES if block.workspace in (b"", w)),
        "call": frozenset(c for c in CALLS if block.call in (b"", c)),
        "question": frozenset(q for q in QUESTIONS if block.question in (b"", q)),
        "install": frozenset(a for a in AUDS if block.aud == a),
    }


def _union(block: Block, *, issuing: bool) -> int:
    bits = 0
    for grant in block.grants:
        bits |= allowed(grant, issuing=issuing)
    return bits


def excess(above: Block, below: Block) -> list[str]:
    """The fields in which ``below`` has an effect that ``above`` has not, by trying the universe."""
    over, under = effect(above), effect(below)
    if below.question and not above.question:
        over["use"] |= over["issue"]  # type: ignore[operator]
    return [name for name, more in under.items() if _larger(more, over[name])]


def _larger(more: frozenset[object] | int, than: frozenset[object] | int) -> bool:
    if isinstance(more, int) and isinstance(than, int):
        return bool(more & ~than)
    return not more <= than  # type: ignore[operator]


def includes(wider: str, narrower: str) -> bool:
    """Whether of the resources tried here, those that ``narrower`` names are all named by ``wider``."""
    outer, inner = naive_regex(wider).match, naive_regex(narrower).match
    return all(outer(value) or not inner(value) for value in VALUES)


def _key(grant: Grant) -> tuple[str, int, int, int, bytes]:
    return grant.pattern, grant.perms, grant.issuable, grant.max_risk, grant.tooldef
