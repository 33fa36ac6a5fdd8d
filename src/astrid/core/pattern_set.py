"""Many patterns asked as one: which is the first that matches?  Pure.

The patterns become a trie of segments that is walked with the set of nodes still alive, so nothing is tried twice and
a thousand patterns cost about as much as ten.  Answers are remembered inside the object, bounded, least recently used
first to go: the memo dies with the policy or token it belongs to, so nothing revoked can answer.

Invariant:
  first_match(r) is the lowest i with matches(patterns[i], r), or -1, whatever was asked before.

Source: shared measurements of the central path (segment trie, memo per object); threat 47 (a bounded cache, for
attacker-made keys).
"""

from __future__ import annotations

from collections.abc import Iterable

from astrid.core.patterns import ANY, Pattern, Pieces, Resource, segment_matches

MEMO_ENTRIES = 256
MEMO_TEXT_BYTES = 512  # the model chooses resources; longer ones are computed each time, so that a memo stays small

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

    def after(self, segment: bytes) -> Iterable[_Node]:
        """The children that ``segment`` leads to."""
        literal = self.literals.get(segment)
        if literal is not None:
            yield literal
        if self.any is not None and segment:
            yield self.any
        for pieces, node in self.partial.items():
            if segment_matches(pieces, segment):
                yield node


class PatternSet:
    """A fixed sequence of patterns."""

    __slots__ = ("_memo", "_roots", "patterns")

    def __init__(self, patterns: Iterable[Pattern]) -> None:
        self.patterns = tuple(patterns)
        self._roots: dict[str, _Node] = {}
        self._memo: dict[str, int] = {}
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
        root = self._roots.get(resource.scheme)
        if resource.suspicious or root is None:
            return _NONE
        text = resource.text
        if len(text) > MEMO_TEXT_BYTES:
            return _walk(root, resource.segments)
        found = self._memo.pop(text, None)
        if found is None:
            found = _walk(root, resource.segments)
            if len(self._memo) >= MEMO_ENTRIES:
                del self._memo[next(iter(self._memo))]
        self._memo[text] = found  # last in the order of the dict: the most recently used
        return found


def _walk(root: _Node, segments: tuple[bytes, ...]) -> int:
    alive = [root]
    found = _NONE
    for segment in segments:
        for node in alive:
            found = _first(found, node.tail)
        alive = [child for node in alive for child in node.after(segment)]
    for node in alive:
        found = _first(_first(found, node.tail), node.end)
    return found


def _first(one: int, other: int) -> int:
    """The lower index, where -1 is none."""
    if one < 0 or other < 0:
        return max(one, other)
    return min(one, other)
