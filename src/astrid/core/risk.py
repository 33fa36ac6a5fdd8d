"""How dangerous an action is: its class of effect, and the level that a grant must reach.  Pure.

The class is what the tool's signed definition says it does.  Class and level may only be raised from there (by a path
outside the workspace, by a name, by untrusted text in the context), never lowered.

Invariants:
  raised(risk, by) >= risk, and it is monotone in both.
  Along the classes, in the order they are written, base risk, being a sink and being never standing only grow.

Source: architecture 6 (step 4, "Tool definitions"); protocol, "Keys and who holds them" (the four kinds); the first
Astrid.
"""

from __future__ import annotations

import enum

from astrid.errors import InputError


class Risk(enum.IntEnum):
    """The level of an action; a grant names the highest it covers."""

    LOW = 0
    MEDIUM = 1
    HIGH = 2
    CRITICAL = 3


class EffectClass(enum.Enum):
    """What a tool does to the world, as its definition declares it; harmless first."""

    __hash__ = object.__hash__  # each member is one object; its name need not be hashed on every look-up

    READ = "read"  # looks at the workspace
    MODEL = "model"  # shows the conversation to the model that the user chose for it
    STAGING = "staging"  # changes only what can be taken back: files of the workspace, drafts
    CONTAINED = "contained"  # runs a program in a box that holds all it can do: it changes the workspace alone
    FETCH = "fetch"  # asks the network for something; the question itself leaves
    WRITE = "write"  # changes something outside the workspace
    EXEC = "exec"  # runs a program
    DESTRUCTIVE = "destructive"  # deletes, overwrites, cannot be taken back
    EGRESS = "egress"  # transmits data
    GRANT = "grant"  # hands a capability to somebody
    ACCOUNT = "account"  # changes who may do what elsewhere
    FINANCIAL = "financial"  # spends


UNDECLARED = EffectClass.EGRESS
"""The class of a tool that declares none."""

NEVER_STANDING = frozenset({EffectClass.EGRESS, EffectClass.GRANT, EffectClass.ACCOUNT, EffectClass.FINANCIAL})
"""Classes for which a person says yes to each single call: no grant outlives it."""

_BASE_RISK = {
    EffectClass.READ: Risk.LOW,
    EffectClass.MODEL: Risk.LOW,
    EffectClass.STAGING: Risk.LOW,
    EffectClass.CONTAINED: Risk.MEDIUM,
    EffectClass.FETCH: Risk.MEDIUM,
    EffectClass.WRITE: Risk.HIGH,
    EffectClass.EXEC: Risk.HIGH,
    EffectClass.DESTRUCTIVE: Risk.HIGH,
    EffectClass.EGRESS: Risk.HIGH,
    EffectClass.GRANT: Risk.HIGH,
    EffectClass.ACCOUNT: Risk.CRITICAL,
    EffectClass.FINANCIAL: Risk.CRITICAL,
}

SINK_RISK = Risk.HIGH
"""From this level on every action is a sink, whatever its class: all classes whose base this is, or more, are."""

_SEVERITY = {effect: place for place, effect in enumerate(EffectClass)}

_NOT_SINKS = frozenset({EffectClass.READ, EffectClass.MODEL, EffectClass.STAGING, EffectClass.CONTAINED})


def base_risk(effect: EffectClass) -> Risk:
    """The level of an action of this class before anything raises it."""
    return _BASE_RISK[effect]


def raised(risk: Risk, by: int) -> Risk:
    """``risk``, ``by`` levels higher, at most critical.

    Raises:
        InputError: ``by`` is below zero: nothing lowers a risk.
    """
    if by < 0:
        raise InputError("risk.lowered", f"a risk cannot be raised by `{by}`")
    return Risk(min(risk + by, Risk.CRITICAL))


def worst(first: EffectClass, *others: EffectClass) -> EffectClass:
    """The most dangerous of these classes: how a hint may raise what a definition declares."""
    return max((first, *others), key=_SEVERITY.__getitem__)


def is_sink(effect: EffectClass) -> bool:
    """Whether an action of this class reaches beyond the workspace: writes outside, executes, sends or spends.

    A fetch is one: an address that untrusted text chose carries out whatever is written into it.
    """
    # SAFETY: the harmless classes are listed, so that a class added later is a sink until somebody says otherwise.
    return effect not in _NOT_SINKS
