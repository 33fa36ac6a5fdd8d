"""Which tiers work on this machine: shown by starting a program through each, not by asking for versions.

Never: takes a tier for working because its parts are there.

Source: containers, kernels and distributions that forbid namespaces each in its own way.
"""

from __future__ import annotations

import json
import os

from astrid.adapters.sandbox.cage import packets, supervisor
from astrid.adapters.sandbox.cage.groups import Groups
from astrid.adapters.sandbox.cage.requests import Floor, Request

PROGRAM = "/usr/bin/true"
SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/nix/store", "/gnu/store")
_REPORT_BYTES = 64 * 1024
_ROOMY = 64


def run() -> dict[str, str]:
    """The best tier first, with why it does not work; an empty reason says that it does."""
    return {tier: _try(tier) for tier in ("l1", "l0")}


def try_groups(tier: str, groups: Groups) -> str:
    """Why ``groups`` do not hold the programs of ``tier``; empty if one ran in a group, and in one without room for it
    none could be started.
    """
    for tasks, fits in ((_ROOMY, True), (1, False)):  # the supervisor is one
        try:
            group = groups.make(0, memory_bytes=1 << 30, tasks=tasks)
        except OSError as error:
            return str(error)
        try:
            why = _try(tier, group)
        finally:
            os.close(group)
            groups.kill(0)
            groups.remove()
        if fits and why:
            return why
        if not fits and not why:
            return "a program was started in a control group that had no room for it"
    return ""


def _try(tier: str, group: int = -1) -> str:
    workspace = os.open("/usr", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    request = Request(id=1, tier=tier, argv=(PROGRAM,), env={}, workspace="/usr", cwd="", rx=SYSTEM, tmp_bytes=1 << 20)
    try:
        return _outcome(request, [nothing, nothing, nothing, workspace], group)
    except OSError as error:
        return str(error)
    finally:
        os.close(workspace)
        os.close(nothing)


def _outcome(request: Request, descriptors: list[int], group: int) -> str:
    pid, reports = supervisor.start(request, descriptors, Floor("none", ()), group=group)
    said: dict[str, object] = {}
    try:
        os.waitpid(pid, 0)
        while (packet := packets.receive(reports, _REPORT_BYTES, 1)).data:
            packets.close_all(packet.descriptors)
            said = json.loads(packet.data)
    finally:
        reports.close()
    if said.get("ev") == "exit" and said.get("status") == 0:
        return ""
    return str(said.get("why") or "the program that was to show it did not end well")
