"""File name patterns, matched component by component.  Pure, and linear: no pattern makes a search slow.

``*`` is any part of a name, ``?`` one character, ``[a-z]`` and ``[!a-z]`` one of a set, ``{a,b}`` either, and ``**``
as a whole component any number of folders.  Nothing crosses a ``/``.  A name that begins with a dot is matched only
by a component that begins with one.

Never: matches by a regular expression made from the pattern: whoever writes the pattern would choose how long that
takes.

Source: the first Astrid (glob, grep).
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterable, Iterator

from astrid.adapters.workspace.arguments import invalid_arguments

MAX_PATTERN_CHARS = 1024
MAX_ALTERNATIVES = 64

Tokens = tuple[str, ...]
"""One component of a pattern."""

ANY_DEPTH: Tokens = ("**",)

States = frozenset[tuple[int, int]]
"""Where a search is: (alternative, components matched so far)."""


class Wildcard:
    """One pattern.  Walk it with ``start``, ``advance`` for each folder name, and ``accepts`` for the last name."""

    def __init__(self, text: str) -> None:
        """The pattern that ``text`` spells.

        Raises:
            WorkspaceError: it spells none.
        """
        if not text or len(text) > MAX_PATTERN_CHARS or "\0" in text:
            raise invalid_arguments(f"a pattern has 1 to {MAX_PATTERN_CHARS} characters")
        found: list[tuple[Tokens, ...]] = []
        for alternative in _expand(text):
            components = [part for part in alternative.split("/") if part not in ("", ".")]
            if ".." in components or alternative.startswith("/") or not components:
                raise invalid_arguments("a pattern is relative to the folder that is searched, without `..`")
            found.append(tuple(ANY_DEPTH if part == "**" else tokens_of(part) for part in components))
        self._alternatives = tuple(found)

    def start(self) -> States:
        """Nothing is matched yet."""
        return self._closed((alternative, 0) for alternative in range(len(self._alternatives)))

    def advance(self, states: States, name: str) -> States:
        """Where the search is below the folder ``name``; empty when nothing below it can match."""
        after: set[tuple[int, int]] = set()
        for alternative, done in states:
            components = self._alternatives[alternative]
            if done == len(components):
                continue
            if components[done] == ANY_DEPTH:
                if not name.startswith("."):
                    after.add((alternative, done))
            elif matches_name(components[done], name):
                after.add((alternative, done + 1))
        return self._closed(after)

    def accepts(self, states: States, name: str) -> bool:
        """Whether the file ``name`` in the folder reached with ``states`` is matched."""
        for alternative, done in states:
            components = self._alternatives[alternative]
            if done + 1 == len(components) and (
                not name.startswith(".") if components[done] == ANY_DEPTH else matches_name(components[done], name)
            ):
                return True
        return False

    def _closed(self, states: Iterable[tuple[int, int]]) -> States:
        """``states`` and what follows from ``**`` standing for no folder at all."""
        closed: set[tuple[int, int]] = set()
        for alternative, reached in states:
            components = self._alternatives[alternative]
            done = reached
            closed.add((alternative, done))
            while done < len(components) and components[done] == ANY_DEPTH:
                done += 1
                closed.add((alternative, done))
        return frozenset(closed)


def matches_name(pattern: Tokens, name: str) -> bool:
    """Whether one component of a pattern matches one name.

    Only the star that came last is ever given more, which is enough and keeps this from being exponential.
    """
    if name.startswith(".") and pattern[0] != "\\.":
        return False
    at = here = 0
    star, star_end = -1, 0
    while here < len(name):
        if at < len(pattern) and pattern[at] == "*":
            star, star_end = at, here
            at += 1
        elif at < len(pattern) and _one(pattern[at], name[here]):
            at += 1
            here += 1
        elif star >= 0:
            star_end += 1
            at, here = star + 1, star_end
        else:
            return False
    return all(token == "*" for token in pattern[at:])


def tokens_of(component: str) -> Tokens:
    """A component as tokens: ``*``, ``?``, a set in its brackets, or one character with a backslash before it."""
    tokens: list[str] = []
    at = 0
    while at < len(component):
        char = component[at]
        negated = component[at + 1 : at + 2] in ("!", "^")
        end = component.find("]", at + 2 + negated) if char == "[" else -1
        if end < 0:
            tokens.append(char if char in "*?" else "\\" + char)
            at += 1
        else:
            tokens.append(component[at : end + 1])
            at = end + 1
    return tuple(tokens)


def _one(token: str, char: str) -> bool:
    if token == "?":
        return True
    if token[0] == "\\":
        return token[1] == char
    negated = token[1] in "!^"
    members = token[2 if negated else 1 : -1]
    found = False
    at = 0
    while at < len(members):
        last = members[at + 2] if members[at + 1 : at + 2] == "-" and at + 2 < len(members) else members[at]
        found = found or members[at] <= char <= last
        at += 3 if at + 2 < len(members) and members[at + 1] == "-" else 1
    return found != negated


def _expand(text: str) -> Iterator[str]:
    """``text`` without braces, one for each choice.  Braces do not nest; a brace without its partner is a character."""
    pieces = [piece.split(",") if odd else [piece] for odd, piece in _braced(text)]
    if math.prod(map(len, pieces)) > MAX_ALTERNATIVES:
        raise invalid_arguments(f"a pattern has at most {MAX_ALTERNATIVES} alternatives")
    return map("".join, itertools.product(*pieces))


def _braced(text: str) -> Iterator[tuple[bool, str]]:
    for position, piece in enumerate(re.split(r"\{([^{}]*)\}", text)):
        yield bool(position % 2), piece
