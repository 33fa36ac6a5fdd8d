"""What is told of the box of this machine: which tiers work, and what a program sees in one.

Source: architecture, principle 4; docs/sandbox.md.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from astrid.wire.fields import Wire


class BoxReport(Wire, frozen=True, kw_only=True):
    """``tier`` is what commands run in, ``refused`` when they do not run; ``why`` says of each tier why it does not
    work, and nothing where it does.  The last five are of a box of ``tier`` in ``workspace``, if one was named.
    """

    tier: Literal["l1", "l0", "none", "refused"]
    least: Literal["l1", "l0", "none"]
    why: dict[str, str]
    landlock: int
    workspace: str
    run: tuple[str, ...] = ()
    read: tuple[str, ...] = ()
    protected: tuple[str, ...] = ()
    limits: dict[str, int] = msgspec.field(default_factory=dict[str, int])
    never: tuple[str, ...] = ()
