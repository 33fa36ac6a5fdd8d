"""The sub-agents that ship: read once, at the start.

Never: reads a definition out of a workspace; what lies there is what agents write.

Source: architecture 1 (actors/); threats 44.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path

import msgspec

from astrid.core.complaint import complaint
from astrid.core.subagents import Subagent, SubagentFile, read_definition
from astrid.errors import ConfigError

MAX_PROMPT_BYTES = 64 * 1024


def load_subagents(folder: Path) -> Mapping[str, Subagent]:
    """Every definition below ``folder``, by name, in their order.

    Raises:
        ConfigError: one is missing a part or makes no sense.
    """
    try:
        names = sorted(entry.name for entry in folder.iterdir() if entry.is_dir())
    except OSError as error:
        raise _broken(folder, str(error)) from error
    return {name: _load(folder / name) for name in names}


def _load(folder: Path) -> Subagent:
    try:
        file = msgspec.convert(tomllib.loads((folder / "actor.toml").read_text("utf-8")), SubagentFile)
        prompt = (folder / file.prompt).read_text("utf-8")
    except msgspec.ValidationError as error:
        raise _broken(folder, complaint(error)) from error
    except (OSError, ValueError) as error:
        raise _broken(folder, str(error)) from error
    if len(prompt.encode()) > MAX_PROMPT_BYTES:
        raise _broken(folder, f"its prompt is longer than {MAX_PROMPT_BYTES} bytes")
    return read_definition(file, folder.name, prompt)


def _broken(folder: Path, why: str) -> ConfigError:
    return ConfigError(
        "agent.invalid",
        f"the definition of a sub-agent cannot be read: {why}",
        where=str(folder),
        advice="reinstall Astrid",
    )
