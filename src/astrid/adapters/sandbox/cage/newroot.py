"""The root that a child with namespaces of its own sees: what its request lists, and nothing else of the disk.

Everything is copied as a mount of its own before anything is covered; then an empty file system is laid over ``/tmp``
in our namespace only, filled, and made the root; the old one is let go of with all its mounts.

Never: runs in a mount namespace that is not the child's own, or writes to a disk.

Source: pivot_root(2), open_tree(2), mount_namespaces(7); the escape corpus.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from errno import EINVAL

from astrid.adapters.sandbox.cage import carving, kernel
from astrid.adapters.sandbox.cage.opening import Opened
from astrid.adapters.sandbox.cage.requests import Floor, Request, hidden_in

BASE = "/tmp"  # noqa: S108 - covered by a file system of our own before anything is put there
TEMPORARY, SHARED = "/tmp", "/dev/shm"  # noqa: S108 - in the new root, the child's own
HOME = f"{TEMPORARY}/home"
DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty")
_LINKS = {"fd": "fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2"}
_READ_ONLY_PROC = ("sys", "sysrq-trigger", "irq", "bus")
_PLAIN = kernel.MS_NOSUID | kernel.MS_NODEV


def build(request: Request, floor: Floor, listed: Sequence[Opened], writable: Sequence[Opened], workspace: int) -> None:
    """Become a process whose root holds what ``listed`` (read-only) and ``writable`` show, and the workspace."""
    kernel.mount(None, "/", kernel.MS_SLAVE | kernel.MS_REC)
    shown = [
        *((one.path, kernel.copy_mount(one.descriptor, carving.READ_ONLY), one.link) for one in listed),
        *((one.path, kernel.copy_mount(one.descriptor, _PLAIN), one.link) for one in writable),
        (request.workspace, kernel.copy_mount(workspace, _PLAIN), ""),
    ]
    devices = [(path, _device(path), "") for path in DEVICES]
    kernel.mount("tmpfs", BASE, _PLAIN, "size=1m,mode=755")
    _make_private(request.tmp_bytes)
    # By path, so that what lies inside of something else comes after it, and on top.
    for path, tree, link in sorted((*shown, *devices), key=lambda one: one[0].split("/")):
        _show(path, tree, link)
        os.close(tree)
    hidden = [never for never in hidden_in(request.workspace, floor) if carving.hide(BASE + never)]
    pinned = [never.removeprefix(f"{request.workspace}/") for never in hidden]
    carving.protect(BASE + request.workspace, (*pinned, *request.protect))
    _mount_proc()
    _seal(BASE + "/dev")
    os.chdir(BASE)
    kernel.pivot_here()


def _device(path: str) -> int:
    descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        return kernel.copy_mount(descriptor, kernel.MS_NOSUID | kernel.MS_NOEXEC)
    finally:
        os.close(descriptor)


def _make_private(tmp_bytes: int) -> None:
    """The parts that are the child's own: temporary files, a home, terminals, shared memory."""
    room = f"size={tmp_bytes},nr_inodes=65536,mode=1777"
    os.mkdir(BASE + TEMPORARY)
    kernel.mount("tmpfs", BASE + TEMPORARY, _PLAIN, room)
    os.mkdir(BASE + HOME, 0o700)
    os.mkdir(f"{BASE}/dev")
    kernel.mount("tmpfs", f"{BASE}/dev", kernel.MS_NOSUID | kernel.MS_NOEXEC, "size=64k,mode=755")
    for name, target in _LINKS.items():
        os.symlink(f"/proc/self/{target}", f"{BASE}/dev/{name}")
    os.mkdir(BASE + SHARED)
    kernel.mount("tmpfs", BASE + SHARED, _PLAIN | kernel.MS_NOEXEC, room)
    os.mkdir(f"{BASE}/dev/pts")
    os.symlink("pts/ptmx", f"{BASE}/dev/ptmx")
    no_run = kernel.MS_NOSUID | kernel.MS_NOEXEC
    kernel.mount("devpts", f"{BASE}/dev/pts", no_run, "newinstance,ptmxmode=0666,mode=620")


def _show(path: str, tree: int, link: str) -> None:
    target = BASE + path
    os.makedirs(os.path.dirname(target), exist_ok=True)
    # SAFETY: a link that we made ourselves would lead out of the new root, to a place on the disk.
    if os.path.realpath(os.path.dirname(target)) != os.path.dirname(target):
        raise OSError(EINVAL, "the way to this path is a link", path)
    if link:
        os.symlink(link, target)
        return
    if stat.S_ISDIR(os.fstat(tree).st_mode):
        os.makedirs(target, exist_ok=True)
    elif not os.path.lexists(target):
        os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o644))
    kernel.place_mount(tree, target)


def _mount_proc() -> None:
    """A view of the processes of our own namespace; only its first process can mount that."""
    os.mkdir(f"{BASE}/proc")
    kernel.mount("proc", f"{BASE}/proc", _PLAIN | kernel.MS_NOEXEC)
    for name in _READ_ONLY_PROC:
        if os.path.exists(f"{BASE}/proc/{name}"):
            _seal(f"{BASE}/proc/{name}")


def _seal(path: str) -> None:
    """Make what is at ``path`` read-only, but not what is mounted below."""
    descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        tree = kernel.copy_mount(descriptor, 0)
        kernel.set_mount_flags(tree, kernel.MS_RDONLY, below=False)
        kernel.place_mount(tree, path)
        os.close(tree)
    finally:
        os.close(descriptor)
