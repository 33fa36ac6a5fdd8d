"""A tool server whose words hold no secret: everything that any tool or model says passes here, on its way to the gate.

The gate, the log, the journal, the frontends and the models get only what comes out.

Never: changes a call.  The bytes that were approved are the bytes that run; what is taken out is what comes back.

Source: architecture 7; threats 26, 36.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import msgspec

from astrid.core.call import Call, Preparation
from astrid.core.egress_connection import Attempt, Traffic
from astrid.core.redact import Redactor
from astrid.core.tools import ToolSpec
from astrid.errors import EdgeError, InputError
from astrid.ports import Report, ToolOutcome, ToolServer


class Redacting:
    """``server``, with the values of secrets taken out of what it says.  ``redactor`` is asked before each call, so
    that one whose secrets cannot be read is not begun.
    """

    def __init__(self, server: ToolServer, redactor: Callable[[], Redactor]) -> None:
        self._server = server
        self._redactor = redactor

    def specs(self) -> tuple[ToolSpec, ...]:
        """Those of the server."""
        return self._server.specs()

    def glance(self, tool: str, args: bytes) -> Preparation | None:
        """What the server says; what it refuses, a worker meets again, and its words are taken from there."""
        return self._server.glance(tool, args)

    async def prepare(self, tool: str, args: bytes) -> Preparation:
        """What the server says."""
        with _cleaned(self._redactor()):
            return await self._server.prepare(tool, args)

    async def execute(self, call: Call, report: Report) -> ToolOutcome:
        """What the server does.  Each piece on the way stands for itself: a value that is cut in two is found in the
        result, which is what counts.
        """
        redactor = self._redactor()
        with _cleaned(redactor):
            outcome = await self._server.execute(call, _Quiet(report, redactor))
        content = redactor.redact(outcome.content)
        return outcome if content == outcome.content else msgspec.structs.replace(outcome, content=content)


class _Quiet:
    """A ``Report`` into which no value goes, and beyond which none is told as the name of a host."""

    def __init__(self, report: Report, redactor: Redactor) -> None:
        self._report = report
        self._redactor = redactor

    def __call__(self, piece: bytes, /) -> None:
        self._report(self._redactor.redact(piece))

    async def begin(self, attempt: Attempt) -> int:
        host = self._redactor.redact_text(attempt.host)
        if host == attempt.host:
            return await self._report.begin(attempt)
        told = Attempt(host=host, port=attempt.port, addresses=(), refused=attempt.refused or "egress.secret")
        number = await self._report.begin(told)
        if attempt.refused:
            return number
        raise EdgeError(
            "egress.secret", "the name of the host holds a secret", effect="none", advice="send it to no such host"
        )

    def end(self, number: int, traffic: Traffic) -> None:
        self._report.end(number, traffic)


@contextmanager
def _cleaned(redactor: Redactor) -> Iterator[None]:
    """The text of an error may hold what the tool had in its hands."""
    try:
        yield
    except (InputError, EdgeError) as error:
        error.message = redactor.redact_text(error.message)
        error.args = (error.message,)
        raise
