"""A file of tasks is believed in nothing, and judged whole before anything runs."""

from __future__ import annotations

import json
from typing import Any

import pytest

from astrid.errors import InputError
from astrid.frontends.fleet.tasks import Task, parse_tasks

GOOD: dict[str, Any] = {"id": "a", "prompt": "do it"}


def lines(*tasks: Any) -> bytes:
    return b"".join(task if isinstance(task, bytes) else json.dumps(task).encode() + b"\n" for task in tasks)


def test_a_task_is_what_its_line_says_and_empty_lines_are_none() -> None:
    given = lines(GOOD, b"\n", {"id": "b.1", "prompt": "more", "workspace": "/w", "max_usd": "0.25"})
    assert parse_tasks(given, "f") == (Task("a", "do it", "", 0), Task("b.1", "more", "/w", 250_000))


@pytest.mark.parametrize(
    "bad",
    [
        b"nonsense\n",
        b'{"id":"x","id":"y","prompt":"p"}\n',
        b"\xff\n",
        {"id": "x"},
        {"id": "../x", "prompt": "p"},
        {"id": ".x", "prompt": "p"},
        {"id": "x" * 65, "prompt": "p"},
        {"id": "x", "prompt": " \n"},
        {"id": "x", "prompt": "p" * 200_000},
        {"id": "x", "prompt": "p", "max_usd": "-1"},
        {"id": "x", "prompt": "p", "max_usd": 0.5},
        {"id": "x", "prompt": "p", "mode": "autonomous"},
        {"id": "A", "prompt": "the same name on some disks"},
    ],
    ids=str,
)
def test_one_bad_line_is_named_and_no_task_is_given(bad: Any) -> None:
    with pytest.raises(InputError) as refused:
        parse_tasks(lines(GOOD, bad, {**GOOD, "id": "z"}), "tasks.jsonl")
    assert (refused.value.code, refused.value.where) == ("fleet.task", "tasks.jsonl")
    assert refused.value.message.startswith("line 2: ")
    assert len(refused.value.message) > len("line 2: ")


@pytest.mark.parametrize("empty", [b"", b"\n \n"])
def test_a_file_without_a_task_is_refused(empty: bytes) -> None:
    with pytest.raises(InputError, match="no task"):
        parse_tasks(empty, "f")
