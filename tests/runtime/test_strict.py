"""Everything that actors send each other could go to another process: it travels as bytes and arrives as it was."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from astrid.core import gate_messages
from astrid.core.approval import Verdict
from astrid.core.grants import Mode
from astrid.kernel import Message
from astrid.messages import approvals, gate, gateway, log, session
from astrid.messages.gateway import AskCheckpoint, CancelTurn, EndSession, ListSessions, RevokeToken
from tests.fakes.runtime import call, running, turn
from tests.fakes.strict import StrictCodec


async def test_a_whole_life_goes_through_bytes(tmp_path: Path) -> None:
    codec = StrictCodec()
    async with running(tmp_path, strict=codec) as runtime:
        (runtime.workspace / "a.txt").write_text("hello\n")
        await runtime.grant(Mode.GUIDED)
        script = [
            turn(call("read_file", file_path="a.txt"), call("read_file", file_path="/etc/passwd")),
            turn(call("bash", command="cat a.txt")),
            turn(call("bash", command="echo more")),
            turn(call("no_such_tool")),
            turn(text="done"),
        ]
        await runtime.open(script)
        await runtime.attend()
        assert isinstance(await runtime.say("go"), gateway.Taken)
        first = (await runtime.until("approval_needed"))[-1]
        await runtime.respond(first, Verdict.ONCE)
        second = (await runtime.until("approval_needed"))[-1]
        await runtime.respond(second, Verdict.DENY)
        events = await runtime.until("turn_complete")
        assert events[-1]["stop_reason"] == "end_turn"
        assert isinstance(await runtime.say("  "), gateway.Taken)
        await runtime.until("error")
        await runtime.by_ticket(lambda number: AskCheckpoint(ticket=number))
        await runtime.by_ticket(lambda number: RevokeToken(ticket=number, statement=b"nonsense"))
        await runtime.system.ask(runtime.gateway, ListSessions(), within=5)
        await runtime.system.ask(runtime.gateway, CancelTurn(session=runtime.session), within=5)
        await runtime.system.ask(runtime.gateway, EndSession(session=runtime.session, reason="asked"), within=5)
        await runtime.until("session_ended")
    assert {"Propose", "Prepared", "Execute", "Executed", "Append", "Recorded", "Ask", "Answered"} <= codec.kinds
    assert {"Register", "Offer", "Save", "Prompted", "Hear", "Report", "OpenQuestion", "NotTaken"} <= codec.kinds


def shapes() -> list[type[msgspec.Struct]]:
    found: list[type[msgspec.Struct]] = []
    for module in (gate_messages, approvals, gate, gateway, log, session):
        made = [one for one in vars(module).values() if isinstance(one, type) and one.__module__ == module.__name__]
        found += [one for one in made if issubclass(one, Message | gate_messages.GateMessage)]
    return found


@pytest.mark.parametrize("shape", shapes(), ids=lambda shape: shape.__qualname__)
def test_every_message_is_frozen_tagged_by_name_and_closed(shape: type[msgspec.Struct]) -> None:
    config: Any = shape.__struct_config__
    assert config.frozen
    assert config.forbid_unknown_fields
    if shape not in (Message, gate_messages.GateMessage):
        assert config.tag
    for field in msgspec.structs.fields(shape):
        assert "list" not in str(field.type)
        assert "dict" not in str(field.type)


def test_no_two_messages_of_one_module_share_a_tag() -> None:
    for module in (gate_messages, approvals, gate, gateway, log, session):
        tags = [shape.__struct_config__.tag for shape in shapes() if shape.__module__ == module.__name__]
        assert len(set(tags)) == len(tags)
