"""Tokens grouped into pipelines, lists, groups and subshells, and every command in them found.  Pure.

Never: recovers from an error; what is not understood is refused whole, so nothing of it runs.

Invariants:
  A list is accepted only if Bash accepts it, and groups it alike.
  Every segment that leaves here has passed ``check_segment``, and what it runs for others has, too.

Source: POSIX.1-2017, Shell Command Language, 2.9 and 2.10; GNU Bash reference manual, "Shell Commands".
"""

from __future__ import annotations

import re
from typing import cast

import msgspec

from astrid.core.command_builtins import check_segment
from astrid.core.command_lexer import Lexer
from astrid.core.command_model import (
    ADVICE_SCRIPT,
    MAX_DEPTH,
    Assignment,
    Budget,
    CommandLine,
    Dialect,
    Operator,
    Redirection,
    Segment,
    Via,
    Word,
)
from astrid.core.command_text import check_text
from astrid.core.command_tokens import RawWord, Token
from astrid.core.command_words import (
    RESERVED,
    document_word,
    expand_braces,
    make_word,
    parse_assignment,
    single_word,
)
from astrid.core.command_wrappers import inner_commands
from astrid.errors import CommandError

_REDIRECTIONS = frozenset(("<", ">", ">>", ">|", "<>", "<&", ">&", "&>", "&>>", "<<", "<<-", "<<<"))
_DUPLICATE = re.compile(r"-|(?:0|[1-9][0-9]{0,2})(-?)")
_NETWORK = ("/dev/tcp", "/dev/udp")


def parse_script(text: str, *, dialect: Dialect, via: Via, depth: int, budget: Budget) -> tuple[Segment, ...]:
    """Every command that ``text`` runs, as the whole script of a shell.

    Raises:
        CommandError: it cannot be parsed, is too complex to judge, or runs what cannot be judged.
    """
    check_text(text)
    parser = Parser(text, 0, dialect=dialect, via=via, depth=depth, budget=budget, heredocs=True)
    return parser.parse_until("")


def settle(segment: Segment, budget: Budget) -> list[Segment]:
    """The segment, and after it, at any depth, what it runs for others.

    Raises:
        CommandError: one of them is refused, or there are too many.
    """
    budget.take_segment()
    check_segment(segment)
    found = [segment]
    for inner in inner_commands(segment):
        if isinstance(inner, Segment):
            found += settle(inner, budget)
        else:
            found += parse_script(
                inner.text, dialect=inner.dialect, via="wrapper", depth=segment.depth + 1, budget=budget
            )
    return found


class Parser:
    """One list of commands in ``text``, from ``position`` on."""

    def __init__(
        self, text: str, position: int, *, dialect: Dialect, via: Via, depth: int, budget: Budget, heredocs: bool
    ) -> None:
        self._dialect: Dialect = dialect
        self._via: Via = via
        self._depth = depth
        self._budget = budget
        self.lexer = Lexer(text, position, dialect=dialect, heredocs=heredocs, nested=self._nested)
        self._check_depth()
        self._token = self.lexer.next()

    def parse_until(self, closing: str) -> tuple[Segment, ...]:
        """The commands up to ``closing`` (empty: the end of the text); the lexer then stands right after it.

        Raises:
            CommandError: see ``parse_script``.
        """
        segments = self._list(closing, "")
        # A document of a list that has been closed would be looked for somewhere else by another version of Bash.
        if self.lexer.awaits_document:
            raise CommandError("command.heredoc", "a here-document outside its own list", advice=ADVICE_SCRIPT)
        return tuple(segments)

    def _nested(self, text: str, position: int, closing: str, via: Via, heredocs: bool) -> tuple[CommandLine, int]:
        inner = Parser(
            text,
            position,
            dialect=self._dialect,
            via=via,
            depth=self._depth + 1,
            budget=self._budget,
            heredocs=heredocs,
        )
        return CommandLine(segments=inner.parse_until(closing)), inner.lexer.position

    def _check_depth(self) -> None:
        if self._depth > MAX_DEPTH:
            raise CommandError("command.too-deep", f"nested more than {MAX_DEPTH} deep", advice=ADVICE_SCRIPT)

    def _advance(self) -> None:
        self._token = self.lexer.next()

    def _line_feeds(self) -> None:
        while self._token.text == "\n":
            self._advance()

    def _shape(self) -> str:
        return self._token.word.shape if self._token.word is not None else ""

    def _at(self, closing: str) -> bool:
        if closing == "}":
            return self._shape() == "}"
        return self._token.word is None and self._token.text == closing

    def _unexpected(self) -> CommandError:
        what = f"`{self._token.source[:40]}`" if self._token.source.strip() else "end"
        return CommandError("command.syntax", f"unexpected {what}")

    def _list(self, closing: str, before: Operator) -> list[Segment]:
        found: list[Segment] = []
        self._line_feeds()
        while not self._at(closing):
            item = self._and_or(before)
            separator = self._token.text
            if separator == "&":
                item = [msgspec.structs.replace(segment, background=True) for segment in item]
            found += item
            if separator in (";", "&", "\n"):
                before = cast("Operator", separator)
                self._advance()
                self._line_feeds()
            elif not self._at(closing):
                raise self._unexpected()
        if not found:
            raise CommandError("command.empty", "nothing to run")
        return found

    def _and_or(self, before: Operator) -> list[Segment]:
        found = self._pipeline(before)
        while self._token.text in ("&&", "||"):
            before = cast("Operator", self._token.text)
            self._advance()
            self._line_feeds()
            found += self._pipeline(before)
        return found

    def _pipeline(self, before: Operator) -> list[Segment]:
        negated = self._shape() == "!"
        if negated:
            self._advance()
        found = self._command(before)
        while self._token.text in ("|", "|&"):
            before = cast("Operator", self._token.text)
            self._advance()
            self._line_feeds()
            found += self._command(before)
        # SAFETY: what follows with `&&` would run exactly where the change failed.
        if negated and any(segment.changes_directory for segment in found):
            raise CommandError("command.too-complex", "a negated change of the directory", advice="leave out the `!`")
        return found

    def _command(self, before: Operator) -> list[Segment]:
        if self._token.text == "(":
            return self._compound(")", "subshell", before)
        shape = self._shape()
        if shape == "{":
            return self._compound("}", "group", before)
        if shape in RESERVED:
            raise CommandError("command.too-complex", f"reserved word `{shape}`", advice=ADVICE_SCRIPT)
        return self._simple(before)

    def _compound(self, closing: str, via: Via, before: Operator) -> list[Segment]:
        outer = self._via
        self._via = via
        self._depth += 1
        self._check_depth()
        self._advance()
        found = self._list(closing, before)
        self._via = outer
        self._depth -= 1
        self._advance()
        redirections: list[Redirection] = []
        while self._token.text in _REDIRECTIONS:
            redirections.append(self._redirection())
        if redirections:
            found += self._finish(Segment(redirections=tuple(redirections), depth=self._depth, via=self._via))
        return found

    def _simple(self, before: Operator) -> list[Segment]:
        assignments: list[Assignment] = []
        words: list[Word] = []
        redirections: list[Redirection] = []
        while True:
            if self._token.word is not None:
                raw = self._token.word
                if not words and raw.shape in RESERVED:  # after an assignment or a redirection
                    raise self._unexpected()
                assignment = None if words else parse_assignment(raw, self._dialect)
                if assignment is not None:
                    assignments.append(assignment)
                else:
                    words.extend(make_word(word) for word in expand_braces(raw, self._dialect, self._budget))
                self._advance()
            elif self._token.text in _REDIRECTIONS:
                redirections.append(self._redirection())
            else:
                break
        if not (assignments or words or redirections):
            raise self._unexpected()
        segment = Segment(
            assignments=tuple(assignments),
            argv=tuple(words),
            redirections=tuple(redirections),
            operator_before=before,
            depth=self._depth,
            via=self._via,
        )
        return self._finish(segment)

    def _finish(self, segment: Segment) -> list[Segment]:
        first, *inner = settle(segment, self._budget)
        words = [assignment.value for assignment in segment.assignments]
        words += [*segment.argv, *(redirection.target for redirection in segment.redirections)]
        nested = [found for word in words for command in word.substitutions for found in command.segments]
        return [first, *nested, *inner]

    def _redirection(self) -> Redirection:
        operator, fd = self._token.text, self._token.fd
        self._advance()
        token = self._token
        if token.word is None:
            raise self._unexpected()
        if operator in ("<<", "<<-"):
            target = self._document(token, strip_tabs=operator == "<<-")
        elif operator in ("<&", ">&"):
            target = self._descriptor(token.word, operator, fd)
        else:
            target = single_word(token.word)
        if target.prefix.startswith(_NETWORK) and not operator.startswith("<<"):
            raise CommandError("command.network", "a redirection to a network address", advice="use a program for it")
        self._advance()
        return Redirection(
            fd=fd if fd is not None else int(not operator.startswith("<")), operator=operator, target=target
        )

    def _document(self, delimiter: Token, *, strip_tabs: bool) -> Word:
        body, expands = self.lexer.here_document(delimiter, strip_tabs=strip_tabs)
        if not expands:
            return Word(text=body, prefix=body)
        lexer = Lexer(body, 0, dialect=self._dialect, heredocs=False, nested=self._nested)
        return document_word(lexer.document_word())

    def _descriptor(self, raw: RawWord, operator: str, fd: int | None) -> Word:
        """The target of ``<&`` and ``>&``: another descriptor, or, for a bare ``>&``, a file for output and errors."""
        word = single_word(raw)
        match = _DUPLICATE.fullmatch(word.literal or "")
        moves_or_is_long = match is not None and (bool(match.group(1)) or len(match.group()) > 1)
        if match is not None and not (self._dialect == "posix" and moves_or_is_long):
            return word
        to_file = operator == ">&" and fd is None and self._dialect == "bash"
        if match is None and to_file and word.literal and word.literal[0] not in "0123456789-":
            return word
        raise CommandError(
            "command.redirection", f"`{operator}` with a target that is not one plain descriptor or file"
        )
