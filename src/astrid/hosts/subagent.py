"""The ``task`` tool: have a sub-agent do something, and get its answer.

To delegate is to show a text to the model that the user chose, and nothing else: it changes nothing and lends nothing.
Whatever the sub-agent then does is proposed and decided on a token of its own, which is within its caller's, and is
paid for there; so the call itself is free, and its class is a model's.

Its host needs no workers: once a call is permitted it asks the gateway, and answers when that does.

Never: starts a sub-agent, or says what one did that nobody heard of again.

Source: architecture 5, 6 ("Sub-agents"); threats 3, 10, 28.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from astrid.core.call import Call, Need, Preparation
from astrid.core.gate_messages import Execute
from astrid.core.resources import tool_resource
from astrid.core.risk import EffectClass
from astrid.core.subagents import HOST_ID, MAX_TIMEOUT_SECONDS, TASK_TOOL, Subagent, read_task
from astrid.core.tokens import Permission
from astrid.core.tools import ControlKind, OutputTrust, ToolSpec
from astrid.errors import Effect, InputError, InternalError
from astrid.hosts.tool_host import ToolHost
from astrid.hosts.tool_worker import STOPPED, Ran
from astrid.kernel import Down, Posted, Ref, Sender
from astrid.messages.gateway import Delegate, Delegated, TakeBack
from astrid.ports import ToolOutcome, ToolServer

GATEWAY = "root/gateway"
_ZEROS = b"\0" * 32
_BUSY = b"agent.busy: the daemon has too much to do; nothing was done"
_LOST = b"agent.lost: a part of the daemon broke; what the sub-agent did is unknown"
_DESCRIPTION = """\
Have a sub-agent do one task and give you its last message. It knows nothing of this conversation, so say all that it \
needs in `prompt`. It may do no more than you may. Several at once work side by side. With `output_schema` (object, \
array, string, integer and boolean with bounds, enum, const) only a value of that schema comes back.
"""


class SubagentServer:
    """The ``ToolServer`` port over ``agents``, but for running a call: that is ``SubagentHost``'s."""

    def __init__(self, agents: Mapping[str, Subagent]) -> None:
        self._agents = agents
        self._spec = _spec(agents)

    def specs(self) -> tuple[ToolSpec, ...]:
        """One tool."""
        return (self._spec,)

    def glance(self, tool: str, args: bytes) -> Preparation:
        """The right to delegate to the agent that is named.  What makes no sense is refused before anything starts."""
        task = read_task(args)
        if task.agent not in self._agents:
            raise InputError(
                "agent.unknown",
                f"there is no sub-agent `{task.agent}`",
                advice=f"name one of these: {', '.join(self._agents)}",
            )
        return Preparation(needs=(Need(tool_resource(HOST_ID, task.agent).text, Permission.DELEGATE),))

    async def prepare(self, tool: str, args: bytes) -> Preparation:
        """The same: there is nothing to look for."""
        return self.glance(tool, args)

    async def execute(self, call: Call, report: Callable[[bytes], None]) -> ToolOutcome:
        """Never called: a worker has no way to the gateway."""
        raise InternalError("agent.worker", "a task is not run by a worker")


class SubagentHost(ToolHost):
    """The front of ``task``: passes what is permitted on to the gateway."""

    def __init__(
        self,
        server: ToolServer,
        toolbox: str,
        interceptor: Ref,
        made: Callable[[Ref], None],
        gateway: Callable[[], Ref],
    ) -> None:
        super().__init__(server, toolbox, interceptor, made)
        self._gateway = gateway
        self._tasks: dict[int, int] = {}  # that the gateway is to answer: the permit of each, by ref

    async def receive(self, message: object, sender: Sender) -> object:
        """One message."""
        match message:
            case Delegated() if sender.path == GATEWAY:
                self._settle(message)
            case Down() if message.ref == self._gateway():
                for ref in list(self._tasks):
                    self._end(ref, _LOST)
            case _:
                return await super().receive(message, sender)
        return None

    def _begin(self, message: Execute, call: Call) -> None:
        gateway = self._gateway()
        asked = Delegate(id=message.ref, principal=call.principal_key, args=call.args, tainted=call.tainted)
        self.ctx.monitor(gateway)
        self._tasks[message.ref] = message.permit_seq
        if self.ctx.post(gateway, asked, ("Delegate", message.ref)) is not Posted.ACCEPTED:
            self._end(message.ref, _BUSY, effect="none")

    def _withdraw(self, ref: int) -> None:
        if ref in self._tasks:
            self.ctx.forget(("Delegate", ref))
            self.ctx.post(self._gateway(), TakeBack(id=ref))
            self._end(ref, STOPPED)

    def _settle(self, message: Delegated) -> None:
        ran = Ran(
            ref=message.id,
            content=message.content,
            is_error=message.is_error,
            effect=message.effect,
            spent_micros=0,
            untrusted=message.untrusted,
            chosen=message.chosen,
        )
        permit_seq = self._tasks.pop(message.id, None)
        if permit_seq is not None:
            self._answer(permit_seq, ran)

    def _end(self, ref: int, why: bytes, *, effect: Effect = "maybe") -> None:
        self._answer(self._tasks.pop(ref), Ran(ref=ref, content=why, is_error=True, effect=effect, spent_micros=0))


def _spec(agents: Mapping[str, Subagent]) -> ToolSpec:
    schema = {
        "additionalProperties": False,
        "properties": {
            "agent": {
                "description": "; ".join(f"{one.name}: {one.description}" for one in agents.values()),
                "enum": list(agents),
                "type": "string",
            },
            "description": {"description": "what it is about, in a few words", "type": "string"},
            "max_usd": {"description": "dollars it may spend, such as 0.50; yours if left away", "type": "string"},
            "output_schema": {"description": "a JSON Schema that the answer must fit", "type": "object"},
            "prompt": {"description": "the task", "type": "string"},
            "timeout_secs": {"maximum": MAX_TIMEOUT_SECONDS, "minimum": 1, "type": "integer"},
        },
        "required": ["agent", "description", "prompt"],
        "type": "object",
    }
    return ToolSpec(
        name=TASK_TOOL,
        host_kind="agents",
        host_id=HOST_ID,
        description=_DESCRIPTION.encode(),
        schema=msgspec.json.encode(schema, order="sorted"),
        effect=EffectClass.MODEL.value,
        control=(("agent", ControlKind.PRINCIPAL.value),),
        verbs=("delegate",),
        nouns=("task",),
        output_trust=OutputTrust.FIRST_PARTY,  # each answer says whether it is (``ToolOutcome.untrusted``)
        endorsed_fields=(),
        creates_id="",
        code=_ZEROS,
        profile=_ZEROS,
        fresh=False,
    )
