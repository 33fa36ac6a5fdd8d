"""Definitions of sub-agents and the arguments of ``task``."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from astrid.core.blocks import Permission
from astrid.core.output_schema import Choice
from astrid.core.subagents import SubagentFile, read_definition, read_task
from astrid.errors import AstridError, ConfigError, InputError

FILE = SubagentFile(
    kind="subagent", name="finder", description="finds", prompt="p", tools=("grep",), permissions=("read", "list")
)
TASK: dict[str, Any] = {"description": "look", "prompt": "look for it", "agent": "finder"}


def task(**fields: Any) -> bytes:
    return json.dumps(TASK | fields).encode()


def test_a_definition_asks_for_the_permissions_that_it_names() -> None:
    assert read_definition(FILE, "finder", "Find.").permissions == Permission.READ | Permission.LIST


@pytest.mark.parametrize(
    "changes", [{"kind": "session"}, {"name": "other"}, {"permissions": ("approve",)}, {"permissions": ("READ",)}]
)
def test_a_definition_that_is_not_what_its_folder_says_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        read_definition(msgspec.structs.replace(FILE, **changes), "finder", "Find.")


def test_a_definition_without_a_prompt_is_refused() -> None:
    with pytest.raises(ConfigError):
        read_definition(FILE, "finder", " \n")


def test_a_task_says_what_it_says() -> None:
    plain = read_task(task())
    assert (plain.description, plain.prompt, plain.agent) == ("look", "look for it", "finder")
    assert (plain.timeout_secs, plain.max_micros, plain.schema) == (0, 0, None)
    full = read_task(task(timeout_secs=9, max_usd="0.25", output_schema={"type": "boolean"}))
    assert (full.timeout_secs, full.max_micros) == (9, 250_000)
    assert full.schema == Choice((("boolean", False), ("boolean", True)))


@pytest.mark.parametrize(
    "fields",
    [
        {"agent": "../session"},
        {"agent": 1},
        {"prompt": ""},
        {"description": ""},
        {"description": "a" * 201},
        {"timeout_secs": 0},
        {"timeout_secs": 3601},
        {"timeout_secs": True},
        {"max_usd": "0"},
        {"max_usd": "-1"},
        {"max_usd": "1e9"},
        {"max_usd": 1},
        {"token": "x"},
        {"output_schema": {"type": "number"}},
        {"output_schema": None},
        {"output_schema": 1.5},
    ],
)
def test_a_task_that_makes_no_sense_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        read_task(task(**fields))


@pytest.mark.parametrize("args", [b"", b"[]", b"null", b'{"agent":"a","agent":"b"}', b'{"prompt":"only"}'])
def test_what_is_no_task_is_refused(args: bytes) -> None:
    with pytest.raises(AstridError):
        read_task(args)
