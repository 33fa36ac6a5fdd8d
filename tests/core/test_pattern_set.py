"""The trie answers as asking each pattern in turn would, with and without its memory."""

from __future__ import annotations

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from astrid.core.memo import MEMO_ENTRIES, MEMO_TEXT_BYTES
from astrid.core.pattern_set import PatternSet
from astrid.core.patterns import Pattern, Resource, matches, parse_pattern, parse_resource

MODEST = settings(max_examples=150)

SEGMENTS = ["a", "b", "ab", "*", "a*", "*b", "*a*"]
PATTERNS = [
    f"{scheme}://{'/'.join(raws)}{tail}"
    for scheme in ("tool", "mcp")
    for count in (1, 2, 3)
    for raws in itertools.product(SEGMENTS, repeat=count)
    for tail in ("", "/**")
] + ["tool://**", "tool://", "mcp://**", "exec://%2Fa/%%", "exec://%2Fa/*", "exec://%2Fa/**", "exec://*/a"]
RESOURCES = [
    f"{scheme}://{'/'.join(raws)}"
    for scheme in ("tool", "mcp", "rpc")
    for count in range(5)
    for raws in itertools.product(["a", "b", "ab", "c"], repeat=count)
] + ["exec://%2Fa/%%", "exec://%2Fa/a", "exec://%2Fb/a", "exec://%2Fa", "tool://a%E2%80%AE", "mcp://%FF/a"]


def naive_first(patterns: list[Pattern], resource: Resource) -> int:
    return next((index for index, pattern in enumerate(patterns) if matches(pattern, resource)), -1)


@MODEST
@given(
    st.lists(st.sampled_from(PATTERNS).map(parse_pattern), max_size=30),
    st.lists(st.sampled_from(RESOURCES).map(parse_resource), min_size=1, max_size=30),
)
def test_the_first_match_is_that_of_asking_each_pattern_in_turn(patterns: list[Pattern], asked: list[Resource]) -> None:
    patterns_set = PatternSet(patterns)
    for resource in (*asked, *asked):  # the second time from memory
        assert patterns_set.first_match(resource) == naive_first(patterns, resource)


def test_every_resource_is_found_among_every_pattern() -> None:
    patterns = [parse_pattern(text) for text in reversed(PATTERNS)]
    patterns_set = PatternSet(patterns)
    for text in RESOURCES:
        resource = parse_resource(text)
        assert patterns_set.first_match(resource) == naive_first(patterns, resource)


def test_an_empty_set_matches_nothing() -> None:
    assert PatternSet([]).first_match(parse_resource("file://a")) == -1


def test_of_equal_patterns_the_first_counts() -> None:
    one = parse_pattern("file://a/*")
    tail = parse_pattern("file://a/**")
    assert PatternSet([one, one, tail, tail]).first_match(parse_resource("file://a/b")) == 0
    assert PatternSet([tail, one, tail]).first_match(parse_resource("file://a/b")) == 0
    assert PatternSet([one, tail, tail]).first_match(parse_resource("file://a")) == 1


def test_a_whole_star_takes_no_empty_argument() -> None:
    patterns_set = PatternSet([parse_pattern("exec://%2Fa/*"), parse_pattern("exec://%2Fa/*/**")])
    assert patterns_set.first_match(parse_resource("exec://%2Fa/%%")) == -1
    assert patterns_set.first_match(parse_resource("exec://%2Fa/x")) == 0


def test_a_suspicious_resource_matches_nothing_and_leaves_no_memory() -> None:
    patterns_set = PatternSet([parse_pattern("file://**")])
    assert patterns_set.first_match(parse_resource("file://a%E2%80%AE")) == -1
    assert not patterns_set._memo


def test_the_memory_is_bounded_whatever_is_asked() -> None:
    patterns_set = PatternSet([parse_pattern("file://a/**")])
    for number in range(MEMO_ENTRIES * 3):
        assert patterns_set.first_match(parse_resource(f"file://a/{number}")) == 0
        assert patterns_set.first_match(parse_resource(f"file://b/{number}")) == -1
        assert 0 < len(patterns_set._memo) <= MEMO_ENTRIES


def test_a_long_resource_is_answered_and_not_remembered() -> None:
    patterns_set = PatternSet([parse_pattern("file://b"), parse_pattern("file://a*")])
    assert patterns_set.first_match(parse_resource("file://" + "a" * MEMO_TEXT_BYTES)) == 1
    assert not patterns_set._memo


def test_a_thousand_patterns_that_all_stay_alive_are_walked_once() -> None:
    # Every node matches every segment: a walk that went down each branch anew would visit 8^8 of them.
    prefixes = ["a" * size + "*" for size in range(1, 9)]
    patterns = [parse_pattern(f"tool://{'/'.join([prefix] * 8)}/x") for prefix in prefixes]
    resource = parse_resource(f"tool://{'/'.join(['a' * 9] * 8)}/x")
    assert PatternSet(patterns).first_match(resource) == 0
    assert PatternSet(patterns[::-1]).first_match(resource) == 0
