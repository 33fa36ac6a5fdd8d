from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from astrid.adapters.workspace.text import CEILING_BYTES, CUT_SUFFIX, clip, cut, fit, visible_name


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
