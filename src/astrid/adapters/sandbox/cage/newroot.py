"""The root that a child with namespaces of its own sees: what its request lists, and nothing else of the disk.

Everything is opened before anything is covered; then an empty file system is laid over ``/tmp`` in our namespace only,
filled, and made the root; the old one is let go of with all its mounts.

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
from astrid.adapters.sandbox.cage.requests import Floor, Request, hidden_in, within

BASE = "/tmp"  # noqa: S108 - covered by a file system of our own before anything is put there
TEMPORARY, SHARED = "/tmp", "/dev/shm"  # noqa: S108 - in the new root, the child's own
HOME = f"{TEMPORARY}/home"
DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty")
_LINKS = {"fd": "fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2"}
_PRIVATE = (TEMPORARY, "/dev", "/proc")
_READ_ONLY_PROC = ("sys", "sysrq-trigger", "irq", "bus")
_PLAIN = kernel.MS_NOSUID | kernel.MS_NODEV


def build(request: Request, floor: Floor, listed: Sequence[Opened], writable: Sequence[Opened], workspace: int) -> None:
    """Become a process whose root holds what ``listed`` (read-only) and ``writable`` show, and the workspace."""
    kernel.mount(None, "/", kernel.MS_SLAVE | kernel.MS_REC)
    own = (*(one.path for one in writable), request.workspace, *_PRIVATE)
    plain, inside = _apart(listed, own)
    # Copied before it is covered: it may lie below what the new root is laid over.
    rest = [
        *((one.path, kernel.copy_mount(one.descriptor, carving.READ_ONLY), one.link) for one in inside),
        *((one.path, kernel.copy_mount(one.descriptor, _PLAIN), one.link) for one in writable),
        (request.workspace, kernel.copy_mount(workspace, _PLAIN), ""),
    ]
    kernel.mount("tmpfs", BASE, _PLAIN, "size=1m,mode=755")
    _show_first(plain)
    # At once: each would take a call of its own.
    kernel.set_flags_at(BASE, carving.READ_ONLY, below=True)
    kernel.set_flags_at(BASE, 0, cleared=kernel.MS_RDONLY)
    _make_private(request.tmp_bytes)
    # By path, so that what lies inside of something else comes after it, and on top.
    for path, tree, link in sorted(rest, key=lambda one: one[0].split("/")):
        _show(path, tree, link)
        os.close(tree)
    hidden = [never for never in hidden_in(request.workspace, floor) if carving.hide(BASE + never)]
    pinned = [never.removeprefix(f"{request.workspace}/") for never in hidden]
    carving.protect(BASE + request.workspace, (*pinned, *request.protect))
    _mount_proc()
    kernel.set_flags_at(BASE, kernel.MS_RDONLY)
    os.chdir(BASE)
    kernel.pivot_here()


def _apart(listed: Sequence[Opened], own: Sequence[str]) -> tuple[list[Opened], list[Opened]]:
    """What of ``listed`` lies in nothing else, in the order of the paths; and the rest, which is put on top of that."""
    plain: list[Opened] = []
    rest: list[Opened] = []
    for one in sorted(listed, key=lambda one: one.path.split("/")):
        within_another = plain and within(one.path, plain[-1].path)
        (rest if within_another or any(within(one.path, path) for path in own) else plain).append(one)
    return plain, rest


def _show_first(plain: Sequence[Opened]) -> None:
    """Put what lies in nothing else into our still empty root, where every folder on the way is one that we made."""
    made = {BASE}
    for one in plain:
        target = BASE + one.path
        _make_way(os.path.dirname(target), made)
        if one.link:
            os.symlink(one.link, target)
        else:
            os.mkdir(target) if one.is_folder else os.mknod(target)
            kernel.bind(f"/proc/self/fd/{one.descriptor}", target, below=True)


def _make_way(folder: str, made: set[str]) -> None:
    """Make ``folder``, and those above it, unless they are among those that were ``made``."""
    if folder not in made:
        _make_way(os.path.dirname(folder), made)
        os.mkdir(folder)
        made.add(folder)


def _make_private(tmp_bytes: int) -> None:
    """The parts that are the child's own: temporary files, a home, terminals, shared memory."""
    room = f"size={tmp_bytes},nr_inodes=65536,mode=1777"
    os.mkdir(BASE + TEMPORARY)
    kernel.mount("tmpfs", BASE + TEMPORARY, _PLAIN, room)
    os.mkdir(BASE + HOME, 0o700)
    os.mkdir(f"{BASE}/dev")
    for name, target in _LINKS.items():
        os.symlink(f"/proc/self/{target}", f"{BASE}/dev/{name}")
    no_run = kernel.MS_NOSUID | kernel.MS_NOEXEC
    for path in DEVICES:
        os.mknod(BASE + path)
        kernel.bind(path, BASE + path)
        kernel.set_flags_at(BASE + path, no_run)
    os.mkdir(BASE + SHARED)
    kernel.mount("tmpfs", BASE + SHARED, _PLAIN | kernel.MS_NOEXEC, room)
    os.mkdir(f"{BASE}/dev/pts")
    os.symlink("pts/ptmx", f"{BASE}/dev/ptmx")
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
        path = f"{BASE}/proc/{name}"
        if os.path.exists(path):
            kernel.bind(path, path)
            kernel.set_flags_at(path, kernel.MS_RDONLY)
