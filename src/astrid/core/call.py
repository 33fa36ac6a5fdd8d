"""A call: everything that must not change between the decision and the effect, in one byte string.  Pure.

``C`` holds who calls (session, workspace, principal), what is called (host, tool definition, arguments), what it
touches (needs), what it found (preconditions) and what it may cost.  It holds no call id and no time, so an identical
fresh proposal is the same call.

Source: protocol N4; threats 7, 19, 20, 21.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, TypeVar

import msgspec

from astrid.core.blocks import ALL_PERMISSIONS, Bytes0or32
from astrid.core.canon import U8, U16, U64, Ascii, Bytes16, Bytes32, Domain, Signed, decode, digest, encode
from astrid.core.ids import CallDigest
from astrid.errors import CanonError

MAX_CALL_BYTES = 20 * 1024 * 1024  # a model request is a call's arguments; files written are too
MAX_NEEDS = 64
MAX_PRES = 1024


class Need(Signed, frozen=True, array_like=True, order=True):
    """One permission on one resource.  ``resource`` is a resource's text, or a tree of files ending in ``/**``."""

    resource: Ascii
    permission: U16


class Pre(Signed, frozen=True, array_like=True, order=True):
    """What a path held when the call was prepared: ``(0, 0, b"")`` when it was absent.

    ``path`` is the escaped absolute path as in ``file://`` resources; ``content`` the SHA-256 of a file, or empty.
    """

    path: Ascii
    dev: U64
    ino: U64
    content: Bytes0or32


_Item = TypeVar("_Item", Need, Pre)


class Call(Signed, frozen=True, array_like=True):
    """The array ``C`` of protocol N4.  ``caller_key`` is empty unless the call is made on behalf of another
    principal."""

    version: U8
    aud: Bytes32
    session: Bytes16
    workspace: Bytes32
    principal_key: Bytes32
    caller_key: Bytes0or32
    host_kind: Ascii
    host_id: Ascii
    tooldef: Bytes32
    tool: Ascii
    needs: tuple[Need, ...]
    risk: Annotated[int, msgspec.Meta(ge=0, le=3)]
    tainted: bool
    cwd_rel: Ascii
    profile: Bytes32
    pre: tuple[Pre, ...]
    max_micros: U64
    args: bytes


class Preparation(msgspec.Struct, frozen=True, kw_only=True):
    """What a host says of a call before it is decided: which resources it touches, what it finds there, what it may
    cost at most.

    ``risk`` may raise what the tool's definition says, never lower it.  ``fresh`` asks for a person's approval of this
    very call; ``why`` is a constant text that says what for.
    """

    needs: tuple[Need, ...]
    pre: tuple[Pre, ...] = ()
    cwd_rel: str = ""
    risk: int = 0
    max_micros: int = 0
    fresh: bool = False
    why: str = ""
    controls: tuple[tuple[str, str], ...] = ()  # control argument name -> value, as shown to a person


def encode_call(call: Call) -> bytes:
    """The bytes of a call, checked.

    Raises:
        CanonError: needs or preconditions are unsorted, repeated or too many, or a field has the wrong size.
    """
    data = encode(call)
    _check(call)
    return data


def decode_call(data: bytes) -> Call:
    """The call that ``data`` spells.

    Raises:
        CanonError: not the canonical bytes of a well-formed call.
    """
    call = decode(data, Call, max_bytes=MAX_CALL_BYTES, what="a call")
    _check(call)
    return call


def call_digest(call_bytes: bytes) -> CallDigest:
    """H(call, C)."""
    return CallDigest(digest(Domain.CALL, call_bytes))


def _check(call: Call) -> None:
    if call.version != 1:
        raise CanonError("call.version", f"calls of version {call.version} are not understood")
    if not 0 < len(call.needs) <= MAX_NEEDS or len(call.pre) > MAX_PRES:
        raise CanonError("call.needs", f"a call names 1 to {MAX_NEEDS} resources, not {len(call.needs)}")
    if len(call.caller_key) not in (0, 32):
        raise CanonError("call.field-size", "a key in the call has the wrong size")
    if (len(call.needs) > 1 and not _is_sorted(call.needs)) or (len(call.pre) > 1 and not _is_sorted(call.pre)):
        raise CanonError("call.unsorted", "needs and preconditions are sorted and listed once")
    for need in call.needs:
        # SAFETY: a need without a permission is one that every token covers.
        if not 0 < need.permission <= ALL_PERMISSIONS:
            raise CanonError("call.permission", "a need names permissions that exist, at least one")
        # SAFETY: what is asked for becomes what is granted.  A literal star is escaped, so this one would be a pattern.
        if "*" in _without_tree(need.resource):
            raise CanonError("call.pattern", f"`{need.resource[:80]}` is a pattern; a call names what it touches")
    for pre in call.pre:
        if len(pre.content) not in (0, 32):
            raise CanonError("call.field-size", "a digest in the call has the wrong size")
        if pre.content and not pre.dev and not pre.ino:
            raise CanonError("call.absent", "a file that is absent has no content")


def _is_sorted(items: tuple[_Item, ...]) -> bool:
    """Whether they rise, and so are listed once."""
    return all(before < after for before, after in pairwise(items))


def _without_tree(resource: str) -> str:
    """``resource`` without the ``**`` by which a tree of files ends."""
    if not resource.startswith("file://") or not resource.endswith("/**"):
        return resource
    return resource.removesuffix("**")
