"""A person at a real terminal, in front of a real process: looks for words, then types."""

from __future__ import annotations

import fcntl
import os
import re
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

DEADLINE_SECONDS = 30.0  # far more than anything here takes; a test fails by it, and never passes by it
_TAKE_TERMINAL = """
import fcntl, os, sys, termios
os.setsid()
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""


def installed() -> bool:
    """Whether this interpreter finds the product when it is isolated, as the processes that are started are."""
    return (
        subprocess.run([sys.executable, "-I", "-c", "import astrid"], capture_output=True, check=False).returncode == 0
    )


def astrid(*arguments: str) -> list[str]:
    """A command line of the product."""
    return [sys.executable, "-I", "-m", "astrid.frontends.cli", *arguments]


class Terminal:
    """One command at a terminal of its own."""

    def __init__(
        self, command: Sequence[str], home: Path, *, environ: Mapping[str, str] | None = None, rows: int = 40
    ) -> None:
        self._master, slave = os.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, 100, 0, 0))
        self.before = termios.tcgetattr(slave)
        self._slave = slave
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-c", _TAKE_TERMINAL, *command],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env={**os.environ, "ASTRID_HOME": str(home), "TERM": "dumb", **(environ or {})},
        )
        self.text = ""
        self.raw = b""  # every byte of it
        self._looked = 0

    def sees(self, pattern: str) -> str:
        """Wait until ``pattern`` stands in what has appeared since the last time; all that appeared up to it."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        while True:
            found = re.compile(pattern, re.DOTALL).search(self.text, self._looked)
            if found:
                start, self._looked = self._looked, found.end()
                return self.text[start : found.end()]
            ready, _, _ = select.select([self._master], [], [], deadline - time.monotonic())
            assert ready, f"nobody said {pattern!r} in {self.text!r}"
            self._read()

    def types(self, keys: str) -> None:
        """Press these keys."""
        os.write(self._master, keys.encode())

    def ends(self) -> int:
        """Wait for the end, and look at what appears meanwhile; the exit code."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        while self.process.poll() is None:
            assert time.monotonic() < deadline, f"it did not end, and said {self.text!r}"
            if select.select([self._master], [], [], 0.02)[0]:
                self._read()
        while select.select([self._master], [], [], 0)[0]:
            self._read()
        return self.process.returncode

    def mode(self) -> list[object]:
        """How the terminal is set."""
        return termios.tcgetattr(self._slave)

    def close(self) -> None:
        """Leave."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self._slave)
        os.close(self._master)

    def _read(self) -> None:
        read = os.read(self._master, 65536)
        self.raw += read
        self.text += read.decode("utf-8", "replace").replace("\r", "")
