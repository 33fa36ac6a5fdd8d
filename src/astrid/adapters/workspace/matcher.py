"""Matching a regular expression against open files, in a process of its own.

``rg`` does it where it is installed, otherwise ``grep_worker`` under the daemon's own interpreter.  Both get numbers
of descriptors, no paths, and answer with the same lines of JSON.

Never: runs an expression in the daemon; believes more of the answer than its types say.

Source: the first Astrid (grep); ripgrep's JSON output.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from astrid.adapters.workspace import grep_worker
from astrid.adapters.workspace.handles import Root, split
from astrid.adapters.workspace.process import FIXED_PATH, run_process
from astrid.adapters.workspace.text import cut
from astrid.core.visible import visible
from astrid.errors import WorkspaceError

MAX_MATCHES_PER_FILE = 1000
MAX_ANSWER_BYTES = 16 * 1024 * 1024
SEARCH_SECONDS = 20.0
_BAD_EXPRESSION = 2
_DESCRIPTORS = "/proc/self/fd/" if sys.platform == "linux" else "/dev/fd/"


class _Text(msgspec.Struct, frozen=True):
    text: str = ""
    raw: bytes = msgspec.field(default=b"", name="bytes")  # base64 in JSON; used where a line is no UTF-8


class _Data(msgspec.Struct, frozen=True):
    path: _Text = _Text()
    lines: _Text = _Text()
    line_number: int = 0


class _Answer(msgspec.Struct, frozen=True):
    type: str
    data: _Data


_decoder = msgspec.json.Decoder(_Answer)


@dataclass(frozen=True, slots=True)
class Line:
    """A line that matched, or one beside it."""

    number: int
    matched: bool
    text: str


@dataclass(frozen=True, slots=True)
class Engine:
    """The program that matches: the path of ``rg``, or ``None`` for our own worker."""

    rg: str | None = None

    def argv(self, expression: str, *, context: int, ignore_case: bool, paths: Sequence[str]) -> list[str]:
        """The command that searches ``paths`` for ``expression``."""
        if self.rg is None:
            flags = "i" if ignore_case else "-"
            numbers = (str(context), str(MAX_MATCHES_PER_FILE))
            return [sys.executable, "-I", "-S", grep_worker.__file__, flags, *numbers, expression, *paths]
        case = "--ignore-case" if ignore_case else "--case-sensitive"
        limits = (f"--context={context}", f"--max-count={MAX_MATCHES_PER_FILE}", "--threads=1")
        # As text, whatever the bytes: what is binary was decided before, and both matchers have to see the same.
        reading = ("--text", "--no-mmap", "--encoding=none", "--crlf")
        return [self.rg, "--no-config", "--json", *reading, *limits, case, f"--regexp={expression}", "--", *paths]


def find_engine(workspace: Root) -> Engine:
    """``rg`` from the fixed path or from beside the interpreter, but never from the workspace, where anybody can
    have put it."""
    for folder in (*FIXED_PATH, os.path.dirname(sys.executable)):
        try:
            program = os.path.realpath(os.path.join(folder, "rg"), strict=True)
        except OSError:  # not there
            continue
        parts = split(os.fsencode(program))
        if parts[: len(workspace.path)] != workspace.path and os.access(program, os.X_OK) and Path(program).is_file():
            return Engine(program)
    return Engine()


@dataclass(frozen=True, slots=True)
class Matcher:
    """One expression, ready to be searched for."""

    engine: Engine
    expression: str
    context: int
    ignore_case: bool
    env: Mapping[str, str]

    async def search(self, descriptors: Sequence[int], *, seconds: float) -> dict[int, list[Line]]:
        """The matching lines of each open file that has any, found within ``seconds``.

        Raises:
            WorkspaceError: the expression is none, or it took too long.
        """
        if not descriptors:
            return {}
        by_path = {f"{_DESCRIPTORS}{descriptor}": descriptor for descriptor in descriptors}
        argv = self.engine.argv(
            self.expression, context=self.context, ignore_case=self.ignore_case, paths=list(by_path)
        )
        done = await run_process(
            argv,
            cwd="/",
            env=self.env,
            seconds=seconds,
            max_bytes=MAX_ANSWER_BYTES,
            pass_fds=descriptors,
            sweep=False,
        )
        if done.stopped:
            raise WorkspaceError(
                "workspace.search-timeout",
                f"Timeout after {int(SEARCH_SECONDS * 1000)}ms",
                effect="none",
                advice="search a smaller folder, or for something simpler",
            )
        if done.returncode == _BAD_EXPRESSION and not done.stdout:
            reason = cut(" ".join(done.stderr.decode("utf-8", "replace").split()), 300)
            raise WorkspaceError(
                "workspace.expression",
                f"Invalid arguments: the pattern is not a regular expression: {visible(reason)}",
                effect="none",
                advice="escape special characters with a backslash",
            )
        if done.returncode not in (0, 1):
            raise WorkspaceError("workspace.search-failed", "Execution failed: the search ended early", effect="none")
        found: dict[int, list[Line]] = {}
        for row in done.stdout.split(b"\n")[:-1]:  # what follows the last line feed is no whole answer
            answer = _decoder.decode(row)
            descriptor = by_path.get(answer.data.path.text)
            if descriptor is not None and answer.type in ("match", "context"):
                found.setdefault(descriptor, []).append(_line(answer))
        return found


def _line(answer: _Answer) -> Line:
    lines = answer.data.lines
    text = lines.text or lines.raw.decode("utf-8", "replace")
    return Line(answer.data.line_number, answer.type == "match", text.removesuffix("\n").removesuffix("\r"))
