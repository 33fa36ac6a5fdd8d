"""What the administrator's table says of a call, read entry by entry: no pattern is compiled, nothing is shared with
``core.policy`` but the shape of the table.

Commands are left out: no tool here takes one (``fuzz/shell_lines`` holds what is parsed against what a shell runs).

Source: architecture 6 (step 1); the words of ``PolicyConfig``.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator, Sequence
from typing import Literal

from astrid.core.call import Call
from astrid.core.policy import PolicyConfig
from astrid.core.tools import ToolSpec

Judged = Literal["blocked", "fresh", "allowed"]
NEVER_STANDING = {"egress", "grant", "account", "financial"}
READ_LIST, DELETE = 1 | 32, 8
Parts = list[str]


def naive_judge(layers: Sequence[PolicyConfig], home: str, call: Call, spec: ToolSpec) -> Judged:
    """What these layers say together: the strictest of what each says."""
    assert not spec.control, "a tool that takes a command is not for this model"
    names = {spec.name, call.host_id, *(f"{one}:{spec.name}" for one in (call.host_id, call.host_kind, "builtin"))}
    if any(blocked for layer in layers for blocked in blocks(layer, home, call, names)):
        return "blocked"
    if spec.effect in NEVER_STANDING or any(fresh for layer in layers for fresh in asks(layer, call, names)):
        return "fresh"
    return "allowed"


def blocks(layer: PolicyConfig, home: str, call: Call, names: set[str]) -> Iterator[bool]:
    """One truth value for each way in which a layer forbids the call."""
    yield 0 < layer.max_argument_size < len(call.args) and call.host_kind != "model"
    yield not names.isdisjoint(layer.blocked_tools)
    yield call.host_kind == "plugin" and call.host_id in layer.blocked_plugins
    for need in call.needs:
        scheme, _, rest = need.resource.partition("://")
        parts = rest.split("/") if rest else []
        if scheme == "file" and parts[-1:] == ["**"]:
            tree, looks = parts[:-1], not need.permission & ~READ_LIST
            denied = [path(entry, home) for entry in layer.denied_paths]
            yield any(below(tree, one) or (not looks and meets(tree, one)) for one in denied)
            yield bool(layer.allowed_paths) and not any(below(tree, path(e, home)) for e in layer.allowed_paths)
        elif scheme == "file":
            yield any(below(parts, path(entry, home)) for entry in layer.denied_paths)
            yield bool(layer.allowed_paths) and not any(below(parts, path(e, home)) for e in layer.allowed_paths)
        elif scheme == "net":
            yield any(host_is(entry, parts) for entry in layer.denied_hosts)
            yield bool(layer.allowed_hosts) and not any(host_is(entry, parts) for entry in layer.allowed_hosts)


def asks(layer: PolicyConfig, call: Call, names: set[str]) -> Iterator[bool]:
    """One truth value for each way in which a layer wants a person's yes to this very call."""
    yield not names.isdisjoint(layer.approval_required_tools)
    yield layer.require_approval_for_delete and any(need.permission & DELETE for need in call.needs)
    yield layer.require_approval_for_network and any(need.resource.startswith("net://") for need in call.needs)


def path(entry: str, home: str) -> Parts:
    """The names on the way to what an entry stands for: itself and everything below it."""
    written = entry.removesuffix("/**").removesuffix("/")
    return (home + written[1:] if written.startswith("~") else written).split("/")[1:]


def below(parts: Parts, rule: Parts) -> bool:
    """Whether what ``parts`` names, and all that is in it, is what the rule names or lies in it."""
    return len(parts) >= len(rule) and all(map(fnmatch.fnmatchcase, parts, rule))


def meets(tree: Parts, rule: Parts) -> bool:
    """Whether something lies in both."""
    return all(fnmatch.fnmatchcase(one, other) for one, other in zip(tree, rule, strict=False))


def host_is(entry: str, parts: Parts) -> bool:
    """Whether an entry names the host and port of ``443/com/example``."""
    port, host = parts[0], ".".join(reversed(parts[1:]))
    name, _, only = entry.partition(":")
    if only not in ("", port):
        return False
    return name in ("*", host) or (name.startswith("*.") and host.endswith(name[1:]))
