"""A SCRIPTED person at a terminal of their own: for ``astrid demo`` and tests, never for anybody's real keys.

It reads what the signer shows, waits for the next expected text, and types the line that its script has for it.  So the
demo shows the real signer, the real display and real signatures, with nobody there to decide.

Never: is offered as an option of any other command; signs anything itself.

Source: architecture 4; threats 6, 42.
"""

from __future__ import annotations

import codecs
import contextlib
import fcntl
import os
import re
import selectors
import struct
import termios
from collections.abc import AsyncIterator, Callable, Sequence

import trio

from astrid.errors import InternalError
from astrid.frontends.launch import start_signer
from astrid.frontends.signing import Process, Signer
from astrid.home import Home

_CHUNK_BYTES = 64 * 1024
_NEXT_PAGE = re.compile(r"-- page [0-9]+ of [0-9]+: Enter shows the next -- $")
_PROMPT = re.compile(
    r"(?:\) and Enter|yes or no, and Enter|the loss. and Enter|Passphrase of your Astrid key|characters\)|once more): $"
)


class ScriptedPerson:
    """Somebody who only ever does what was written down before.

    ``script``: pairs of a regular expression and the line to type once it matches what has appeared since the last
    typed line (``re.DOTALL``).  It ends with words of the prompt: what is typed before the prompt, the signer throws
    away.
    Pages are turned without being told to.  At a prompt that the next pair does not match, the signer is ended, and
    whoever waits for it gets an ``InternalError``.  ``watch`` gets everything that appears on the screen.
    """

    def __init__(
        self,
        script: Sequence[tuple[str, str]],
        *,
        rows: int = 48,
        columns: int = 100,
        watch: Callable[[str], None] | None = None,
    ) -> None:
        self._script = [(re.compile(pattern, re.DOTALL), line) for pattern, line in script]
        self._size = struct.pack("HHHH", rows, columns, 0, 0)
        self._watch = watch
        self._since = ""
        self.screen = ""

    @property
    def left(self) -> int:
        """How many lines were not typed yet."""
        return len(self._script)

    @contextlib.asynccontextmanager
    async def signer(self, home: Home, *arguments: str) -> AsyncIterator[Signer]:
        """A signer that sits at this person's terminal.

        Raises:
            LaunchError: it cannot be started.
        """
        master, slave = os.openpty()
        try:
            fcntl.ioctl(slave, termios.TIOCSWINSZ, self._size)
            process = start_signer(
                home, ["--home", str(home.root), "--terminal-fd", str(slave), *arguments], pass_fds=(slave,)
            )
            async with Signer.of(process, _Watching(process, master, self._look)) as signer:
                yield signer
        finally:
            os.close(slave)
            os.close(master)

    def _look(self, shown: str) -> str | None:
        """The line to type now that ``shown`` has appeared."""
        shown = shown.replace("\r", "")
        self.screen += shown
        self._since += shown
        if self._watch is not None:
            self._watch(shown)
        text = self._since.replace("|\n|", "")  # a long line in one, however the display broke it
        if self._script and self._script[0][0].search(text):
            _, line = self._script.pop(0)
            self._since = ""
            return line
        if _NEXT_PAGE.search(text):
            self._since += "\n"
            return ""
        if _PROMPT.search(text):
            raise InternalError(
                "person.unscripted", "the scripted person was asked something that the script does not know"
            )
        return None


class _Watching:
    """The signer's replies; while somebody waits for one, the person looks at the screen."""

    def __init__(self, process: Process, master: int, look: Callable[[str], str | None]) -> None:
        if process.stdout is None:
            raise InternalError("signer.no-pipe", "the signer was started without its pipes")
        self._pipe = process.stdout
        self._master = master
        self._look = look
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        self._either = selectors.DefaultSelector()
        self._either.register(self._pipe, selectors.EVENT_READ)
        self._either.register(master, selectors.EVENT_READ)

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """What the signer replied; meanwhile, whatever it shows is looked at, and answered."""
        while True:
            await trio.lowlevel.wait_readable(self._either.fileno())
            ready = {key.fd for key, _ in self._either.select(0)}
            if self._master in ready:  # first, so that nothing is replied before it was seen
                self._glance()
            elif ready:
                return os.read(self._pipe.fileno(), max_bytes or _CHUNK_BYTES)

    async def aclose(self) -> None:
        """Look away."""
        self._either.close()
        self._pipe.close()
        await trio.lowlevel.checkpoint()

    def _glance(self) -> None:
        line = self._look(self._decode(os.read(self._master, _CHUNK_BYTES)))
        if line is not None:
            os.write(self._master, line.encode() + b"\n")
