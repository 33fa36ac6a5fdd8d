"""INVARIANT: ``covers(w, n)`` says yes exactly if, of all short resources, each one that n names is named by w.

Patterns are drawn small, and every resource that could tell two of them apart is tried: segments one byte longer than
needed, one byte that no pattern holds, one segment more than any pattern has.  Only in ``net``, whose literals are not
letters but ports, labels and addresses, the resources are a list.
"""

from __future__ import annotations

import itertools
import re
from functools import lru_cache
from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from astrid.core.patterns import Resource, covers, matches, parse_pattern, parse_resource
from astrid.core.resources import PatternSet
from astrid.errors import PatternError
from tests.fakes.naive_patterns import language, naive_value, texts, words


class Universe(NamedTuple):
    """Segments that patterns are made of, place by place, and every resource that could tell them apart."""

    scheme: str
    places: tuple[st.SearchStrategy[str], ...]
    resources: tuple[Resource, ...]
    values: list[bytes]


def universe(scheme: str, places: list[st.SearchStrategy[str]], names: list[list[str]]) -> Universe:
    resources = tuple(one for text in texts(scheme, names) if (one := parsed(text)) is not None)
    return Universe(scheme, tuple(places), resources, list(map(naive_value, resources)))


def parsed(text: str) -> Resource | None:
    try:
        return parse_resource(text)
    except PatternError:
        return None  # no name of that scheme (`..`, an address in the middle)


def letters(alphabet: str, longest: int) -> st.SearchStrategy[str]:
    """A segment of these letters; stars side by side would be one."""
    drawn = st.lists(st.sampled_from(alphabet), min_size=1, max_size=longest)
    return drawn.map(lambda them: re.sub(r"\*+", "*", "".join(them)))


argument = letters("a*", 2) | st.just("%%")
program = letters("a/*", 4).map(lambda text: "*" if text == "*" else "%2F" + text.strip("/").replace("/", "%2F"))
PROGRAMS = [f"%2F{w.replace('/', '%2F')}" for w in ("", *words("a0/", 5)) if "//" not in f"{w}/"]
UNIVERSES = (
    universe("tool", [letters("ab**", 7)], [words("ab0", 7), ["a", "0"]]),
    universe("mcp", [letters("ab*", 2)] * 3, [words("ab0", 2)] * 4),
    universe("file", [letters(".a*", 3)] * 2, [words(".a0", 3), words(".a0", 3), ["0"]]),
    universe("exec", [program, argument, argument], [PROGRAMS, *[["%%", "a", "0", "a0", "0a", "aa"]] * 3]),
    universe(
        "net",
        [st.sampled_from("*12"), *[st.sampled_from(("*", "a", "b", "10.0.0.1", "[::1]"))] * 2],
        [["1", "2", "3"], *[["a", "b", "c", "10.0.0.1", "[::1]"]] * 3],
    ),
)


@lru_cache(maxsize=4096)
def named(place: int, text: str) -> int:
    """The resources of a universe that the pattern ``text`` names, as bits; by definition."""
    return language(text, UNIVERSES[place].values)


@st.composite
def pattern_texts(draw: st.DrawFn, place: int) -> str:
    scheme, places, _, _ = UNIVERSES[place]
    raws = [draw(one) for one in places[: draw(st.integers(0, len(places)))]]
    tail = ["**"] if draw(st.booleans()) else []
    return f"{scheme}://{'/'.join([*raws, *tail])}"


@st.composite
def groups(draw: st.DrawFn) -> tuple[int, list[str]]:
    """Some patterns of one universe."""
    place = draw(st.integers(0, len(UNIVERSES) - 1))
    found = draw(st.lists(pattern_texts(place), min_size=2, max_size=5))
    return place, [text for text in found if is_pattern(text)]


def is_pattern(text: str) -> bool:
    try:
        parse_pattern(text)
    except PatternError:
        return False
    return True


@given(groups())
def test_covering_is_inclusion_of_all_short_resources(drawn: tuple[int, list[str]]) -> None:
    place, group = drawn
    for wide, narrow in itertools.product(group, repeat=2):
        included = not named(place, narrow) & ~named(place, wide)
        assert covers(parse_pattern(wide), parse_pattern(narrow)) is included, f"{wide} covers {narrow}"


@given(groups())
def test_a_pattern_matches_the_short_resources_that_it_names_by_definition(drawn: tuple[int, list[str]]) -> None:
    place, group = drawn
    for text in group[:2]:
        pattern = parse_pattern(text)
        found = sum(1 << bit for bit, one in enumerate(UNIVERSES[place].resources) if matches(pattern, one))
        assert found == named(place, text), text
        assert found, "a pattern that matches nothing is none"


@given(groups(), st.lists(st.integers(0, 2**16), max_size=20))
def test_a_set_of_patterns_answers_with_the_first_that_names_a_resource(
    drawn: tuple[int, list[str]], asked: list[int]
) -> None:
    place, group = drawn
    resources = UNIVERSES[place].resources
    together = PatternSet(map(parse_pattern, group))
    for number in asked:
        bit = number % len(resources)
        naming = [index for index, text in enumerate(group) if named(place, text) >> bit & 1]
        assert together.first_match(resources[bit]) == min(naming, default=-1)
