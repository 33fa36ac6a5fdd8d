"""How programs that start another program read their own words, up to those of that program.  Pure.

Never: skips a word it does not know.  An option that is not in a table is refused; a table need not be complete.

Invariants:
  A table never claims an option that takes another number of words in a version of the program.
  Whatever may be an option of the wrapper is literal.

Source: the manual pages of GNU coreutils, findutils, util-linux, sudo, GNU time and Bash.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from astrid.core.command_model import ADVICE_QUOTE, Word
from astrid.errors import CommandError


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a wrapper reads its words, up to its command.  A name is one letter, or a long name without its dashes."""

    flags: frozenset[str] = frozenset()
    valued: frozenset[str] = frozenset()
    asking: frozenset[str] = frozenset()  # with one of these it runs nothing
    operands: int = 0  # words of its own before the command
    assigns: bool = False  # takes `NAME=value` before the command


def _options(
    flags: str = "", valued: str = "", asking: str = "", *, operands: int = 0, assigns: bool = False
) -> Options:
    return Options(
        flags=frozenset(flags.split()),
        valued=frozenset(valued.split()),
        asking=frozenset(f"{asking} help version".split()),
        operands=operands,
        assigns=assigns,
    )


# Left out on purpose, and so refused, is what changes the directory (`env -C`, `sudo -D`), the search path (`env -i`,
# `env -u`, `command -p`) or the name (`exec -a`), splits text into words (`env -S`), writes files (`time -o`), starts a
# shell (`sudo -i`, `sudo -s`), or has an argument that may be left out (`xargs --max-lines`).
WRAPPERS: Mapping[str, Options] = {
    "builtin": _options(),
    "command": _options(asking="v V"),
    "env": _options(assigns=True),
    "exec": _options(),
    "ionice": _options("t ignore", "c class n classdata"),
    "nice": _options(valued="n adjustment"),
    "nohup": _options(),
    "setsid": _options("c ctty f fork w wait"),
    "stdbuf": _options(valued="i input o output e error"),
    "sudo": _options(
        "A askpass B bell b background E preserve-env H set-home k reset-timestamp n non-interactive P"
        " preserve-groups S stdin",
        "C close-from g group p prompt T command-timeout u user",
        "K remove-timestamp l list v validate",
        assigns=True,
    ),
    "time": _options("p portability v verbose q quiet", "f format"),
    "timeout": _options("foreground p preserve-status v verbose", "k kill-after s signal", operands=1),
    "xargs": _options(
        "0 null r no-run-if-empty t verbose x exit", "d delimiter E I L n max-args P max-procs s max-chars"
    ),
}


def literal_text(word: Word) -> str:
    """The literal of a word that decides what a wrapper runs."""
    literal = word.literal
    if literal is None:
        raise CommandError(
            "command.dynamic-option", "a wrapper's own word that is known only when it runs", advice=ADVICE_QUOTE
        )
    return literal


def reject(name: str, option: str) -> CommandError:
    """The refusal of a wrapper's word."""
    return CommandError("command.wrapper", f"`{name}` with `{option[:40]}`", advice="run the inner program itself")


class WrapperWords:
    """The words of a wrapper, read from the left."""

    def __init__(self, words: tuple[Word, ...]) -> None:
        self.words = words
        self.options: dict[str, str] = {}
        self.asks = False

    def take(self, name: str) -> str:
        """The next word, which must be there and be literal."""
        if not self.words:
            raise reject(name, "a missing word")
        word, self.words = self.words[0], self.words[1:]
        return literal_text(word)

    def read_options(self, name: str, table: Options) -> None:
        """Go past the options, as getopt does up to the first operand."""
        while self.words:
            text = option_text(self.words[0])
            if not text.startswith("-"):
                return
            self.words = self.words[1:]
            if text == "--":
                return
            if text == "-":
                raise reject(name, text)
            if text.startswith("--"):
                self._long(name, text, table)
            else:
                self._short(name, text, table)

    def _long(self, name: str, text: str, table: Options) -> None:
        option, equals, value = text[2:].partition("=")
        if len(option) > 1 and option in table.asking and not equals:
            self.asks = True
        elif len(option) > 1 and option in table.valued:
            self.options[option] = value if equals else self.take(name)
        elif len(option) < 2 or option not in table.flags or equals:
            raise reject(name, text)

    def _short(self, name: str, text: str, table: Options) -> None:
        for index, letter in enumerate(text[1:], start=2):
            if letter in table.valued:
                self.options[letter] = text[index:] or self.take(name)
                return
            if letter in table.asking:
                self.asks = True
            elif letter not in table.flags:
                raise reject(name, text)


def option_text(word: Word) -> str:
    """The word's text if it may be an option, else what it begins with."""
    return literal_text(word) if word.may_be_option else word.prefix or "''"
