"""The supervision tree on one screen.

    root                 rest_for_one: start order is dependency order
    ├─ audit             the log
    ├─ approvals         questions to people
    ├─ interceptor       the gate: every effect passes here
    ├─ tools             one_for_one: workspace-, skills-, results- and model-<id>, each a front and its workers
    ├─ sessions          one_for_one: <session id>
    ├─ archive           reads what the log says of a session that is to wake
    └─ gateway           opens and closes sessions for connections

Source: architecture 4.
"""

from __future__ import annotations

from collections.abc import Callable

from astrid.guard.approvals import Approvals
from astrid.guard.audit import Audit
from astrid.guard.interceptor import Interceptor
from astrid.kernel import ChildSpec, Ref, SupervisorSpec, System
from astrid.runtime.archive import Archive
from astrid.runtime.boot import World
from astrid.runtime.gateway import Gateway
from astrid.runtime.opening import Opener
from astrid.runtime.roster import Roster

RANKS = {
    "audit": 10,
    "archive": 15,
    "approvals": 20,
    "tools": 25,
    "interceptor": 30,
    "sessions": 40,
    "gateway": 50,
}
CAPACITY = 65_536


class Directory:
    """Who is where: filled as actors start, read by those who may reach them."""

    def __init__(self) -> None:
        self.by_path: dict[str, Ref] = {}
        self.by_id: dict[int, Ref] = {}
        self.system: System | None = None
        self._living = 0  # when it was last looked

    def add(self, ref: Ref) -> None:
        """``ref`` has started (again)."""
        self.by_path[ref.path] = ref
        self.by_id[ref.id] = ref
        if len(self.by_id) > 2 * self._living + 64:  # of those that ended for good nobody asks again
            gone = [known for known in self.by_id.values() if not known.alive]
            for known in gone:
                del self.by_id[known.id]
                if self.by_path.get(known.path) == known:
                    del self.by_path[known.path]
            self._living = len(self.by_id)

    def remove(self, ref: Ref) -> None:
        """``ref`` has ended for good, and is to be forgotten at once: it holds on to what it was made of."""
        self.by_id.pop(ref.id, None)
        if self.by_path.get(ref.path) == ref:
            del self.by_path[ref.path]

    def later(self, path: str) -> Callable[[], Ref | None]:
        """The actor at ``path``, which starts later than whoever asks; ``None`` until then."""
        return lambda: self.by_path.get(path)

    def running(self) -> System:
        """The system, once it is open."""
        if self.system is None:
            raise LookupError("the system is not open yet")
        return self.system


def tree(world: World, directory: Directory) -> SupervisorSpec:
    """The whole runtime as data."""
    roster = Roster()

    def audit() -> Audit:
        return Audit(
            world.open_log,
            clock=world.clock,
            key=world.runtime_key,
            log_id=world.keys.log_id,
            gate=directory.later("root/interceptor"),
            made=directory.add,
        )

    def approvals() -> Approvals:
        return Approvals(
            world.open_questions,
            log_ns=lambda: world.facts.durable_ns,
            audit=directory.by_path["root/audit"],
            interceptor=directory.later("root/interceptor"),
            gateway=directory.later("root/gateway"),
            clock=world.clock,
            entropy=world.entropy,
            made=directory.add,
        )

    def interceptor() -> Interceptor:
        return Interceptor(
            world.open_gate,
            audit=directory.by_path["root/audit"],
            approvals=directory.by_path["root/approvals"],
            refs=directory.by_id,
            clock=world.clock,
            entropy=world.entropy,
            approval_seconds=world.config.security.approval_timeout_secs,
            made=directory.add,
        )

    def archive() -> Archive:
        return Archive(
            world.consult,
            world.keys,
            world.identity.roots,
            gate=directory.later("root/interceptor"),
            made=directory.add,
        )

    def gateway() -> Gateway:
        opener = Opener(
            facts=lambda: world.facts,
            catalogue=world.catalogue,
            wallet=world.wallet,
            holder=world.holder,
            shelf=lambda: world.shelf,
            refs=directory.by_path,
            supervisor=lambda path: directory.running().supervisor(path),
            find=lambda path: directory.running().ref(path),
            made=directory.add,
            gone=directory.remove,
            clock=world.clock,
            entropy=world.entropy,
            subagents=world.subagents,
            redactor=world.secrets.redactor,
        )
        return Gateway(
            facts=lambda: world.facts,
            opener=opener,
            shelf=lambda: world.shelf,
            hub=world.hub,
            desk=world.desk,
            roster=roster,
            dormitory=world.dormitory,
            idle_seconds=world.config.runtime.idle_secs,
            subagents=world.subagents,
            limits=world.config.agents,
            refs=directory.by_path,
            made=directory.add,
        )

    return SupervisorSpec(
        id="root",
        strategy="rest_for_one",
        intensity=6,  # a part of the guard that breaks takes the log's writer with it, and counts twice
        period=60.0,
        delay=(0.1, 5.0),
        children=(
            ChildSpec(id="audit", factory=audit, rank=RANKS["audit"], capacity=CAPACITY, shutdown=30.0),
            ChildSpec(id="approvals", factory=approvals, rank=RANKS["approvals"], capacity=CAPACITY),
            ChildSpec(
                id="interceptor",
                factory=interceptor,
                rank=RANKS["interceptor"],
                capacity=CAPACITY,
                control_capacity=1024,
            ),
            SupervisorSpec(id="tools", rank=RANKS["tools"], stop="together"),
            SupervisorSpec(id="sessions", rank=RANKS["sessions"], stop="together"),
            ChildSpec(id="archive", factory=archive, rank=RANKS["archive"]),
            ChildSpec(
                id="gateway",
                factory=gateway,
                rank=RANKS["gateway"],
                capacity=CAPACITY,
                control_capacity=1024,
            ),
        ),
    )
