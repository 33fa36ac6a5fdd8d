from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from astrid.adapters.workspace.text import CEILING_BYTES, CUT_SUFFIX, clip, cut, fit, visible, visible_name


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


def test_a_name_is_one_line_whatever_its_bytes() -> None:
    assert visible_name(b"a\nb\tc\xff\x1b") == "a\\u{a}b\\u{9}c\\x{ff}\\u{1b}"


@settings(max_examples=200, deadline=None)
@given(st.text(), st.integers(min_value=0, max_value=40))
def test_a_cut_text_is_the_longest_start_that_fits(text: str, limit: int) -> None:
    kept = cut(text, limit)
    assert text.startswith(kept)
    assert len(kept.encode()) <= limit
    assert kept == text or len(text[: len(kept) + 1].encode()) > limit


def test_a_result_is_cut_at_the_ceiling_between_characters() -> None:
    clipped = clip("x" + "é" * CEILING_BYTES)
    assert clipped == "x" + "é" * (CEILING_BYTES // 2 - 1) + CUT_SUFFIX
    assert clip("x" * CEILING_BYTES) == "x" * CEILING_BYTES


def test_rows_are_left_out_before_the_footer_is() -> None:
    assert fit(["a", "b"], "(end)") == "a\nb\n(end)"
    assert fit([], "(end)") == "(end)"
    many = fit(["x" * 99] * 1000, "(end)")
    assert many.endswith(CUT_SUFFIX + "\n(end)")
    assert len(many.encode()) <= CEILING_BYTES + len((CUT_SUFFIX + "\n").encode())
