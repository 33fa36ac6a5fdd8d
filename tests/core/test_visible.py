"""What cannot be seen is written out."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from astrid.core.visible import visible


@pytest.mark.parametrize(
    ("hidden", "shown"),
    [
        ("a\x1b[31mred", "a\\u{1b}[31mred"),
        ("over\rwrite", "over\\u{d}write"),
        ("\x9b31m", "\\u{9b}31m"),
        ("\u202egnp.exe", "\\u{202e}gnp.exe"),
        ("tag\U000e0041", "tag\\u{e0041}"),
        ("zero\u200bwidth", "zero\\u{200b}width"),
        ("line\u2028break", "line\\u{2028}break"),
        ("bytes\ufe01", "bytes\\u{fe01}"),
        ("bytes\U000e0123", "bytes\\u{e0123}"),
        ("\ue000", "\\u{e000}"),
        ("\0", "\\u{0}"),
    ],
)
def test_what_cannot_be_seen_is_written_out(hidden: str, shown: str) -> None:
    assert visible(hidden) == shown


@pytest.mark.parametrize("plain", ["tab\tand\nline", "Grüße, 世界 — ½ ❤\ufe0f", "\\u{41}"])
def test_what_can_be_seen_stays(plain: str) -> None:
    assert visible(plain) == plain


@settings(max_examples=200, deadline=None)
@given(st.text())
def test_no_control_or_format_character_is_left(text: str) -> None:
    assert all(char in "\n\t" or unicodedata.category(char)[0] != "C" for char in visible(text))


@settings(max_examples=200, deadline=None)
@given(st.text())
def test_a_line_feed_is_the_only_end_of_a_line(text: str) -> None:
    assert "\n".join(visible(text).splitlines()) == visible(text).removesuffix("\n")
