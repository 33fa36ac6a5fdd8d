"""What a model writes down to do is read as it wrote it, or not at all; and it outlives what was said around it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from astrid.core.conversation import AnyPart, Message, Text, ToolResult, ToolUse
from astrid.core.labels import RUNTIME, SIGNED_USER, Label
from astrid.core.todos import MAX_TODOS, TODO_TOOL, as_text, open_todos, read_todos
from astrid.core.turn_entries import TODOS, Entry, compacted
from astrid.errors import AstridError
from tests.fakes.turns import FROM_WEB

STATES = ("pending", "in_progress", "completed")
TODO = st.fixed_dictionaries({"content": st.text(min_size=1, max_size=40), "status": st.sampled_from(STATES)})


def written(*todos: tuple[str, str]) -> str:
    return json.dumps({"todos": [{"content": content, "status": status} for content, status in todos]})


@given(st.lists(TODO, max_size=8))
def test_a_list_is_read_as_it_was_written(todos: list[dict[str, str]]) -> None:
    found = read_todos(json.dumps({"todos": todos}).encode())
    assert [{"content": one.content, "status": one.status} for one in found] == todos
    assert open_todos(found) == sum(todo["status"] != "completed" for todo in todos)
    assert len(as_text(found).splitlines()) <= max(len(todos), 1)  # each on a line of its own


def test_each_is_a_line_with_a_mark() -> None:
    found = read_todos(written(("look\nhere", "completed"), ("mend", "in_progress"), ("test", "pending")).encode())
    assert as_text(found) == "- [x] look here\n- [>] mend\n- [ ] test"


@pytest.mark.parametrize(
    "args",
    [
        "[]",
        "{}",
        '{"todos":1}',
        '{"todos":[{"content":"x"}]}',
        '{"todos":[{"content":"","status":"pending"}]}',
        '{"todos":[{"content":"x","status":"done"}]}',
        '{"todos":[],"todos":[]}',
        '{"todos":[{"content":"x","status":"pending","more":1}]}',
        '{"todos":[',
        written(*[("x", "pending")] * (MAX_TODOS + 1)),
        written(("x" * 301, "pending")),
    ],
)
def test_what_is_no_list_is_refused(args: str) -> None:
    with pytest.raises(AstridError):
        read_todos(args.encode())


# ---- when the conversation is summed up


def said(*parts: AnyPart, role: Any = "assistant", label: Label = RUNTIME) -> Entry:
    return Entry(Message(role=role, parts=parts), (label,) * len(parts), inputs=int(role == "user" and len(parts) == 1))


def noted(
    number: int, args: str, *, label: Label = RUNTIME, tool: str = TODO_TOOL, is_error: bool = False
) -> list[Entry]:
    use = ToolUse(id=f"c{number}", name=tool, arguments=args)
    result = ToolResult(id=use.id, content="noted", is_error=is_error)
    return [said(use, label=label), Entry(Message(role="user", parts=(result,)), (RUNTIME,))]


TASK = said(Text(text="the task"), role="user", label=SIGNED_USER)
OLD, NEW = written(("look", "pending")), written(("look", "completed"), ("mend  it", "pending"))


def plan_of(entry: Entry) -> tuple[str, Label] | None:
    if not entry.todos:
        return None
    part = entry.message.parts[entry.inputs]
    assert isinstance(part, Text)
    return part.text, entry.labels[entry.inputs]


def test_the_last_list_stays_word_for_word_under_its_own_label() -> None:
    entry = compacted([TASK, *noted(1, OLD), *noted(2, NEW, label=FROM_WEB)], "a summary", FROM_WEB)
    assert plan_of(entry) == (TODOS.format(list="- [x] look\n- [ ] mend it"), FROM_WEB)
    assert [type(part) for part in entry.message.parts] == [Text, Text, Text]
    assert entry.inputs == 1


def test_it_stays_when_what_stands_for_much_is_summed_up_again_and_goes_when_another_was_written() -> None:
    once = compacted([TASK, *noted(1, OLD, label=FROM_WEB)], "a summary", FROM_WEB)
    again = compacted([once, said(Text(text="aha"))], "another", FROM_WEB)
    assert plan_of(again) == plan_of(once) == (TODOS.format(list="- [ ] look"), FROM_WEB)
    assert again.inputs == 1  # it is nothing that a person said
    newer = compacted([once, *noted(2, NEW)], "another", FROM_WEB)
    assert plan_of(newer) == (TODOS.format(list="- [x] look\n- [ ] mend it"), RUNTIME)


@pytest.mark.parametrize(
    "entries",
    [
        [],
        noted(1, OLD, is_error=True),
        noted(1, OLD, tool="todo_read"),
        noted(1, '{"what another tool of this name takes": 1}'),
        noted(1, written(("look", "completed"))),
        noted(1, written()),
    ],
    ids=["none", "refused", "another tool", "another's arguments", "all done", "empty"],
)
def test_what_is_no_open_list_leaves_nothing(entries: list[Entry]) -> None:
    assert plan_of(compacted([TASK, *entries], "a summary", FROM_WEB)) is None
