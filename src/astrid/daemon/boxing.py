"""``astridd box``: what the box of this machine is, and one program in it.  The process behind ``astrid sandbox``.

Never: starts a program outside of a box, whatever the configuration says is enough, or opens a key or the log.  What a
person lets their own program reach is theirs to say: no policy is asked, and nothing of it is recorded.

Source: architecture, principle 4.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec
import trio

from astrid.adapters.egress.network import Network, SystemNetwork
from astrid.adapters.egress.proxy import Proxy
from astrid.adapters.sandbox.cage.requests import TIERS
from astrid.adapters.sandbox.profile import build_box
from astrid.adapters.sandbox.streaming import Passage
from astrid.adapters.workspace.process import tool_environment
from astrid.box_ports import Box, Serve, Tier
from astrid.core.egress import HTTPS, Reach
from astrid.core.egress_connection import Attempt, Traffic
from astrid.core.hosts import parse_authority
from astrid.home import Home, identify_workspace
from astrid.runtime.boot import secrets_of
from astrid.runtime.boxes import best_tier, boxes, caps_of, never_shown, no_shell
from astrid.runtime.config import Loaded, load_config
from astrid.wire.boxes import BoxLimit, BoxReport, TierReport


def explain(home: Home, workspace: Path | None) -> BoxReport:
    """What commands run in here, and what they would see in ``workspace``, if that is asked.

    Raises:
        AstridError: the configuration or the workspace is not as it should be.
    """
    root = "" if workspace is None else identify_workspace(workspace, home).path
    return trio.run(_explain, home, root)


class Told:
    """The connections of one program, recorded nowhere; with ``aloud`` each is a line on standard error."""

    def __init__(self, *, aloud: bool) -> None:
        self._aloud = aloud
        self._begun: dict[int, Attempt] = {}
        self._last = 0

    async def begin(self, attempt: Attempt) -> int:
        """Its number."""
        await trio.lowlevel.checkpoint()
        self._last += 1
        self._begun[self._last] = attempt
        return self._last

    def end(self, number: int, traffic: Traffic) -> None:
        """Tell how it ended."""
        attempt = self._begun.pop(number)
        if self._aloud:
            place = f"{attempt.host}:{attempt.port}" if attempt.host else "no host that can be read"
            carried = f"{traffic.sent_bytes} bytes out, {traffic.received_bytes} in"
            told = f"{carried}, {traffic.address or 'nowhere'}{f', {traffic.cut}' if traffic.cut else ''}"
            with suppress(OSError):  # nobody reads it, which is not the program's fault
                sys.stderr.write(f"connection to {place}: {told}\n")


def run_boxed(
    home: Home,
    workspace: Path,
    argv: Sequence[str],
    hosts: Sequence[str] = (),
    *,
    aloud: bool = False,
    network: Network | None = None,
) -> int:
    """Run ``argv`` in the box, on our own standard streams; what a shell would say it ended with.  It reaches
    ``hosts``, each with its port or on 443, through ``network``; without any it has no network.

    Raises:
        AstridError: it cannot be.
    """
    root = identify_workspace(workspace, home).path
    serve = None
    if hosts:
        reach = Reach(host if parse_authority(host.removeprefix("*.")).port else f"{host}:{HTTPS}" for host in hosts)
        serve = Proxy(reach, network or SystemNetwork(), Told(aloud=aloud)).serve
    return trio.run(_run, home, root, argv, serve)


async def _explain(home: Home, root: str) -> BoxReport:
    loaded, secrets = _loaded(home)
    least = loaded.config.sandbox.least
    async with boxes(least, secrets) as launcher:
        tiers = launcher.tiers
        tier = best_tier(tiers, least)
    told = BoxReport(
        tier=tier or ("none" if least == "none" else "refused"),
        least=least,
        tiers=(TierReport(tier="l1", why=tiers.why.get("l1", "")), TierReport(tier="l0", why=tiers.why.get("l0", ""))),
        landlock=tiers.landlock,
        groups=tiers.groups,
        workspace=root,
    )
    if tier is None or not root:
        return told
    with _box(tier, root, loaded) as box:
        limits = {**box.limits, "memory": box.memory_bytes, "processes": box.processes, "growth": box.growth_bytes}
        return msgspec.structs.replace(
            told,
            run=box.run,
            read=box.read,
            protected=box.protect,
            limits=tuple(BoxLimit(name=name, most=most) for name, most in sorted(limits.items())),
            never=tuple(never_shown(secrets)),
        )


async def _run(home: Home, root: str, argv: Sequence[str], serve: Serve | None) -> int:
    loaded, secrets = _loaded(home)
    # A box is what was asked for: that commands may do without one is no leave to do without it here.
    least = max(loaded.config.sandbox.least, "l0", key=TIERS.index)
    async with boxes(least, secrets) as launcher:
        tier = best_tier(launcher.tiers, least)
        if tier is None:
            no_shell(launcher.tiers, least).check()
        with _box(tier, root, loaded) as plain:
            box = msgspec.structs.replace(plain, network=serve is not None)
            child = await launcher.start(box, argv, cwd="", env=tool_environment(Path.home(), {}))
            try:
                passage = Passage(child, box, serve)
                code = await passage.run()
            finally:
                await child.aclose()
    if passage.stopped:
        sys.stderr.write(f"stopped at the limit of {passage.stopped}\n")
    return code


def _loaded(home: Home) -> tuple[Loaded, tuple[str, ...]]:
    loaded = load_config(home.config)
    return loaded, secrets_of(home, loaded.config)


@contextmanager
def _box(tier: Tier, root: str, loaded: Loaded) -> Iterator[Box]:
    folder = os.open(root, getattr(os, "O_PATH", 0) | os.O_DIRECTORY | os.O_CLOEXEC)  # macOS has none
    try:
        yield build_box(tier, root, folder, caps_of(loaded.config.sandbox))
    finally:
        os.close(folder)
