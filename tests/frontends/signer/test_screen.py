"""The signer's own terminal, on a real pseudo-terminal; somebody at the other end looks and types."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import select
import signal
import struct
import termios
import threading
from collections.abc import Iterator

import pytest

from astrid.errors import AstridError, EdgeError, InputError
from astrid.frontends.signer import screen as screen_module
from astrid.frontends.signer.screen import Screen


class Desk:
    """A terminal with somebody in front of it, who types ``keys`` each time that a prompt (``> ``) appears."""

    def __init__(self) -> None:
        self.master, self.slave = os.openpty()
        self.hangup, self.caller = os.pipe()
        self.resize(24, 80)
        self.text = ""
        self._stop, self._stopped = os.pipe()
        self._open = {self.master, self.slave, self.hangup, self.caller, self._stop, self._stopped}
        self._thread: threading.Thread | None = None

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def screen(self, *, colour: bool = False) -> Screen:
        return Screen(self.slave, self.hangup, colour=colour)

    def typed(self, keys: bytes) -> None:
        """Return when ``keys``, whole lines, are there to be read: the system passes them on when it has the time."""
        os.write(self.master, keys)
        select.select([self.slave], [], [])

    def types(self, *keys: bytes) -> None:
        self._thread = threading.Thread(target=self._sit, args=(list(keys),))
        self._thread.start()

    def _sit(self, keys: list[bytes]) -> None:
        seen = ""
        while True:
            ready, _, _ = select.select([self.master, self._stop], [], [])
            if self.master not in ready:
                return
            shown = os.read(self.master, 65536).decode()
            self.text += shown
            seen += shown
            if keys and re.search(r"(?:>|--) $", seen):
                seen = ""
                os.write(self.master, keys.pop(0))

    @property
    def saw(self) -> str:
        """All that was shown; whoever sat here has left."""
        self._leave()
        return self.text.replace("\r", "")

    def close(self, fd: int) -> None:
        if fd in self._open:
            self._open.remove(fd)
            os.close(fd)

    def clear(self) -> None:
        self._leave()
        for fd in list(self._open):
            self.close(fd)

    def _leave(self) -> None:
        if self._thread is not None:
            self.close(self._stopped)
            self._thread.join()
            self._thread = None


@pytest.fixture
def desk() -> Iterator[Desk]:
    made = Desk()
    yield made
    made.clear()


def test_a_typed_line_is_what_was_typed_without_its_end(desk: Desk) -> None:
    desk.types(b"once\r")
    assert desk.screen().ask("answer >") == b"once"


def test_what_was_typed_before_the_question_appeared_is_no_answer(desk: Desk) -> None:
    desk.typed(b"o\no\no\n")
    desk.types(b"d\r")
    assert desk.screen().ask("answer >") == b"d"


def test_an_interrupt_key_ends_the_line_and_interrupts_nobody(desk: Desk) -> None:
    desk.types(b"on\x03")
    with pytest.raises(InputError) as refused:
        desk.screen().ask("answer >")
    assert refused.value.code == "signer.aborted"


@pytest.mark.parametrize("keys", [b"\x04", b"o\x04\x04", b"\x03", b"o\n"[:1] + b"\x03"])
def test_the_end_of_input_is_no_answer(desk: Desk, keys: bytes) -> None:
    desk.types(keys)
    with pytest.raises(InputError):
        desk.screen().ask("answer >")


@pytest.mark.parametrize("keys", [b"a\x1ab\r", b"a\x1cb\r"], ids=["^Z", "^\\"])
def test_keys_that_stop_a_program_are_only_characters(desk: Desk, keys: bytes) -> None:
    desk.types(keys)
    assert desk.screen().ask("answer >") == keys[:-1]


def test_a_signal_from_elsewhere_breaks_off(desk: Desk) -> None:
    class Interrupted(Screen):
        def _write(self, text: str) -> None:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(InputError) as refused:
        Interrupted(desk.slave, desk.hangup).ask("answer >")
    assert refused.value.code == "signer.aborted"


def test_a_passphrase_is_not_echoed(desk: Desk) -> None:
    desk.types(b"correct horse\r")
    assert desk.screen().ask("passphrase >", secret=True) == b"correct horse"
    assert "correct" not in desk.saw


def test_an_answer_is_echoed(desk: Desk) -> None:
    desk.types(b"once\r", b"\r")
    screen = desk.screen()
    screen.ask("answer >")
    screen.ask("and now >")
    assert "answer > once" in desk.saw


@pytest.mark.parametrize("keys", [b"o\r", b"\x03"])
def test_the_terminal_is_put_back_as_it_was(desk: Desk, keys: bytes) -> None:
    before = termios.tcgetattr(desk.slave)
    desk.types(keys)
    with contextlib.suppress(InputError):
        desk.screen().ask("answer >", secret=True)
    assert termios.tcgetattr(desk.slave) == before


def test_a_terminal_in_raw_mode_still_takes_a_line(desk: Desk) -> None:
    raw = termios.tcgetattr(desk.slave)
    raw[0] &= ~termios.ICRNL
    raw[3] &= ~(termios.ICANON | termios.ECHO | termios.ISIG)
    termios.tcsetattr(desk.slave, termios.TCSANOW, raw)
    desk.types(b"once\r")
    assert desk.screen().ask("answer >") == b"once"


def test_nobody_waits_past_the_end_of_a_question(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(screen_module.time, "time", lambda: 1000.0)
    with pytest.raises(InputError) as refused:
        desk.screen().ask("answer >", until_s=1000.0)
    assert refused.value.code == "signer.late"


def test_when_whoever_asked_is_gone_the_person_is_not_kept(desk: Desk) -> None:
    desk.close(desk.caller)
    with pytest.raises(EdgeError) as refused:
        desk.screen().ask("answer >")
    assert refused.value.code == "signer.abandoned"


def test_a_line_that_is_too_long_is_no_answer(desk: Desk) -> None:
    desk.types(b"o" * 2000 + b"\r")
    with pytest.raises(InputError):
        desk.screen().ask("answer >")


def test_a_terminal_that_went_away_is_a_clear_error(desk: Desk) -> None:
    desk.close(desk.master)
    with pytest.raises(AstridError) as refused:
        desk.screen().ask("answer >")
    assert refused.value.code == "signer.terminal-gone"


def test_a_text_that_fits_is_shown_at_once(desk: Desk) -> None:
    text = "".join(f"row {number}\n" for number in range(14))
    desk.types(b"\r")
    desk.screen().show(text)
    desk.screen().ask(">")
    assert desk.saw.startswith(text)
    assert "page" not in desk.saw


def test_each_page_waits_for_the_person(desk: Desk) -> None:
    text = "".join(f"row {number}\n" for number in range(40))
    desk.types(b"\r", b"\r", b"\r")
    screen = desk.screen()
    screen.show(text)
    screen.ask(">")
    parts = re.split(r"-- page \d of 3: Enter shows the next -- \n", desk.saw)
    assert len(parts) == 3
    assert "".join(parts).startswith(text)
    assert max(part.count("\n") for part in parts) <= 24


def test_a_person_who_breaks_off_between_pages_sees_no_more(desk: Desk) -> None:
    desk.types(b"\x03")
    with pytest.raises(InputError):
        desk.screen().show("".join(f"row {number}\n" for number in range(40)))
    assert "row 39" not in desk.saw


def test_a_narrow_window_gets_smaller_pages(desk: Desk) -> None:
    desk.resize(24, 40)
    desk.types(b"\r", b"\r", b"\r")
    screen = desk.screen()
    screen.show("x" * 78 + "\n" + "row\n" * 13)
    assert "page 1 of 2" in desk.saw


@pytest.mark.parametrize(("rows", "columns"), [(13, 80), (24, 10), (1, 1)])
def test_a_window_in_which_nothing_can_be_read_shows_nothing(desk: Desk, rows: int, columns: int) -> None:
    desk.resize(rows, columns)
    with pytest.raises(EdgeError) as refused:
        desk.screen().show("row\n")
    assert refused.value.code == "signer.small-window"


def test_a_line_that_does_not_know_its_size_counts_as_an_old_terminal(desk: Desk) -> None:
    desk.resize(0, 0)
    desk.types(b"\r")
    desk.screen().show("row\n" * 15)
    assert "page 1 of 2" in desk.saw


def test_colours_are_used_only_where_they_are_wanted(desk: Desk) -> None:
    desk.types(b"\r")
    desk.screen().say("plain", strong=True)
    desk.screen(colour=True).say("bold", strong=True)
    desk.screen(colour=True).say("calm")
    desk.screen().ask(">")
    assert desk.saw.startswith("plain\n\x1b[1mbold\x1b[0m\ncalm\n")


@pytest.mark.parametrize(
    ("environ", "colour"),
    [
        ({"TERM": "xterm"}, True),
        ({"TERM": "xterm", "NO_COLOR": ""}, False),
        ({"TERM": "dumb"}, False),
        ({}, False),
    ],
)
def test_no_color_and_dumb_terminals_are_respected(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, environ: dict[str, str], colour: bool
) -> None:
    monkeypatch.setattr(screen_module.os, "open", lambda *_: os.dup(desk.slave))
    opened = Screen.open(environ, desk.hangup)
    assert opened is not None
    desk.types(b"\r")
    opened.say("text", strong=True)
    opened.ask(">")
    opened.close()
    assert ("\x1b" in desk.saw) is colour


def test_where_there_is_no_terminal_there_is_no_screen(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object) -> int:
        raise OSError(6, "no such device")

    monkeypatch.setattr(screen_module.os, "open", none)
    assert Screen.open({}, desk.hangup) is None
