"""Which box commands run in: the best tier that works here, if it is enough; and what lets one out of it.

Never: starts a command with less than the configuration asks for.

Source: architecture, principle 4; the first Astrid (a sandbox that was missing was left away).
"""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from astrid.adapters.egress.network import Network
from astrid.adapters.egress.proxy import Proxy
from astrid.adapters.sandbox.cage.requests import TIERS
from astrid.adapters.sandbox.launcher import ZygoteLauncher, open_launcher
from astrid.adapters.sandbox.line import Tiers
from astrid.adapters.sandbox.profile import Caps
from astrid.adapters.sandbox.seatbelt_launcher import SeatbeltLauncher, open_seatbelt
from astrid.adapters.sandbox.shell import BoxedShell, NoShell
from astrid.adapters.workspace.shell import OpenShell
from astrid.box_ports import Launcher, Serve, Shell, Tier
from astrid.core.egress import Reach
from astrid.core.protected import SECRET_READS
from astrid.ports import EgressLog
from astrid.runtime.config import SandboxTable

MB = 1024 * 1024
_BEST_FIRST: tuple[Tier, ...] = ("l1", "l0")


def choose_shell(launcher: Launcher, tiers: Tiers, table: SandboxTable) -> Shell:
    """The shell of every session, by what the configuration asks for, where ``tiers`` work."""
    least = table.least
    best = best_tier(tiers, least)
    if best is not None:
        return BoxedShell(launcher, best, caps_of(table))
    return OpenShell() if least == "none" else no_shell(tiers, least)


def caps_of(table: SandboxTable) -> Caps:
    """How much a program may use, by the configuration."""
    return Caps(memory_bytes=table.memory_mb * MB, processes=table.processes, growth_bytes=table.growth_mb * MB)


def best_tier(tiers: Tiers, least: str) -> Tier | None:
    """The best tier that works, if that is not less than ``least``."""
    best: Tier | None = next((tier for tier in _BEST_FIRST if tier in tiers.works), None)
    return best if best is not None and TIERS.index(best) >= TIERS.index(least) else None


def no_shell(tiers: Tiers, least: str) -> NoShell:
    """What refuses every command, since ``least`` does not work."""
    reasons = "; ".join(f"{tier}: {why}" for tier, why in tiers.why.items())
    return NoShell(f"the least tier of a box is {least}, and that does not work here ({reasons})")


def let_out(network: Network, hosts: Sequence[str], log: EgressLog) -> Serve:
    """What serves the way out of a command's box: to ``hosts`` through ``network``, each connection told to ``log``
    before it is made.
    """
    return Proxy(Reach(hosts), network, log).serve


@asynccontextmanager
async def boxes(
    least: str, secrets: Iterable[str], *, platform: str = sys.platform
) -> AsyncGenerator[ZygoteLauncher | SeatbeltLauncher, None]:
    """A launcher for ``platform`` that starts nothing below ``least``, and never shows ``secrets`` or what lies in
    them.
    """
    opened = open_seatbelt if platform == "darwin" else open_launcher
    async with opened(least=least, never=never_shown(secrets), temporary=temporary()) as launcher:
        yield launcher


def temporary() -> Path:
    """Where programs without a root of their own have temporary files: the first place that can be written, or else
    ``/tmp``, of which each is then told that it cannot.

    SAFETY: never the folder that this process happens to be in, which ``tempfile`` falls back to: it may be a
    workspace.
    """
    places = (os.environ.get("TMPDIR", ""), "/tmp", "/var/tmp")  # noqa: S108 - each makes a folder for itself alone
    return Path(next((place for place in places if os.path.isabs(place) and os.access(place, os.W_OK)), "/tmp"))  # noqa: S108


def never_shown(secrets: Iterable[str]) -> list[str]:
    """``secrets``, and those in the home folder; each by its name, and by what that leads to."""
    known = {*secrets, *(os.path.join(os.path.realpath(Path.home()), name) for name in SECRET_READS)}
    return sorted({path for name in known for path in (os.path.abspath(name), os.path.realpath(name))})
