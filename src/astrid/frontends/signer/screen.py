"""The person's terminal: where the signer shows what it was asked, and where it takes the answer from.

A line is read with the terminal in a mode of its own: what was typed before the question appeared is thrown away, and
``^C`` ends the line instead of interrupting every process in the foreground.  The terminal is put back afterwards,
whatever happened.

Never: draws text that is not made of constants, ``core.display`` or ``quote``; takes an answer from anywhere else.

Source: protocol N8; threats 6, 37; termios(3), tty_ioctl(4).
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import termios
import time
from collections.abc import Iterator, Mapping

from astrid.core.display import COLUMNS, pages
from astrid.errors import EdgeError, InputError

INTERRUPT = b"\x03"
MAX_LINE_BYTES = 1024
_RESERVED_ROWS = 10  # for the choices below the last page, and what leads to them
_FEWEST_ROWS = 4
_LINE_FLAGS = termios.ICANON | termios.ECHOE | termios.ECHOK | termios.ECHONL
_BOLD, _PLAIN = "\x1b[1m", "\x1b[0m"


class Screen:
    """An open terminal.  ``hangup`` is a descriptor on which whoever waits for us shows that they are gone."""

    def __init__(self, tty: int, hangup: int, *, colour: bool = False) -> None:
        self._tty = tty
        self._hangup = hangup
        self._colour = colour

    @classmethod
    def open(cls, environ: Mapping[str, str], hangup: int) -> Screen | None:
        """The terminal that controls this process; ``None`` if there is none."""
        try:
            tty = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
        except OSError:
            return None
        colour = "NO_COLOR" not in environ and environ.get("TERM", "dumb") != "dumb"
        return cls(tty, hangup, colour=colour)

    def close(self) -> None:
        """Let go of the terminal."""
        os.close(self._tty)

    def say(self, text: str, *, strong: bool = False) -> None:
        """Show one line of text."""
        self._write(f"{_BOLD}{text}{_PLAIN}\n" if strong and self._colour else f"{text}\n")

    def show(self, text: str, *, until_s: float | None = None) -> None:
        """Show rows of at most ``COLUMNS`` columns, a screen at a time; the next one only when the person asks for it.

        Raises:
            EdgeError: the window is too small to show even a few rows at once.
            InputError: the person broke off.
        """
        parts = pages(text, lines=self._page_rows())
        for number, part in enumerate(parts, 1):
            self._write(part)
            if number < len(parts):
                self.ask(f"-- page {number} of {len(parts)}: Enter shows the next --", until_s=until_s)

    def ask(self, prompt: str, *, secret: bool = False, until_s: float | None = None) -> bytes:
        """One line that the person types after the prompt has appeared, without its end.

        ``until_s`` is a wall-clock time in seconds; past it nobody waits any longer.

        Raises:
            InputError: the person broke off, or time is up.
            EdgeError: the terminal, or whoever asked for this, is gone.
        """
        try:
            with self._line_mode(secret=secret):
                self._write(f"{prompt} ")
                line = self._read_line(until_s)
        except termios.error as error:
            raise _terminal_gone() from error
        except KeyboardInterrupt as error:
            raise _broken_off() from error
        if not line.endswith(b"\n"):  # ^C, or ^D
            self._write("\n")
            raise _broken_off()
        return line[:-1]

    def _read_line(self, until_s: float | None) -> bytes:
        patience_s = None if until_s is None else max(0.0, until_s - time.time())
        ready, _, _ = select.select([self._tty, self._hangup], [], [], patience_s)
        # SAFETY: nobody asks a second thing before the first is answered, so this is the end of whoever asked.
        if self._hangup in ready:
            raise EdgeError(
                "signer.abandoned",
                "whoever asked for a signature is gone",
                effect="none",
                advice="run the command again",
            )
        if not ready:
            raise InputError("signer.late", "nobody answered in time", advice="run the task again to be asked anew")
        try:
            line = os.read(self._tty, MAX_LINE_BYTES)
        except OSError as error:
            raise _terminal_gone() from error
        if INTERRUPT in line:
            return b""
        return line

    @contextlib.contextmanager
    def _line_mode(self, *, secret: bool) -> Iterator[None]:
        before = termios.tcgetattr(self._tty)
        ours = termios.tcgetattr(self._tty)
        ours[0] |= termios.ICRNL
        ours[3] = (ours[3] | _LINE_FLAGS) & ~(termios.ISIG | termios.IEXTEN | termios.ECHO)
        if not secret:
            ours[3] |= termios.ECHO
        ours[6][termios.VEOL] = INTERRUPT  # so that a line ends at once where the person presses ^C
        # SAFETY: TCSAFLUSH drops what was typed before: a word meant for a chat is not an answer to a question.
        termios.tcsetattr(self._tty, termios.TCSAFLUSH, ours)
        handler = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, handler)
            with contextlib.suppress(termios.error):  # the terminal is gone, and so is its mode
                termios.tcsetattr(self._tty, termios.TCSAFLUSH, before)

    def _page_rows(self) -> int:
        size = self._size()
        # A row is at most COLUMNS wide; in a narrower window it takes several of the window's.
        rows = (size.lines - _RESERVED_ROWS) // -(-COLUMNS // max(size.columns, 1))
        if rows < _FEWEST_ROWS:
            raise EdgeError(
                "signer.small-window",
                f"a window of {size.columns} columns and {size.lines} lines is too small to show this",
                effect="none",
                advice="enlarge it and try again",
            )
        return rows

    def _size(self) -> os.terminal_size:
        size = os.get_terminal_size(self._tty)
        return size if size.columns and size.lines else os.terminal_size((80, 24))  # a serial line does not know

    def _write(self, text: str) -> None:
        data = text.encode()
        try:
            while data:
                data = data[os.write(self._tty, data) :]
        except OSError as error:
            raise _terminal_gone() from error


def _broken_off() -> InputError:
    return InputError(
        "signer.aborted", "the person broke off; nothing was signed", advice="try again when you are ready"
    )


def _terminal_gone() -> EdgeError:
    return EdgeError(
        "signer.terminal-gone", "the terminal is gone", effect="none", advice="run the command at another one"
    )
