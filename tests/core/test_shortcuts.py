"""What is answered in one go, or remembered, is what the long way answers: for every text, twice, and within bounds."""

from __future__ import annotations

from collections.abc import Callable

import nacl.bindings as sodium
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from astrid.core import keys, patterns
from astrid.core.call import Need
from astrid.core.keys import POINTS, SigningKey, load_public_key
from astrid.core.memo import MEMO_ENTRIES, MEMO_TEXT_BYTES
from astrid.core.patterns import covers, parse_pattern, parse_resource
from astrid.core.policy import Blocked
from astrid.core.segments import MAX_SEGMENTS, PLAIN_TEXT_BYTES, SCHEMES
from astrid.core.tokens import COVERED_ENTRIES, Grant, issue, verify_chain
from astrid.errors import KeyFormatError, PatternError
from tests.fakes.authority import READ, ROOTS, USER, block, call, token
from tests.fakes.rules import config, policy, spec

WORDS = st.one_of(
    st.sampled_from(
        ("a", ".", "..", "...", "", "*", "**", "a*", "%", "%%", "%2F", "%2A", "%41", "~", "\n", "é", "\x7f")
    ),
    st.text(st.characters(min_codepoint=0x1E, max_codepoint=0x81), max_size=4),
)
TEXTS = st.builds(
    lambda scheme, separator, words: scheme + separator + "/".join(words),
    st.sampled_from((*sorted(SCHEMES), "", "ftp", "FILE", "file ", "\nfile")),
    st.sampled_from(("://", "://", "://", ":///", ":/", "")),
    st.lists(WORDS, max_size=5),
)
EDGES = [
    *("file://" + "a/" * count + end for count in (252, 253, 254, 255, 256) for end in ("a", "**", "a/**", "")),
    *("file://" + "a" * (PLAIN_TEXT_BYTES - size) + end for size in range(5, 12) for end in ("", "/**", "\n")),
    *("rpc://" + "/".join("a" * (MAX_SEGMENTS + more)) for more in (-1, 0, 1)),
]


def outcome(parse: Callable[[str], object], text: str) -> object:
    try:
        return parse(text)
    except PatternError as error:
        return error.code, error.message, error.advice


def both_ways(parse: Callable[[str], object], text: str) -> tuple[object, object]:
    """What is answered, and what is answered without the way for plain texts."""
    short = outcome(parse, text)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(patterns, "plain_segments", lambda _: None)
        return short, outcome(parse, text)


@settings(max_examples=1500)
@given(TEXTS)
def test_a_plain_text_is_read_as_every_text_is(text: str) -> None:
    for parse in (parse_resource, parse_pattern):
        short, long = both_ways(parse, text)
        assert short == long


@pytest.mark.parametrize("text", EDGES)
def test_a_text_at_the_bounds_is_read_as_every_text_is(text: str) -> None:
    for parse in (parse_resource, parse_pattern):
        short, long = both_ways(parse, text)
        assert short == long


def test_the_short_way_is_taken_where_it_can_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patterns, "split_text", lambda _: pytest.fail("a plain text took the long way"))
    assert parse_resource("file://w/src/a.py").segments == (b"w", b"src", b"a.py")
    assert parse_pattern("file://w/src/**").tail


# --- what a policy remembers


def judged(rules: object, *needs: Need) -> list[object]:
    return [rules.judge(call(needs=(need,)), spec()) for need in needs]  # type: ignore[attr-defined]


def test_a_policy_judges_a_need_the_second_time_as_the_first() -> None:
    rules = policy(config(denied_paths=("/w/secret/**",), require_approval_for_delete=True, denied_hosts=("evil.com",)))
    needs = [
        Need(resource, permission)
        for resource in ("file://w/a", "file://w/secret/a", "file://w/**", "net://443/com/evil", "net://443/com/good")
        for permission in (READ, 2, 8)
    ]
    first = judged(rules, *needs)
    assert judged(rules, *needs) == first
    assert judged(rules, *reversed(needs)) == first[::-1]
    assert len(set(map(repr, first))) > 3


def test_looking_at_a_tree_and_changing_it_are_remembered_apart() -> None:
    rules = policy(config(denied_paths=("/w/secret/**",)))
    look, change = Need("file://w/**", READ), Need("file://w/**", 2)
    for _ in range(2):
        looked, changed = judged(rules, look, change)
        assert not isinstance(looked, Blocked)
        assert isinstance(changed, Blocked)


def test_one_policy_knows_nothing_of_what_another_one_judged() -> None:
    need = Need("file://w/a", READ)
    (free,) = judged(policy(), need)
    (denied,) = judged(policy(config(denied_paths=("/w/**",))), need)
    assert not isinstance(free, Blocked)
    assert isinstance(denied, Blocked)


def test_a_policy_remembers_a_bounded_number_of_needs_and_none_that_is_long_or_malformed() -> None:
    rules = policy()
    for number in range(MEMO_ENTRIES * 2):
        judged(rules, Need(f"mcp://a/{number}", READ))
        assert 0 < len(rules._judged) <= MEMO_ENTRIES
    rules = policy()
    judged(rules, Need("mcp://" + "a" * MEMO_TEXT_BYTES, READ))
    for _ in range(2):
        with pytest.raises(PatternError):
            judged(rules, Need("mcp://a/../b", READ))
    assert not rules._judged


# --- what a token remembers


GRANTS = (
    Grant("file://w/**", READ, 0, 1, b""),
    Grant("file://w/a", READ | 2, 0, 1, b""),
    Grant("tool://*/x", 16, 0, 1, b""),
)
RESOURCES = ("file://w/a", "file://w/b", "file://w/**", "file://v/a", "tool://h/x", "tool://h/y", "file://w/a%E2%80%AE")


def test_a_token_covers_the_second_time_what_it_covered_the_first() -> None:
    held = token(grants=GRANTS)
    for _ in range(2):
        for resource in RESOURCES[:-1]:
            wanted = parse_pattern(resource)
            assert held.covering(resource) == tuple(one for outer, one in held.patterns if covers(outer, wanted))


def test_a_token_remembers_a_bounded_number_of_things_and_none_that_is_long_or_malformed() -> None:
    held = token(grants=GRANTS)
    for number in range(COVERED_ENTRIES * 2):
        assert held.covering(f"file://w/{number}") == GRANTS[:1]
        assert 0 < len(held.covered) <= COVERED_ENTRIES
    held = token(grants=GRANTS)
    assert held.covering("file://w/" + "a" * MEMO_TEXT_BYTES) == GRANTS[:1]
    for _ in range(2):
        with pytest.raises(PatternError):
            held.covering(RESOURCES[-1])
    assert not held.covered


def test_what_a_token_remembers_dies_with_it() -> None:
    raw = issue(block(grants=GRANTS), USER)
    first, second = verify_chain(raw, ROOTS), verify_chain(raw, ROOTS)
    first.covering("file://w/a")
    assert first.covered
    assert not second.covered


# --- what is remembered of keys


def test_a_bad_key_is_refused_however_often_it_comes() -> None:
    for _ in range(3):
        with pytest.raises(KeyFormatError):
            load_public_key(bytes(32))
    assert bytes(32) not in keys._POINTS


@given(st.binary(min_size=32, max_size=32))
def test_a_key_that_was_made_here_is_a_point(seed: bytes) -> None:
    assert sodium.crypto_core_ed25519_is_valid_point(SigningKey.from_seed(seed).public)


def test_a_flood_of_keys_leaves_a_bounded_number_in_memory() -> None:
    for number in range(POINTS + 10):
        made = SigningKey.from_seed(number.to_bytes(32, "big")).public
        assert made in keys._POINTS
        assert len(keys._POINTS) <= POINTS


def test_a_key_is_judged_once_while_it_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    public = SigningKey.from_seed(b"k" * 32).public
    keys._POINTS.clear()
    assert load_public_key(public) == public
    monkeypatch.setattr(sodium, "crypto_core_ed25519_is_valid_point", lambda _: pytest.fail("judged again"))
    assert load_public_key(public) == public
