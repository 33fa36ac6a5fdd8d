"""Any bytes in quotes: told apart, visible, and unable to change how the text around them is read."""

from __future__ import annotations

import re
import unicodedata

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from astrid.core.quoting import mixed_scripts, quote

MODEST = settings(max_examples=200, deadline=None)

# What hides, moves, overwrites or imitates (threat 37); each must leave the quotes as escapes of plain characters.
HOSTILE = {
    "NUL": "\0",
    "carriage return": "ok\rrm -rf",
    "line break": "a\nrisk: low",
    "tab": "\t",
    "backspace": "a\b\b",
    "DEL": "\x7f",
    "C1 control": "\x85\x9b",
    "escape": "\x1b[2J",
    "OSC 52, clipboard": "\x1b]52;c;cm0=\x07",
    "OSC 8, link": "\x1b]8;;http://x\x1b\\text\x1b]8;;\x1b\\",
    "right-to-left override": "\u202egpj.exe",
    "isolate": "\u2066a\u2069",
    "arabic letter mark": "\u061c",
    "zero-width space": "pass\u200bword",
    "zero-width joiner": "a\u200db",
    "word joiner": "a\u2060b",
    "byte order mark": "\ufeff",
    "soft hyphen": "a\u00adb",
    "mongolian vowel separator": "a\u180eb",
    "tag characters": "\U000e0041\U000e007f",
    "variation selector": "a\ufe0f",
    "variation selector 17": "a\U000e0100",
    "combining mark": "e\u0301",
    "combining grapheme joiner": "a\u034f",
    "enclosing mark": "a\u20dd",
    "no-break space": "a\u00a0b",
    "ideographic space": "a\u3000b",
    "line separator": "a\u2028b",
    "paragraph separator": "a\u2029b",
    "full-width solidus": "\uff0f",
    "two-dot leader": "\u2025",
    "full-width asterisk": "\uff0a",
    "ligature": "\ufb01",
    "angstrom sign": "\u212b",
    "mathematical letter": "\U0001d400",
    "private use": "\ue000",
    "unassigned": "\u0378",
    "noncharacter": "\uffff",
    "hangul filler": "\u3164",
    "hangul jamo filler": "\u115f\u1160",
    "hangul jamo that compose": "\u1100\u1161",
    "braille blank": "\u2800",
    "null notehead": "\U0001d159",
    "hebrew letter": "\u05d0",
    "arabic letter": "\u0627",
    "arabic digit": "\u0661",
    "emoji": "\U0001f600",
}


def assert_plain(shown: str) -> None:
    """Visible characters only, none of which depends on its neighbours or on the reader's Unicode version."""
    assert unicodedata.is_normalized("NFKC", shown)
    for char in shown:
        assert char == " " or char.isprintable(), hex(ord(char))
        assert char == " " or unicodedata.category(char)[0] not in "CZM", hex(ord(char))
        assert unicodedata.bidirectional(char) not in ("R", "AL", "AN"), hex(ord(char))
        assert unicodedata.combining(char) == 0


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_text_leaves_as_plain_escapes(text: str) -> None:
    shown = quote(text.encode())
    assert_plain(shown)
    assert "\\u{" in shown


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        (b"", '""'),
        (b"plain text, 100%", '"plain text, 100%"'),
        (b'say "hi"', '"say \\"hi\\""'),
        (b"C:\\x", '"C:\\\\x"'),
        (b"a\nb", '"a\\u{a}b"'),
        (b"\\u{a}", '"\\\\u{a}"'),
        (b"\xff\xfe", '"\\x{ff}\\x{fe}"'),
        (b"\xed\xa0\x80", '"\\x{ed}\\x{a0}\\x{80}"'),
        (b"\xc0\xaf", '"\\x{c0}\\x{af}"'),
        (b"\xe2\x82", '"\\x{e2}\\x{82}"'),
        ("Zoë, Łódź, Ελλάδα, Москва, 日本, 한국".encode(), '"Zoë, Łódź, Ελλάδα, Москва, 日本, 한국"'),
        ("e\u0301".encode(), '"e\\u{301}"'),
        ("\U0001f600".encode(), '"\\u{1f600}"'),
    ],
)
def test_a_text_is_shown_like_this(data: bytes, shown: str) -> None:
    assert quote(data) == shown


NASTY = st.sampled_from(
    [text.encode() for text in HOSTILE.values()] + [b"\\", b'"', b"\\u{a}", b"\\x{ff}", b"\xff", b"a"]
)


@MODEST
@given(st.lists(NASTY | st.binary(max_size=3) | st.text(max_size=3).map(str.encode), max_size=5).map(b"".join))
def test_whatever_is_quoted_is_plain(data: bytes) -> None:
    assert_plain(quote(data))


@MODEST
@given(st.lists(NASTY, max_size=4).map(b"".join), st.lists(NASTY, max_size=4).map(b"".join))
@example(b"\\u{a}", b"\n")
@example(b"\\x{ff}", b"\xff")
def test_two_byte_strings_are_never_shown_alike(one: bytes, other: bytes) -> None:
    assert (quote(one) == quote(other)) is (one == other)


ESCAPE = re.compile(r"\\(?:u\{([0-9a-f]+)\}|x\{([0-9a-f]{2})\}|([\"\\]))")


def unquote(shown: str) -> bytes:
    """What was quoted."""

    def back(match: re.Match[str]) -> str:
        point, byte, char = match.groups()
        if byte is not None:
            return chr(0xDC00 + int(byte, 16))
        return char if char is not None else chr(int(point, 16))

    assert shown[0] == shown[-1] == '"'
    return ESCAPE.sub(back, shown[1:-1]).encode("utf-8", "surrogateescape")


@MODEST
@given(st.binary(max_size=60) | st.text(max_size=30).map(str.encode))
def test_what_was_quoted_can_be_read_back_byte_by_byte(data: bytes) -> None:
    assert unquote(quote(data)) == data


def test_every_character_there_is_is_shown_plainly_or_escaped() -> None:
    for start in range(0, 0x110000, 0x400):
        chars = "".join(map(chr, (point for point in range(start, start + 0x400) if not 0xD800 <= point < 0xE000)))
        shown = quote(chars.encode())
        assert_plain(shown)
        assert unquote(shown) == chars.encode()


# --- words that mix alphabets


@pytest.mark.parametrize(
    "text",
    [
        "pаypal",  # Cyrillic а
        "see раypal here",
        "gοοgle",  # Greek omicron
        "αdmin",
        "admın-Ж and pаss",
        'x "рy"',
        "日本a",
    ],
)
def test_a_word_of_two_alphabets_is_noticed(text: str) -> None:
    assert mixed_scripts(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "plain",
        "Привет, world",
        "Łódź naïve",
        "東京タワーのひと",
        "한국어와漢字",
        "foo_бар",
        "v1б",
        '"\\\\nпривет"',
        '"\\u{a}привет"',
        "a б",
    ],
)
def test_words_of_one_alphabet_each_are_not(text: str) -> None:
    assert not mixed_scripts(text)
