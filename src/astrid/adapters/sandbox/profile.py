"""The box of a session: what its programs see, made from the session's workspace and the machine.

Never: takes anything from a call.  A model names a command, and a folder below the workspace, no more.

Source: architecture 6; threats 19 and 27; CVE-2025-59532 (a folder of the model's choice became the writable one).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress

import msgspec

from astrid.adapters.sandbox.cage.selftest import SYSTEM
from astrid.box_ports import NO_LEAVE, Box, Leave, Tier
from astrid.core.protected import OCCUPIED, Protection, classify_write

# What programs look up about the machine, none of it anybody's secret.
FACTS = tuple(
    f"/etc/{name}"
    for name in (
        *("ld.so.cache", "ld.so.conf", "ld.so.conf.d", "passwd", "group", "nsswitch.conf", "hosts", "host.conf"),
        *("localtime", "timezone", "alternatives", "mime.types", "magic", "os-release", "debian_version", "shells"),
        *("ssl/certs", "ssl/openssl.cnf", "pki/tls/certs", "pki/ca-trust", "ca-certificates", "ca-certificates.conf"),
        *("bash.bashrc", "inputrc", "terminfo", "protocols", "services", "fonts", "java", "perl"),
    )
)
LIMITS = {"fsize": 2 << 30, "nofile": 1024, "cpu": 3600}
_GIT = ".git"


class Caps(msgspec.Struct, frozen=True, kw_only=True):
    """What all processes of one program may use together: memory, how many they are, how much the workspace grows."""

    memory_bytes: int = 4 << 30
    processes: int = 512
    growth_bytes: int = 2 << 30


DEFAULT_CAPS = Caps()


def build_box(
    tier: Tier,
    workspace: str,
    folder: int,
    caps: Caps = DEFAULT_CAPS,
    *,
    leave: Leave = NO_LEAVE,
) -> Box:
    """The box for programs in ``workspace``, whose real path this is and which is open as ``folder``.  ``leave`` is
    what one of them was given on top.
    """
    return Box(
        tier=tier,
        workspace=workspace,
        folder=folder,
        run=SYSTEM,
        read=FACTS,
        lent=leave.read,
        write=leave.write,
        protect=protected_in(folder) if tier == "l1" else (),
        # The kernel holds each process to what the watch holds all of them to: no single one need be waited for.
        limits={**LIMITS, "nproc": caps.processes, "data": caps.memory_bytes},
        memory_bytes=caps.memory_bytes,
        processes=caps.processes,
        growth_bytes=caps.growth_bytes,
    )


def protected_in(folder: int) -> tuple[str, ...]:
    """The names in the open workspace that its programs must not change: those of the table that are there, and those
    that are occupied in any case.
    """
    return tuple(sorted({*OCCUPIED, *_protected_there(folder)}))


def _protected_there(folder: int) -> Iterator[str]:
    for name in _names(".", folder):
        if name != _GIT and classify_write((name,)) is not Protection.FREE:
            yield name
    for name in _names(_GIT, folder):
        if classify_write((_GIT, name)) is not Protection.FREE and f"{_GIT}/{name}" not in _DATA_FOLDERS:
            yield f"{_GIT}/{name}"


# The folder itself must stay, and does while it is not empty; what it holds is git's to write.
_DATA_FOLDERS = frozenset(
    {".git/objects", ".git/worktrees", ".git/rebase-merge", ".git/rebase-apply", ".git/sequencer"}
)


def _names(path: str, folder: int) -> list[str]:
    with suppress(FileNotFoundError, NotADirectoryError, PermissionError):
        at = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
        try:
            return sorted(os.listdir(at))
        finally:
            os.close(at)
    return []
