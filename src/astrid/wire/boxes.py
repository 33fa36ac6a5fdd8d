"""What is told of the box of this machine: which tiers work, and what a program sees in one.

Source: architecture, principle 4; docs/sandbox.md.
"""

from __future__ import annotations

from typing import Literal

from astrid.wire.fields import Wire


class TierReport(Wire, frozen=True, kw_only=True):
    """Why a tier does not work here; empty where it does."""

    tier: Literal["l1", "l0"]
    why: str


class BoxLimit(Wire, frozen=True, kw_only=True):
    """The most that a program may use of something; bytes, seconds or a number, as its name says."""

    name: str
    most: int


class BoxReport(Wire, frozen=True, kw_only=True):
    """``tier`` is what commands run in, ``refused`` when they do not run; ``tiers`` says of each why it does not
    work, and ``groups`` why programs have no control group of their own: empty where they have, and the kernel holds
    all processes of one together.  The last five are of a box of ``tier`` in ``workspace``, if one was named.
    """

    tier: Literal["l1", "l0", "none", "refused"]
    least: Literal["l1", "l0", "none"]
    tiers: tuple[TierReport, ...]
    landlock: int
    groups: str
    workspace: str
    run: tuple[str, ...] = ()
    read: tuple[str, ...] = ()
    protected: tuple[str, ...] = ()
    limits: tuple[BoxLimit, ...] = ()
    never: tuple[str, ...] = ()
