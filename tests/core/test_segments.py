"""Segments: one spelling for all bytes, a closed universe, and what is too odd to be matched."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from astrid.core.patterns import NEUTRAL_BYTES
from astrid.core.segments import (
    MAX_SEGMENTS,
    MAX_TEXT_BYTES,
    absolute_segments,
    check_segments,
    escape,
    is_suspicious,
    join_text,
    split_text,
    unescape,
    unescape_segment,
)
from astrid.errors import PatternError

MODEST = settings(max_examples=150)


@MODEST
@given(st.binary(max_size=40))
def test_every_byte_string_has_a_spelling_that_reads_back_as_it(value: bytes) -> None:
    raw = escape(value)
    assert unescape_segment(raw) == value
    assert all(" " <= char <= "~" and char not in "*/" for char in raw)


def test_every_single_byte_is_spelled_plainly_or_as_upper_case_hex() -> None:
    for byte in range(256):
        plain = 0x20 <= byte <= 0x7E and chr(byte) not in "%*/"
        assert escape(bytes((byte,))) == (chr(byte) if plain else f"%{byte:02X}")


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        ("", "pattern.empty-segment"),
        ("a*", "pattern.spelling"),
        ("*", "pattern.spelling"),
        ("%2f", "pattern.escape"),
        ("%2a", "pattern.escape"),
        ("%61", "pattern.spelling"),  # a needless escape
        ("%20", "pattern.spelling"),
        ("a%", "pattern.spelling"),
        ("a%2", "pattern.spelling"),
        ("%", "pattern.spelling"),
        ("%%2", "pattern.escape"),
        ("%%a", "pattern.escape"),
        ("%%%", "pattern.escape"),
        ("%%%%", "pattern.escape"),
        ("a%%", "pattern.spelling"),
        ("%u002e", "pattern.escape"),
        ("%+1", "pattern.escape"),
        ("% 1", "pattern.escape"),
        ("%0x", "pattern.escape"),
    ],
)
def test_no_second_spelling_of_a_segment_is_read(raw: str, code: str) -> None:
    with pytest.raises(PatternError) as caught:
        unescape_segment(raw)
    assert caught.value.code == code


@MODEST
@given(st.text(alphabet="%*/aF20.~", max_size=8))
def test_whatever_is_read_is_the_one_spelling_of_what_it_says(raw: str) -> None:
    try:
        value = unescape_segment(raw)
    except PatternError:
        return
    assert escape(value) == raw


def test_nothing_between_two_stars_spells_no_bytes() -> None:
    assert unescape("") == b""


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "pattern.scheme"),
        ("file:/etc", "pattern.scheme"),
        ("FILE://etc", "pattern.scheme"),
        ("http://a", "pattern.scheme"),
        ("://a", "pattern.scheme"),
        (" file://a", "pattern.scheme"),
        ("file://a\n", "pattern.not-ascii"),
        ("file://\u00e9", "pattern.not-ascii"),
        ("file://\uff0e\uff0e", "pattern.not-ascii"),
        ("file://\udc80", "pattern.not-ascii"),
        ("file://\x7f", "pattern.not-ascii"),
        ("file://" + "a" * (MAX_TEXT_BYTES - 6), "pattern.too-long"),
        ("file://" + "/".join("a" * (MAX_SEGMENTS + 1)), "pattern.too-many-segments"),
    ],
)
def test_a_text_that_is_no_resource_is_refused_by_its_shape(text: str, code: str) -> None:
    with pytest.raises(PatternError) as caught:
        split_text(text)
    assert caught.value.code == code


def test_the_limits_themselves_are_allowed() -> None:
    assert len(split_text("file://" + "/".join("a" * MAX_SEGMENTS))[1]) == MAX_SEGMENTS
    assert len(split_text("file://" + "a" * (MAX_TEXT_BYTES - 7))[1]) == 1


def test_nothing_after_the_scheme_is_no_segment() -> None:
    assert split_text("file://") == ("file", ())
    assert join_text("file", ()) == "file://"


@pytest.mark.parametrize(
    ("scheme", "segments", "code"),
    [
        ("file", (b"a\0b",), "pattern.nul"),
        ("exec", (b"/bin/ls", b"\0"), "pattern.nul"),
        ("file", (b"a", b""), "pattern.empty-segment"),
        ("exec", (b"",), "pattern.empty-segment"),
        ("tool", (b"", b"x"), "pattern.empty-segment"),
        ("file", (b"a", b"..", b"b"), "pattern.dots"),
        ("file", (b".",), "pattern.dots"),
        ("mcp", (b"..", b"tool"), "pattern.dots"),
        ("file", (b"../x",), "pattern.slash"),
        ("file", (b"a/b",), "pattern.slash"),
        ("exec", (b"ls",), "pattern.relative"),
        ("exec", (b"/usr/../bin/ls",), "pattern.dots"),
        ("exec", (b"/usr//bin/ls",), "pattern.dots"),
        ("exec", (b"/usr/bin/./ls",), "pattern.dots"),
        ("exec", (b"/usr/bin/",), "pattern.dots"),
        ("net", (b"0",), "pattern.port"),
        ("net", (b"080", b"com"), "pattern.port"),
        ("net", (b"80", b"COM"), "pattern.host"),
        ("net", (b"80", b"\xc3\xa9"), "pattern.host"),
        ("net", (b"80", b"example.com"), "pattern.host"),
        ("net", (b"80", b"com:443"), "pattern.host"),
        ("net", (b"80", b"1", b"0", b"0", b"10"), "pattern.host"),
        ("net", (b"80", b"0.1", b"10.0"), "pattern.host"),
        ("net", (b"80", b"127.0.0.1", b"a"), "pattern.host-ipv4"),
        ("net", (b"80", b"a", b"127.0.0.1"), "pattern.host"),
        ("net", (b"80", b"127.1"), "pattern.host-ipv4"),
        ("net", (b"80", b"::1"), "pattern.host-ipv6"),
        ("net", (b"80", b"[0:0::1]"), "pattern.host-ipv6"),
    ],
)
def test_what_names_nothing_in_its_scheme_is_refused(scheme: str, segments: tuple[bytes, ...], code: str) -> None:
    with pytest.raises(PatternError) as caught:
        check_segments(scheme, segments)
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("scheme", "segments"),
    [
        ("file", ()),
        ("file", (b"...", b".a", b"a..", b"%2e%2e", b"a b\\c")),
        ("exec", ()),
        ("exec", (b"/usr/bin/git", b"add", b".", b"..", b"", b"../a/b")),
        ("net", ()),
        ("net", (b"443",)),
        ("net", (b"443", b"com", b"example", b"xn--bcher-kva")),
        ("net", (b"443", b"10.0.0.1")),
        ("net", (b"443", b"[2001:db8::1]")),
        ("model", (b"router", b"vendor/model")),
    ],
)
def test_what_names_something_is_let_through(scheme: str, segments: tuple[bytes, ...]) -> None:
    check_segments(scheme, segments)


def test_the_root_folder_has_no_components() -> None:
    assert absolute_segments(b"/") == ()
    assert absolute_segments(b"/a/b") == (b"a", b"b")


@pytest.mark.parametrize(
    "text",
    [
        "\uff0e\uff0e",  # NFKC makes `..` of it
        "a\uff0fb",  # ... a slash
        "\uff0a",  # ... a star
        "\u2025",  # ... two dots
        "\u2126",  # the ohm sign, which even NFC replaces
        "e\u0301",  # decomposed
        "\u1100\u1161",  # Hangul in pieces
        "a\u202eb",  # bidi override
        "a\u2066b",
        "a\u200bb",  # zero width
        "\ufeffa",
        "a\U000e0041",  # a tag character
        "a\x1b]52;c;x\x07",  # a terminal sequence
        "a\rb",
        "a\x7f",
        "a\x85",
        "\ue000",  # private use
        "\U0003fffd",  # unassigned
        "a\u2028b",
        "a\u2029b",
    ],
)
def test_text_that_hides_reorders_controls_or_changes_under_nfkc_is_suspicious(text: str) -> None:
    assert is_suspicious((b"fine", text.encode()))


@pytest.mark.parametrize("value", [b"\xff", b"\xc0\xae\xc0\xae", b"\xed\xa0\x80", b"caf\xe9", b"\xf8\x80\x80\x80\xae"])
def test_bytes_that_are_no_utf8_are_suspicious(value: bytes) -> None:
    assert is_suspicious((value,))


@pytest.mark.parametrize("text", ["", "plain", "café", "日本語", "naïve\tline\n", "а", "ß", "✨", "✨\n"])
def test_ordinary_text_of_any_script_is_not_suspicious(text: str) -> None:
    assert not is_suspicious((text.encode(),))


def test_no_character_composes_with_a_neutral_byte() -> None:
    # What ``covers`` rests on: a composition needs a canonical pair whose first half is the neutral character.
    pairs = (unicodedata.decomposition(chr(point)).split() for point in range(0x110000))
    firsts = {int(pair[0], 16) for pair in pairs if len(pair) == 2 and not pair[0].startswith("<")}
    assert firsts & {*range(0x20, 0x7F)}  # letters do
    assert not firsts & NEUTRAL_BYTES


def test_a_neutral_byte_needs_no_escape_and_is_no_part_of_a_dot_segment() -> None:
    assert all(escape(bytes((byte,))) == chr(byte) for byte in NEUTRAL_BYTES)
    assert not NEUTRAL_BYTES & frozenset(b"./\0 *%")
