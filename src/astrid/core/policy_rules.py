"""Which entries of a policy speak against a call: what a person has to change, if they want it otherwise.  Pure.

An entry is one of those if a policy of nothing else judges the call as strictly.  So of two entries that forbid the
same, both are named.

Source: architecture 6; threats 40 (this is for people and never for a model).
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from astrid.core.call import Call
from astrid.core.policy import Allowed, Judgement, Policy, PolicyConfig
from astrid.core.tools import ToolSpec

BUILT_IN = "built in"
_NOTHING = PolicyConfig(
    blocked_tools=(),
    denied_paths=(),
    max_argument_size=0,
    require_approval_for_delete=False,
    require_approval_for_network=False,
)
_EACH = ("blocked_tools", "approval_required_tools", "denied_paths", "denied_hosts", "blocked_plugins")
_WHOLE = tuple(key for key in PolicyConfig.__struct_fields__ if key not in _EACH)


class Layers(msgspec.Struct, frozen=True):
    """What a policy is made from."""

    configs: tuple[PolicyConfig, ...]
    home: str
    never_read: tuple[str, ...] = ()

    def policy(self) -> Policy:
        """The policy.

        Raises:
            ConfigError: an entry has no meaning.
        """
        return Policy(*self.configs, home=self.home, never_read=self.never_read)


def rules_behind(layers: Layers, call: Call, spec: ToolSpec) -> tuple[str, ...]:
    """The entries by which ``call`` is judged as it is, as ``key: entry``, or ``BUILT_IN``; none if it is allowed.

    Raises:
        PatternError: a need is malformed.
    """
    judged = layers.policy().judge(call, spec)
    if isinstance(judged, Allowed):
        return ()
    if _is_like(Layers((_NOTHING,), layers.home, layers.never_read), judged, call, spec):
        return (BUILT_IN,)
    found = [
        name
        for config in layers.configs
        for name, alone in _alone(config)
        if _is_like(msgspec.structs.replace(layers, configs=(alone,)), judged, call, spec)
    ]
    return tuple(dict.fromkeys(found))


def _is_like(layers: Layers, judged: Judgement, call: Call, spec: ToolSpec) -> bool:
    return type(layers.policy().judge(call, spec)) is type(judged)


def _alone(config: PolicyConfig) -> Iterator[tuple[str, PolicyConfig]]:
    """Each entry of ``config`` with a policy of nothing else."""
    for key in _EACH:
        for entry in getattr(config, key):
            yield f"{key}: {entry}", msgspec.structs.replace(_NOTHING, **{key: (entry,)})
    for key in _WHOLE:
        yield key, msgspec.structs.replace(_NOTHING, **{key: getattr(config, key)})
