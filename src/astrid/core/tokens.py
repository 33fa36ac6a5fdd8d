"""Capability tokens: a chain of signed blocks, each narrower than the one before.  Pure.

``verify_chain`` turns bytes from somewhere into a ``Token`` or names what is wrong.  What a ``Token`` proves holds for
ever (signatures, narrowing); what may change (time, revocation, settlement, taint) is ``check_live`` and runs on every
use.

Never: reads a clock, keeps a counter, or decides whether a resource may be touched (that is ``decide``).

Invariants:
  Every use that a block allows, its parent allows, or a person allowed it in answer to a question that the log shows.
  There is one byte string per chain, and one id per block: ``H(block, payload)``.
  Nothing is computed from a payload before its signature is verified but its digest, its decoding and whose it is.

Source: protocol N1, N2; threats 1, 2, 13, 14, 16, 17, 47, 51.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from typing import TypeVar

import msgspec

from astrid.core.blocks import (
    ALL_PERMISSIONS,
    MAX_GRANTS,
    MAX_PAYLOAD_BYTES,
    NO_PARENT,
    STRONG_ASSURANCES,
    UNLIMITED_MICROS,
    UNLIMITED_USES,
    Assurance,
    Block,
    Bytes0or16,
    Bytes0or32,
    Grant,
    Link,
    Permission,
    Scope,
    asks_anew,
    block_id,
    check_block,
    check_linked,
    check_narrower,
)
from astrid.core.budget import Cap, Use
from astrid.core.canon import U64, Bytes64, Domain, Signed, decode, encode
from astrid.core.ids import BlockId
from astrid.core.keys import PublicKey, SigningKey, load_public_key, verify
from astrid.core.memo import MEMO_TEXT_BYTES, Memo
from astrid.core.resources import Pattern, covers, matches, parse_pattern, rpc_resource
from astrid.errors import CanonError, KeyFormatError, TokenError

__all__ = [
    "ALL_PERMISSIONS",
    "MAX_BLOCKS",
    "MAX_CHAIN_BYTES",
    "MAX_GRANTS",
    "MAX_PAYLOAD_BYTES",
    "NO_PARENT",
    "STRONG_ASSURANCES",
    "UNLIMITED_MICROS",
    "UNLIMITED_USES",
    "Assurance",
    "Block",
    "Bytes0or16",
    "Bytes0or32",
    "Enrolled",
    "Grant",
    "Moment",
    "Permission",
    "Refusal",
    "Roots",
    "Scope",
    "SignedBlock",
    "Token",
    "attenuate",
    "block_id",
    "check_length",
    "check_live",
    "issue",
    "lets_ask",
    "verify_chain",
]

MAX_BLOCKS = 8
MAX_CHAIN_BYTES = 16 * 1024
COVERED_ENTRIES = 32  # a turn touches few things again and again, and thousands of tokens are kept
_T = TypeVar("_T")


class SignedBlock(Signed, frozen=True, array_like=True):
    """A payload and its issuer's signature."""

    payload: bytes
    signature: Bytes64


class Enrolled(msgspec.Struct, frozen=True):
    """What the user signed of a device key: how well it is kept, and until when it may answer, in seconds."""

    assurance: Assurance
    expires_s: U64


class Roots(msgspec.Struct, frozen=True):
    """The keys that may sign a first block, each with the assurance its install statement states; and the device keys
    that may answer questions, within what a block for them lets them issue.

    ``epoch`` rises with every change; a cached token dies with its epoch.
    """

    keys: Mapping[bytes, Assurance]
    epoch: int
    devices: Mapping[bytes, Enrolled] = msgspec.field(default_factory=dict[bytes, Enrolled])


def _nothing_covered() -> Memo[str, tuple[Grant, ...]]:
    return Memo(COVERED_ENTRIES)


class Token(msgspec.Struct, frozen=True, eq=False):
    """A chain whose signatures and narrowing were verified under the roots of ``epoch``.

    What every use looks at in *each* block is gathered here once.
    """

    raw: bytes
    blocks: tuple[Block, ...]
    ids: tuple[BlockId, ...]
    patterns: tuple[tuple[Pattern, Grant], ...]  # of the last block
    epoch: int
    not_before: int = 0  # the latest of all
    expires: int = 0  # the earliest of all
    names: frozenset[bytes] = frozenset()  # whatever a revocation may name: ids, issuers, holders
    answers: frozenset[bytes] = frozenset()  # the blocks that carry a question which the block above them does not
    caps: tuple[Cap, ...] = ()
    uses: tuple[Use, ...] = ()
    covered: Memo[str, tuple[Grant, ...]] = msgspec.field(default_factory=_nothing_covered)

    def __post_init__(self) -> None:
        """Gather it.  What somebody gave for it counts for nothing."""
        blocks, ids = self.blocks, self.ids
        each = list(zip(ids, blocks, strict=True))
        above = (b"", *[block.question for block in blocks[:-1]])
        for name, value in (
            ("not_before", max([block.not_before for block in blocks])),
            ("expires", min([block.expires for block in blocks])),
            ("names", frozenset((*ids, *[block.issuer for block in blocks], *[block.holder for block in blocks]))),
            # SAFETY: the log has to name the very block that answers a question; its id commits to that question.  What
            # was passed on from it carries the question too, and lives with it.
            ("answers", frozenset([i for (i, b), before in zip(each, above, strict=True) if b.question != before])),
            ("caps", tuple([Cap(one, block.purse, "token") for one, block in each])),
            ("uses", tuple([Use(one, block.uses) for one, block in each])),
            ("covered", _nothing_covered()),
        ):
            msgspec.structs.force_setattr(self, name, value)

    @property
    def leaf(self) -> Block:
        """The block that says what may be done."""
        return self.blocks[-1]

    @property
    def holder(self) -> PublicKey:
        """The key whose owner may present it."""
        return PublicKey(self.blocks[-1].holder)

    @property
    def id(self) -> BlockId:
        """The id of the last block, by which the token is listed and revoked."""
        return self.ids[-1]

    def covering(self, resource: str) -> tuple[Grant, ...]:
        """Those of its grants whose pattern covers ``resource``, or the tree of files that it names.

        Raises:
            PatternError: it names nothing.
        """
        found = self.covered.get(resource)
        if found is not None:
            return found
        wanted = parse_pattern(resource)
        found = tuple([grant for pattern, grant in self.patterns if covers(pattern, wanted)])
        return self.covered.keep(resource, found) if len(resource) <= MEMO_TEXT_BYTES else found


def issue(block: Block, key: SigningKey) -> bytes:
    """A chain of one block, signed by ``key``.

    Raises:
        TokenError: the block breaks a rule that every verifier would refuse.
        CanonError: a field has no canonical form.
    """
    if block.parent != NO_PARENT:
        raise TokenError("token.parent", "the first block names a parent")
    _check_holders((block,))
    check_block(block)
    return _bounded((_sign(block, key),))


def attenuate(parent: Token, block: Block, key: SigningKey) -> bytes:
    """``parent`` with one narrower block, signed by the parent's holder.

    Raises:
        TokenError: ``key`` is not the holder, or the block is not narrower.
        CanonError: a field has no canonical form.
    """
    check_linked(parent.leaf, parent.id, block)
    _check_holders((*parent.blocks, block))
    check_narrower(_link(parent), block, check_block(block))
    chain = decode(parent.raw, tuple[SignedBlock, ...], max_bytes=MAX_CHAIN_BYTES, what="a token")
    return _bounded((*chain, _sign(block, key)))


def _sign(block: Block, key: SigningKey) -> SignedBlock:
    if block.issuer != key.public:
        raise TokenError("token.issuer", "a block is signed by the issuer it names")
    payload = encode(block)
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise TokenError("token.too-long", f"a block is {len(payload)} bytes, more than {MAX_PAYLOAD_BYTES}")
    return SignedBlock(payload, key.sign(Domain.BLOCK, payload))


def _bounded(chain: Sequence[SignedBlock]) -> bytes:
    raw = encode(tuple(chain))
    if len(chain) > MAX_BLOCKS or len(raw) > MAX_CHAIN_BYTES:
        raise TokenError("token.too-long", f"a token has at most {MAX_BLOCKS} blocks and {MAX_CHAIN_BYTES} bytes")
    return raw


def verify_chain(raw: bytes, roots: Roots, known: Mapping[bytes, Token] | None = None) -> Token:
    """The token that ``raw`` proves: N2 a and b.

    ``known`` are tokens that were verified, by their bytes.  What the chain shares with one that it goes on from by one
    block, is not verified again.

    Raises:
        TokenError: names the first rule that is broken; the code says which.
    """
    check_length(raw)
    chain = _decode(raw, tuple[SignedBlock, ...], "a token", MAX_CHAIN_BYTES)
    if not 1 <= len(chain) <= MAX_BLOCKS:
        raise TokenError("token.length", f"a token has 1 to {MAX_BLOCKS} blocks, not {len(chain)}")
    above = known.get(encode(chain[:-1])) if known else None
    # SAFETY: the same bytes, signatures included, and roots that say what they said then.
    if above is not None and above.epoch != roots.epoch:
        above = None
    blocks: list[Block] = [] if above is None else [*above.blocks]
    ids: list[BlockId] = [] if above is None else [*above.ids]
    for signed in chain[len(blocks) :]:
        block = _decode(signed.payload, Block, "a token block", MAX_PAYLOAD_BYTES)
        if blocks:
            check_linked(blocks[-1], ids[-1], block)
        elif block.issuer not in roots.keys:
            raise TokenError(
                "token.root",
                "the first block is not signed by a key of this install",
                advice="sign another with `astrid tokens grant`",
            )
        elif block.parent != NO_PARENT:
            raise TokenError("token.parent", "the first block names a parent")
        # SAFETY: each key is judged before it is used: the issuer of a later block is the holder of the one before.
        issuer = PublicKey(block.issuer) if blocks else _load(block.issuer)
        _load(block.holder)
        if not verify(issuer, Domain.BLOCK, signed.payload, signed.signature):
            raise TokenError(
                "token.signature",
                "a block's signature does not verify",
                advice="sign another with `astrid tokens grant`",
            )
        blocks.append(block)
        ids.append(block_id(signed.payload))
    _check_holders(blocks, roots.keys)
    leaf = _check_rules(blocks, ids, roots, above)
    patterns = tuple(zip(leaf.patterns, leaf.block.grants, strict=True))
    return Token(raw, tuple(blocks), tuple(ids), patterns, roots.epoch)


def _check_rules(blocks: Sequence[Block], ids: Sequence[BlockId], roots: Roots, known: Token | None) -> Link:
    """Every block by itself and below the one before, from behind those of ``known`` on; the last of them."""
    if known is None:
        above = Link(blocks[0], ids[0], check_block(blocks[0]))
        if above.block.assurance != roots.keys[above.block.issuer]:
            raise TokenError("token.assurance", "the first block declares another assurance than its key has")
    else:
        above = _link(known)
    begin = 1 if known is None else len(known.blocks)
    for block, identity in zip(blocks[begin:], ids[begin:], strict=True):
        patterns = check_block(block)
        check_narrower(above, block, patterns)
        if asks_anew(above.block, block):
            device = roots.devices.get(block.issuer)
            # SAFETY: how well a key is kept is what the user signed about it, never what it says of itself.
            if device is None or device.assurance != block.assurance:
                raise TokenError(
                    "token.assurance", "a question is answered by a key that is not enrolled as it declares"
                )
        above = Link(block, identity, patterns)
    return above


def _link(token: Token) -> Link:
    return Link(token.leaf, token.id, tuple([pattern for pattern, _ in token.patterns]))


def _check_holders(blocks: Sequence[Block], roots: Mapping[bytes, object] | None = None) -> None:
    holders = [block.holder for block in blocks]
    taken = {blocks[0].issuer} if roots is None else roots.keys()
    if len(set(holders)) != len(holders) or not taken.isdisjoint(holders):
        # SAFETY: a repeated or root holder could re-issue what it narrowed away.
        raise TokenError("token.holder", "holders are distinct and none is a root key")


def check_length(raw: bytes) -> None:
    """Before anything is computed from the bytes, also before they are looked up in a cache.

    Raises:
        TokenError: too long to be a token.
    """
    if len(raw) > MAX_CHAIN_BYTES:
        raise TokenError("token.too-long", f"a token is {len(raw)} bytes, more than {MAX_CHAIN_BYTES}")


def _decode(raw: bytes, shape: type[_T], what: str, max_bytes: int) -> _T:
    try:
        return decode(raw, shape, max_bytes=max_bytes, what=what)
    except CanonError as error:
        raise TokenError("token.encoding", error.message, advice="hand it on byte for byte as it was signed") from error


def _load(raw: bytes) -> PublicKey:
    try:
        return load_public_key(raw)
    except KeyFormatError as error:
        raise TokenError("token.key", error.message) from error


class Moment(msgspec.Struct, frozen=True):
    """What ``check_live`` compares a token with: the present, as the gate knows it.

    ``time_s`` is max(wall clock, time of the last durable record) in whole seconds; ``revoked`` holds block ids and
    keys; ``settled`` holds the ids of the blocks that settling records name as answers, one a question.
    """

    time_s: int
    aud: bytes
    session: bytes
    workspace: bytes
    tainted: bool
    epoch: int
    revoked: Set[bytes]
    settled: Set[bytes]


class Refusal(msgspec.Struct, frozen=True):
    """Why a verified token is of no use now: a stable code and a text for people."""

    code: str
    reason: str


def check_live(token: Token, now: Moment) -> Refusal | None:
    """N2 c, on every use and again when the permit is durable.  ``None`` if the token is live."""
    if token.epoch != now.epoch:
        return Refusal("token.epoch", "the keys of this install changed since the token was verified")
    if now.time_s < token.not_before:
        return Refusal("token.not-yet", "the token is not valid yet")
    if now.time_s >= token.expires:
        return Refusal("token.expired", "the token has expired")
    if not now.revoked.isdisjoint(token.names):
        return Refusal("token.revoked", "the token or a key in its chain was revoked")
    if not token.answers <= now.settled:
        return Refusal("token.unsettled", "the log has no answer that made this token")
    leaf = token.leaf
    if leaf.aud != now.aud:
        return Refusal("token.audience", "the token was made for another install")
    if leaf.session and leaf.session != now.session:
        return Refusal("token.session", "the token was made for another session")
    if leaf.workspace and leaf.workspace != now.workspace:
        return Refusal("token.workspace", "the token was made for another workspace")
    if now.tainted and not leaf.tainted_ok:
        return Refusal("token.tainted", "untrusted text is in view and the token does not hold under it")
    return None


def lets_ask(token: Token, method: str) -> bool:
    """Whether ``token`` covers asking the daemon for ``method``."""
    wanted = rpc_resource(method)
    return any(
        grant.perms & Permission.INVOKE and not grant.tooldef and matches(pattern, wanted)
        for pattern, grant in token.patterns
    )
