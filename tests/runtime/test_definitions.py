"""The definitions of sub-agents that ship, and what is wrong with others."""

from __future__ import annotations

from pathlib import Path

import pytest

from astrid.adapters.workspace.arguments import ALL, tool_spec
from astrid.core.blocks import Permission
from astrid.core.subagents import TASK_TOOL
from astrid.errors import ConfigError
from astrid.hosts.skills import TOOL as READ_SKILL
from astrid.runtime.catalogue import actors_folder
from astrid.runtime.definitions import load_subagents

SHIPPED = load_subagents(actors_folder() / "subagents")
GOOD = 'kind = "subagent"\nname = "a"\ndescription = "d"\nprompt = "prompt.md"\ntools = []\npermissions = []\n'


def test_the_explorer_only_reads() -> None:
    assert SHIPPED["explorer"].permissions == Permission.READ | Permission.LIST
    assert set(SHIPPED["explorer"].tools) <= {"read_file", "list_directory", "glob", "grep", "read_skill"}


def test_every_tool_that_a_definition_names_is_there() -> None:
    assert SHIPPED.keys() == {"explorer", "worker"}
    known = {tool_spec(shape, b"").name for shape in ALL} | {TASK_TOOL, READ_SKILL}
    assert all(set(agent.tools) <= known for agent in SHIPPED.values())


@pytest.mark.parametrize(
    ("text", "prompt"),
    [
        (GOOD.replace("[]", "[1]", 1), "p"),
        (GOOD + "surprise = 1\n", "p"),
        (GOOD.replace('"a"', '"b"'), "p"),
        ("kind = ", "p"),
        (GOOD, ""),
        (GOOD, "x" * 70_000),
        (GOOD.replace("prompt.md", "other.md"), "p"),
    ],
)
def test_a_definition_that_makes_no_sense_keeps_a_daemon_from_starting(tmp_path: Path, text: str, prompt: str) -> None:
    folder = tmp_path / "a"
    folder.mkdir()
    (folder / "actor.toml").write_text(text)
    (folder / "prompt.md").write_text(prompt)
    with pytest.raises(ConfigError) as raised:
        load_subagents(tmp_path)
    assert raised.value.code == "agent.invalid"


def test_without_the_folder_there_is_no_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        load_subagents(tmp_path / "missing")
