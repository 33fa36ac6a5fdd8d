"""The language of model scripts: what a pretended model says, turn by turn.  Pure parsing.

A script is UTF-8 text, one JSON object a line; empty lines and lines that begin with ``#`` are left out.

    {"model": {"name": "demo", "price": {"input_usd_per_million": "3", "output_usd_per_million": "15"}}}
    {"text": "Let me look.", "tool_calls": [{"name": "read_file", "arguments": {"file_path": "a"}}]}
    {"expect": {"tool_result": {"index": 0, "contains": "hello"}}, "text": "It says hello."}
    {"choose": [{"when": {"last_text_contains": "again"}, "text": "Once more.", "goto": "start"}, {"text": "Bye."}]}

The first line may describe the model.  Every other line is one step:

- a *turn*: ``text``, ``tool_calls`` or both, and if wanted ``usage``, ``stop_reason`` and ``expect``;
- a *choice*: ``choose`` lists turns; the first whose ``when`` holds is taken (a turn without ``when`` always is).

A step may carry a ``label``; a turn that has a ``goto`` is followed by the step of that label, ``end`` being the end of
the script.  A tool call has ``arguments`` (an object, handed on as it is written) or ``raw_arguments`` (any text: how a
model gets it wrong), and an ``id`` if it matters.

``expect`` and ``when`` are conditions on what was answered since the model last spoke; all that is written must hold:
``last_text_contains`` on the last text of the user; ``tool_result``, one or a list of them, each with ``id`` or
``index`` (counted from 0) or neither (then any result will do), ``contains`` and ``is_error``.  ``expect`` fails the
call when it does not hold, ``when`` only passes the turn over.

Never: does I/O.  Unknown and repeated keys are errors, and each error names its line.

Source: the first Astrid (agentic_loop); architecture 10 (model scripts).
"""

from __future__ import annotations

import re
from typing import Annotated, TypeVar

import msgspec

from astrid.core.complaint import complaint
from astrid.core.conversation import StopReason
from astrid.core.json_scan import scan_json
from astrid.core.money import Price, parse_usd
from astrid.errors import CanonError, ConfigError, InputError

MAX_SCRIPT_BYTES = 10 * 1024 * 1024
MAX_SCRIPT_LINES = 10_000
MAX_DEPTH = 64
FREE = Price(input_micros_per_million=0, output_micros_per_million=0)
END = "end"

Count = Annotated[int, msgspec.Meta(ge=0)]
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_T = TypeVar("_T")


class _Strict(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of all that a line may hold."""


class ScriptedPrice(_Strict, frozen=True):
    """What a million tokens cost, in dollars."""

    input_usd_per_million: str
    output_usd_per_million: str


class Header(_Strict, frozen=True):
    """What the pretended model is called and costs."""

    name: str = "script"
    price: ScriptedPrice | None = None


class ScriptedCall(_Strict, frozen=True):
    """A tool call; exactly one of ``arguments`` and ``raw_arguments`` is given."""

    name: str
    id: str = ""
    arguments: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    raw_arguments: str | msgspec.UnsetType = msgspec.UNSET

    @property
    def text(self) -> str:
        """The arguments as the model writes them."""
        if isinstance(self.raw_arguments, str):
            return self.raw_arguments
        return bytes(self.arguments).decode() if isinstance(self.arguments, msgspec.Raw) else ""


class ScriptedUsage(_Strict, frozen=True):
    """What the vendor would have counted."""

    input_tokens: Count
    output_tokens: Count


class ResultCondition(_Strict, frozen=True):
    """A condition on one tool result."""

    id: str | None = None
    index: Count | None = None
    contains: str = ""
    is_error: bool | None = None


class Condition(_Strict, frozen=True):
    """A condition on what was answered since the model last spoke."""

    last_text_contains: str | None = None
    tool_result: ResultCondition | tuple[ResultCondition, ...] = ()

    @property
    def results(self) -> tuple[ResultCondition, ...]:
        """The conditions on results, as a tuple."""
        return (self.tool_result,) if isinstance(self.tool_result, ResultCondition) else self.tool_result


class ScriptedTurn(_Strict, frozen=True):
    """What the model says once."""

    text: str = ""
    tool_calls: tuple[ScriptedCall, ...] = ()
    usage: ScriptedUsage | None = None
    stop_reason: StopReason | None = None
    expect: Condition | None = None
    when: Condition | None = None
    goto: str | None = None


class Step(msgspec.Struct, frozen=True):
    """One line: the turns to choose from (one, if it is no choice)."""

    line: int
    turns: tuple[ScriptedTurn, ...]


class Script(msgspec.Struct, frozen=True):
    """A parsed script.  ``labels`` name places in ``steps``; ``where`` is the file's name for errors."""

    where: str
    name: str
    price: Price
    steps: tuple[Step, ...]
    labels: dict[str, int]


class _HeaderLine(_Strict, frozen=True):
    model: Header


class _TurnLine(ScriptedTurn, frozen=True):
    label: str | None = None


class _ChoiceLine(_Strict, frozen=True):
    choose: tuple[ScriptedTurn, ...]
    label: str | None = None


_headers = msgspec.json.Decoder(_HeaderLine)
_turns = msgspec.json.Decoder(_TurnLine)
_choices = msgspec.json.Decoder(_ChoiceLine)
_keys = msgspec.json.Decoder(dict[str, msgspec.Raw])


def load_script(text: str, where: str) -> Script:
    """The script that ``text`` spells; ``where`` names its file in errors.

    Raises:
        ConfigError: it is too long, a line is not what the language allows, or a ``goto`` leads nowhere.
    """
    lines = text.split("\n")
    if len(text) > MAX_SCRIPT_BYTES or len(lines) > MAX_SCRIPT_LINES:
        raise ConfigError(
            "model.script-too-long",
            f"a model script has at most {MAX_SCRIPT_LINES} lines and {MAX_SCRIPT_BYTES} characters",
            where=where,
            advice="shorten the script, or name another one",
        )
    name, price = Header().name, FREE
    steps: list[Step] = []
    labels: dict[str, int] = {}
    told = False
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        place = f"{where}:{number}"
        data, keys = _read_line(line, place)
        if "model" in keys:
            if told:
                raise _bad_line("the model is described on the first line, or not at all", place)
            name, price = _read_header(data, place)
        else:
            turns, label = _read_step(data, keys, place)
            if label is not None and (label in labels or label == END):
                raise _bad_line(f"the label `{label[:40]}` is taken", place)
            if label is not None:
                labels[label] = len(steps)
            steps.append(Step(number, turns))
        told = True
    for step in steps:
        for goto in (turn.goto for turn in step.turns if turn.goto is not None):
            if goto != END and goto not in labels:
                raise _bad_line(f"no step has the label `{goto[:40]}`", f"{where}:{step.line}")
    return Script(where, name, price, tuple(steps), labels)


def _read_line(line: str, place: str) -> tuple[bytes, dict[str, msgspec.Raw]]:
    """The line as bytes with one meaning, and its keys."""
    try:
        data = line.encode()
        scan_json(data, max_bytes=MAX_SCRIPT_BYTES, max_depth=MAX_DEPTH, floats=True)
        return data, _keys.decode(data)
    except CanonError as error:
        raise _bad_line(error.message, place) from error
    except UnicodeEncodeError as error:
        raise _bad_line("the line is no Unicode text", place) from error
    except msgspec.ValidationError as error:
        raise _bad_line("the line is not a JSON object", place) from error


def _decode(decoder: msgspec.json.Decoder[_T], data: bytes, place: str) -> _T:
    try:
        return decoder.decode(data)
    except msgspec.ValidationError as error:
        raise _bad_line(complaint(error), place) from error


def _read_header(data: bytes, place: str) -> tuple[str, Price]:
    header = _decode(_headers, data, place).model
    if not _NAME.fullmatch(header.name):
        raise _bad_line("a model's name is 1 to 64 letters, digits, dots, dashes and underscores", place)
    if header.price is None:
        return header.name, FREE
    try:
        return header.name, Price(
            input_micros_per_million=parse_usd(header.price.input_usd_per_million),
            output_micros_per_million=parse_usd(header.price.output_usd_per_million),
        )
    except InputError as error:
        raise _bad_line(error.message, place) from error


def _read_step(data: bytes, keys: dict[str, msgspec.Raw], place: str) -> tuple[tuple[ScriptedTurn, ...], str | None]:
    """The turns to choose from, and the step's label."""
    if "choose" in keys:
        choice = _decode(_choices, data, place)
        turns, label = choice.choose, choice.label
        _check_choice(turns, place)
    else:
        turn = _decode(_turns, data, place)
        if turn.when is not None:
            raise _bad_line("`when` belongs into a turn of a `choose`", place)
        turns, label = (turn,), turn.label
    for turn in turns:
        _check_turn(turn, place)
    return turns, label


def _check_choice(turns: tuple[ScriptedTurn, ...], place: str) -> None:
    if not turns:
        raise _bad_line("a choice lists at least one turn", place)
    if any(turn.when is None for turn in turns[:-1]):
        raise _bad_line("only the last turn of a choice may do without `when`", place)


def _check_turn(turn: ScriptedTurn, place: str) -> None:
    # INVARIANT: each answer leaves one message in the conversation; the place in the script is told from their number.
    if not turn.text.strip() and (not turn.tool_calls or turn.stop_reason == "refusal"):
        raise _bad_line("a turn has a `text`, `tool_calls` or both, and a refusal has a `text`", place)
    for call in turn.tool_calls:
        if (call.arguments is msgspec.UNSET) == (call.raw_arguments is msgspec.UNSET):
            raise _bad_line("a tool call has either `arguments` or `raw_arguments`", place)
        if isinstance(call.arguments, msgspec.Raw) and not call.text.startswith("{"):
            raise _bad_line("`arguments` is an object; write any other text as `raw_arguments`", place)


def _bad_line(message: str, place: str) -> ConfigError:
    advice = 'correct the line; it is an object such as {"text": "done"}, and docs/model-scripts.md shows all of it'
    return ConfigError("model.script-line", message, where=place, advice=advice)
