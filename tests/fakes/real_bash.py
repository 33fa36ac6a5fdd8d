"""Bash itself, in a folder of its own, with nothing to run but programs that write down how they were called.

What has a name of ``RECORDERS`` is a program; whatever else is not found is written down by Bash.  A few real programs
that start others are there too, where the system has them.

Never: runs anything else.  The search path holds this folder alone, and a line may use little time, memory and disk;
callers hand in no absolute path to a program.
"""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

RECORDERS = ("p", "q", "r", "k")
WRAPPERS = ("env", "xargs", "nice", "nohup", "timeout", "stdbuf", "find", "dash", "bash")
SECONDS = 5

# Each process has a file of its own: Bash writes in as many pieces as it likes, and two at once would mix theirs.
_PROGRAM = '#!SHELL\nprintf \'%s\\0\' "$(($# + 2))" "${0##*/}" "$@" "A=${A-}" >>"$REC/$BASHPID"\n'
_HANDLER = 'command_not_found_handle() { printf \'%s\\0\' "$(($# + 1))" "$@" "A=${A-}" >>"$REC/$BASHPID"; }; '
_PARSED_OTHERWISE = (b"syntax error", b"unexpected EOF", b"bad substitution", b"unexpected token")


@dataclass(frozen=True)
class Run:
    """What a line did.  ``calls``: program and arguments, about in the order in which they were made; ``values``: what
    the variable A was for each; ``files``: what was made below the working directory; ``misread``: what Bash said where
    it could not read the line as a script."""

    calls: tuple[tuple[str, ...], ...]
    values: tuple[str, ...]
    files: frozenset[str]
    misread: bytes
    ended: bool


class Bash:
    """See the module."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._programs = folder / "bin"
        self._programs.mkdir()
        self._shell = shutil.which("bash") or "/bin/bash"
        for name in WRAPPERS:
            real = shutil.which(name)
            if real is not None:
                (self._programs / name).symlink_to(real)
        if (self._programs / "dash").is_symlink():
            (self._programs / "sh").symlink_to("dash")
        for name in RECORDERS:
            (self._programs / name).write_text(_PROGRAM.replace("SHELL", self._shell))
            (self._programs / name).chmod(0o755)

    def run(self, line: str) -> Run:
        """What Bash does with ``line``."""
        with tempfile.TemporaryDirectory(dir=self._folder) as place:
            record = Path(place, "record")
            record.mkdir()
            work = Path(place, "1", "2", "3", "work")
            (work / "a").mkdir(parents=True)
            (work / "f.txt").touch()
            process = subprocess.Popen(
                [self._shell, "--noprofile", "--norc", "-c", _HANDLER + line],
                cwd=work,
                env={
                    "PATH": str(self._programs),
                    "REC": str(record),
                    "LC_ALL": "C.UTF-8",
                    "HOME": str(work),
                    "FUNCNEST": "8",
                    "x": "v w",
                },
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                start_new_session=True,
                preexec_fn=_limit,
            )
            ended = True
            try:
                errors = process.communicate(timeout=SECONDS)[1]
            except subprocess.TimeoutExpired:
                ended = False
                _end(process)
                errors = process.communicate()[1]
            finally:
                _end(process)
            calls, values = _read(record)
            made = {str(path.relative_to(work)) for path in work.rglob("*")} - {"a", "f.txt"}
        misread = next((what for what in _PARSED_OTHERWISE if what in errors), b"")
        return Run(tuple(calls), tuple(values), frozenset(made), errors if misread else b"", ended)


@contextlib.contextmanager
def real_bash() -> Iterator[Bash]:
    """A Bash for many lines."""
    with tempfile.TemporaryDirectory(prefix="astrid-bash-") as folder:
        yield Bash(Path(folder))


def _limit() -> None:
    for what, most in (
        (resource.RLIMIT_CPU, SECONDS),
        (resource.RLIMIT_FSIZE, 1 << 20),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_AS, 1 << 29),
    ):
        resource.setrlimit(what, (most, most))


def _end(process: subprocess.Popen[bytes]) -> None:
    """Whatever the line left running."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def _read(record: Path) -> tuple[list[tuple[str, ...]], list[str]]:
    calls: list[tuple[str, ...]] = []
    values: list[str] = []
    for path in sorted(record.iterdir(), key=lambda one: one.stat().st_mtime_ns):
        fields = path.read_bytes().decode("utf-8", "surrogateescape").split("\0")[:-1]
        while fields and len(fields) > (count := int(fields[0])):  # the last one may have been killed as it wrote
            calls.append(tuple(fields[1:count]))
            values.append(fields[count].removeprefix("A="))
            fields = fields[count + 1 :]
    return calls, values
