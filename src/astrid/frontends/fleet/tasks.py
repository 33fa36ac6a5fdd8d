"""The file of a fleet's tasks: one JSON object a line.  Pure; all of it is judged before anything runs.

    {"id": "readme-1", "prompt": "Sum up README.md", "workspace": "/home/me/project", "max_usd": "0.25"}

``workspace`` and ``max_usd`` may be left away.

Source: threats 9, 42 (whoever wrote the file is not believed).
"""

from __future__ import annotations

import re

import msgspec

from astrid.core.complaint import complaint
from astrid.core.json_scan import scan_json
from astrid.core.money import parse_usd
from astrid.errors import AstridError, InputError
from astrid.wire.params import MAX_INPUT_CHARS

MAX_TASKS = 100_000
MAX_LINE_BYTES = 1024 * 1024
_ADVICE = "correct the line; nothing was run"
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")  # it is the name of a file, too


class Task(msgspec.Struct, frozen=True):
    """One line, checked.  ``max_micros`` is 0 where it names no amount, ``workspace`` empty where it names none."""

    id: str
    prompt: str
    workspace: str
    max_micros: int


class _Line(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    id: str
    prompt: str
    workspace: str = ""
    max_usd: str | int = ""


def parse_tasks(data: bytes, where: str) -> tuple[Task, ...]:
    """The tasks in the file ``where``, which holds ``data``.

    Raises:
        InputError: a line is none, a name stands there twice, or there are none or too many; names the line.
    """
    tasks: list[Task] = []
    lines: dict[str, int] = {}
    for number, raw in enumerate(data.split(b"\n"), 1):
        if not raw.strip():
            continue
        try:
            task = _parse(raw)
        except AstridError as error:
            raise _bad(where, number, error.message) from error
        # Some disks take two names that differ in case alone for one.
        if task.id.lower() in lines:
            raise _bad(where, number, f"the id `{task.id}` stands in line {lines[task.id.lower()]} already")
        lines[task.id.lower()] = number
        tasks.append(task)
        if len(tasks) > MAX_TASKS:
            raise _bad(where, number, f"there are more than {MAX_TASKS} tasks")
    if not tasks:
        raise _bad(where, 1, "there is no task")
    return tuple(tasks)


def _parse(raw: bytes) -> Task:
    scan_json(raw, max_bytes=MAX_LINE_BYTES, max_depth=2)
    try:
        line = msgspec.json.decode(raw, type=_Line)
    except msgspec.ValidationError as error:
        raise InputError("fleet.task", complaint(error), advice=_ADVICE) from error
    if not _ID.fullmatch(line.id):
        raise InputError(
            "fleet.task",
            f"`{line.id[:80]}` is no id: letters, digits, `.`, `_` and `-`, at most 64",
            advice=_ADVICE,
        )
    if not line.prompt.strip() or len(line.prompt) > MAX_INPUT_CHARS:
        raise InputError(
            "fleet.task", f"the prompt is empty, or longer than {MAX_INPUT_CHARS} characters", advice=_ADVICE
        )
    return Task(line.id, line.prompt, line.workspace, 0 if line.max_usd == "" else parse_usd(str(line.max_usd)))


def _bad(where: str, number: int, why: str) -> InputError:
    return InputError(
        "fleet.task",
        f"line {number}: {why}",
        where=where,
        advice=_ADVICE,
    )
