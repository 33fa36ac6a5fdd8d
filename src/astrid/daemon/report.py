"""What the daemon says about itself: one line of JSON an event, to its log and to whoever started it.

Never: the text of an exception, a message, an argument or a name out of a session.  What failed is told by its code or
type and by the lines of code it passed through; a random id joins what a person saw to the line in the log.

Source: threats 26, 36, 46.
"""

from __future__ import annotations

import json
import os
import secrets
import sys
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

from astrid.errors import AstridError
from astrid.kernel import KernelError, Reason, Ref

MAX_LINES = 20_000  # of one run: whoever can make the daemon report cannot fill the disk with it
MAX_PLACES = 12


class Report:
    """Where the lines go.  ``verbose`` adds what is not a failure."""

    def __init__(self, file: Path, *, verbose: bool = False) -> None:
        self.verbose = verbose
        self._lines = 0
        self._sinks = [2]
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        descriptor = os.open(file, flags, 0o600)
        if os.path.sameopenfile(descriptor, 2):
            os.close(descriptor)
        else:
            self._sinks.append(descriptor)

    def close(self) -> None:
        """Nothing more is said."""
        for descriptor in self._sinks[1:]:
            os.close(descriptor)
        del self._sinks[1:]

    def note(self, event: str, **fields: str | int) -> None:
        """Something that is no failure; said where ``verbose``."""
        if self.verbose:
            self._write({"event": event, **fields})

    def actor_failed(self, ref: Ref, _reason: Reason, error: BaseException) -> None:
        """An actor ended by an error."""
        self.failed("actor-failed", error, where=ref.path)

    def failed(self, event: str, error: BaseException, **fields: str) -> str:
        """Something failed; the id under which it is in the log."""
        name = secrets.token_hex(4)
        self._write({"event": event, "id": name, **fields, "error": code_of(error), "at": list(places(error))})
        return name

    def _write(self, line: dict[str, object]) -> None:
        self._lines += 1
        if self._lines > MAX_LINES:
            return
        if self._lines == MAX_LINES:
            line = {"event": "report-full"}
        data = json.dumps({"time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "pid": os.getpid(), **line})
        for descriptor in self._sinks:
            _put(descriptor, data.encode() + b"\n")


def code_of(error: BaseException) -> str:
    """A stable name for what failed."""
    return error.code if isinstance(error, AstridError | KernelError) else type(error).__qualname__


def places(error: BaseException) -> Iterator[str]:
    """The lines of code that an error passed through, innermost last, and what caused it; never its text."""
    frames = traceback.extract_tb(error.__traceback__)[-MAX_PLACES:]
    yield from (f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames)
    if error.__cause__ is not None:
        yield f"because of {code_of(error.__cause__)}"


def say_code_only(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """``sys.excepthook``: a bug of ours ends the process without showing what it held."""
    del kind, trace
    name = secrets.token_hex(4)
    where = " < ".join(reversed(list(places(error))))
    _put(2, f"astridd: a bug in astrid ({code_of(error)}, id {name}): {where}\n".encode())


def complain(error: AstridError) -> None:
    """What a person must read, on the standard error output."""
    _put(2, f"astridd: {error.render()}\n".encode("utf-8", "backslashreplace"))
    sys.stderr.flush()


def _put(descriptor: int, data: bytes) -> None:
    try:
        os.write(descriptor, data)
    except OSError:
        return  # nobody is left to be told
