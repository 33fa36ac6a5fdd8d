"""What a workspace mode means: the grants that a person signs when they let Astrid work in a folder.  Pure.

A mode is a token like any other: one block, signed by the user for a workspace and at most 30 days, held by the
daemon's holder key, from which each session gets a narrower block of its own.  A daemon without such a grant can do
nothing.

Invariant: safe within guided within autonomous, for every field that a mode decides.

Source: architecture 6 ("Approvals make tokens"); protocol, "Keys and who holds them"; threats 51, 52.
"""

from __future__ import annotations

import enum

import msgspec

from astrid.core.blocks import NO_PARENT, UNLIMITED_USES, Assurance, Block, Grant, Permission, Scope
from astrid.core.resources import file_pattern_tree
from astrid.core.risk import Risk

MAX_GRANT_SECONDS = 30 * 24 * 3600
SESSION_DEPTH = 4  # workspace grant 5 -> session 4 -> three levels of sub-agents and a once token's 0
ANY_MODEL = "model://*/**"
ANY_AGENT = "tool://agents/*"  # a sub-agent; it gets no more than who calls it has


class Mode(enum.Enum):
    """How far a session may go before a person is asked."""

    SAFE = "safe"  # reads and searches; everything else asks
    GUIDED = "guided"  # also writes and creates files in the workspace, and runs commands whose box holds them there
    AUTONOMOUS = "autonomous"  # also deletes them


_LOOK = Permission.READ | Permission.LIST
_CHANGE = _LOOK | Permission.WRITE | Permission.CREATE
# To execute a folder is to run commands in a box that shows them this folder to change, and nothing else.
_FILE_PERMISSIONS = {
    Mode.SAFE: _LOOK,
    Mode.GUIDED: _CHANGE | Permission.EXECUTE,
    Mode.AUTONOMOUS: _CHANGE | Permission.EXECUTE | Permission.DELETE,
}
_FILE_RISK = {Mode.SAFE: Risk.LOW, Mode.GUIDED: Risk.MEDIUM, Mode.AUTONOMOUS: Risk.MEDIUM}


class GrantTerms(msgspec.Struct, frozen=True, kw_only=True):
    """What a workspace grant is about, beside its mode.  Times in whole seconds; ``purse_micros`` caps everything done
    under it."""

    issuer: bytes
    holder: bytes
    aud: bytes
    workspace: bytes
    root: str  # absolute path of the workspace
    not_before_s: int
    expires_s: int
    purse_micros: int
    assurance: Assurance
    nonce: bytes


def mode_grants(mode: Mode, root: str) -> tuple[Grant, ...]:
    """The grants of ``mode`` on the workspace at ``root``, sorted.

    Raises:
        PatternError: the path cannot be spelt as a resource.
    """
    files = Grant(file_pattern_tree(root).text, _FILE_PERMISSIONS[mode], 0, _FILE_RISK[mode], b"")
    model = Grant(ANY_MODEL, Permission.INVOKE, 0, Risk.MEDIUM, b"")
    agents = Grant(ANY_AGENT, Permission.DELEGATE, 0, Risk.LOW, b"")
    return tuple(sorted((files, model, agents)))


def workspace_grant(mode: Mode, terms: GrantTerms) -> Block:
    """The block that the user signs to let Astrid work in a folder.  It holds under untrusted text, since every file
    is.

    Raises:
        PatternError: the path cannot be spelt as a resource.
    """
    return Block(
        version=1,
        algorithm=1,
        parent=NO_PARENT,
        nonce=terms.nonce,
        issuer=terms.issuer,
        holder=terms.holder,
        aud=terms.aud,
        session=b"",
        workspace=terms.workspace,
        scope=Scope.WORKSPACE,
        grants=mode_grants(mode, terms.root),
        not_before=terms.not_before_s,
        expires=min(terms.expires_s, terms.not_before_s + MAX_GRANT_SECONDS),
        uses=UNLIMITED_USES,
        purse=terms.purse_micros,
        depth=SESSION_DEPTH + 1,
        tainted_ok=True,
        call=b"",
        question=b"",
        assurance=terms.assurance,
    )


def session_block(
    parent: Block, parent_id: bytes, *, holder: bytes, session: bytes, purse_micros: int, nonce: bytes
) -> Block:
    """The block by which the daemon's holder key hands ``parent`` on to one session: same grants, one session, its
    purse.

    Of a parent that may not be passed on it is no narrower, and ``attenuate`` refuses it.
    """
    return msgspec.structs.replace(
        parent,
        parent=parent_id,
        nonce=nonce,
        issuer=parent.holder,
        holder=holder,
        session=session,
        scope=min(parent.scope, Scope.SESSION),
        purse=min(parent.purse, purse_micros),
        depth=min(max(parent.depth - 1, 0), SESSION_DEPTH),
    )


def fleet_block(parent: Block, parent_id: bytes, *, holder: bytes, purse_micros: int, nonce: bytes) -> Block:
    """The block by which the daemon's holder key sets a purse apart for many sessions: they are handed on from it, so
    that what all of them spend together is counted on it.

    Of a parent that may not be passed on it is no narrower, and ``attenuate`` refuses it.
    """
    return msgspec.structs.replace(
        parent,
        parent=parent_id,
        nonce=nonce,
        issuer=parent.holder,
        holder=holder,
        purse=min(parent.purse, purse_micros),
        depth=max(parent.depth - 1, 0),
    )
