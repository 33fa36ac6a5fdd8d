"""The play of a session with two sub-agents: ten calls, and wherever its daemon dies, another one has it go on.

Its model follows no script but the conversation that it is shown, so whoever is cut off and resumed hears the same as
who was not: what is asked next depends on nothing else.

What must hold of it beside what holds of every play: what was said, done and written is what it is without a crash,
but for the calls that were under way.  The outcome of those is unknown, and the model was told exactly that.  No call
ran twice, and nobody who died with the daemon is left in the log as if they were still at work.

Source: architecture 5 (the table of crashes), 6 ("Sub-agents"); protocol N9.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, cast

from astrid.adapters.store.journal import SqliteReader
from astrid.core.call import decode_call
from astrid.core.conversation import Text, ToolUse
from astrid.core.ids import show_id
from astrid.core.records import Kind
from astrid.core.turn_answer import OUTCOME_UNKNOWN
from astrid.core.turn_messages import AnswerRow, EndRow, InputRow, ResultRow, decode_row
from astrid.errors import AstridError, InternalError
from tests.crash.judge import Entry
from tests.crash.person import Person, Told
from tests.crash.scene import Json, Mode, Scene, call
from tests.crash.vendor import MODEL, NAME
from tests.fakes.anthropic_server import Reply, message_events, sse

# An edit that leaves a line each time that it is made: before the last line of the file, which stays.
END = "end\n"
TRACES = ("trace-top", "trace-worker")
OVER = frozenset({"session.ended", "session.no-past", "session.nothing-said"})


def _marks(trace: str, mark: str) -> Json:
    return call("edit_file", file_path=trace, old_string=END, new_string=f"{mark}\n{END}")


def _task(agent: str, prompt: str) -> Json:
    return call("task", agent=agent, description=prompt, prompt=prompt)


LOOK, WORK = "look around", "do the work"
# What is said by whom, told from one another by what they heard first: the calls of each answer.
SAID: dict[str, list[list[Json]]] = {
    "go": [
        [call("read_file", file_path="a.txt")],
        [_marks("trace-top", "before")],
        [_task("explorer", LOOK), _task("worker", WORK)],
        [_marks("trace-top", "after")],
    ],
    LOOK: [[call("list_directory", path=".")], [call("read_file", file_path="a.txt")]],
    WORK: [
        [call("read_file", file_path="a.txt")],
        [_marks("trace-worker", "worked")],
        [call("write_file", file_path="b.txt", content="written\n")],
    ],
}
CALLS = sum(len(said) for turns in SAID.values() for said in turns)


def answer(body: dict[str, Any]) -> Reply:
    """What the model says to a conversation."""
    heard = body["messages"][0]["content"][0]["text"]
    who = next(one for one in SAID if one in heard)
    place = sum(message["role"] == "assistant" for message in body["messages"])
    calls = SAID[who][place] if place < len(SAID[who]) else []
    content: list[dict[str, Any]] = [
        {"type": "tool_use", "id": f"toolu_{who[:2]}_{place}_{number}", "name": one["name"], "input": one["arguments"]}
        for number, one in enumerate(calls)
    ] or [{"type": "text", "text": f"done: {who}"}]
    message = {
        "id": f"msg_{place}",
        "type": "message",
        "role": "assistant",
        "model": MODEL,
        "content": content,
        "stop_reason": "tool_use" if calls else "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 10, "output_tokens": 9},
    }
    return Reply((sse(message_events(message)),))


def furnish(scene: Scene) -> None:
    """The files that are edited."""
    for trace in TRACES:
        (scene.workspace / trace).write_text(END)


async def have_work_done(person: Person, told: Told) -> None:
    """Play it."""
    for mode in (Mode.SAFE, Mode.GUIDED):
        await person.add(person.scene.grant(mode))
    session = await person.open(NAME, mode="guided", there=False)
    await person.say(session, "go")
    if await person.follow(session, [], there=False) == "end_turn":
        await person.end(session)
        told.through = True


async def go_on(person: Person, sessions: set[bytes]) -> None:
    """Have another daemon finish what was cut off."""
    for session in sessions:
        name = show_id("session", session)
        try:
            running = await person.resume(name)
        except AstridError as error:
            if error.code not in OVER:
                raise
            continue
        if running and (ended := await person.follow(name, [], there=False)) != "end_turn":
            raise InternalError("crash.turn", f"what was resumed ended with `{ended}` {dict(person.told.codes)}")
        await person.end(name)


# --- what came of it


@dataclass
class Course:
    """What a session said and heard, without what differs from one time to another, and what it left."""

    said: list[object] = field(default_factory=list[object])
    labels: list[int] = field(default_factory=list[int])  # of what the model said
    results: dict[str, object] = field(default_factory=dict[str, object])  # by call, as far as they are known
    unknown: dict[str, str] = field(default_factory=dict[str, str])  # the arguments of the others
    ended: bool = False
    marks: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    files: dict[str, str] = field(default_factory=dict[str, str])


def read_course(scene: Scene, entries: list[Entry]) -> Course:
    """The one of the session at the top."""
    course = Course()
    starts = (one for one in entries if one.kind is Kind.SESSION_STARTED)
    top = next((one.session for one in starts if one.body.mode == "guided"), b"")  # nobody else is in this mode
    count = sum(one.body.count for one in entries if one.kind is Kind.JOURNAL and one.session == top)
    uses: dict[str, str] = {}
    reader = SqliteReader(scene.home.log)
    try:
        rows = [decode_row(row) for row in reader.rows(top, 1, count)]
    finally:
        reader.close()
    for row in rows:
        match row:
            case InputRow():
                course.said.append(("heard", row.text))
            case AnswerRow():
                uses |= {part.id: part.arguments for part in row.parts if isinstance(part, ToolUse)}
                said = [part.text if isinstance(part, Text) else repr(part) for part in row.parts]
                course.said.append(("said", said, row.usage))
                course.labels.append(row.label.integrity)
            case ResultRow() if row.content == OUTCOME_UNKNOWN:
                course.unknown[row.id] = uses[row.id]
            case ResultRow():
                course.results[row.id] = (row.content.replace(str(scene.place.root), ""), row.label.integrity)
            case EndRow():
                course.said.append(("over", row.reason, row.code))
                course.ended = True
            case _:  # what was proposed, and under which setting
                pass
    for trace in TRACES:
        course.marks[trace] = (scene.workspace / trace).read_text().splitlines()[:-1]
    course.files = scene.written()
    return course


def differences(course: Course, entries: list[Entry], calm: Course) -> Iterator[str]:
    """All that is not as in ``calm``, the course without a crash, and need not be otherwise."""
    for trace, marks in course.marks.items():
        if len(marks) != len(set(marks)):
            yield f"an edit of {trace} was made twice: {marks}"
    starts = {one.body.principal: one for one in entries if one.kind is Kind.SESSION_STARTED}
    children = [one for one in entries if one.kind is Kind.SUBAGENT_STARTED]
    over = {one.session for one in entries if one.kind is Kind.SESSION_ENDED}
    yield from (f"the sub-agent {one.session.hex()} never ended" for one in children if one.session not in over)
    if not course.said:
        return  # nobody had said anything to it
    if course.said != calm.said or not course.ended:
        yield f"another conversation: {course.said}, not {calm.said}"
    if course.labels != calm.labels and not course.unknown:  # whoever never saw a file is not tainted by it
        yield f"other labels: {course.labels}, not {calm.labels}"
    for use, result in course.results.items():
        if result != calm.results[use]:
            yield f"another result of {use}: {result}, not {calm.results[use]}"
    if set(course.results) | set(course.unknown) != set(calm.results):
        yield f"results of {set(course.results) | set(course.unknown)}"
    lost = {one.body.permit_seq for one in entries if one.kind is Kind.OUTCOME and one.body.unknown}
    open_calls = {
        decode_call(one.call).args.decode()
        for one in entries
        if one.kind is Kind.PERMIT and one.seq in lost and one.body.principal in starts and one.body.tool != "model"
    }
    told = {json.dumps(json.loads(arguments)) for arguments in course.unknown.values()}
    if told != {json.dumps(json.loads(arguments)) for arguments in open_calls}:
        yield f"unknown are {open_calls}, and the model was told {told}"
    yield from _left(course, calm)


def _left(course: Course, calm: Course) -> Iterator[str]:
    """What is in the workspace: everything, but for what was done by calls whose outcome is unknown."""
    lost = [cast("Json", json.loads(arguments)) for arguments in course.unknown.values()]
    without_worker = any(one.get("prompt") == WORK for one in lost)
    maybe = {one["new_string"].split("\n")[0] for one in lost if "new_string" in one}
    for trace, marks in calm.marks.items():
        free = without_worker and trace == "trace-worker"
        missing = [mark for mark in marks if mark not in course.marks[trace] and mark not in maybe]
        if (missing and not free) or set(course.marks[trace]) - set(marks):
            yield f"{trace} has {course.marks[trace]}, not {marks}"
    files = {name: text for name, text in calm.files.items() if name != "b.txt" or not without_worker}
    if any(course.files.get(name) != text for name, text in files.items()):
        yield f"the workspace has {course.files}, not {files}"
