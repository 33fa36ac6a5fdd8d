"""A turn machine with what it saved and wanted, for tests that tell it things one after another."""

from __future__ import annotations

from msgspec.structs import replace

from astrid.core.conversation import ModelRequest, Text, ToolDefinition, ToolResult, ToolUse
from astrid.core.labels import RUNTIME, SIGNED_USER, Integrity, Label
from astrid.core.risk import EffectClass
from astrid.core.turn import step
from astrid.core.turn_limits import Limits
from astrid.core.turn_messages import (
    AnswerPart,
    AnyRow,
    AnyTurnEffect,
    AnyTurnInput,
    Finished,
    ModelAnswered,
    ProposeModel,
    ProposeTool,
    Save,
    Setting,
    ToolAnswered,
    UserInput,
)
from astrid.core.turn_state import new_turn, outstanding

TOOLS = {"look": EffectClass.READ, "peek": EffectClass.READ, "edit": EffectClass.STAGING, "run": EffectClass.EXEC}
WINDOW = 1_000  # tokens, of three characters until a vendor has counted
FROM_WEB = Label(Integrity.UNTRUSTED, (7,))


def setting(*, frame_label: Label = RUNTIME, **limits: int) -> Setting:
    definitions = tuple(ToolDefinition(name=name, description="", schema="{}") for name in (*TOOLS, "undeclared"))
    return Setting(
        model="scripted/m",
        system="be useful",
        max_tokens=100,
        tools=definitions,
        effects=TOOLS,
        frame_label=frame_label,
        limits=Limits(**limits),
    )


class Session:
    """A turn machine with what it saved and wanted; refs are looked up, never guessed."""

    def __init__(self, **limits: int) -> None:
        self.turn = new_turn(setting(frame_label=RUNTIME, **limits))
        self.rows: list[AnyRow] = []
        self.effects: tuple[AnyTurnEffect, ...] = ()

    def tell(self, message: AnyTurnInput) -> tuple[AnyTurnEffect, ...]:
        self.effects = step(self.turn, message, 5)
        for effect in self.effects:
            if isinstance(effect, Save):
                self.rows.extend(effect.rows)
        return self.effects

    def begin(self, text: str = "go", label: Label = SIGNED_USER) -> tuple[AnyTurnEffect, ...]:
        return self.tell(UserInput(text=text, label=label))

    def answer(self, *parts: AnswerPart, stop: str = "end_turn") -> tuple[AnyTurnEffect, ...]:
        (ref,) = outstanding(self.turn)
        return self.tell(ModelAnswered(ref=ref, parts=parts, stop_reason=stop))  # type: ignore[arg-type]

    def calling(self, *names: str) -> list[ProposeTool]:
        """Begin a turn in which the model calls these tools; the proposals made at once."""
        self.begin()
        self.answer(*(use(name, place) for place, name in enumerate(names)), stop="tool_use")
        return self.proposed()

    def proposed(self) -> list[ProposeTool]:
        return [effect for effect in self.effects if isinstance(effect, ProposeTool)]

    def of(self, kind: type[AnyTurnEffect]) -> list[AnyTurnEffect]:
        return [effect for effect in self.effects if isinstance(effect, kind)]

    def results(self) -> tuple[ToolResult, ...]:
        """The parts of the last message, which must be results."""
        parts = self.turn.conversation[-1].message.parts
        assert all(isinstance(part, ToolResult) for part in parts)
        return parts  # type: ignore[return-value]


def use(name: str, place: int = 0, arguments: str = '{"a":1}') -> ToolUse:
    return ToolUse(id=f"id{place}", name=name, arguments=arguments)


def answered(proposal: ProposeTool, content: bytes = b"done", label: Label = RUNTIME) -> ToolAnswered:
    return ToolAnswered(ref=proposal.ref, content=content, is_error=False, label=label)


class Long(Session):
    """A session whose model takes little."""

    def __init__(self, *, keep_recent: int = 2, **limits: int) -> None:
        super().__init__(**limits)
        room = {"window_tokens": WINDOW, "compact_at_percent": 80, "keep_recent": keep_recent, "max_tokens": 100}
        self.turn = new_turn(replace(self.turn.setting, **room))

    def round(self, content: bytes, label: Label = RUNTIME, name: str = "look") -> None:
        """The model calls a tool, which answers this."""
        place = len(self.rows)
        self.answer(use(name, place), stop="tool_use")
        self.tell(answered(self.proposed()[0], content, label))

    def asked(self) -> ModelRequest:
        """What the model was asked last."""
        (proposal,) = self.of(ProposeModel)
        assert isinstance(proposal, ProposeModel)
        return proposal.request

    def texts(self) -> list[str]:
        """Every text and result of the conversation."""
        parts = [part for entry in self.turn.conversation for part in entry.message.parts]
        spoken = [part for part in parts if isinstance(part, Text | ToolResult)]
        return [part.text if isinstance(part, Text) else part.content for part in spoken]

    def ends_with(self) -> tuple[str, str]:
        """How the turn ended."""
        last = self.effects[-1]
        assert isinstance(last, Finished)
        return last.reason, last.code


def full(*, keep_recent: int = 2) -> Long:
    """One whose model has just been asked for a summary."""
    session = Long(keep_recent=keep_recent)
    session.begin("the task")
    session.round(b"a" * 1200)
    session.round(b"b" * 1300)
    assert outstanding(session.turn)
    return session
