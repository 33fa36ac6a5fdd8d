"""The box, closed around the calling process: limits, capabilities, Landlock, the filter.  In this order, for good.

Never: runs in the zygote itself.

Source: getrlimit(2), landlock(7), seccomp(2).
"""

from __future__ import annotations

import os
import resource
from collections.abc import Mapping, Sequence
from functools import cache

from astrid.adapters.sandbox.cage import filters, kernel, landlock, newroot, trees
from astrid.adapters.sandbox.cage.opening import Opened

# Without a namespace of its own /proc would show everybody's processes: only these, which are about the machine.
MACHINE_FACTS = tuple(
    f"/proc/{name}"
    for name in (
        *("meminfo", "cpuinfo", "stat", "version", "filesystems", "uptime", "loadavg"),
        *("sys/kernel/osrelease", "sys/vm/overcommit_memory"),
    )
)
_ALWAYS = {"core": 0, "memlock": 0}


@cache
def _filter(own_ipc: bool, network: bool) -> bytes:
    return filters.build(kernel.machine(), own_ipc=own_ipc, network=network)


def prepare() -> None:
    """Do once what each child would do again."""
    for own_ipc, network in ((False, False), (True, False), (True, True)):
        _filter(own_ipc, network)
    landlock.version()


def set_limits(limits: Mapping[str, int], *, own_namespace: bool) -> None:
    """Lay the limits on this process and what it starts; a lower one that is there already stays."""
    for name, most in {**limits, **_ALWAYS}.items():
        if name == "nproc" and not own_namespace and os.getuid():
            most += trees.count_tasks(os.getuid())  # the kernel counts all of the user's, and holds root to nothing
        number: int = getattr(resource, f"RLIMIT_{name.upper()}")
        hard = resource.getrlimit(number)[1]
        allowed = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(number, (allowed, allowed))


def close_box(shown: Sequence[Opened], workspace: int, limits: Mapping[str, int], *, own_root: bool, port: int) -> None:
    """Close the box.  ``shown`` says what may be done where; ``own_root`` that the root is the child's own; ``port``
    where it may connect to, 0 that it may nowhere.
    """
    set_limits(limits, own_namespace=own_root)
    rules = [(one.descriptor, one.rights) for one in shown]
    rules += [(workspace, landlock.ALL)]
    own = _own_places() if own_root else _shared_places()
    rules += own
    kernel.drop_capabilities()
    kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
    landlock.restrict(rules, port=port)
    for descriptor, _ in own:
        os.close(descriptor)
    kernel.install_filter(_filter(own_root, port != 0))


def _rule(path: str, rights: int) -> landlock.Rule:
    return os.open(path, os.O_PATH | os.O_CLOEXEC), rights


def _own_places() -> list[landlock.Rule]:
    return [
        _rule("/", landlock.READ_DIR),
        _rule("/proc", landlock.READ | landlock.WRITE_FILE),
        _rule(newroot.TEMPORARY, landlock.ALL),
        _rule(newroot.SHARED, landlock.ALL & ~landlock.EXECUTE),
        _rule("/dev", landlock.DEVICE | landlock.READ_DIR),  # holds no other device: nothing else is mounted for them
    ]


def _shared_places() -> list[landlock.Rule]:
    facts = [_rule(path, landlock.READ_FILE) for path in MACHINE_FACTS if os.path.exists(path)]
    return [*facts, *(_rule(path, landlock.DEVICE) for path in newroot.DEVICES)]
