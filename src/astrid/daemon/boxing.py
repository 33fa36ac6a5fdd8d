"""``astridd box``: what the box of this machine is, and one program in it.  The process behind ``astrid sandbox``.

Never: starts a program outside of a box, whatever the configuration says is enough, or opens a key or the log.

Source: architecture, principle 4.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec
import trio

from astrid.adapters.sandbox.cage.requests import TIERS
from astrid.adapters.sandbox.profile import build_box
from astrid.adapters.sandbox.streaming import Passage
from astrid.adapters.workspace.process import tool_environment
from astrid.box_ports import Box, Tier
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


def run_boxed(home: Home, workspace: Path, argv: Sequence[str]) -> int:
    """Run ``argv`` in the box, on our own standard streams; what a shell would say it ended with.

    Raises:
        AstridError: it cannot be.
    """
    root = identify_workspace(workspace, home).path
    return trio.run(_run, home, root, argv)


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


async def _run(home: Home, root: str, argv: Sequence[str]) -> int:
    loaded, secrets = _loaded(home)
    # A box is what was asked for: that commands may do without one is no leave to do without it here.
    least = max(loaded.config.sandbox.least, "l0", key=TIERS.index)
    async with boxes(least, secrets) as launcher:
        tier = best_tier(launcher.tiers, least)
        if tier is None:
            no_shell(launcher.tiers, least).check()
        with _box(tier, root, loaded) as box:
            child = await launcher.start(box, argv, cwd="", env=tool_environment(Path.home(), {}))
            try:
                passage = Passage(child, box)
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
    folder = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield build_box(tier, root, folder, caps_of(loaded.config.sandbox))
    finally:
        os.close(folder)
