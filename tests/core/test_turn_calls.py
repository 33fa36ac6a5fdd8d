"""Which calls of an answer may be proposed, and when."""

from __future__ import annotations

import pytest

from astrid.core import turn_answer as texts
from astrid.core.conversation import ToolResult, ToolUse
from astrid.core.risk import EffectClass
from astrid.core.turn_calls import objection, startable
from astrid.core.turn_limits import Limits
from astrid.core.turn_messages import Setting
from astrid.core.turn_state import Calling, OpenCall

LIMITS = Limits(calls_per_answer=2, side_by_side=2, argument_bytes=20)
SETTING = Setting(
    model="p/m", system="", max_tokens=1, effects={"look": EffectClass.READ, "edit": EffectClass.STAGING}, limits=LIMITS
)


def use(name: str = "look", arguments: str = "{}") -> ToolUse:
    return ToolUse(id="a", name=name, arguments=arguments)


@pytest.mark.parametrize(
    ("place", "arguments", "why"),
    [
        (1, "{}", ""),
        (2, "{}", texts.TOO_MANY_CALLS),
        (0, '{"a":1,"a":2}', texts.BAD_ARGUMENTS),
        (0, '{"a":"0123456789abc"}', texts.BAD_ARGUMENTS),
    ],
)
def test_a_call_is_proposed_unless_it_is_one_too_many_or_its_arguments_mean_nothing(
    place: int, arguments: str, why: str
) -> None:
    assert objection(LIMITS, place, use(arguments=arguments)) == why


DONE = OpenCall(use("edit"), 1, ToolResult(id="a", content="", is_error=False))
LOOK, EDIT, OTHER = OpenCall(use("look")), OpenCall(use("edit")), OpenCall(use("undeclared"))


@pytest.mark.parametrize(
    ("calls", "begin"),
    [
        ((LOOK, LOOK, LOOK), (LOOK, LOOK)),
        ((DONE, LOOK, EDIT), (LOOK,)),
        ((EDIT, LOOK), (EDIT,)),
        ((DONE, OTHER, LOOK), (OTHER,)),
        ((OpenCall(use("look"), 2), EDIT), ()),
        ((OpenCall(use("look"), 2), OpenCall(use("look"), 3), LOOK), ()),
    ],
    ids=["reads", "read first", "change alone", "undeclared is a change", "change waits", "no room"],
)
def test_reads_begin_side_by_side_and_everything_else_alone(
    calls: tuple[OpenCall, ...], begin: tuple[OpenCall, ...]
) -> None:
    assert tuple(startable(SETTING, Calling(calls))) == begin
