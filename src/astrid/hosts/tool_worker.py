"""A worker of a tool host: looks at one call, or runs one, and says how that ended.

It does one thing at a time, and keeps nothing of it.  What it says goes to the front of its host alone.

Never: guesses how a call ended.  One that was stopped may have acted; it is paid in full and told as such.

Source: architecture 4, 5 (step 5); threats 21, 23.
"""

from __future__ import annotations

import trio

from astrid.core.call import Call, Preparation
from astrid.core.gate_connections import Connect, Disconnected
from astrid.core.turn_retry import failure_text
from astrid.errors import AstridError, EdgeError, Effect, InputError, InternalError
from astrid.hosts.tool_report import CallReport
from astrid.kernel import Actor, Message, Ref, Sender
from astrid.ports import ToolServer

STOPPED = b"tool.stopped: the call was stopped before it ended; what it did is unknown"


class Look(Message, frozen=True, kw_only=True):
    """To a worker: prepare this call."""

    ref: int
    tool: str
    args: bytes


class Run(Message, frozen=True, kw_only=True):
    """To a worker: run this call, which is permitted."""

    ref: int
    permit_seq: int
    call: Call


class Looked(Message, frozen=True, kw_only=True):
    """From a worker: what a call would touch."""

    ref: int
    preparation: Preparation


class Refused(Message, frozen=True, kw_only=True):
    """From a worker: the call cannot be prepared."""

    ref: int
    code: str
    reason: str
    advice: str


class Ran(Message, frozen=True, kw_only=True):
    """From a worker: how a call ended."""

    ref: int
    content: bytes
    is_error: bool
    effect: Effect
    spent_micros: int
    untrusted: bool = False
    chosen: bool = False


class Piece(Message, frozen=True, kw_only=True):
    """From a worker: provisional output."""

    ref: int
    chunk: bytes


class Leash:
    """What the front holds of the one call that a worker runs, or ran: how to stop it, and who hears what the gate says
    of its connections.
    """

    __slots__ = ("report", "scope")

    def __init__(self) -> None:
        self.scope = trio.CancelScope()
        self.report: CallReport | None = None


class Worker(Actor):
    """Prepares a call, or runs one that is permitted, and says how that ended whatever happens but a bug."""

    def __init__(self, server: ToolServer, leash: Leash, front: Ref) -> None:
        self._server = server
        self._leash = leash
        self._front = front

    async def receive(self, message: object, sender: Sender) -> object:
        """One call, up to its end."""
        match message:
            case Look():
                told = await self._look(message)
            case Run():
                told = await self._run(message)
            case _:
                raise InternalError("tool.message", f"`{type(message).__name__}` is not taken from `{sender.path}`")
        self.ctx.post(self._front, told)
        return None

    async def _look(self, message: Look) -> Looked | Refused:
        try:
            preparation = await self._server.prepare(message.tool, message.args)
        except (InputError, EdgeError) as error:
            return Refused(ref=message.ref, code=error.code, reason=error.message, advice=error.advice)
        return Looked(ref=message.ref, preparation=preparation)

    async def _run(self, run: Run) -> Ran:
        ref, call, scope = run.ref, run.call, self._leash.scope
        if scope.cancel_called:
            return _ran(ref, call, b"tool.stopped: the call was not begun", "none")
        with scope:
            return await self._execute(run)
        return _ran(ref, call, STOPPED, "maybe")

    async def _execute(self, run: Run) -> Ran:
        ref, call = run.ref, run.call

        def piece(chunk: bytes) -> None:
            self.ctx.post(self._front, Piece(ref=ref, chunk=chunk))

        def say(message: Connect | Disconnected) -> None:
            self.ctx.post(self._front, message)

        report = self._leash.report = CallReport(ref, run.permit_seq, piece, say)
        try:
            outcome = await self._server.execute(call, report)
        except EdgeError as error:
            return _ran(ref, call, _text(error), error.effect)
        except InputError as error:
            return _ran(ref, call, _text(error), "none")
        return Ran(
            ref=ref,
            content=outcome.content,
            is_error=outcome.is_error,
            effect=outcome.effect,
            spent_micros=outcome.spent_micros,
            untrusted=outcome.untrusted,
            chosen=outcome.chosen,
        )


def _ran(ref: int, call: Call, content: bytes, effect: Effect) -> Ran:
    """How a call ended that was stopped or failed: paid in full, unless nothing happened."""
    spent = 0 if effect == "none" else call.max_micros
    return Ran(ref=ref, content=content, is_error=True, effect=effect, spent_micros=spent)


def _text(error: AstridError) -> bytes:
    # The model gets the code and the plain message; ``where`` and the other ``fields`` are for people.
    after = error.fields.get("retry_after")
    return failure_text(error.code, error.message, after if isinstance(after, float) else None)
