"""Many patterns asked as one: which is the first that matches?  Pure.

The patterns become a trie of segments that is walked with the set of nodes still alive, so nothing is tried twice and
a thousand patterns cost about as much as ten.  Answers are remembered inside the object (``memo``).

Invariant:
  first_match(r) is the lowest i with matches(patterns[i], r), or -1, whatever was asked before.

Source: measurements of the central path (segment trie); threat 47 (a bounded cache, for attacker-made keys).
"""

from __future__ import annotations

from collections.abc import Iterable

from astrid.core.memo import MEMO_TEXT_BYTES, Memo
from astrid.core.patterns import ANY, Pattern, Pieces, Resource, segment_matches

_NONE = -1


class _Node:
    __slots__ = ("any", "end", "literals", "partial", "tail")

    def __init__(self) -> None:
        self.literals: dict[bytes, _Node] = {}
        self.any: _Node | None = None
        self.partial: dict[Pieces, _Node] = {}
        self.end = _NONE
        self.tail = _NONE

    def child(self, pieces: Pieces) -> _Node:
        """The node after one more segment, made if it is not there."""
        if len(pieces) == 1:
            return self.literals.setdefault(pieces[0], _Node())
        if pieces == ANY:
            self.any = self.any or _Node()
            return self.any
        return self.partial.setdefault(pieces, _Node())


class PatternSet:
    """A fixed sequence of patterns."""

    __slots__ = ("_memo", "_roots", "patterns")

    def __init__(self, patterns: Iterable[Pattern]) -> None:
        self.patterns = tuple(patterns)
        self._roots: dict[str, _Node] = {}
        self._memo: Memo[str, int] = Memo()
        for index, pattern in enumerate(self.patterns):
            node = self._roots.setdefault(pattern.scheme, _Node())
            for pieces in pattern.segments:
                node = node.child(pieces)
            if pattern.tail:
                node.tail = _first(node.tail, index)
            else:
                node.end = _first(node.end, index)

    def first_match(self, resource: Resource) -> int:
        """The index of the first pattern that matches ``resource``, or -1; always -1 for a suspicious one."""
        if resource.suspicious or len(resource.text) > MEMO_TEXT_BYTES:
            return self.search(resource)
        found = self._memo.get(resource.text)
        return self._memo.keep(resource.text, self.search(resource)) if found is None else found

    def search(self, resource: Resource) -> int:
        """As ``first_match``, for whoever remembers the answer anyway."""
        root = self._roots.get(resource.scheme)
        return _NONE if resource.suspicious or root is None else _walk(root, resource.segments)


def _walk(root: _Node, segments: tuple[bytes, ...]) -> int:
    alive = [root]
    found = _NONE
    for segment in segments:
        after: list[_Node] = []
        for node in alive:
            if node.tail != _NONE:
                found = _first(found, node.tail)
            literal = node.literals.get(segment)
            if literal is not None:
                after.append(literal)
            if node.any is not None and segment:
                after.append(node.any)
            if node.partial:
                after += [then for pieces, then in node.partial.items() if segment_matches(pieces, segment)]
        if not after:
            return found
        alive = after
    for node in alive:
        found = _first(_first(found, node.tail), node.end)
    return found


def _first(one: int, other: int) -> int:
    """The lower index, where -1 is none."""
    if one < 0 or other < 0:
        return max(one, other)
    return min(one, other)
