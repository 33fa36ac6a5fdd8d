"""A shell line cut into operators and raw words, as Bash cuts it.  Pure.

Never: decides what a word means where it stands (``command_words``), nor what a list of words is (``command_parser``).

Invariants:
  Every character of the line belongs to exactly one token, comment or here-document, the same one as in Bash.
  Where Bash versions, its modes or its documentation differ, the line is refused.

Source: POSIX.1-2017, Shell Command Language, 2.2, 2.3 and 2.7; GNU Bash reference manual; each rule is compared with
Bash by test.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from astrid.core.command_model import ADVICE_SCRIPT, CommandLine, Dialect, Via
from astrid.core.command_text import decode_ansi_c
from astrid.core.command_tokens import QUOTED, RawWord, Token
from astrid.errors import CommandError

# Text in which the commands of a nested list stand, where they begin, what ends them, how they are reached, whether
# they may contain here-documents; answers the commands and the position after the end.
Nested = Callable[[str, int, str, Via, bool], tuple[CommandLine, int]]

_OPERATOR = re.compile(r"&&|\|\||\|&|&>>|&>|<<<|<<-|<<|<>|<&|>>|>&|>\||;;|;&|[;&|<>()]")
_FD = re.compile(r"[0-9]+(?=[<>])")
_BASH_ONLY_OPERATORS = ("|&", "&>", "&>>", "<<<")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*|[0-9@*#?$!-]")
_SAFE = r"[A-Za-z0-9_./,:@%+*-]*"
_PARAMETER = re.compile(
    r"\$\{(?:#[A-Za-z_][A-Za-z0-9_]*"
    rf"|(?:[A-Za-z_][A-Za-z0-9_]*(\[(?:[@*]|[0-9]+)\])?|[0-9]+|[@*])(?:(?::?[-+?]|##?|%%?){_SAFE})?)\}}"
)
_SUM = r"[0-9 \t+\-*/%<>=!&|^~?:,]"
# SAFETY: no names.  The shell evaluates a variable's value as an expression again, and a subscript in it may hold a
# substitution, so `x='a[$(id)]'; echo $((x))` runs `id`.
_ARITHMETIC = re.compile(rf"\$\(\((?:{_SUM}|\({_SUM}*\))*\)\)")
_LONE_DOLLAR = frozenset("\0 \t\n/.,:%+=^]}~|);&")  # after these a dollar sign is itself; \0 stands for the end


class Lexer:
    """Tokens of ``text`` from ``position`` on, one at a time."""

    def __init__(self, text: str, position: int, *, dialect: Dialect, heredocs: bool, nested: Nested) -> None:
        self.text = text
        self.position: int = position
        self._dialect: Dialect = dialect
        self._heredocs = heredocs
        self._nested = nested
        self._line_end = -1  # the line feed before the first unread here-document, if there is one
        self._resume = 0  # the position after the last of its here-documents

    @property
    def awaits_document(self) -> bool:
        """Whether a here-document was announced whose line has not ended yet."""
        return self._line_end >= 0

    def next(self) -> Token:
        """The next token.

        Raises:
            CommandError: what follows is no token, or is too complex to judge.
        """
        before = self.position
        self._skip()
        start = self.position
        token = self._line_feed() or self._process_substitution() or self._operator() or self._word()
        token.source = self.text[start : self.position]
        # SAFETY: a here-document begins after the line feed *token*; if that character is part of anything else, Bash
        # would look for the document elsewhere.
        if token.text != "\n" and before <= self._line_end < self.position:
            raise CommandError(
                "command.heredoc", "a line that announces a here-document goes on after its end", advice=ADVICE_SCRIPT
            )
        return token

    def _peek(self, offset: int = 0) -> str:
        at = self.position + offset
        return self.text[at] if at < len(self.text) else "\0"

    def _skip(self) -> None:
        """Go past blanks, a comment, and line ends that a backslash hides (only after a blank: elsewhere they glue)."""
        start = self.position
        while True:
            if self._peek() in " \t":
                self.position += 1
            elif self._peek() == "\\" and self._peek(1) == "\n" and self.position > start:
                self.position += 2
            else:
                break
        if self._peek() == "#":
            end = self.text.find("\n", self.position)
            self.position = len(self.text) if end < 0 else end

    def _line_feed(self) -> Token | None:
        if self._peek() == "\0":
            return Token("", "")
        if self._peek() != "\n":
            return None
        if self.position == self._line_end:
            self.position, self._line_end = self._resume, -1
        else:
            self.position += 1
        return Token("\n", "")

    def _process_substitution(self) -> Token | None:
        if self._peek() not in "<>" or self._peek(1) != "(":
            return None
        if self._dialect == "posix":
            raise CommandError(
                "command.not-portable", "process substitution is not understood by every `sh`", advice="use `bash`"
            )
        raw = RawWord()
        inner, self.position = self._nested(self.text, self.position + 2, ")", "process-substitution", self._heredocs)
        raw.dynamic(splits=False, substitution=inner)
        if self._peek() not in "\0 \t\n;&|()":
            raise CommandError("command.expansion", "a process substitution inside a word", advice=ADVICE_SCRIPT)
        return Token("", "", word=raw)

    def _operator(self) -> Token | None:
        descriptor = _FD.match(self.text, self.position)
        start = descriptor.end() if descriptor else self.position
        operator = _OPERATOR.match(self.text, start)
        if operator is None:
            return None
        text = operator.group()
        self.position = operator.end()
        if text in (";;", ";&") or (text == "(" and self._peek() == "("):
            raise CommandError("command.too-complex", "a `case` or an arithmetic command", advice=ADVICE_SCRIPT)
        if self._dialect == "posix" and text in _BASH_ONLY_OPERATORS:
            raise CommandError("command.not-portable", f"`{text}` is not understood by every `sh`", advice="use `bash`")
        if descriptor is None:
            return Token(text, "")
        digits = descriptor.group()
        # Small shells know one digit only; with several digits or a process substitution the number may be a word.
        longest = 1 if self._dialect == "posix" else 3
        if len(digits) > longest or (len(digits) > 1 and digits[0] == "0") or self._peek() == "(":
            raise CommandError("command.redirection", f"file descriptor `{digits[:20]}`")
        return Token(text, "", fd=int(digits))

    def _word(self) -> Token:
        raw = RawWord()
        while (char := self._peek()) not in "\0 \t\n;&|<>()":
            if char == "'":
                end = self._find("'", self.position + 1)
                raw.quoted(self.text[self.position + 1 : end])
                self.position = end + 1
            elif char == '"':
                self.position += 1
                self._double_quoted(raw)
            elif char == "\\":
                raw.quoted(self._escaped())
            elif char == "$":
                self._dollar(raw, quoted=False)
            elif char == "`":
                self._backticks(raw, quoted=False)
            else:
                raw.plain(char)
                self.position += 1
        if char == "(":
            raise CommandError(
                "command.too-complex", "a function, an array or an extended pattern", advice=ADVICE_SCRIPT
            )
        if char in "<>" and (self._peek(1) == "(" or (raw.shape.startswith("{") and raw.shape.endswith("}"))):
            raise CommandError("command.redirection", "a redirection or a process substitution glued to a word")
        return Token("", "", word=raw)

    def _find(self, closing: str, start: int) -> int:
        end = self.text.find(closing, start)
        if end < 0:
            raise CommandError("command.syntax", f"no closing {'backtick' if closing == '`' else f'`{closing}`'}")
        return end

    def _escaped(self) -> str:
        char = self._peek(1)
        if char in "\0\n":
            raise CommandError("command.syntax", "a backslash inside a word at the end of a line")
        self.position += 2
        return char

    def _double_quoted(self, raw: RawWord) -> None:
        raw.quoted("")
        while (char := self._peek()) != '"':
            if char == "\0":
                raise CommandError("command.syntax", 'no closing `"`')
            self._expandable(raw, char, escapes='$`"\\')
        self.position += 1

    def _expandable(self, raw: RawWord, char: str, *, escapes: str) -> None:
        """One item of text in which the shell expands: of double quotes, or of a here-document."""
        if char == "$":
            self._dollar(raw, quoted=True)
        elif char == "`":
            self._backticks(raw, quoted=True)
        elif char == "\\" and self._peek(1) in escapes:
            raw.quoted(self._escaped())
        elif char == "\\" and self._peek(1) == "\n":
            self.position += 2
        else:
            raw.quoted(char)
            self.position += 1

    def _dollar(self, raw: RawWord, *, quoted: bool) -> None:
        following = self._peek(1)
        if following == "(":
            self._parenthesis(raw, quoted=quoted)
        elif following == "{":
            match = _PARAMETER.match(self.text, self.position)
            if match is None or (self._dialect == "posix" and match.group(1)):
                raise CommandError(
                    "command.expansion", "a parameter expansion that is not simple", advice=ADVICE_SCRIPT
                )
            self.position = match.end()
            raw.dynamic(splits=not quoted or "@" in match.group())
        elif name := _NAME.match(self.text, self.position + 1):
            self.position = name.end()
            # Bash itself is of two minds about these: where the word ends, and what it expands to.
            if name.group() == "$" and self._peek() in "({[$":
                raise CommandError("command.expansion", "`$$` before a bracket or another dollar sign")
            raw.dynamic(splits=not quoted or name.group() == "@")
        elif following == "'" and not quoted:
            self._ansi_c(raw)
        elif following in _LONE_DOLLAR or (
            quoted and (following in "'\"" or (following == "\\" and self._peek(2) != "\n"))
        ):
            (raw.quoted if quoted else raw.plain)("$")
            self.position += 1
        else:
            raise CommandError("command.expansion", "a dollar sign that is neither an expansion nor plainly itself")

    def _parenthesis(self, raw: RawWord, *, quoted: bool) -> None:
        if self._peek(2) == "(":
            match = _ARITHMETIC.match(self.text, self.position)
            if match is None:
                raise CommandError("command.expansion", "arithmetic with more than numbers", advice=ADVICE_SCRIPT)
            self.position = match.end()
            raw.dynamic(splits=not quoted)
            return
        inner, self.position = self._nested(self.text, self.position + 2, ")", "command-substitution", self._heredocs)
        raw.dynamic(splits=not quoted, substitution=inner)

    def _backticks(self, raw: RawWord, *, quoted: bool) -> None:
        end = self._find("`", self.position + 1)
        source = self.text[self.position + 1 : end]
        if "\\" in source:
            raise CommandError("command.expansion", "a backslash between backticks", advice="use `$(...)`")
        inner, _ = self._nested(source, 0, "", "command-substitution", False)
        self.position = end + 1
        raw.dynamic(splits=not quoted, substitution=inner)

    def _ansi_c(self, raw: RawWord) -> None:
        if self._dialect == "posix":
            raise CommandError("command.not-portable", "`$'` is not understood by every `sh`", advice="use `bash`")
        self.position += 2
        raw.quoted("")
        while (char := self._peek()) != "'":
            if char == "\0":
                raise CommandError("command.syntax", "no closing `'`")
            if char != "\\":
                raw.quoted(char)
                self.position += 1
                continue
            decoded, self.position = decode_ansi_c(self.text, self.position)
            raw.quoted(decoded)
        self.position += 1

    def here_document(self, delimiter: Token, *, strip_tabs: bool) -> tuple[str, bool]:
        """The body announced by the redirection whose delimiter word was just read, and whether the shell expands in
        it.

        Raises:
            CommandError: there is none, it does not end, or what it is depends on the version of the shell.
        """
        raw = delimiter.word
        if raw is None or not self._heredocs or not re.fullmatch(r"[^$`\n]+", delimiter.source):
            raise CommandError(
                "command.heredoc",
                "a here-document in a place or with a delimiter that is not plain",
                advice=ADVICE_SCRIPT,
            )
        wanted = "".join(raw.values)
        if self._line_end < 0:
            self._line_end = self.text.find("\n", self.position)
            self._resume = self._line_end + 1
        lines: list[str] = []
        start = self._resume
        while self._line_end >= 0 and wanted and start < len(self.text):
            end = self.text.find("\n", start)
            end = len(self.text) if end < 0 else end
            line = self.text[start:end].lstrip("\t") if strip_tabs else self.text[start:end]
            start = end + 1
            if line == wanted:
                self._resume = min(start, len(self.text))
                body = "".join(f"{line}\n" for line in lines)
                expands = QUOTED not in raw.shape
                if expands and "\\\n" in body:
                    break
                return body, expands
            lines.append(line)
        raise CommandError("command.heredoc", f"no plain here-document that ends with `{wanted}`", advice=ADVICE_SCRIPT)

    def document_word(self) -> RawWord:
        """The whole text as the body of a here-document in which the shell expands."""
        raw = RawWord()
        raw.quoted("")
        while (char := self._peek()) != "\0":
            self._expandable(raw, char, escapes="$`\\")
        return raw
