"""The language of resources: parse, match, and decide exactly whether one pattern includes another.  Pure.

A resource is ``scheme://segment/segment``.  A pattern is the same with ``*`` for one whole segment (never an empty
one) or for any part of one, and a final ``**`` for any number of segments, none included.

Never: backtracks, normalises, or lets a star split an escape: everything here works on decoded bytes.

Invariants:
  parse_x(text).text == text, and no other text parses to an equal value.
  A suspicious resource matches nothing, so no grant covers it.  A rule that *forbids* does not match it either:
  whoever asks a deny list must have refused suspicious resources before (``parse_pattern`` does, and so refuses them
  as a need of a call).
  covers(a, b) if and only if every resource that b matches is matched by a.

Source: architecture 6; protocol N0; threats 19 and 37.
"""

from __future__ import annotations

import msgspec

from astrid.core.segments import (
    MAX_TEXT_BYTES,
    PLAIN_TEXT_BYTES,
    check_segments,
    escape,
    is_suspicious,
    join_text,
    plain_segments,
    split_text,
    unescape,
    unescape_segment,
)
from astrid.errors import PatternError

Pieces = tuple[bytes, ...]  # the literals between the stars of a segment: one is a literal, ``ANY`` a whole star
ANY: Pieces = (b"", b"")
_TREE = "/**"

# Bytes that may stand where a star stands and that no character composes with (see ``covers``); unescaped, and no
# part of `.` or `..`.
NEUTRAL_BYTES = frozenset(b"0123456789!\"#$&'()+,-:;?@Q[\\]^_`q{|}~")


class Resource(msgspec.Struct, frozen=True):
    """One thing that can be acted on.  Made by ``parse_resource`` only; ``suspicious`` ones match no pattern."""

    text: str
    scheme: str
    segments: tuple[bytes, ...]
    suspicious: bool


class Pattern(msgspec.Struct, frozen=True):
    """A set of resources, never empty.  Made by ``parse_pattern`` only; ``tail`` means a final ``**``."""

    text: str
    scheme: str
    segments: tuple[Pieces, ...]
    tail: bool


def parse_resource(text: str) -> Resource:
    """The resource that ``text`` is the one spelling of.

    Raises:
        PatternError: ``text`` names nothing, or is a second spelling of something.
    """
    plain = plain_segments(text)
    if plain is not None:
        return Resource(text, *plain, suspicious=False)
    scheme, raws = split_text(text)
    segments = tuple(map(unescape_segment, raws))
    check_segments(scheme, segments)
    return Resource(text, scheme, segments, is_suspicious(segments))


def parse_pattern(text: str) -> Pattern:
    """The pattern that ``text`` is the one spelling of.

    Raises:
        PatternError: malformed; or it could match nothing, or only suspicious resources.
    """
    plain = plain_segments(text.removesuffix(_TREE))
    if plain is not None and len(text) <= PLAIN_TEXT_BYTES:
        return Pattern(text, plain[0], tuple(zip(plain[1])), text.endswith(_TREE))
    scheme, raws = split_text(text)
    tail = bool(raws) and raws[-1] == "**"
    segments = tuple(_parse_pieces(raw) for raw in (raws[:-1] if tail else raws))
    # SAFETY: the longest sample of the pattern has to be a resource; ``covers`` relies on every wildcard having a
    # real choice.
    starred = (*segments, ANY) if tail else segments
    sample = tuple(_fill(scheme, position, pieces) for position, pieces in enumerate(starred))
    check_segments(scheme, sample)
    if is_suspicious(sample):
        raise PatternError(
            "pattern.suspicious",
            f"`{text[:80]}` holds text that no resource may hold, so it matches nothing",
            advice="use characters that are visible and have one form",
        )
    if len(text) + len("%2F") > MAX_TEXT_BYTES and len(join_text(scheme, sample)) > MAX_TEXT_BYTES:
        raise PatternError(
            "pattern.too-long", "what the pattern matches is longer than a resource may be", advice="write it shorter"
        )
    return Pattern(text, scheme, segments, tail)


def _parse_pieces(raw: str) -> Pieces:
    if "*" not in raw:
        return (unescape_segment(raw),)
    if "**" in raw:
        raise PatternError(
            "pattern.double-star",
            f"`{raw[:80]}` holds `**`, which only the last segment may be",
            advice="write `*`, or end in `/**`",
        )
    return tuple(map(unescape, raw.split("*")))


def _fill(scheme: str, position: int, pieces: Pieces) -> bytes:
    """``pieces`` with its stars replaced by neutral text."""
    if len(pieces) == 1:
        return pieces[0]
    if scheme == "net":
        if pieces != ANY:
            raise PatternError(
                "pattern.partial-star",
                "a port or a label of a host is a literal or `*`",
                advice="write the whole label or `*`",
            )
        return b"1" if position == 0 else b"a"
    if scheme == "exec" and position == 0:
        if pieces == ANY:
            return b"/0"
        if pieces == (b"/", b""):
            raise PatternError("pattern.spelling", "`%2F*` is any program", advice="write `*`")
        # A program that starts with anything but `/` is refused by the check of the sample.
    if NEUTRAL_BYTES.issubset(b"".join(pieces)):
        raise PatternError(
            "pattern.too-rich",
            "a segment with `*` uses every neutral character",
            advice="write a shorter literal beside `*`",
        )
    return b"0".join(pieces)


def matches(pattern: Pattern, resource: Resource) -> bool:
    """Whether ``resource`` is one of those ``pattern`` names.  Linear in the length of both."""
    if resource.suspicious or pattern.scheme != resource.scheme:
        return False
    fixed, given = len(pattern.segments), len(resource.segments)
    if given < fixed or (given > fixed and not pattern.tail):
        return False
    return all(map(segment_matches, pattern.segments, resource.segments))


def segment_matches(pieces: Pieces, value: bytes) -> bool:
    """Whether the segment ``value`` is one that ``pieces`` names.

    Taking the leftmost place for each piece is enough: it leaves the most room to those that follow, so nothing is
    tried twice.
    """
    first, last = pieces[0], pieces[-1]
    if len(pieces) == 1:
        return value == first
    if pieces == ANY:
        return value != b""
    start, end = len(first), len(value) - len(last)
    if start > end or not value.startswith(first) or not value.endswith(last):
        return False
    for piece in pieces[1:-1]:
        found = value.find(piece, start, end)
        if found < 0:
            return False
        start = found + len(piece)
    return True


def covers(wider: Pattern, narrower: Pattern) -> bool:
    """Whether every resource that ``narrower`` matches is matched by ``wider``: exact, and linear in both lengths.

    *Segments.*  Let n be a segment of ``narrower`` and w the one of ``wider`` at its place.  Write n# for n with each
    star replaced by one byte # that w's literals do not hold.  Claim: w includes n if and only if w matches n#.

    If: in a match of w with n#, each # lies inside a star of w, since w's literals have none.  Put any text in place
    of it, and w's star takes that too; a whole star stays non-empty, because n is itself a whole star or has a
    literal byte.  Suspicion only ever removes resources from *both* sides.

    Only if: n# is part of a resource that n matches, so w has to match it.  This needs a # that is allowed there,
    whatever w is.  ``parse_pattern`` leaves every w with a partial star one unused neutral byte, and with a neutral
    byte n# is valid and unsuspicious exactly if it is with ``0``, which was checked.  A literal w equals n# for one of
    two neutral bytes at most.  A program that may be anything becomes ``/#``; a partial star there begins with ``/``
    and is not ``/*``, so it holds a further literal.  In ``net`` there are no partial stars, and two ports and two
    labels to choose from.  Neutral bytes need no escape, so n# is no longer than the checked sample.  What a scheme
    excludes (``.``, ``..``, an empty segment) does not matter: none of it has the form n#.

    NUL is in no pattern and no resource, so in the computation NUL stands for whichever # there is.

    *Lengths.*  The segments at different places are chosen independently.  ``narrower`` without ``**`` has resources
    of one length, which ``wider`` has to admit.  With ``**`` it has them of at least two lengths (the sample has one
    segment more), so ``wider`` needs ``**`` and no more fixed segments; what ``wider`` leaves to its ``**`` may be
    anything, an empty argument too.
    """
    if wider.scheme != narrower.scheme:
        return False
    more = len(narrower.segments) - len(wider.segments)
    if more < 0 or (not wider.tail and (more > 0 or narrower.tail)):
        return False
    for w, n in zip(wider.segments, narrower.segments, strict=False):
        # What is equal needs no closer look, and a literal covers nothing else.
        if w != n and (len(w) == 1 or not segment_matches(w, b"\0".join(n))):
            return False
    return True


def check_exec_pattern(pattern: Pattern, open_argv_programs: frozenset[bytes] = frozenset()) -> None:
    """Refuse a *grant* on commands that admits more than a person can judge; patterns of other schemes pass.

    A grant names one resolved program.  Its arguments are literals, unless the program's path is in
    ``open_argv_programs``: those whose flags somebody has declared and whose configuration is hardened.  One star is
    as bad as ``**``: ``bash -c *`` is everything.

    Raises:
        PatternError: a wildcard, or nothing, in place of the program; a wildcard among the arguments of another
        program.
    """
    if pattern.scheme != "exec":
        return
    if not pattern.segments or len(pattern.segments[0]) > 1:
        raise PatternError(
            "pattern.exec-program",
            f"`{pattern.text[:80]}` does not name one program",
            advice="name the program's full path",
        )
    (program,), *arguments = pattern.segments
    if (pattern.tail or any(len(pieces) > 1 for pieces in arguments)) and program not in open_argv_programs:
        raise PatternError(
            "pattern.exec-open-arguments",
            f"`{escape(program)[:80]}` has no declared flag table, so its arguments cannot be left open",
            advice="approve the exact command",
        )
