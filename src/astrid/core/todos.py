"""The list of what is to be done, as a model writes it down: the whole of it each time.  Pure.

Its one place is the conversation: the arguments of the last call that wrote it.  When that call is summed up, the list
stays word for word (``turn_entries.compacted``).

Source: architecture 6 (labels); threats 28.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from astrid.core.own_tools import read_arguments

TODO_TOOL = "todo_write"
MAX_TODOS = 50
MAX_ARGUMENT_BYTES = 32 * 1024
_MARKS = {"pending": " ", "in_progress": ">", "completed": "x"}


class Todo(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One thing to do."""

    content: Annotated[str, msgspec.Meta(min_length=1, max_length=300)]
    status: Literal["pending", "in_progress", "completed"]


class _Arguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    todos: Annotated[tuple[Todo, ...], msgspec.Meta(max_length=MAX_TODOS)]


def read_todos(args: bytes) -> tuple[Todo, ...]:
    """The list that the arguments of a call are.

    Raises:
        CanonError, InputError: they are none.
    """
    asked = read_arguments(args, _Arguments, TODO_TOOL, max_bytes=MAX_ARGUMENT_BYTES, max_depth=4)
    return asked.todos


def open_todos(todos: tuple[Todo, ...]) -> int:
    """How many are not done."""
    return sum(todo.status != "completed" for todo in todos)


def as_text(todos: tuple[Todo, ...]) -> str:
    """The list, a line for each."""
    return "\n".join(f"- [{_MARKS[todo.status]}] {' '.join(todo.content.split())}" for todo in todos)
