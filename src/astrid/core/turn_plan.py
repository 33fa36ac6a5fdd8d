"""What one step of the turn machine writes down and wants done.  Pure.

Invariant: what is wanted of others is wanted behind the rows that say so.

Source: architecture 2 ("Machine and shell").
"""

from __future__ import annotations

from astrid.core import context
from astrid.core.conversation import Image, ModelRequest, ToolUse
from astrid.core.labels import RUNTIME, Label
from astrid.core.turn_messages import (
    AnyRow,
    AnyTurnEffect,
    AskRow,
    CallRow,
    ProposeModel,
    ProposeTool,
    ResultRow,
    Save,
    SummaryRow,
)
from astrid.core.turn_state import Turn, apply, asked_model


class Plan:
    """What one step writes down and wants done."""

    def __init__(self, turn: Turn, now_ns: int) -> None:
        self.turn = turn
        self.now_ns = now_ns
        self.rows: list[AnyRow] = []
        self.effects: list[AnyTurnEffect] = []

    def write(self, row: AnyRow) -> None:
        """Take in ``row``, and have it saved."""
        apply(self.turn, row)
        self.rows.append(row)

    def result(
        self, call_id: str, content: str, label: Label = RUNTIME, *, is_error: bool = True, image: Image | None = None
    ) -> None:
        """Have a call end with this."""
        self.write(
            ResultRow(at_ns=self.now_ns, id=call_id, content=content, is_error=is_error, label=label, image=image)
        )

    def done(self) -> tuple[AnyTurnEffect, ...]:
        """All of it, in order."""
        return (Save(rows=tuple(self.rows)), *self.effects) if self.rows else tuple(self.effects)


def model_request(turn: Turn) -> ModelRequest:
    """The next call of the model."""
    setting = turn.setting
    return ModelRequest(
        model=asked_model(turn),
        system=setting.system,
        messages=tuple(entry.message for entry in turn.conversation),
        tools=setting.tools,
        max_tokens=setting.max_tokens,
    )


def propose_tool(plan: Plan, use: ToolUse) -> None:
    """Have a tool called, under a fresh ref."""
    ref, label = plan.turn.last_ref + 1, plan.turn.label
    plan.write(CallRow(at_ns=plan.now_ns, id=use.id, ref=ref))
    proposal = ProposeTool(ref=ref, tool_use_id=use.id, name=use.name, arguments=use.arguments.encode(), label=label)
    plan.effects.append(proposal)


def propose_model(plan: Plan, *, for_summary: bool = False) -> None:
    """Have the model asked, under a fresh ref."""
    turn, ref = plan.turn, plan.turn.last_ref + 1
    row = SummaryRow if for_summary else AskRow
    plan.write(row(at_ns=plan.now_ns, ref=ref))
    request = context.summary_request(turn) if for_summary else model_request(turn)
    plan.effects.append(ProposeModel(ref=ref, place=turn.place, request=request, label=turn.label))
