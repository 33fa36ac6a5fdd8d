"""What of a session's token a sub-agent gets: the block that continues the chain.  Pure.

Of each grant the child has the permissions that its definition asks for, and those only through the tools that it
names: a grant is written once for each tool, with that tool's definition.  Models stay what they were, since an agent
without one does nothing; of money it gets at most its task's.

Invariant: whatever the child's block allows, its parent's allows.  ``tokens.attenuate`` and each verifier hold it to
that again, whatever is written here.

Source: architecture 6 ("Sub-agents and plugins"); protocol, "Keys and who holds them", N2 b; threats 3, 4; I7.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import msgspec

from astrid.core.blocks import Block, Grant, Permission, Scope
from astrid.core.resources import parse_pattern
from astrid.core.subagents import Subagent
from astrid.errors import TokenError

LEAST_DEPTH = 2  # of whoever hands on: a once token below the last child needs the 0


def child_block(
    parent: Block,
    parent_id: bytes,
    *,
    holder: bytes,
    nonce: bytes,
    agent: Subagent,
    tooldefs: Mapping[str, bytes],
    purse_micros: int,
    expires_s: int,
) -> Block:
    """The block by which the holder of ``parent`` hands on what ``agent`` asks for.  ``tooldefs`` are the definitions
    of the tools that there are, by name.

    Raises:
        TokenError: ``parent`` may not be handed on any further, or holds nothing of what is asked for.
    """
    if parent.depth < LEAST_DEPTH:
        raise TokenError(
            "agent.too-deep", "sub-agents of sub-agents go no deeper than this", advice="do the task without one"
        )
    depth = parent.depth - 1
    grants = child_grants(parent.grants, agent, tooldefs, hands_on=depth >= LEAST_DEPTH)
    if not grants:
        raise TokenError("agent.nothing-left", "nothing that the caller may do is left for this sub-agent")
    return msgspec.structs.replace(
        parent,
        parent=parent_id,
        nonce=nonce,
        issuer=parent.holder,
        holder=holder,
        scope=min(parent.scope, Scope.SESSION),
        grants=grants,
        expires=min(parent.expires, expires_s),
        purse=min(parent.purse, purse_micros),
        depth=depth,
    )


def child_grants(
    grants: Iterable[Grant], agent: Subagent, tooldefs: Mapping[str, bytes], *, hands_on: bool = True
) -> tuple[Grant, ...]:
    """Those parts of ``grants`` that ``agent`` asks for, sorted.  ``hands_on``: whether it may have children itself."""
    allowed = agent.permissions if hands_on else agent.permissions & ~Permission.DELEGATE
    tools = [tooldefs[name] for name in agent.tools if name in tooldefs]
    return tuple(sorted({part for grant in grants for part in _parts(grant, int(allowed), tools)}))


def _parts(grant: Grant, allowed: int, tools: Iterable[bytes]) -> Iterator[Grant]:
    if parse_pattern(grant.pattern).scheme == "model":
        if grant.perms & Permission.INVOKE:
            yield Grant(grant.pattern, int(Permission.INVOKE), 0, grant.max_risk, grant.tooldef)
        return
    perms = grant.perms & allowed
    if perms:
        for tooldef in tools:
            if grant.tooldef in (b"", tooldef):
                yield Grant(grant.pattern, perms, 0, grant.max_risk, tooldef)
