"""Whether a permit rests on something that a person signed: from the words of the protocol, block by block.

It is told of every chain of blocks that anybody presents or signs, believes only what is rightly signed, and shares
with the product the shape of a block, of a call and the signature scheme; no rule.

Source: protocol N1, N2, N4; architecture 6 (the order of the decision, labels).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from itertools import pairwise

import msgspec
from blake3 import blake3
from nacl.bindings import crypto_sign_open
from nacl.exceptions import BadSignatureError

from astrid.core.blocks import Block, Grant
from astrid.core.call import Call
from astrid.core.records import PermitRecord

_ZEROS = bytes(32)
_LEVEL = {"read": 0, "model": 0, "staging": 0, "exec": 2, "egress": 2, "destructive": 2}
_REACHES_OUT = {"exec", "egress", "destructive"}
_SINK_LEVEL, _ONCE, _SEALED, _DELETE = 2, 0, 2, 8
_FORBIDDEN = "file://etc/"


class Moment(msgspec.Struct):
    """What the log said by the time of a permit."""

    aud: bytes
    revoked: set[bytes]
    settled: set[bytes]  # blocks that are the answers to questions


class Authority:
    """Every block that was ever rightly signed.  ``user`` may sign first blocks; ``asked_each_time`` are the tools for
    which policy wants a yes to each call, ``forbidden`` those that it blocks.
    """

    def __init__(self, user: bytes, *, asked_each_time: frozenset[str], forbidden: frozenset[str]) -> None:
        self._user = user
        self._asked_each_time = asked_each_time | {"send", "fresh"}
        self._forbidden = forbidden
        self.blocks: dict[bytes, Block] = {}
        self.signed: set[bytes] = set()  # first blocks that the user's hand really signed
        self._seen: set[bytes] = set()

    def learn(self, raw: bytes, *, by_the_user: bool = False) -> bytes:
        """Take in a chain as far as it is rightly signed; the id of its last block, or nothing."""
        ids = list(self._read(raw))
        if by_the_user:
            self.signed.update(ids)
        return ids[-1] if ids else b""

    def _read(self, raw: bytes) -> Iterator[bytes]:
        try:
            chain = msgspec.msgpack.decode(raw, type=list[tuple[bytes, bytes]])
            blocks = [msgspec.msgpack.decode(payload, type=Block) for payload, _ in chain]
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return
        issuer, above = self._user, _ZEROS
        for (payload, signature), block in zip(chain, blocks, strict=True):
            identity = _digest("block", payload)
            if identity not in self.blocks:
                sound = block.issuer == issuer and block.parent == above
                if not sound or not _is_signed(issuer, payload, signature):
                    return
                self.blocks[identity] = block
            issuer, above = block.holder, identity
            yield identity

    def chain(self, leaf: bytes) -> list[tuple[bytes, Block]]:
        """From the first block to ``leaf``; nothing if that is not known."""
        found: list[tuple[bytes, Block]] = []
        while leaf in self.blocks:
            found.append((leaf, self.blocks[leaf]))
            leaf = self.blocks[leaf].parent
        return found[::-1] if leaf == _ZEROS else []

    def objections(self, permit: PermitRecord, session: bytes, call: Call | None, when: Moment) -> Iterator[str]:
        """Everything that is wrong with a permit.  ``call`` is what it permits, but for a model call."""
        chain = self.chain(permit.token)
        if not chain:
            yield "it rests on a token that nobody signed"
            return
        leaf = chain[-1][1]
        if chain[0][0] not in self.signed:
            yield "its first block was not signed by the user's hand"
        if [(row.block, row.micros) for row in permit.charges] != [(identity, permit.micros) for identity, _ in chain]:
            yield "it does not charge every block of its chain"
        yield from _wider(chain)
        if leaf.holder != permit.principal:
            yield "its token is another's"
        yield from _dead(chain, session, permit, when)
        level, effect = _level(permit, call)
        if permit.risk != level:
            yield f"its risk is {permit.risk} and should be {level}"
        person = leaf.scope == _ONCE and (len(chain) == 1 or chain[-1][0] in when.settled)
        if leaf.scope == _ONCE and call is not None and leaf.call != _digest("call", msgspec.msgpack.encode(call)):
            yield "its token was made for another call"
        if permit.tool in self._forbidden:
            yield "policy forbids the tool"
        if call is not None and any(need.resource.startswith(_FORBIDDEN) for need in call.needs):
            yield "policy forbids the file"
        deletes = call is not None and any(need.permission & _DELETE for need in call.needs)
        if (permit.tool in self._asked_each_time or deletes) and not person:
            yield "nobody said yes to this very call"
        if effect == "egress" and leaf.assurance < _SEALED:
            yield "the key is too weak"
        needs = [("model://sim/shared", 16)] if call is None else [(one.resource, one.permission) for one in call.needs]
        for resource, permission in needs:
            if not any(_allows(grant, resource, permission, level) for grant in leaf.grants):
                yield f"nothing grants `{resource}`"


def _level(permit: PermitRecord, call: Call | None) -> tuple[int, str]:
    effect = {
        "look": "read",
        "trusted": "read",
        "fresh": "read",
        "secret": "read",
        "note": "staging",
        "pay": "staging",
        "run": "exec",
        "send": "egress",
        "wipe": "destructive",
        "model": "model",
    }[permit.tool]
    level = max(_LEVEL[effect], 0 if call is None else call.risk)
    tainted = permit.tainted and (effect in _REACHES_OUT or level >= _SINK_LEVEL)
    return min(level + tainted, 3), effect


def _wider(chain: list[tuple[bytes, Block]]) -> Iterator[str]:
    for (_, outer), (_, inner) in pairwise(chain):
        narrow = (
            inner.aud == outer.aud
            and all(getattr(outer, name) in (b"", getattr(inner, name)) for name in ("workspace", "session", "call"))
            and all(getattr(inner, name) <= getattr(outer, name) for name in ("scope", "expires", "uses", "purse"))
            and inner.tainted_ok <= outer.tainted_ok
            and inner.not_before >= outer.not_before
            and inner.depth < outer.depth
            and all(any(_inside(grant, whole) for whole in outer.grants) for grant in inner.grants)
        )
        if not narrow:
            yield "a block of its chain is wider than the one before"


def _dead(chain: list[tuple[bytes, Block]], session: bytes, permit: PermitRecord, when: Moment) -> Iterator[str]:
    question = b""
    for identity, block in chain:
        if not block.not_before <= permit.now_s < block.expires:
            yield "a block of its chain is not of this time"
        if {identity, block.issuer, block.holder} & when.revoked:
            yield "a block or key of its chain was revoked before"
        if block.question != question and identity not in when.settled:
            yield "it rests on an answer that the log does not have"
        question = block.question
        if block.session not in (b"", session) or block.workspace not in (b"", permit.workspace):
            yield "a block of its chain is for another session or workspace"
        if permit.tainted and not block.tainted_ok:
            yield "a block of its chain does not hold under untrusted text"
        if block.aud != when.aud:
            yield "a block of its chain is for another install"


def _inside(inner: Grant, outer: Grant) -> bool:
    within = inner.pattern == outer.pattern or _regex(outer.pattern).fullmatch(inner.pattern) is not None
    allowed = not inner.perms & ~outer.perms and not inner.issuable & ~outer.issuable
    return within and allowed and inner.max_risk <= outer.max_risk and outer.tooldef in (b"", inner.tooldef)


def _allows(grant: Grant, resource: str, permission: int, level: int) -> bool:
    inside = grant.pattern == resource or _regex(grant.pattern).fullmatch(resource) is not None
    return inside and not permission & ~grant.perms and grant.max_risk >= level


@lru_cache(maxsize=1024)
def _regex(pattern: str) -> re.Pattern[str]:
    """The resources that a pattern matches, as far as patterns are used here."""
    body, tree = pattern.removesuffix("/**"), pattern.endswith("/**")
    spelt = re.escape(body).replace(r"\*", "[^/]+")
    return re.compile(spelt + ("(/.*)?" if tree else ""))


def _is_signed(key: bytes, payload: bytes, signature: bytes) -> bool:
    try:
        crypto_sign_open(signature + b"astrid/block/v1\0" + payload, key)
    except (BadSignatureError, ValueError):
        return False
    return len(signature) == 64


def _digest(domain: str, data: bytes) -> bytes:
    return blake3(data, derive_key_context=f"astrid {domain} v1").digest()
