"""The calls of one answer: which may not even be proposed, and which may begin now.  Pure.

Source: architecture 2, 5; the first Astrid (one after another).
"""

from __future__ import annotations

from astrid.core import turn_answer as texts
from astrid.core.conversation import ToolUse
from astrid.core.risk import UNDECLARED, EffectClass
from astrid.core.turn_limits import Limits
from astrid.core.turn_messages import Setting
from astrid.core.turn_state import Calling, OpenCall

# A sub-agent is a conversation with a model; what it does is decided like everything else, call by call.
_SIDE_BY_SIDE = frozenset({EffectClass.READ, EffectClass.MODEL})


def objection(limits: Limits, place: int, use: ToolUse) -> str:
    """Why the call at ``place`` is not even proposed; empty if it is."""
    if place >= limits.calls_per_answer:
        return texts.TOO_MANY_CALLS
    if not texts.is_json_object(use.arguments, limits.argument_bytes):
        return texts.BAD_ARGUMENTS
    return ""


def startable(setting: Setting, phase: Calling) -> list[OpenCall]:
    """The waiting calls that nothing before them holds up, in the model's order."""
    chosen: list[OpenCall] = []
    free = setting.limits.side_by_side - sum(call.proposed for call in phase.calls)
    under_way = False
    for call in phase.calls:
        if call.result is not None:
            continue
        reads = setting.effects.get(call.use.name, UNDECLARED) in _SIDE_BY_SIDE
        if call.waiting and (reads or not under_way) and len(chosen) < free:
            chosen.append(call)
        if not reads:
            break  # whatever changes something is done before the next call begins
        under_way = True
    return chosen
