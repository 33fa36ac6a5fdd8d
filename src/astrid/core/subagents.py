"""Sub-agents as data: what a definition asks for, what a ``task`` call says.  Pure.

Asking grants nothing: a definition only ever narrows what the caller has (``delegation``).

Source: architecture 1 (actors/), 6 ("Sub-agents"); docs/design/threats.md, threats 10, 44.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from astrid.core.blocks import Permission
from astrid.core.money import Micros, parse_usd
from astrid.core.output_schema import MAX_SCHEMA_DEPTH, AnySchema, parse_schema
from astrid.core.own_tools import read_arguments
from astrid.errors import ConfigError, InputError

TASK_TOOL = "task"
HOST_ID = "agents"
MAX_ARGUMENT_BYTES = 1024 * 1024
MAX_TIMEOUT_SECONDS = 3600
_PERMISSIONS = {permission.name.lower(): permission for permission in Permission if permission.name}
_Name = Annotated[str, msgspec.Meta(pattern=r"^[a-z][a-z0-9-]{0,31}$")]


class SubagentFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An ``actor.toml`` of kind ``subagent``."""

    kind: str
    name: _Name
    description: Annotated[str, msgspec.Meta(min_length=1, max_length=300)]
    prompt: str  # a file beside it
    tools: tuple[str, ...]
    permissions: tuple[str, ...]


class Subagent(msgspec.Struct, frozen=True, kw_only=True):
    """A definition that was read: the most that one of its kind may have, whoever calls it."""

    name: str
    description: str
    prompt: str
    tools: tuple[str, ...]
    permissions: int


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """What a ``task`` call says.  0 for what it leaves to the caller's own limits."""

    description: str
    prompt: str
    agent: str
    timeout_secs: int
    max_micros: Micros
    schema: AnySchema | None


class _Arguments(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    description: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
    prompt: Annotated[str, msgspec.Meta(min_length=1, max_length=256 * 1024)]
    agent: _Name
    timeout_secs: Annotated[int, msgspec.Meta(ge=1, le=MAX_TIMEOUT_SECONDS)] = 0
    max_usd: str = ""
    output_schema: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


def read_definition(file: SubagentFile, name: str, prompt: str) -> Subagent:
    """The definition in the folder ``name``.

    Raises:
        ConfigError: it says that it is another, or asks for a permission that there is not.
    """
    unknown = [asked for asked in file.permissions if asked not in _PERMISSIONS]
    if file.kind != "subagent" or file.name != name or unknown or not prompt.strip():
        raise ConfigError("agent.invalid", f"`{name[:40]}` is no definition of a sub-agent", advice="reinstall Astrid")
    permissions = 0
    for asked in file.permissions:
        permissions |= _PERMISSIONS[asked]
    return Subagent(
        name=name, description=file.description, prompt=prompt, tools=file.tools, permissions=int(permissions)
    )


def read_task(args: bytes) -> Task:
    """What the arguments of a ``task`` call say.

    Raises:
        InputError: they make no sense; nothing was started.
    """
    given = read_arguments(args, _Arguments, TASK_TOOL, max_bytes=MAX_ARGUMENT_BYTES, max_depth=MAX_SCHEMA_DEPTH + 1)
    schema = None if isinstance(given.output_schema, msgspec.UnsetType) else parse_schema(bytes(given.output_schema))
    micros = parse_usd(given.max_usd) if given.max_usd else Micros(0)
    if given.max_usd and not micros:
        raise InputError("tool.arguments", "`max_usd` leaves nothing to spend", advice="leave it away, or give more")
    return Task(
        description=given.description,
        prompt=given.prompt,
        agent=given.agent,
        timeout_secs=given.timeout_secs,
        max_micros=micros,
        schema=schema,
    )
