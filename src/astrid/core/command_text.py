"""Which text may be a shell line at all, and what the escapes of ``$'...'`` stand for.  Pure.

Never: looks at the grammar (``command_lexer``).

Invariants:
  A checked text shows a reader each of its characters, in the order in which the shell reads them.
  An escape is decoded only if every shell and locale decodes it to the same one character.

Source: Unicode Standard Annex 44 (general categories), Technical Standard 55; GNU Bash reference manual, "ANSI-C
Quoting"."""

from __future__ import annotations

import re
import unicodedata

from astrid.core.command_model import ADVICE_SCRIPT, MAX_LINE_BYTES
from astrid.errors import CommandError

_PLAIN_LINE = re.compile(r"[\t\n -~]*")
_ANSI_C = re.compile(
    r"\\(?:(?P<letter>[abeEfnrtv\\'\"?])|(?P<octal>[0-7]{1,3})|x(?P<x>[0-9A-Fa-f]{1,2})|u(?P<u>[0-9A-Fa-f]{1,4})"
    r"|U(?P<U>[0-9A-Fa-f]{1,8})|(?P<unknown>[^abceEfnrtvxuU0-7\\'\"?\n]))"
)
_ANSI_C_LETTERS = dict(zip("abeEfnrtv\\'\"?", "\a\b\x1b\x1b\f\n\r\t\v\\'\"?", strict=True))
_UNSAFE_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zs", "Zl", "Zp"})
# Letters, marks and symbols that show nothing: grapheme joiner, Hangul fillers, Khmer inherent vowels, Mongolian and
# other variation selectors (but U+FE0F, which emoji need), blank Braille.
_INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0e\uffa0\U000e0100-\U000e01ef]"
)


def check_text(text: str) -> None:
    """Refuse text that no person can read as what it is, or that is too long to be read.

    Raises:
        CommandError: it is longer than ``MAX_LINE_BYTES`` of UTF-8, or contains a control character other than tab and
        line feed,
            an invisible or direction-changing character, a space other than the ASCII one, or what is no character.
    """
    if len(text) > MAX_LINE_BYTES:
        raise CommandError("command.too-long", f"longer than {MAX_LINE_BYTES} bytes", advice=ADVICE_SCRIPT)
    if _PLAIN_LINE.fullmatch(text):
        return
    for position, char in enumerate(text):
        if char not in "\t\n " and (unicodedata.category(char) in _UNSAFE_CATEGORIES or _INVISIBLE.match(char)):
            raise CommandError("command.character", f"character `U+{ord(char):04X}` at position {position}")
    if len(text.encode()) > MAX_LINE_BYTES:
        raise CommandError("command.too-long", f"longer than {MAX_LINE_BYTES} bytes", advice=ADVICE_SCRIPT)


def decode_ansi_c(text: str, position: int) -> tuple[str, int]:
    """What the escape at ``position`` of ``text`` stands for inside ``$'...'``, and the position after it.

    Raises:
        CommandError: that depends on the version of the shell or on the locale, or is NUL, which ends the word in Bash.
    """
    match = _ANSI_C.match(text, position)
    if match is not None:
        if letter := match.group("letter"):
            return _ANSI_C_LETTERS[letter], match.end()
        if match.group("unknown"):
            return match.group(), match.end()
        octal, hexadecimal = match.group("octal"), match.group("x") or match.group("u") or match.group("U")
        code = int(octal, 8) if octal else int(hexadecimal, 16)
        if 0 < code < 0x80:
            return chr(code), match.end()
    raise CommandError("command.expansion", "an escape whose meaning depends on the shell or the locale")
