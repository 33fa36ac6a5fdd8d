"""A whole runtime in one process: home, tree, workspace and scripted model, driven from outside as a daemon does."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import msgspec
import trio
import trio.testing

from astrid.adapters.egress.network import Network
from astrid.adapters.store.journal import SqliteReader
from astrid.adapters.system import SystemEntropy
from astrid.adapters.workspace.shell import OpenShell
from astrid.box_ports import Shell
from astrid.core.approval import Answer, SignedAnswer, Verdict
from astrid.core.canon import Domain, encode
from astrid.core.chain import decode_body, decode_frame
from astrid.core.conversation import Image
from astrid.core.display import display_digest, render_question
from astrid.core.grants import Mode
from astrid.core.ids import parse_id
from astrid.core.install import install_id, verify_install
from astrid.core.prompt import PromptStatement, sign_prompt
from astrid.core.question import answer_block, question_digest
from astrid.core.records import Kind
from astrid.core.tokens import Assurance, Scope, issue
from astrid.home import Home, open_home
from astrid.kernel import Codec, Message, Ref, System, open_system
from astrid.messages.approvals import ListOpen, OpenQuestion
from astrid.messages.gate import Done, Failed
from astrid.messages.gateway import AddToken, Attended, Declined, GiveAnswer, Input, OpenSession, SessionOpened, Taken
from astrid.ports import Clock, LogStore
from astrid.runtime.boot import World
from astrid.runtime.config import AgentsTable
from astrid.runtime.tree import Directory, tree
from tests.fakes.clock import StillClock
from tests.fakes.home import HOLDER, USER, grant_workspace, make_home
from tests.fakes.journal import FakeLog
from tests.fakes.shared_model import NAME, SharedModel, shared_brain

LIMIT_SECONDS = 30
Json = dict[str, Any]


def call(tool: str, **arguments: object) -> Json:
    """A call as a script has the model make it."""
    return {"name": tool, "arguments": arguments}


def turn(*calls: Json, text: str = "go on") -> Json:
    """What a script has the model say."""
    return {"text": text, "tool_calls": list(calls)} if calls else {"text": text}


class Runtime:
    """One running tree.  ``failures`` are the errors by which actors ended."""

    def __init__(self, world: World, directory: Directory, system: System, workspace: Path, aud: bytes) -> None:
        self.failures: list[BaseException] = []
        self.world = world
        self.directory = directory
        self.system = system
        self.workspace = workspace
        self.aud = aud
        self.session = b""
        self.model = SharedModel()
        self._turn = 0
        self._behind: list[Json] = []

    @property
    def gateway(self) -> Ref:
        return self.directory.by_path["root/gateway"]

    async def by_ticket(self, make: Callable[[int], Message]) -> Any:
        ticket = self.world.desk.take()
        self.system.post(self.gateway, make(ticket.number))
        with trio.fail_after(LIMIT_SECONDS):
            return await ticket.wait_answer()

    async def grant(self, mode: Mode) -> None:
        now_s = self.world.clock.now_ns() // 10**9
        token = grant_workspace(self.world.home, self.aud, self.workspace, mode, now_s=now_s)
        answer = await self.by_ticket(lambda n: AddToken(ticket=n, token=token, source="test"))
        assert isinstance(answer, Done)

    async def open_shared(
        self, *, mode: str = "guided", interactive: bool = True, budget: int = 0, agent: str = ""
    ) -> bytes:
        """A session whose model others share (``model``); such a one can sleep."""
        brains: Any = self.world.catalogue
        brains._brains[NAME] = shared_brain(self.model)
        return await self.open_as(NAME, mode=mode, interactive=interactive, budget=budget, agent=agent)

    async def open_as(
        self, model: str, *, mode: str = "guided", interactive: bool = True, budget: int = 0, agent: str = ""
    ) -> bytes:
        """A session with the model of that name, which the catalogue has."""
        answer = await self.by_ticket(
            lambda n: OpenSession(
                ticket=n,
                workspace=str(self.workspace),
                mode=mode,
                model=model,
                budget_micros=budget,
                max_turns=0,
                interactive=interactive,
                agent=agent,
            )
        )
        assert isinstance(answer, SessionOpened), answer
        self.session, self._turn, self._behind = answer.session, 0, []
        self.events, _ = self.world.hub.subscribe(answer.session, 0)
        return answer.session

    async def open(
        self, script: list[Json], *, mode: str = "guided", interactive: bool = True, budget: int = 0
    ) -> SessionOpened | Failed:
        path = self.world.home.root.parent / f"script-{os.urandom(4).hex()}.jsonl"
        path.write_text("".join(json.dumps(line) + "\n" for line in script))
        answer = await self.by_ticket(
            lambda n: OpenSession(
                ticket=n,
                workspace=str(self.workspace),
                mode=mode,
                model=f"scripted:{path}",
                budget_micros=budget,
                max_turns=0,
                interactive=interactive,
            )
        )
        if isinstance(answer, SessionOpened):
            self.session = answer.session
            self._turn = 0
            self.events, _ = self.world.hub.subscribe(answer.session, 0)
            self._behind = []
        return answer

    async def say(self, text: str, *images: Image, signed: bool = False) -> Taken | Declined:
        self._turn += 1
        said = Input(session=self.session, turn=self._turn, text=text, signer=b"", signature=b"", images=images)
        statement = PromptStatement(self.aud, self.session, self._turn, text.encode())
        signature = sign_prompt(statement, USER) if signed else b""
        message = msgspec.structs.replace(said, signer=USER.public, signature=signature) if signed else said
        return cast("Taken | Declined", await self.system.ask(self.gateway, message, within=LIMIT_SECONDS))

    async def until(self, *names: str, within: float = LIMIT_SECONDS) -> list[Json]:
        """Events up to and with the first one of these names; what came behind it is kept for the next call."""
        seen: list[Json] = []
        with trio.fail_after(within):
            while True:
                while self._behind:
                    seen.append(self._behind.pop(0))
                    if seen[-1]["event"] in names:
                        return seen
                events = await self.events.wait_events()
                assert events, f"the session is over, after {seen}"
                self._behind += [json.loads(raw) for raw in events]

    async def attend(self, *, present: bool = True) -> None:
        self.system.post(self.gateway, Attended(session=self.session, present=present))
        await trio.testing.wait_all_tasks_blocked()

    async def question(self, event: Json) -> bytes:
        approvals = self.directory.by_path["root/approvals"]
        answer = await self.system.ask(approvals, ListOpen(), within=LIMIT_SECONDS)
        waiting = cast("tuple[OpenQuestion, ...]", answer)
        qid = parse_id("question", event["question_id"])
        return next(one.question for one in waiting if one.qid == qid)

    def answer_to(self, question: bytes, event: Json, verdict: Verdict) -> bytes:
        """What a person's signer would send."""
        qid = parse_id("question", event["question_id"])
        token, payload = b"", b""
        if verdict is not Verdict.DENY:
            block = answer_block(
                question,
                Scope(verdict - 1),
                issuer=USER.public,
                assurance=Assurance.SEALED,
                keeper=HOLDER.public,
                nonce=os.urandom(16),
            )
            token, payload = issue(block, USER), encode(block)
        answer = Answer(
            1,
            self.aud,
            question_digest(question),
            qid,
            verdict,
            payload,
            display_digest(render_question(question)),
            Assurance.SEALED,
            self.world.clock.now_ns() // 10**9,
            USER.public,
        )
        raw = encode(answer)
        return encode(SignedAnswer(raw, USER.sign(Domain.APPROVAL, raw), token))

    async def respond(self, event: Json, verdict: Verdict) -> Done | Failed:
        raw = self.answer_to(await self.question(event), event, verdict)
        return await self.by_ticket(lambda n: GiveAnswer(ticket=n, answer=raw))

    def records(self) -> list[tuple[Kind, object]]:
        """What is durable now."""
        return read_records(self.world.home)


def kinds(log: FakeLog) -> list[Kind]:
    """What a log in memory holds."""
    return [Kind(decode_frame(frame).kind) for frame in log.log]


def read_records(home: Home) -> list[tuple[Kind, object]]:
    reader = SqliteReader(home.log)
    try:
        frames = [decode_frame(data) for data in reader.frames(1, 100_000)]
    finally:
        reader.close()
    return [(Kind(frame.kind), decode_body(frame)) for frame in frames]


@asynccontextmanager
async def running(
    folder: Path,
    *,
    clock: Clock | None = None,
    store: LogStore | None = None,
    strict: Codec | None = None,
    broken: bool = False,
    idle_seconds: float | None = None,
    agents: Mapping[str, int] | None = None,
    shell: Shell | None = None,
    network: Network | None = None,
) -> AsyncIterator[Runtime]:
    """A runtime in ``folder``; made anew, or continued if it was there before.  Unless it is expected (``broken``), no
    actor may fail.  Commands run in ``shell``, or else without a box, and reach hosts
    through ``network``.
    """
    clock = clock or StillClock()
    workspace = folder / "workspace"
    if (folder / "home").exists():
        home = open_home(folder / "home")
        aud = install_id(verify_install(home.install.read_bytes()))
    else:
        home, aud = make_home(folder / "home", now_s=clock.now_ns() // 10**9)
        workspace.mkdir()
    failures: list[BaseException] = []
    world = World(home, clock=clock, entropy=SystemEntropy(), store=store, shell=shell or OpenShell(), network=network)
    if idle_seconds is not None:
        table: Any = msgspec.structs.replace(world.config.runtime, idle_secs=idle_seconds)
        world.config = msgspec.structs.replace(world.config, runtime=table)
    if agents is not None:
        world.config = msgspec.structs.replace(world.config, agents=AgentsTable(**agents))
    directory = Directory()
    try:
        async with open_system(
            tree(world, directory), strict=strict, on_failure=lambda _ref, _why, error: failures.append(error)
        ) as system:
            directory.system = system
            runtime = Runtime(world, directory, system, workspace, aud)
            runtime.failures = failures
            yield runtime
    finally:
        world.close()
    assert broken or not failures, failures
