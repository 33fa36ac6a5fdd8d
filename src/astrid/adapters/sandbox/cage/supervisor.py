"""The process between the zygote and a contained program: it closes the box around itself, then starts the program.

With namespaces of its own (``l1``) it is the first process in them: when it dies, the kernel kills all the others.
Without (``l0``) it adopts what its descendants leave behind, and kills that when the program has ended.

Never: returns to the caller: it runs in a copy of the zygote and ends in ``os._exit``, whatever happens.

Invariants:
  What is started is started from inside the box, by ``posix_spawn``; so there is one copy of Python for each child,
  and none outside of the box.

Source: clone(2), user_namespaces(7), pid_namespaces(7), prctl(2).
"""

from __future__ import annotations

import os
import select
import signal
import socket
import struct
from collections.abc import Callable, Sequence
from contextlib import suppress

from astrid.adapters.sandbox.cage import confining, kernel, landlock, newroot, opening, packets, trees, wayout
from astrid.adapters.sandbox.cage.requests import Floor, Request

_NEW = 0x20000 | 0x2000000 | 0x4000000 | 0x8000000 | 0x10000000 | 0x20000000 | 0x40000000
NAMESPACES = _NEW  # mount, cgroup, uts, ipc, user, pid, net
_INTO_CGROUP = 1 << 33
_KEPT_SIGNALS = {signal.SIGKILL, signal.SIGSTOP, 32, 33}  # the last two are the C library's
# Python ignores SIGPIPE and SIGXFSZ, and what is ignored stays so across an exec.
_RESET_SIGNALS = [number for number in range(1, 65) if number not in _KEPT_SIGNALS]
_TERMINAL_SIGNALS = (signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP, signal.SIGHUP)


def start(request: Request, descriptors: Sequence[int], floor: Floor, *, group: int = -1) -> tuple[int, socket.socket]:
    """Start a supervisor for ``request``: its process, and where its reports come from.  If ``group`` is an open
    control group, it is in that from the first moment on.

    Raises:
        OSError: there is no room for another process, or namespaces are not to be had.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
    try:
        flags = NAMESPACES if request.tier == "l1" else 0
        # A process of one thread needs nothing of what a fork of Python's tidies up afterwards.
        pid = _clone_into(group, flags) if group >= 0 else kernel.call("clone", flags | signal.SIGCHLD, 0, 0, 0, 0)
        if pid == 0:
            _be(request, descriptors, floor, theirs)
    except OSError:
        ours.close()
        raise
    finally:
        theirs.close()
    return pid, ours


def _clone_into(group: int, flags: int) -> int:
    """As ``clone``, into the control group: who moves there later is not held for what it used before."""
    first = (flags | _INTO_CGROUP, 0, 0, 0, signal.SIGCHLD)
    arguments = struct.pack("11Q", *first, *(0,) * 5, group)
    return kernel.call("clone3", arguments, len(arguments))


def _be(request: Request, descriptors: Sequence[int], floor: Floor, reports: socket.socket) -> None:
    code = 1
    try:
        code = _supervise(request, descriptors, floor, reports)
    except OSError as error:
        with suppress(OSError):
            packets.send(reports, {"ev": "error", "errno": error.errno or 0, "why": str(error)[:500]})
    finally:
        os._exit(code)


def _supervise(request: Request, descriptors: Sequence[int], floor: Floor, reports: socket.socket) -> int:
    """Run the program to its end and tell of both."""
    own = request.tier == "l1"
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGCHLD, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    kernel.close_all_but({*descriptors, reports.fileno()})
    sweep = _Sweep()
    _tie_to_zygote(reports, sweep, own=own)
    listed = [
        *opening.open_listed(request.rx, landlock.RUN, floor),
        *opening.open_listed(request.ro, landlock.READ, floor),
        *opening.open_exact(request.lent, landlock.RUN, floor),
    ]
    writable = opening.open_exact(request.rw, landlock.ALL, floor)
    workspace = opening.open_workspace(request, descriptors[3], floor)
    if own:
        kernel.name_host(b"sandbox")
        newroot.build(request, floor, listed, writable, workspace)
    ways = [wayout.open_way_out()] if own and request.network else []
    kernel.prctl(kernel.PR_SET_DUMPABLE, 0)  # the program cannot look into us
    os.setsid()
    if request.tty:
        for number in _TERMINAL_SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        kernel.own_terminal(descriptors[0])
    os.chdir(request.workspace) if own else os.fchdir(workspace)
    port = wayout.PORT if ways else 0
    confining.close_box([*listed, *writable], workspace, request.limits, own_root=own, port=port)
    sweep.arm(own=own)
    if request.cwd:
        os.chdir(request.cwd)
    pid = _spawn(request, descriptors)
    kernel.close_all_but({reports.fileno(), *(way.fileno() for way in ways)})
    for stream in range(3):
        os.close(stream)  # or the reader of the program's output would wait for us as well
    watched = os.pidfd_open(pid)
    packets.send(reports, {"ev": "started"}, [watched, *(way.fileno() for way in ways)])
    os.close(watched)
    for way in ways:
        way.close()  # from here on it is the daemon's alone
    status, used = _wait(pid)
    if not own:
        sweep.run()
    packets.send(reports, {"ev": "exit", "status": status, "used": used})
    return 0


class _Sweep:
    """How what the program leaves behind is killed, where the kernel does not."""

    def __init__(self) -> None:
        self._kill: Callable[[], None] = lambda: trees.kill_descendants(os.getpid())

    def arm(self, *, own: bool) -> None:
        """Where signals are held inside of our own domain, one call reaches all of it.  Believed when it is seen that
        the zygote is out of reach.
        """
        scoped = landlock.version() >= landlock.SCOPES_SIGNALS
        if not own and scoped and not trees.signals_reach(os.getppid()):
            self._kill = trees.kill_domain

    def run(self) -> None:
        """Kill what is left, and reap it."""
        self._kill()
        with suppress(ChildProcessError):
            while True:
                os.wait4(-1, 0)


def _tie_to_zygote(reports: socket.socket, sweep: _Sweep, *, own: bool) -> None:
    """Die when the zygote does."""
    if own:
        # Before it can be given up: which group, whose numbers.  The order is the kernel's.
        uid, gid = _ids
        kernel.prctl(kernel.PR_SET_DUMPABLE, 1)  # else our entries in /proc would be root's
        _write("/proc/self/setgroups", "deny")
        _write("/proc/self/uid_map", f"{uid} {uid} 1")
        _write("/proc/self/gid_map", f"{gid} {gid} 1")
        kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)  # lost when the credentials change, so after that
    else:

        def end(*_: object) -> None:
            sweep.run()
            os._exit(1)

        kernel.prctl(kernel.PR_SET_CHILD_SUBREAPER, 1)
        signal.signal(signal.SIGTERM, end)
        kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGTERM)
    # It may have died before that; its end of the line tells, since in a namespace every parent is number 0.
    poller = select.poll()
    poller.register(reports.fileno(), 0)
    if poller.poll(0):
        os._exit(1)


_ids = (os.geteuid(), os.getegid())  # inside the namespace they read as nobody's until they are mapped


def _write(path: str, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)


def _spawn(request: Request, descriptors: Sequence[int]) -> int:
    argv = [os.fsencode(word) for word in request.argv]
    env = {os.fsencode(name): os.fsencode(text) for name, text in request.env.items()}
    actions = [(os.POSIX_SPAWN_DUP2, descriptors[stream], stream) for stream in range(3)]
    program = _find(argv[0], env.get(b"PATH", b""))
    try:
        return os.posix_spawn(
            program,
            argv,
            env,
            file_actions=actions,
            setsid=not request.tty,  # with a terminal it shares our group, so that ^C reaches it
            setsigmask=(),
            setsigdef=_RESET_SIGNALS,
        )
    except OSError as error:
        raise OSError(error.errno, error.strerror, request.argv[0]) from error


def _find(name: bytes, path: bytes) -> bytes:
    """``name``, looked for in the absolute folders of ``path`` if it has no slash."""
    if b"/" in name:
        return name
    places = [folder + b"/" + name for folder in path.split(b":") if folder.startswith(b"/")]
    return next((place for place in places if os.access(place, os.X_OK)), name)


def _wait(pid: int) -> tuple[int, list[float]]:
    """How ``pid`` ended and what it used; whoever else ends meanwhile is reaped."""
    while True:
        ended, status, usage = os.wait4(-1, 0)
        if ended == pid:
            return status, [usage.ru_utime, usage.ru_stime, usage.ru_maxrss]
