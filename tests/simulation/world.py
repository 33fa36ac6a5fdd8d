"""The composition root over fake edges: the product's own tree, gate, hosts and sessions, and no folder anywhere.

Never: reads a file, a clock or entropy.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import trio

from astrid.core.canon import Digest, Domain, digest
from astrid.core.checkpoint import verify_checkpoint
from astrid.core.decide import Limits
from astrid.core.facts import Facts
from astrid.core.grants import Mode
from astrid.core.install import roots_of
from astrid.core.past import Past
from astrid.core.policy import DEFAULT_BLOCKED_TOOLS, Policy, PolicyConfig
from astrid.core.subagents import Subagent
from astrid.core.turn_limits import Limits as TurnLimits
from astrid.core.turn_messages import Setting
from astrid.errors import InputError
from astrid.home import Home, Secrets
from astrid.hosts.model import ModelServer
from astrid.ports import Entropy, LogReader, ToolServer
from astrid.runtime.boot import EPOCH, Identity, World, log_keys
from astrid.runtime.config import Config, Loaded, RuntimeTable, SecurityTable
from astrid.runtime.desk import Desk
from astrid.runtime.dormant import Dormitory
from astrid.runtime.hub import Hub
from astrid.runtime.log import read_log
from astrid.runtime.parts import Brain, Extra, Options, Place
from astrid.runtime.shelf import Shelf
from astrid.runtime.wallet import HolderWallet
from tests.fakes.home import HOLDER, RUNTIME
from tests.simulation.disk import Disk
from tests.simulation.edges import MODEL, SPECS, SimClock, SimModel
from tests.simulation.people import INSTALL, ROOT_PATH, WORKSPACE
from tests.simulation.plan import Plan

T = TypeVar("T")
IDENTITY = Identity(INSTALL, log_keys(INSTALL), roots_of(INSTALL, epoch=EPOCH), RUNTIME, HOLDER)
POLICIES = {
    "": PolicyConfig(),
    "asks": PolicyConfig(approval_required_tools=("note", "trusted")),
    "blocks": PolicyConfig(blocked_tools=(*DEFAULT_BLOCKED_TOOLS, "wipe", "trusted"), max_argument_size=4_000),
}
HOME_PATH = "/sim/home"
_READY = {name: Policy(config, home=HOME_PATH) for name, config in POLICIES.items()}


class SimCatalogue:
    """What sessions are made of: one workspace, and the model that a plan describes."""

    def __init__(self, plan: Plan, entropy: Entropy, tools: ToolServer, note: Callable[[str], None]) -> None:
        self._plan = plan
        self._entropy = entropy
        self._place = Place(WORKSPACE, ROOT_PATH, f"workspace:{WORKSPACE.hex()}", tools)
        self._shared = self._model(note, scripted=False)
        self._scripted = self._model(note, scripted=True)

    def _model(self, note: Callable[[str], None], *, scripted: bool) -> ModelServer:
        return ModelServer(SimModel(self._plan, note, scripted=scripted))

    def place(self, workspace: str) -> Place:
        if workspace != ROOT_PATH:
            raise InputError("workspace.sim", "there is one folder")
        return self._place

    def brain(self, model: str) -> Brain:
        if model == "scripted":
            toolbox = f"model:{self._entropy.random_bytes(16).hex()}"
            return Brain(MODEL, toolbox, self._scripted, scripted=True, context_tokens=10_000)
        return Brain(MODEL, f"model:{'0' * 32}", self._shared, scripted=False, context_tokens=10_000)

    def extras(self, place: Place) -> tuple[Extra, ...]:
        return ()

    def mode(self, name: str) -> Mode:
        return Mode(name)

    def setting(
        self, place: Place, brain: Brain, options: Options, now_ns: int, agent: Subagent | None = None
    ) -> Setting:
        limits = TurnLimits(
            asks_per_input=6, asks_per_session=14, calls_per_answer=20, side_by_side=4, argument_bytes=5_000
        )
        return Setting(
            model=brain.name,
            system="",
            max_tokens=1_000,
            tools=(),
            effects={spec.name: spec.effect_class for spec in SPECS},
            limits=limits,
        )

    def limits(self, budget_micros: int) -> Limits:
        plan = self._plan
        session = min(plan.session_micros, budget_micros or plan.session_micros)
        return Limits(min(plan.action_micros, session), session, plan.workspace_micros)

    def digest(self) -> Digest:
        return digest(Domain.TOOLDEF, b"simulated")


class SimWorld(World):
    """One daemon's world on a fake disk, which keeps the last checkpoint apart, as an anchor file does."""

    def __init__(self, plan: Plan, disk: Disk, clock: SimClock, entropy: Entropy, catalogue: SimCatalogue) -> None:
        self.home = Home(Path("/sim/home/.astrid"))
        self.clock = clock
        self.entropy = entropy
        self.disk = disk
        self.store = disk
        self.identity = IDENTITY
        idle = RuntimeTable(idle_secs=plan.idle_s)
        config = Config(security=SecurityTable(approval_timeout_secs=plan.wait_s), runtime=idle)
        self.loaded = Loaded(config, (POLICIES[plan.policy],), ())
        self.config = config
        self.policy = _READY[plan.policy]
        self.keys = IDENTITY.keys
        self.runtime_key = IDENTITY.runtime_key
        self.holder: bytes = IDENTITY.holder_key.public
        self.wallet = HolderWallet(IDENTITY.holder_key, IDENTITY.roots, entropy)
        self.secrets = Secrets(self.home)  # of which there are none, for that folder is nowhere
        self.dormitory = Dormitory()
        self.hub = Hub(self.dormitory.events)
        self.desk = Desk()
        self.subagents = {}
        self.facts = self._new_facts()
        self.shelf = Shelf(self.facts)
        self.catalogue = cast(Any, catalogue)
        self.spoilt: list[str] = []
        self._past: Past | None = None
        self._journal = None

    def _read_past(self, facts: Facts) -> Past:
        keys, pinned = self.keys, self.disk.pinned
        witnesses = [verify_checkpoint(pinned, keys.runtime_key, keys.log_id)] if pinned else []
        return read_log(self.disk, keys, witnesses, facts)

    def _keep(self, note: bytes) -> None:
        self.disk.pinned = note

    async def consult(self, look: Callable[[LogReader], T]) -> T:
        """Without a thread, in which nothing would be seeded; and never at once."""
        await trio.sleep(0.001)
        return look(self.disk.reader())
