"""The zygote: takes requests from the daemon, starts a supervisor for each, and says how each ended.

    python -I -S -E -c "..." SOCKET PARENT      with one end of a pair of packet sockets

The first packet it gets is the floor; what it sends first says which tiers a real start of a program has shown to
work.  Then each request gets ``started`` with two process descriptors, and the way out of its network if it asked for
one, and later ``exit``, or ``error``.

Never: has more than one thread, reads the environment, keeps a descriptor of a child, or survives the daemon.

Invariants:
  ``exit`` is sent when nothing of the child is left.
  One answer to each request, and none of what a child writes is ever parsed here.

Source: architecture 4; threat 45; the figures and traps of a prototype.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import select
import signal
import socket
from contextlib import suppress
from errno import EAGAIN, EINVAL

from astrid.adapters.sandbox.cage import (
    carving,
    confining,
    groups,
    kernel,
    landlock,
    opening,
    packets,
    selftest,
    supervisor,
    trees,
)
from astrid.adapters.sandbox.cage.requests import (
    MAX_DESCRIPTORS,
    MAX_PACKET_BYTES,
    TIERS,
    Floor,
    Request,
    RequestError,
    forbidden_workspace,
    parse_floor,
    parse_request,
)

MAX_CHILDREN = 256
MAX_OPEN = 4096
_REPORT_BYTES = 64 * 1024
_GOODBYE_ROUNDS = 100
_GOODBYE_SECONDS = 0.01


class _Child:
    """One running supervisor.  ``watched`` is its process descriptor, until the daemon has it; ``place`` device and
    inode of the workspace; ``last`` what it said at its end.
    """

    def __init__(
        self, id_: int, reports: socket.socket, watched: int, *, own: bool, workspace: int, place: tuple[int, int]
    ) -> None:
        self.id = id_
        self.reports = reports
        self.watched = watched
        self.own = own
        self.workspace = workspace
        self.place = place
        self.last: dict[str, object] = {}


class Zygote:
    """See the module."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._children: dict[int, _Child] = {}  # by the number of the supervisor
        self._lines: dict[int, int] = {}  # descriptor of the reports -> supervisor
        self._stubs: dict[tuple[int, int], set[str]] = {}
        self._ended: list[dict[str, object]] = []
        self._last_id = 0
        self._floor = Floor(TIERS[-1], ())
        self._works: dict[str, str] = {}
        self._poll = select.poll()
        self._told_to_end = False
        self._groups: groups.Groups | None = None

    def serve(self) -> None:
        """Take the floor, say what works, and serve until the daemon is gone, or we are told to end."""
        try:
            self._floor = parse_floor(packets.receive(self._control, MAX_PACKET_BYTES, 0).data)
        except RequestError as refused:
            self._say({"ev": "error", "id": 0, "errno": EINVAL, "why": str(refused)})
            return
        confining.prepare()
        self._works = selftest.run()
        no_groups = self._find_groups()
        woken = self._wake_on_signals()
        gc.collect()
        gc.freeze()
        gc.disable()  # a collection in a child would copy every page
        why = {tier: reason for tier, reason in self._works.items() if reason}
        tiers = [tier for tier, reason in self._works.items() if not reason]
        self._say({"ev": "hello", "tiers": tiers, "why": why, "landlock": landlock.version(), "groups": no_groups})
        self._poll.register(self._control.fileno(), select.POLLIN)
        self._poll.register(woken, select.POLLIN)
        while not self._told_to_end:
            for descriptor, _ in self._poll.poll():
                if descriptor == self._control.fileno():
                    if not self._take():
                        return
                elif descriptor == woken:
                    os.read(woken, 4096)
                    self._reap()
                elif descriptor in self._lines and not self._hear(self._lines[descriptor]):
                    self._poll.unregister(descriptor)  # closed: its end is reaped

    def _find_groups(self) -> str:
        """Give each program a control group of its own, if a real start shows that this works; why not."""
        tier = next((tier for tier, why in self._works.items() if not why), "")
        if not tier:
            return "no tier works here"
        try:
            found = groups.Groups(groups.settle(groups.find_own(), os.getppid()))
        except groups.NoGroupsError as none:
            return str(none)
        why = selftest.try_groups(tier, found)
        self._groups = None if why else found
        return why

    def _wake_on_signals(self) -> int:
        """A descriptor that becomes readable when a child ends, or we are told to end."""

        # SAFETY: a handler runs wherever we just are, in an import or in the end itself: it does nothing but say so.
        def end(*_: object) -> None:
            self._told_to_end = True

        woken, wakes = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(wakes, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, end)
        return woken

    def _take(self) -> bool:
        """Serve one request; false when the daemon is gone."""
        try:
            packet = packets.receive(self._control, MAX_PACKET_BYTES, MAX_DESCRIPTORS)
        except ConnectionError:
            return False
        if not packet.data and not packet.descriptors:
            return False
        refusal = self._try(packet)
        packets.close_all(packet.descriptors)  # before the answer: whoever has that knows that we let go
        if refusal is not None:
            self._say({"ev": "error", **refusal})
        return True

    def _try(self, packet: packets.Packet) -> dict[str, object] | None:
        """Start what the packet asks for; or why not."""
        id_ = 0
        try:
            if not packet.whole:
                raise RequestError("the packet is too large, or brings too many descriptors")
            request = parse_request(packet.data, above=self._last_id, floor=self._floor)
            self._last_id = id_ = request.id
            self._start(request, packet.descriptors)
        except RequestError as refused:
            self._last_id = max(self._last_id, refused.id)
            return {"id": id_ or refused.id, "errno": EINVAL, "why": str(refused)[:500]}
        except OSError as error:
            return {"id": id_, "errno": error.errno or EINVAL, "why": str(error)[:500]}
        return None

    def _say(self, message: dict[str, object], descriptors: tuple[int, ...] = ()) -> None:
        with suppress(BrokenPipeError, ConnectionError):  # a daemon that is gone is noticed as the end of its requests
            packets.send(self._control, message, descriptors)

    def _start(self, request: Request, descriptors: list[int]) -> None:
        opening.check_descriptors(descriptors, tty=request.tty)
        if self._works.get(request.tier) != "":
            raise RequestError(f"this tier does not work here: {self._works.get(request.tier)}")
        if len(self._children) >= MAX_CHILDREN:
            raise OSError(EAGAIN, "too many programs run already")
        if forbidden_workspace(opening.led_to(descriptors[3]), self._floor, request.tier):
            raise RequestError("the workspace is never exposed")
        own = request.tier == "l1"
        status = os.fstat(descriptors[3])
        place = (status.st_dev, status.st_ino)
        workspace = os.dup(descriptors[3])
        os.set_inheritable(workspace, False)
        try:
            if own:
                stubs = self._stubs.setdefault(place, set())
                stubs.update(carving.make_stubs(workspace, request.protect, stubs))
            pid, reports = self._start_held(request, descriptors)
        except OSError:
            self._forget(place, workspace)
            raise
        # It is not reaped before we say so, so the number is still its.
        watched = os.pidfd_open(pid)
        child = _Child(request.id, reports, watched, own=own, workspace=workspace, place=place)
        reports.setblocking(False)
        self._children[pid] = child
        self._lines[reports.fileno()] = pid
        self._poll.register(reports.fileno(), select.POLLIN)

    def _start_held(self, request: Request, descriptors: list[int]) -> tuple[int, socket.socket]:
        if self._groups is None:
            return supervisor.start(request, descriptors, self._floor)
        tasks = request.processes and request.processes + 1  # the supervisor is in it as well
        group = self._groups.make(request.id, memory_bytes=request.memory_bytes, tasks=tasks)
        try:
            return supervisor.start(request, descriptors, self._floor, group=group)
        except OSError:
            self._groups.kill(request.id)
            self._groups.remove()
            raise
        finally:
            os.close(group)

    def _hear(self, pid: int) -> bool:
        """Take one report of a supervisor; false if there is none."""
        child = self._children[pid]
        try:
            packet = packets.receive(child.reports, _REPORT_BYTES, 2)
        except BlockingIOError:
            return False
        if not packet.data:
            return False
        message = json.loads(packet.data)
        if message["ev"] == "started":
            self._say({"ev": "started", "id": child.id, "pid": pid}, (child.watched, *packet.descriptors))
            os.close(child.watched)
            child.watched = -1
        else:
            child.last = message  # told when nothing of it is left
        packets.close_all(packet.descriptors)
        return True

    def _reap(self) -> None:
        while True:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if pid == 0:
                break
            if pid in self._children:
                self._end(pid, status, [usage.ru_utime, usage.ru_stime, usage.ru_maxrss])
        self._sweep_orphans()

    def _end(self, pid: int, status: int, used: list[float]) -> None:
        while self._hear(pid):
            pass
        child = self._children.pop(pid)
        line = child.reports.fileno()
        del self._lines[line]
        with suppress(KeyError):
            self._poll.unregister(line)
        child.reports.close()
        started = child.watched < 0
        if not started:
            os.close(child.watched)
        killed: dict[str, object] = {"ev": "exit", "status": status, "used": used}
        unstarted: dict[str, object] = {"ev": "error", "errno": EINVAL, "why": "it ended before it closed the box"}
        last = child.last or (killed if started else unstarted)
        limit = self._groups.kill(child.id) if self._groups else ""
        self._ended.append({**last, "id": child.id, "limit": limit})
        self._forget(child.place, child.workspace)

    def _forget(self, place: tuple[int, int], workspace: int) -> None:
        """Let go of a workspace; the last of its children takes the stubs along."""
        if all(child.place != place for child in self._children.values()):
            carving.remove_stubs(workspace, self._stubs.pop(place, ()))
        os.close(workspace)

    def _sweep_orphans(self) -> None:
        """What is ours and no supervisor is left behind by one that was killed."""
        orphans = set(trees.children_of(os.getpid())) - self._children.keys()
        for orphan in orphans:
            trees.kill_descendants(orphan)
            with suppress(ProcessLookupError):
                os.kill(orphan, signal.SIGKILL)
        if orphans:
            return  # their end wakes us again
        if self._groups:
            self._groups.remove()
        for message in self._ended:
            self._say(message)
        self._ended.clear()

    def leave(self) -> None:
        """Kill every child, and wait a bounded time until nothing is left."""
        signal.set_wakeup_fd(-1)
        for pid, child in self._children.items():
            # One without namespaces kills its descendants first.
            os.kill(pid, signal.SIGKILL if child.own else signal.SIGTERM)
            if self._groups:
                self._groups.kill(child.id)
        for _ in range(_GOODBYE_ROUNDS):
            try:
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
            except ChildProcessError:
                break
            select.select([], [], [], _GOODBYE_SECONDS)
        trees.kill_descendants(os.getpid())
        if self._groups:
            self._groups.remove()
        places = {child.place: child.workspace for child in self._children.values()}
        for place, workspace in places.items():
            carving.remove_stubs(workspace, self._stubs.pop(place, ()))


def main(arguments: list[str]) -> None:
    """Be the zygote, until the daemon ends."""
    line, parent = map(int, arguments)
    control = socket.socket(fileno=line)
    os.set_inheritable(line, False)
    kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        return  # it died before that
    # Received descriptors must not become 0 to 2, which a child gets last.
    for stream in range(2):
        os.dup2(os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC), stream)
    kernel.close_all_but({line})
    os.umask(0o022)
    os.chdir("/")
    os.environ.clear()
    kernel.prctl(kernel.PR_SET_CHILD_SUBREAPER, 1)
    kernel.prctl(kernel.PR_SET_DUMPABLE, 0)
    with suppress(PermissionError):  # not root, or the root of a namespace that may not
        os.setgroups([])
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    most = MAX_OPEN if hard == resource.RLIM_INFINITY else min(MAX_OPEN, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    zygote = Zygote(control)
    try:
        zygote.serve()
    finally:
        zygote.leave()
    os._exit(0)  # all is tidy; while Python ends, a signal would be what we died of
