"""A model that reads its answers from a script.

It keeps no state: which step is next is derived from the conversation in the request, by walking the script along the
model's own messages in it.  So a call that is made again gives the same answer, after a failure, a cancel or a restart.
A conversation whose beginning was replaced by a summary cannot be followed.

Never: touches a file, the network or a clock.

Source: architecture 10 (model scripts).
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager

import trio

from astrid.adapters.llm.script import END, Condition, ResultCondition, Script, ScriptedTurn, Step
from astrid.core.conversation import (
    AnyStreamEvent,
    Done,
    Message,
    ModelRequest,
    Text,
    TextDelta,
    ToolCallReady,
    ToolResult,
    Usage,
    encode_request,
)
from astrid.core.money import Price
from astrid.errors import ModelError

BYTES_PER_TOKEN = 4  # what a script without ``usage`` counts
_WORD = re.compile(r"\S+\s*|\s+")


class ScriptedModel:
    """The ``Model`` port over a script."""

    def __init__(self, script: Script) -> None:
        self._script = script

    @property
    def name(self) -> str:
        """``scripted/<name>``."""
        return f"scripted/{self._script.name}"

    @property
    def price(self) -> Price:
        """As the script says; free if it does not."""
        return self._script.price

    @property
    def scripted(self) -> bool:
        """Always: the records of such a session say so."""
        return True

    def stream(self, request: ModelRequest) -> AbstractAsyncContextManager[AsyncIterator[AnyStreamEvent]]:
        """The next step of the script, word by word.

        Raises:
            ModelError: the conversation is not what the script expects, or no turn of a choice fits.
        """
        return self._stream(request)

    @asynccontextmanager
    async def _stream(self, request: ModelRequest) -> AsyncGenerator[AsyncIterator[AnyStreamEvent], None]:
        if request.model != self.name:
            raise ModelError(
                "model.wrong-model",
                f"`{request.model}` was asked for, and this is `{self.name}`",
                effect="none",
                advice="name the model as its script does",
            )
        answers = sum(message.role == "assistant" for message in request.messages)
        turn = next_turn(self._script, request.messages)
        async with aclosing(_events(request, turn, answers)) as events:
            yield events


def next_turn(script: Script, messages: Sequence[Message]) -> ScriptedTurn | None:
    """What the script says after ``messages``; ``None`` at its end.

    Raises:
        ModelError: see ``ScriptedModel.stream``.
    """
    place = since = 0
    for at, message in enumerate(messages):
        if message.role != "assistant":
            continue
        if place >= len(script.steps):
            raise ModelError(
                "model.script-lost",
                "the conversation holds more answers than the script gave",
                effect="none",
                where=script.where,
                advice="a scripted session cannot go on from a conversation of another script, or from a summary",
            )
        turn = _choose(script, script.steps[place], messages[since:at])
        place = _follow(script, turn, place)
        since = at + 1
    if place >= len(script.steps):
        return None
    step = script.steps[place]
    turn = _choose(script, step, messages[since:])
    if turn.expect is not None and (complaint := _complaint(turn.expect, messages[since:])):
        raise _mismatch(script, step, complaint, messages[since:])
    return turn


def _choose(script: Script, step: Step, heard: Sequence[Message]) -> ScriptedTurn:
    complaints: list[str] = []
    for turn in step.turns:
        complaint = "" if turn.when is None else _complaint(turn.when, heard)
        if not complaint:
            return turn
        complaints.append(complaint)
    raise _mismatch(script, step, f"no turn of the choice fits ({'; '.join(complaints)})", heard)


def _follow(script: Script, turn: ScriptedTurn, place: int) -> int:
    if turn.goto is None:
        return place + 1
    return len(script.steps) if turn.goto == END else script.labels[turn.goto]


def _complaint(condition: Condition, heard: Sequence[Message]) -> str:
    """What of ``condition`` does not hold; empty if all of it does."""
    if condition.last_text_contains is not None:
        texts = [part.text for message in heard for part in message.parts if isinstance(part, Text)]
        if not texts or condition.last_text_contains not in texts[-1]:
            return f"expected the last text to contain `{condition.last_text_contains[:200]}`"
    results = _results(heard)
    for wanted in condition.results:
        if not any(_fits(wanted, index, result) for index, result in enumerate(results)):
            return f"expected a tool result {_describe(wanted)}"
    return ""


def _results(heard: Sequence[Message]) -> list[ToolResult]:
    return [part for message in heard for part in message.parts if isinstance(part, ToolResult)]


def _fits(wanted: ResultCondition, index: int, result: ToolResult) -> bool:
    return (
        wanted.id in (None, result.id)
        and wanted.index in (None, index)
        and wanted.is_error in (None, result.is_error)
        and wanted.contains in result.content
    )


def _describe(wanted: ResultCondition) -> str:
    named = {"id": wanted.id, "index": wanted.index, "is_error": wanted.is_error, "contains": wanted.contains or None}
    return ", ".join(f"{key} `{str(value)[:200]}`" for key, value in named.items() if value is not None) or "at all"


def _mismatch(script: Script, step: Step, complaint: str, heard: Sequence[Message]) -> ModelError:
    # Only the script's own words are in the message; what was heard may be anybody's text, and goes into a field.
    return ModelError(
        "model.script-mismatch",
        complaint,
        effect="none",
        where=f"{script.where}:{step.line}",
        advice="change the script, or what it waits for",
        heard=tuple((result.id, result.is_error, result.content[:500]) for result in _results(heard)),
    )


async def _events(
    request: ModelRequest, turn: ScriptedTurn | None, answers: int
) -> AsyncGenerator[AnyStreamEvent, None]:
    turn = turn or ScriptedTurn()
    for word in _WORD.findall(turn.text):
        await trio.lowlevel.checkpoint()
        yield TextDelta(text=word)
    for place, call in enumerate(turn.tool_calls):
        await trio.lowlevel.checkpoint()
        yield ToolCallReady(id=call.id or f"call-{answers}-{place}", name=call.name, arguments=call.text)
    await trio.lowlevel.checkpoint()
    yield _usage(request, turn)
    yield Done(stop_reason=turn.stop_reason or ("tool_use" if turn.tool_calls else "end_turn"))


def _usage(request: ModelRequest, turn: ScriptedTurn) -> Usage:
    """What the script says was used, or an estimate that depends on nothing but the bytes."""
    if turn.usage is not None:
        return Usage(input_tokens=turn.usage.input_tokens, output_tokens=turn.usage.output_tokens)
    said = "".join((turn.text, *(call.name + call.text for call in turn.tool_calls)))
    return Usage(
        input_tokens=-(-len(encode_request(request)) // BYTES_PER_TOKEN),
        output_tokens=-(-len(said.encode()) // BYTES_PER_TOKEN),
    )
