"""The shells of the box: command lines in a box of the best tier that works here, or none at all.

Never: falls back to another tier: which it is was decided when the shell was chosen, and what a person said yes to
names it.

Source: architecture, principle 4 (no path leads from "denied" to "try with less sandbox").
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import NoReturn

import trio

from astrid.adapters.sandbox.profile import DEFAULT_CAPS, Caps, build_box
from astrid.box_ports import NO_LEAVE, Finished, Launcher, Leave, Tier
from astrid.core.canon import Domain, digest, encode
from astrid.errors import LaunchError

_ABOUT = (
    "It runs in a box: it sees the workspace and the system's programs and nothing else of the disk; home and temporary"
    " files are new and empty each time."
)
_NETWORK: dict[Tier, str] = {
    "l1": "It has no network, and programs that want one fail; where that is needed, say in hosts which ones, and a"
    " person is asked. Those are reached through the proxy that the usual variables name.",
    "l0": "It has no network, and hosts cannot be given.",
}
_CHANGES: dict[Tier, str] = {
    "l1": "a command can change files of the workspace",
    "l0": "a command can change any file of the workspace, also hooks and settings that other programs follow",
}
HOLDING: frozenset[Tier] = frozenset({"l1"})
"""The tiers that hold all a line can do.  Without mounts nothing in the workspace is kept from being changed, hooks and
settings included."""


LETTING_OUT: frozenset[Tier] = frozenset({"l1"})
"""The tiers whose programs have a network of their own, into which a way out can be made."""


def profile_of(tier: Tier) -> bytes:
    """What the definition of a tool says whose commands run in a box of ``tier``."""
    network = "by host" if tier in LETTING_OUT else "none"
    return bytes(digest(Domain.TOOLDEF, encode(("tier", tier, "network", network))))


def about(tier: Tier) -> str:
    """What a model is told of a box of ``tier``."""
    return f"{_ABOUT} {_NETWORK[tier]}"


class BoxedShell:
    """``box_ports.Shell`` in a box of ``tier``."""

    def __init__(self, launcher: Launcher, tier: Tier, caps: Caps = DEFAULT_CAPS) -> None:
        self._launcher = launcher
        self._caps = caps
        self._tier: Tier = tier
        self.about = about(tier)
        self.contains = tier in HOLDING
        self.lets_out = tier in LETTING_OUT
        self.profile = profile_of(tier)
        self.why = f"{_CHANGES[tier]}; its box, of tier {tier}, keeps it from your other files and the network"

    def check(self) -> None:
        """The box was shown to work; that it no longer does, the launcher says."""

    async def run(
        self,
        argv: Sequence[str],
        *,
        workspace: str,
        folder: int,
        env: Mapping[str, str],
        seconds: float,
        max_bytes: int,
        cwd: str = "",
        leave: Leave = NO_LEAVE,
    ) -> Finished:
        """Run ``argv`` in a box that is made for this run: what is protected depends on what is there now."""
        make = partial(build_box, self._tier, workspace, folder, self._caps, leave=leave)
        box = await trio.to_thread.run_sync(make)
        return await self._launcher.run(
            box, argv, cwd=cwd, env=env, seconds=seconds, max_bytes=max_bytes, serve=leave.serve
        )


class NoShell:
    """``box_ports.Shell`` where there is no box that would do: it runs nothing, and says why."""

    profile = bytes(digest(Domain.TOOLDEF, encode(("tier", "refused"))))
    contains = False
    lets_out = False
    about = "It cannot be used now: there is no box on this machine in which it may run."
    why = "nothing is started here"

    def __init__(self, reason: str) -> None:
        self._reason = reason

    def check(self) -> NoReturn:
        """Refuse.

        Raises:
            LaunchError: always.
        """
        raise LaunchError(
            "sandbox.no-tier",
            f"no command is run: {self._reason}",
            effect="none",
            advice="run `astrid doctor`; `least` in the table `sandbox` of the configuration says what is enough",
        )

    async def run(
        self,
        argv: Sequence[str],
        *,
        workspace: str,
        folder: int,
        env: Mapping[str, str],
        seconds: float,
        max_bytes: int,
        cwd: str = "",
        leave: Leave = NO_LEAVE,
    ) -> Finished:
        """Refuse."""
        self.check()
