"""What a supervisor tells its restart machine, and what the machine tells it to do.  Facts only; nothing here runs."""

from __future__ import annotations

import enum
from typing import Literal

import msgspec

Restart = Literal["permanent", "transient", "temporary"]
"""Restart it always; only after a failure; never."""

Strategy = Literal["one_for_one", "one_for_all", "rest_for_one"]
"""Restart the child that ended; all of them; it and those that were started after it."""


class Phase(enum.Enum):
    """Where one child is."""

    DOWN = "down"
    STARTING = "starting"
    UP = "up"
    STOPPING = "stopping"
    LOST = "lost"  # cancelled, and still there


class Cause(enum.Enum):
    """Why a supervisor has ended."""

    ASKED = "asked"
    GAVE_UP = "gave_up"
    FATAL = "fatal"  # nobody may restart anything after this


class Rules(msgspec.Struct, frozen=True):
    """The part of a supervisor's spec that decides."""

    strategy: Strategy
    intensity: int
    period: float
    delay: tuple[float, float]
    together: bool = False


# ---- what happened --------------------------------------------------------------------------------------------------


class Boot(msgspec.Struct, frozen=True):
    """The supervisor starts, with its static children."""


class Add(msgspec.Struct, frozen=True):
    """A child is to be started beside the others."""

    id: str
    restart: Restart


class Remove(msgspec.Struct, frozen=True):
    """A child is to end for good."""

    id: str


class Up(msgspec.Struct, frozen=True):
    """A child has started."""

    id: str


class Ended(msgspec.Struct, frozen=True):
    """A child has ended, or has failed to start."""

    id: str
    failed: bool
    fatal: bool = False


class Lost(msgspec.Struct, frozen=True):
    """A child was cancelled and had all the time it may have, yet it is still there."""

    id: str


class Tick(msgspec.Struct, frozen=True):
    """The time has come that was waited for."""


class Shutdown(msgspec.Struct, frozen=True):
    """The supervisor is to end."""


Event = Boot | Add | Remove | Up | Ended | Lost | Tick | Shutdown


# ---- what to do -----------------------------------------------------------------------------------------------------


class Start(msgspec.Struct, frozen=True):
    """Start this child; say ``Up`` or ``Ended``."""

    id: str


class Stop(msgspec.Struct, frozen=True):
    """Stop this child, within its deadline; say ``Ended`` or ``Lost``."""

    id: str


class Retire(msgspec.Struct, frozen=True):
    """This child is gone for good."""

    id: str


class Wait(msgspec.Struct, frozen=True):
    """Say ``Tick`` at this time.  Replaces an earlier wait."""

    until: float


class Ready(msgspec.Struct, frozen=True):
    """All static children have started: so has the supervisor."""


class Escalate(msgspec.Struct, frozen=True):
    """All children are down and the supervisor has ended, because of ``child`` if it was not asked to.  Comes last."""

    cause: Cause
    child: str


Effect = Start | Stop | Retire | Wait | Ready | Escalate
