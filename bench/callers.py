"""The two ends of a call on the bench: who proposes it, with what token, and the tool.  No question of its own."""

from __future__ import annotations

import time
from collections.abc import Callable

import trio

from astrid.core.call import Call, Need, Preparation
from astrid.core.decide import Limits
from astrid.core.gate_messages import Outcome, Propose
from astrid.core.keys import SigningKey
from astrid.core.tokens import Assurance, Grant, Permission, Roots, Scope, attenuate, issue, verify_chain
from astrid.core.tools import ToolSpec
from astrid.core.verify import LogKeys
from astrid.kernel import Actor, Message, Posted, Ref, Sender
from astrid.messages.gate import Done
from astrid.ports import ToolOutcome
from tests.fakes.authority import block
from tests.fakes.rules import spec

ZEROS = b"\0" * 32
AUD, LOG_ID, WORKSPACE = b"A" * 32, b"L" * 32, b"W" * 32
USER, HOLDER, KEEPER, RUNTIME = (SigningKey.from_seed(bytes([number]) * 32) for number in range(101, 105))
KEYS = LogKeys(AUD, LOG_ID, RUNTIME.public)
ROOTS = Roots({USER.public: Assurance.SEALED}, 1)
LIMITS = Limits(10**9, 10**12, 10**12)
TOOL: ToolSpec = spec("write_file", "staging")
ARGS = b'{"path": "src/main.py", "content": "' + b"x" * 162 + b'"}'
ANSWER = b"wrote 162 bytes to src/main.py" + b"." * 98
CALLERS_PER_HOST = 64
GRANTS = (
    Grant("file://w/doc/**", int(Permission.READ), 2, 3, b""),
    Grant("file://w/src/**", int(Permission.READ | Permission.WRITE), 2, 3, b""),
)
NEED = Need("file://w/src/main.py", int(Permission.WRITE))


def token_for(session: bytes, key: bytes, now_s: int) -> bytes:
    """A chain of three blocks that ends at ``key`` in ``session``."""
    times = {"not_before": now_s - 60, "expires": now_s + 86_400}
    grant = block(issuer=USER.public, holder=HOLDER.public, aud=AUD, workspace=WORKSPACE, grants=GRANTS, **times)
    top = verify_chain(issue(grant, USER), ROOTS)
    kept = block(
        parent=top.id,
        issuer=HOLDER.public,
        holder=KEEPER.public,
        aud=AUD,
        workspace=WORKSPACE,
        grants=GRANTS,
        depth=4,
        **times,
    )
    middle = verify_chain(attenuate(top, kept, HOLDER), ROOTS)
    own = block(
        parent=middle.id,
        issuer=KEEPER.public,
        holder=key,
        aud=AUD,
        workspace=WORKSPACE,
        grants=GRANTS[1:],
        depth=3,
        scope=Scope.SESSION,
        session=session,
        **times,
    )
    return attenuate(middle, own, KEEPER)


class Quick:
    """The ``ToolServer`` port: looks and acts at once."""

    def specs(self) -> tuple[ToolSpec, ...]:
        return (TOOL,)

    def glance(self, tool: str, args: bytes) -> Preparation:
        return Preparation(needs=(NEED,), max_micros=40)

    async def prepare(self, tool: str, args: bytes) -> Preparation:
        return self.glance(tool, args)

    async def execute(self, call: Call, report: Callable[[bytes], None]) -> ToolOutcome:
        return ToolOutcome(content=ANSWER, is_error=False, effect="done", spent_micros=40)


class Go(Message, frozen=True, kw_only=True):
    """To a caller: make so many calls, one after the other."""

    calls: int


class Caller(Actor):
    """In the place of a session."""

    def __init__(self, interceptor: Ref, tokens: tuple[bytes, ...], latencies: list[float]) -> None:
        self._interceptor = interceptor
        self._tokens = tokens
        self._latencies = latencies
        self._left = 0
        self._number = 0
        self._began = 0.0
        self._finished: Callable[[], None] = lambda: None

    def expect(self, finished: Callable[[], None]) -> None:
        """``finished`` is called when the calls of the next ``Go`` are made."""
        self._finished = finished

    async def receive(self, message: object, sender: Sender) -> object:
        match message:
            case Go():
                self._left = message.calls
                self._propose()
            case Outcome(is_error=False):
                self._latencies.append(time.perf_counter() - self._began)
                self._left -= 1
                if self._left:
                    self._propose()
                else:
                    self._finished()
            case _:
                raise AssertionError(f"a call did not end well: {message}")
        return None

    def _propose(self) -> None:
        self._number += 1
        self._began = time.perf_counter()
        propose = Propose(proposal=self._number, tool=TOOL.name, args=ARGS, tokens=self._tokens, tainted=False)
        posted = self.ctx.post(self._interceptor, propose, self._number)
        assert posted is Posted.ACCEPTED, posted


class Gateway(Actor):
    """Registers callers, and nothing else."""

    def __init__(self) -> None:
        self.registered = 0
        self._wanted = 0
        self._all = trio.Event()

    async def receive(self, message: object, sender: Sender) -> object:
        assert isinstance(message, Done), message
        self.registered += 1
        if self.registered == self._wanted:
            self._all.set()
        return None

    async def wait_registered(self, count: int) -> None:
        """Return when so many are, durably."""
        self._wanted = count
        if self.registered < count:
            await self._all.wait()
