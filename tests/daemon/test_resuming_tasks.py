"""A session that was cut off when its sub-agent was done: it goes on with the result, and with what that is worth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from astrid.core.conversation import ToolResult
from astrid.core.labels import Integrity
from astrid.core.records import OutcomeRecord, PermitRecord
from astrid.core.turn import context_label
from astrid.guard import audit
from tests.daemon.test_resuming import resumed, session_of
from tests.fakes.journal import FakeLog, FakeStore
from tests.fakes.minds import Minds, Said, calls, task
from tests.fakes.runtime import running
from tests.fakes.shared_model import NAME, shared_brain
from tests.fakes.sleepers import actor
from tests.runtime.test_crash import Life, Recorder, bodies, cut
from tests.runtime.test_subagents import minded, results

SCHEMA = {"type": "boolean"}


def has_outcome(log: FakeLog) -> bool:
    """Whether the task's end is recorded."""
    said = [body for _, body, _ in bodies(log)]
    tasks = [body.ref for body in said if isinstance(body, PermitRecord) and body.tool == "task"]
    return any(isinstance(body, OutcomeRecord) and body.ref in tasks for body in said)


@pytest.mark.parametrize(
    ("asked", "child", "worth"),
    [
        (task("look"), ["clean words"], (Integrity.TOOL, False)),
        (task("look"), [calls(("read_file", {"file_path": "a.txt"})), "poison"], (Integrity.UNTRUSTED, False)),
        (
            task("look", output_schema=SCHEMA),
            [calls(("read_file", {"file_path": "a.txt"})), "true"],
            (Integrity.TOOL, True),
        ),
    ],
    ids=["clean", "of a file", "chosen among few"],
)
async def test_the_result_of_a_task_is_worth_what_it_was_before(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    asked: tuple[str, Any],
    child: list[Said],
    worth: tuple[Integrity, bool],
) -> None:
    monkeypatch.setattr(audit, "MAX_BATCH", 1)
    parts = {"go": [calls(asked), "done"], "look": child}
    log = Recorder()
    async with minded(tmp_path, parts, store=FakeStore(log)) as (runtime, _):
        (runtime.workspace / "a.txt").write_text("hello\n")
        await runtime.say("go", signed=True)
        await runtime.until("turn_complete")
        before = context_label(actor(runtime, runtime.session)._turn)
    moment = next(one for one in log.moments if has_outcome(one))
    async with running(tmp_path, store=cut(Life(tmp_path, log.moments), moment)) as runtime:
        minds, brains = Minds(parts), runtime.world.catalogue
        brains._brains[NAME] = shared_brain(minds)  # type: ignore[arg-type]
        session = session_of(moment)
        await resumed(runtime, session, None)
        await runtime.until("turn_complete")
        [result] = results(minds, "go")
        turn = actor(runtime, session)._turn
    assert not minds.heard("look"), "it is not done again"
    [label] = [
        label
        for entry in turn.conversation
        for part, label in zip(entry.message.parts, entry.labels, strict=True)
        if isinstance(part, ToolResult)
    ]
    assert (label.integrity, label.chosen) == worth
    assert context_label(turn) == before
    assert not result.is_error
