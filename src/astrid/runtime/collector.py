"""How often a daemon's interpreter looks for garbage that refers to itself.

Python does so each time that 700 more things were made than let go, and now and then goes through everything there is.
A daemon has a large part that stays (modules, tools, sessions) and makes little garbage of that kind, so most of the
looking is in vain: with 512 sessions it took a seventh of every call.  What is there at the start is left out for good,
and the rest is looked at less often.

Never: turns the collector off.  What refers to itself and is not needed any more still goes.

Source: documentation of Python's ``gc`` (freeze, set_threshold).
"""

from __future__ import annotations

import gc

THRESHOLDS = (20_000, 20, 20)
"""After so many new things the young ones are looked at; after so many such looks the older ones, and the oldest."""


def settle() -> None:
    """For a process that goes on for long, once it has loaded what it needs."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
