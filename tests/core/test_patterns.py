"""The language of resources, held against definitions that are too slow to use."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from astrid.core.patterns import (
    ANY,
    NEUTRAL_BYTES,
    Pattern,
    Resource,
    check_exec_pattern,
    covers,
    matches,
    parse_pattern,
    parse_resource,
    segment_matches,
)
from astrid.core.segments import MAX_SEGMENTS, MAX_TEXT_BYTES, SCHEMES, escape, join_text
from astrid.errors import PatternError
from tests.fakes.naive_patterns import languages, naive_regex, naive_value, texts, words

MODEST = settings(max_examples=120)


STARS = [word for word in words("ab*", 4) if "**" not in word]
DOTS = ["a", ".a", "*", ".*", "*.", "*.*", "a*", "*a"]

# Patterns and resources, small enough for all pairs and rich enough (a byte no pattern uses, one segment more than
# any pattern has) that each inclusion which does not hold has a witness among the resources.
FAMILIES = {
    "one segment, every star": (texts("tool", [STARS]), texts("tool", [words("ab0", 5)])),
    "dots": (texts("file", [DOTS] * 2), texts("file", [[w for w in words(".a0", 4) if w not in (".", "..")]] * 2)),
    "segments and tails": (
        texts("mcp", [["a", "b", "*", "a*", "*b"]] * 3, tails=True),
        texts("mcp", [["a", "b", "0", "a0", "0b", "ab"]] * 4),
    ),
    "empty arguments": (
        texts("exec", [["%2Fa"], *[["%%", "a", "*", "a*"]] * 2], tails=True),
        texts("exec", [["%2Fa", "%2Fb"], *[["%%", "a", "0", "a0"]] * 3]),
    ),
    "programs": (
        texts("exec", [["*", "%2Fa", "%2Fa*", "%2F*a", "%2F*%2Fa", "%2Fa%2F*", "%2F*a*"], ["a", "*"]], tails=True),
        texts(
            "exec",
            [[f"%2F{w.replace('/', '%2F')}" for w in words("a0/", 4) if "//" not in f"/{w}/"], *[["a", "0"]] * 2],
        ),
    ),
    "hosts": (
        [
            *texts("net", [["*", "1", "2"], ["*", "a", "b"], ["*", "a"]], tails=True),
            *("net://1/10.0.0.1", "net://*/[::1]"),
        ],
        [
            *texts("net", [["1", "2", "3"], *[["a", "b", "c"]] * 3]),
            *(f"net://{port}/{host}" for port in "123" for host in ("10.0.0.1", "[::1]")),
        ],
    ),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_matching_agrees_with_the_definition_on_every_small_pattern_and_resource(family: str) -> None:
    patterns, resources = FAMILIES[family]
    parsed = [parse_resource(text) for text in resources]
    for text, language in languages(patterns, resources).items():
        pattern = parse_pattern(text)
        assert sum(1 << place for place, resource in enumerate(parsed) if matches(pattern, resource)) == language, text


@pytest.mark.parametrize("family", FAMILIES)
def test_covering_is_inclusion_for_every_pair_of_small_patterns(family: str) -> None:
    patterns, resources = FAMILIES[family]
    parsed = {text: parse_pattern(text) for text in patterns}
    found = languages(patterns, resources)
    assert all(found.values())  # a pattern is never empty
    for wider, narrower in itertools.product(patterns, repeat=2):
        included = found[narrower] & ~found[wider] == 0
        assert covers(parsed[wider], parsed[narrower]) is included, f"{wider} covers {narrower}"


def test_families_hold_pairs_that_are_included_and_pairs_that_are_not() -> None:
    for patterns, resources in FAMILIES.values():
        found = list(languages(patterns, resources).values())
        assert {a & ~b == 0 for a, b in itertools.product(found, repeat=2) if a != b} == {True, False}


# ---- properties on patterns of any size ---------------------------------------------------------------------------


def literal_bytes(scheme: str) -> st.SearchStrategy[bytes]:
    alphabet = b"ab.%* \n\xc3\xa9~" + (b"/" if scheme != "file" else b"")
    return st.lists(st.sampled_from(alphabet), min_size=1, max_size=4).map(bytes)


def pattern_segment(scheme: str) -> st.SearchStrategy[str]:
    literal = literal_bytes(scheme).map(escape)
    partial = st.tuples(literal, literal).flatmap(
        lambda pair: st.sampled_from(
            [f"{pair[0]}*", f"*{pair[1]}", f"{pair[0]}*{pair[1]}", f"*{pair[0]}*", f"*{pair[0]}*{pair[1]}"]
        )
    )
    return st.one_of(literal, literal, partial, st.just("*"), *([st.just("%%")] if scheme == "exec" else []))


@st.composite
def pattern_texts(draw: st.DrawFn) -> str:
    scheme = draw(st.sampled_from(["file", "exec", "tool", "net"]))
    if scheme == "net":
        parts = [
            draw(st.sampled_from(["*", "1", "443"])),
            *draw(st.lists(st.sampled_from(["*", "com", "x-1"]), max_size=3)),
        ]
    else:
        parts = draw(st.lists(pattern_segment(scheme), max_size=4))
    if scheme == "exec":
        parts = [draw(st.sampled_from(["*", "%2Fbin%2Fls", "%2Fbin%2F*", "%2F*s"])), *parts]
    return f"{scheme}://{'/'.join([*parts, *draw(st.sampled_from([[], ['**']]))])}"


@st.composite
def patterns(draw: st.DrawFn) -> Pattern:
    try:
        return parse_pattern(draw(pattern_texts()))
    except PatternError:
        assume(False)
        raise


@st.composite
def wider(draw: st.DrawFn, pattern: Pattern) -> Pattern:
    """A pattern that often covers ``pattern``: some literals become stars, some of the end becomes a tail."""
    keep = draw(st.integers(0, len(pattern.segments))) if draw(st.booleans()) else len(pattern.segments)
    raws = pattern.text.partition("://")[2].split("/")[: len(pattern.segments)]
    raws = ["*" if draw(st.integers(0, 3)) == 0 else raw for raw in raws[:keep]]
    tail = ["**"] if pattern.tail or keep < len(pattern.segments) or draw(st.booleans()) else []
    try:
        return parse_pattern(f"{pattern.scheme}://{'/'.join([*raws, *tail])}")
    except PatternError:
        assume(False)
        raise


@st.composite
def members(draw: st.DrawFn, pattern: Pattern) -> Resource:
    """A resource made from ``pattern``, which it often matches."""
    segments: list[bytes] = []
    for position, pieces in enumerate((*pattern.segments, *[ANY] * (draw(st.integers(0, 2)) * pattern.tail))):
        if pattern.scheme == "net":
            fill = st.sampled_from([b"443", b"8"]) if position == 0 else st.sampled_from([b"com", b"q"])
        elif pattern.scheme == "exec" and position == 0 and pieces == ANY:
            fill = st.just(b"/bin/ls")
        else:
            fill = (
                literal_bytes(pattern.scheme)
                if pieces == ANY
                else st.one_of(st.just(b""), literal_bytes(pattern.scheme))
            )
        segments.append(pieces[0] + b"".join(draw(fill) + piece for piece in pieces[1:]))
    try:
        return parse_resource(join_text(pattern.scheme, tuple(segments)))
    except PatternError:
        assume(False)
        raise


@MODEST
@given(patterns())
def test_a_pattern_covers_itself(pattern: Pattern) -> None:
    assert covers(pattern, pattern)


@MODEST
@given(st.data())
def test_covering_is_transitive(data: st.DataObject) -> None:
    a = data.draw(patterns())
    b = data.draw(wider(a))
    c = data.draw(st.one_of(wider(b), patterns()))
    assume(covers(b, a) and covers(c, b))
    assert covers(c, a)


@MODEST
@given(st.data())
def test_whatever_a_covered_pattern_matches_the_covering_one_matches(data: st.DataObject) -> None:
    narrow = data.draw(patterns())
    wide = data.draw(st.one_of(wider(narrow), patterns()))
    resource = data.draw(members(narrow))
    assume(covers(wide, narrow) and matches(narrow, resource))
    assert matches(wide, resource)


@MODEST
@given(st.data())
def test_matching_a_resource_is_covering_its_exact_pattern(data: st.DataObject) -> None:
    pattern = data.draw(patterns())
    resource = data.draw(members(data.draw(st.one_of(st.just(pattern), patterns()))))
    assume(not resource.suspicious)
    assert matches(pattern, resource) is covers(pattern, parse_pattern(resource.text))


@MODEST
@given(st.data())
def test_matching_agrees_with_the_definition_on_patterns_of_any_bytes(data: st.DataObject) -> None:
    pattern = data.draw(patterns())
    resource = data.draw(members(pattern))
    assume(not resource.suspicious)
    assert matches(pattern, resource) is (naive_regex(pattern.text).match(naive_value(resource)) is not None)


@MODEST
@given(patterns(), patterns())
def test_two_patterns_that_cover_each_other_are_one(a: Pattern, b: Pattern) -> None:
    assert (covers(a, b) and covers(b, a)) is (a.text == b.text)


@MODEST
@given(pattern_texts())
def test_parsing_keeps_the_text_and_is_its_only_spelling(text: str) -> None:
    try:
        pattern = parse_pattern(text)
    except PatternError:
        return
    raws = [
        "*".join("" if piece == b"" and len(pieces) > 1 else escape(piece) for piece in pieces)
        for pieces in pattern.segments
    ]
    assert f"{pattern.scheme}://{'/'.join([*raws, *(['**'] if pattern.tail else [])])}" == text == pattern.text


# ---- examples ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("file://**/a", "pattern.double-star"),
        ("file://a/**/b", "pattern.double-star"),
        ("file://a**", "pattern.double-star"),
        ("file://**a", "pattern.double-star"),
        ("file://a**b/c", "pattern.double-star"),
        ("file://***", "pattern.double-star"),
        ("file://**/**", "pattern.double-star"),
        ("file://a/", "pattern.empty-segment"),
        ("file:///a", "pattern.empty-segment"),
        ("file://a//b", "pattern.empty-segment"),
        ("file://%%", "pattern.empty-segment"),
        ("exec://%2Fa/%%*", "pattern.spelling"),
        ("exec://%2Fa/*%%", "pattern.spelling"),
        ("exec://%%/a", "pattern.empty-segment"),
        ("file://../a", "pattern.dots"),
        ("file://a/.", "pattern.dots"),
        ("file://%2E%2E/a", "pattern.spelling"),
        ("file://a%00", "pattern.nul"),
        ("file://a%00*", "pattern.nul"),
        ("file://a%2Fb", "pattern.slash"),
        ("file://a%2F*", "pattern.slash"),
        ("file://%61*", "pattern.spelling"),
        ("file://a%*", "pattern.spelling"),
        ("file://%4*1", "pattern.spelling"),
        ("net://8*/com", "pattern.partial-star"),
        ("net://80/com/ex*", "pattern.partial-star"),
        ("net://80/10.0.0.*", "pattern.partial-star"),
        ("net://80/10.0.0.1/**", "pattern.host-ipv4"),
        ("net://80/[::1]/*", "pattern.host-ipv6"),
        ("net://*/COM", "pattern.host"),
        ("exec://%2F*", "pattern.spelling"),
        ("exec://a*", "pattern.relative"),
        ("exec://*a", "pattern.relative"),
        ("exec://git/status", "pattern.relative"),
        ("exec://%2Fa%2F..%2F*", "pattern.dots"),
        ("exec://%2F*%2F", "pattern.dots"),
        ("file://" + "".join(sorted(map(chr, NEUTRAL_BYTES))) + "*", "pattern.too-rich"),
        ("file://a%E2%80%AEb", "pattern.suspicious"),
        ("file://%EF%BC%8F*", "pattern.suspicious"),
        ("file://%C3*", "pattern.suspicious"),
        ("file://e%CC%81", "pattern.suspicious"),
        ("exec://*/" + "a" * (MAX_TEXT_BYTES - 9), "pattern.too-long"),
        ("file://" + "/".join("a" * MAX_SEGMENTS) + "/**", "pattern.too-many-segments"),
        (f"net://80/{'/'.join(['a' * 61] * 4)}/aaaa/**", "pattern.host"),
    ],
)
def test_a_pattern_without_one_clear_meaning_is_refused(text: str, code: str) -> None:
    with pytest.raises(PatternError) as caught:
        parse_pattern(text)
    assert caught.value.code == code


@pytest.mark.parametrize(
    "text",
    [
        "exec://*/" + "a" * (MAX_TEXT_BYTES - 12),
        "file://" + "a" * (MAX_TEXT_BYTES - 9) + "/*",
        "file://" + "/".join("a" * (MAX_SEGMENTS - 1)) + "/**",
        f"net://80/{'/'.join(['a' * 61] * 4)}/aaa/**",
        "file://" + "".join(sorted(map(chr, NEUTRAL_BYTES - {ord("q")}))) + "*",
        "file://" + "".join(sorted(map(chr, NEUTRAL_BYTES))),
        "file://*%CC%81",
    ],
)
def test_a_pattern_at_the_edge_of_a_limit_still_has_a_choice_at_each_wildcard(text: str) -> None:
    pattern = parse_pattern(text)
    exact = parse_pattern(text.removesuffix("/**").replace("*", "0" if not text.startswith("exec") else "%2F0", 1))
    assert covers(pattern, exact)
    assert covers(exact, pattern) is (pattern == exact)


@pytest.mark.parametrize(
    ("wide", "narrow", "expected"),
    [
        ("file://**", "file://", True),
        ("file://", "file://**", False),
        ("file://home/u/**", "file://home/u", True),
        ("file://home/u/**", "file://home/u/.ssh/id", True),
        ("file://home/u/**", "file://home/user", False),
        ("file://home/u/**", "file://home/*/x", False),
        ("file://home/*/**", "file://home/**", False),
        ("file://**", "net://**", False),
        ("exec://%2Fa/*", "exec://%2Fa/%%", False),
        ("exec://%2Fa/**", "exec://%2Fa/%%", True),
        ("exec://*", "exec://%2F*a", True),
        ("exec://%2F*a", "exec://*", False),
        ("tool://*ab*", "tool://a*b", False),  # no third letter is needed to see it, but one has to exist
        ("tool://*a*b*", "tool://a*b", True),
        ("tool://*a*", "tool://a*", True),
        ("tool://a*a", "tool://a", False),
        ("tool://a*a", "tool://aa", True),
        ("net://443/com/example/**", "net://443/com/example/*/**", True),
        ("net://443/com/example/*/**", "net://443/com/example", False),
        ("net://443/com/example/**", "net://443/com/example-evil", False),
        ("net://443/**", "net://*/com", False),
    ],
)
def test_covering_by_example(wide: str, narrow: str, expected: bool) -> None:
    assert covers(parse_pattern(wide), parse_pattern(narrow)) is expected


def test_an_escaped_star_is_a_literal_and_matches_no_other_name() -> None:
    pattern = parse_pattern("file://a%2A")
    assert matches(pattern, parse_resource("file://a%2A"))
    assert not matches(pattern, parse_resource("file://ab"))
    assert covers(parse_pattern("file://a*"), pattern)
    assert not covers(pattern, parse_pattern("file://a*"))


def test_a_star_never_crosses_a_slash() -> None:
    assert not matches(parse_pattern("file://a/*"), parse_resource("file://a/b/c"))


def test_a_star_takes_whole_bytes_and_not_parts_of_an_escape() -> None:
    assert not matches(parse_pattern("file://*9"), parse_resource("file://caf%C3%A9"))
    assert matches(parse_pattern("file://caf*"), parse_resource("file://caf%C3%A9"))


@pytest.mark.parametrize(
    "text", ["file://a/%EF%BC%8F", "file://a/b%E2%80%AE", "file://a/%FF", "file://a/e%CC%81", "file://a/%1B[2J"]
)
@pytest.mark.parametrize("pattern", ["file://**", "file://a/**", "file://a/*"])
def test_a_suspicious_resource_is_readable_and_matches_no_pattern(text: str, pattern: str) -> None:
    resource = parse_resource(text)
    assert resource.suspicious
    assert not matches(parse_pattern(pattern), resource)


@pytest.mark.parametrize("text", ["file://a/%EF%BC%8F", "file://a/e%CC%81"])
def test_no_pattern_names_a_suspicious_resource(text: str) -> None:
    with pytest.raises(PatternError):
        parse_pattern(text)


@pytest.mark.parametrize("text", ["file://*", "file://a*", "exec://%2Fa/*", "file://**"])
def test_a_resource_holds_no_wildcard(text: str) -> None:
    with pytest.raises(PatternError) as caught:
        parse_resource(text)
    assert caught.value.code == "pattern.spelling"


@pytest.mark.parametrize("scheme", sorted(SCHEMES))
def test_the_root_of_a_scheme_is_a_resource_that_its_open_pattern_matches(scheme: str) -> None:
    assert matches(parse_pattern(f"{scheme}://**"), parse_resource(f"{scheme}://"))
    assert matches(parse_pattern(f"{scheme}://"), parse_resource(f"{scheme}://"))


@pytest.mark.parametrize("stars", [2, 500, 4000])
def test_a_pattern_of_many_stars_is_decided_without_backtracking(stars: int) -> None:
    # A matcher that tries each place for each star would not end within the age of the universe.
    wide, value = parse_pattern("tool://" + "a*" * stars + "b"), "a" * 8000
    assert not matches(wide, parse_resource(f"tool://{value}"))
    assert matches(wide, parse_resource(f"tool://{value}b"))
    assert covers(wide, wide)
    assert not covers(wide, parse_pattern("tool://" + "a*" * (stars - 1) + "b"))


def test_pieces_do_not_overlap_in_a_match() -> None:
    assert not segment_matches((b"ab", b"ba"), b"aba")
    assert segment_matches((b"ab", b"ba"), b"abba")
    assert not segment_matches((b"a", b"b", b"b"), b"ab")
    assert segment_matches((b"a", b"b", b"b"), b"abb")


# ---- what a grant on commands may leave open -----------------------------------------------------------------------

GIT = b"/usr/bin/git"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("exec://", "pattern.exec-program"),
        ("exec://**", "pattern.exec-program"),
        ("exec://*", "pattern.exec-program"),
        ("exec://*/status", "pattern.exec-program"),
        ("exec://%2Fusr%2Fbin%2Fg*/status", "pattern.exec-program"),
        ("exec://%2Fusr%2Fbin%2F*t/status", "pattern.exec-program"),
        ("exec://%2Fusr%2Fbin%2Ffind/**", "pattern.exec-open-arguments"),
        ("exec://%2Fusr%2Fbin%2Ffind/.", None),
        ("exec://%2Fusr%2Fbin%2Ffind/*", "pattern.exec-open-arguments"),
        ("exec://%2Fbin%2Fbash/-c/ls*", "pattern.exec-open-arguments"),
        ("exec://%2Fbin%2Fbash/-c/ls", None),
        ("exec://%2Fusr%2Fbin%2Fgit/status/**", None),
        ("exec://%2Fusr%2Fbin%2Fgit/show/*", None),
        ("exec://%2Fusr%2Fbin%2Fgit", None),
        ("file://**", None),
        ("net://**", None),
    ],
)
def test_a_grant_on_commands_is_open_only_where_flags_are_declared(text: str, code: str | None) -> None:
    assert refusal(text, frozenset({GIT})) == code


def test_without_declared_programs_no_argument_is_open() -> None:
    assert refusal("exec://%2Fusr%2Fbin%2Fgit/status/**", frozenset()) == "pattern.exec-open-arguments"
    with pytest.raises(PatternError):
        check_exec_pattern(parse_pattern("exec://%2Fusr%2Fbin%2Fgit/**"))


def refusal(text: str, programs: Iterable[bytes]) -> str | None:
    try:
        check_exec_pattern(parse_pattern(text), frozenset(programs))
    except PatternError as error:
        return error.code
    return None
