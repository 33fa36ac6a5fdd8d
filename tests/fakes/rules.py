"""Tools and policies of an install that exists only in tests."""

from __future__ import annotations

from typing import Any

from astrid.core.policy import Policy, PolicyConfig
from astrid.core.tools import ControlKind, ToolSpec

HOME = "/home/u"
_ZEROS = b"\0" * 32
COMMAND = (("command", ControlKind.COMMAND.value),)
PERMISSIVE = PolicyConfig(
    blocked_tools=(),
    denied_paths=(),
    max_argument_size=0,
    require_approval_for_delete=False,
    require_approval_for_network=False,
)
"""Nothing is forbidden but what no policy can allow."""


def spec(name: str = "write_file", effect: str = "staging", **fields: Any) -> ToolSpec:
    """A tool of the workspace."""
    made: dict[str, Any] = {
        "host_kind": "workspace",
        "host_id": "main",
        "description": b"does something",
        "schema": b"{}",
        "control": (),
        "verbs": (),
        "nouns": (),
        "output_trust": 0,
        "endorsed_fields": (),
        "creates_id": "",
        "code": _ZEROS,
        "profile": _ZEROS,
        "fresh": False,
    } | fields
    return ToolSpec(name=name, effect=effect, **made)


def config(**fields: Any) -> PolicyConfig:
    """The permissive configuration with these fields changed."""
    values: dict[str, Any] = {name: getattr(PERMISSIVE, name) for name in PERMISSIVE.__struct_fields__}
    return PolicyConfig(**(values | fields))


def policy(*layers: PolicyConfig, never_read: tuple[str, ...] = ()) -> Policy:
    """These layers; without any, the permissive one."""
    return Policy(*(layers or (PERMISSIVE,)), home=HOME, never_read=never_read)
