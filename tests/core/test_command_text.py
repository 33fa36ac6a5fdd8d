"""Text that no person can read as what it is, and escapes that mean different things in different places."""

from __future__ import annotations

import pytest

from astrid.core.command_model import MAX_LINE_BYTES
from astrid.core.command_text import check_text, decode_ansi_c
from astrid.errors import CommandError


@pytest.mark.parametrize(
    "text", ["", "a\tb\nc", "~!@#$%^&*()", "cat 你好.txt 🚀 ⚠\ufe0f é e\u0301", "é" * (MAX_LINE_BYTES // 2)]
)
def test_readable_text_passes(text: str) -> None:
    check_text(text)


@pytest.mark.parametrize(
    "char",
    [
        *"\0\x01\x07\x08\x0b\x0c\r\x1b\x1f\x7f\x80\x85\x9b",  # control characters
        *"\u00ad\u200b\u200d\u200e\u200f\u202a\u202e\u2060\u2066\u2069\ufeff\U000e0061",  # format, direction, tags
        *"\u00a0\u1680\u2003\u2028\u2029\u202f\u3000",  # spaces and lines that the shell takes for letters
        *"\ud800\udfff\ue000\ufdd0\uffff\U0010ffff\u0378",  # surrogates, private use, no characters
        *"\u034f\u115f\u1160\u17b4\u180b\u2800\u3164\ufe00\uffa0\U000e0100",  # letters and marks that show nothing
    ],
)
def test_a_character_that_hides_or_controls_is_refused(char: str) -> None:
    with pytest.raises(CommandError) as caught:
        check_text(f"echo {char}")
    assert caught.value.code == "command.character"
    assert f"U+{ord(char):04X}" in str(caught.value)


@pytest.mark.parametrize("text", ["a" * (MAX_LINE_BYTES + 1), "é" * (MAX_LINE_BYTES // 2) + "é"])
def test_text_longer_than_the_limit_is_refused(text: str) -> None:
    with pytest.raises(CommandError) as caught:
        check_text(text)
    assert caught.value.code == "command.too-long"


@pytest.mark.parametrize(
    ("escape", "decoded", "rest"),
    [
        (r"\n", "\n", ""),
        (r"\t", "\t", ""),
        (r"\e", "\x1b", ""),
        (r"\E", "\x1b", ""),
        (r"\a", "\a", ""),
        (r"\'", "'", ""),
        (r"\"", '"', ""),
        (r"\\", "\\", ""),
        (r"\?", "?", ""),
        (r"\1014", "A", "4"),
        (r"\7", "\x07", ""),
        (r"\x414", "A", "4"),
        (r"\x7", "\x07", ""),
        (r"\u00414", "A", "4"),
        (r"\U000000414", "A", "4"),
        (r"\qx", r"\q", "x"),
        (r"\8", r"\8", ""),
        (r"\é", r"\é", ""),
    ],
)
def test_an_escape_is_decoded_as_bash_does(escape: str, decoded: str, rest: str) -> None:
    text, end = decode_ansi_c(f"ab{escape}", 2)
    assert (text, f"ab{escape}"[end:]) == (decoded, rest)


@pytest.mark.parametrize(
    "escape", [r"\0", r"\x00", r"\u0", r"\200", r"\400", r"\xff", r"\u00e9", r"\cA", r"\x", r"\u", "\\", "\\\n"]
)
def test_an_escape_is_refused_if_it_ends_the_word_or_depends_on_shell_or_locale(escape: str) -> None:
    with pytest.raises(CommandError) as caught:
        decode_ansi_c(escape, 0)
    assert caught.value.code == "command.expansion"
