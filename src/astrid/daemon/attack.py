"""A hostile child inside a real runtime: it has an actor, a registered key and a narrow token, and tries to get more.

Runs in a process and a home of its own, so that nothing it does touches anybody's log.  The runtime around it is the
real one: the same tree, gate, log and tools; only the gateway is replaced by one that registers the child.

Source: threats 1, 2, 3, 13, 14; protocol N2.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path

import msgspec
import trio

from astrid.adapters.store import tamper
from astrid.adapters.store.journal import SqliteReader
from astrid.adapters.system import SystemClock, SystemEntropy
from astrid.core import gate_decide, gate_state
from astrid.core.call import encode_call
from astrid.core.canon import Domain, decode, encode
from astrid.core.decide import Ask, Limits
from astrid.core.facts import Tool
from astrid.core.gate_messages import Outcome, Propose, Refused
from astrid.core.gate_records import question_for
from astrid.core.grants import GrantTerms, Mode, session_block, workspace_grant
from astrid.core.ids import session_id
from astrid.core.install import NO_LOSS, Install, Root, install_id, sign_statement
from astrid.core.keys import SigningKey
from astrid.core.question import answer_block
from astrid.core.risk import Risk
from astrid.core.tokens import (
    MAX_CHAIN_BYTES,
    UNLIMITED_MICROS,
    Assurance,
    Block,
    Grant,
    Permission,
    Refusal,
    Scope,
    SignedBlock,
    Token,
    attenuate,
    block_id,
    issue,
    verify_chain,
)
from astrid.errors import InputError
from astrid.home import Home, open_home, write_guarded
from astrid.hosts.tool_host import Ping, tool_host
from astrid.kernel import Actor, ChildSpec, Ref, Sender, open_system
from astrid.messages.gate import Done, Failed, Register
from astrid.runtime.boot import World, load_install
from astrid.runtime.tree import RANKS, Directory, tree

HOUR = 3600
WAIT_SECONDS = 20.0


class Attempt(msgspec.Struct, frozen=True):
    """One attack, and what became of it.  ``expected`` is ``refused`` or ``allowed``."""

    name: str
    refused: bool
    layer: str
    code: str
    reason: str
    advice: str
    expected: str

    @property
    def held(self) -> bool:
        """Whether it went as it must."""
        return self.refused == (self.expected == "refused")


def run() -> list[Attempt]:
    """Every attack, in order."""
    with tempfile.TemporaryDirectory(prefix="astrid-attack-") as folder:
        return trio.run(_attack, Path(folder))


class Keys:
    """The keys of the throwaway home and of the three principals in it."""

    def __init__(self) -> None:
        self.runtime_seed, self.holder_seed = os.urandom(32), os.urandom(32)
        self.runtime, self.holder = SigningKey.from_seed(self.runtime_seed), SigningKey.from_seed(self.holder_seed)
        self.user, self.parent, self.child, self.other = (SigningKey.from_seed(os.urandom(32)) for _ in range(4))


class Gateway(Actor):
    """Registers whom it is told to, as the real gateway does for sessions."""

    def __init__(self, directory: Directory, registered: trio.Event) -> None:
        self._directory = directory
        self._registered = registered

    async def started(self) -> None:
        """Be found."""
        self._directory.add(self.ctx.ref)

    async def receive(self, message: object, sender: Sender) -> object:
        """Pass registrations on; what comes back is of no interest."""
        if isinstance(message, Register):
            self.ctx.post(self._directory.by_path["root/interceptor"], message, message.id)
        elif isinstance(message, Done):
            self._registered.set()
        elif isinstance(message, Failed):
            raise RuntimeError(f"registration failed: {message.reason}")
        return None


class Child(Actor):
    """The attacker: proposes what it is handed and passes on what it is told."""

    def __init__(self, interceptor: Ref, answers: trio.MemorySendChannel[Outcome | Refused]) -> None:
        self._interceptor = interceptor
        self._answers = answers

    async def receive(self, message: object, sender: Sender) -> object:
        """One proposal, or one answer."""
        if isinstance(message, Propose):
            self.ctx.post(self._interceptor, message, message.proposal)
        elif isinstance(message, Outcome | Refused):
            self._answers.send_nowait(message)
        return None


async def _attack(folder: Path) -> list[Attempt]:
    keys = Keys()
    workspace = folder / "workspace"
    (workspace / "src").mkdir(parents=True)
    (workspace / "src" / "open.txt").write_text("for the child to read\n")
    (workspace / "secret.txt").write_text("not for the child\n")
    home = open_home(folder / "home", make=True)
    _install(home, keys)
    world = World(home, clock=SystemClock(), entropy=SystemEntropy())
    directory = Directory()
    whole = tree(world, directory)
    registered = trio.Event()
    gateway = ChildSpec(id="gateway", factory=lambda: Gateway(directory, registered), rank=RANKS["gateway"])
    hostile = msgspec.structs.replace(whole, children=(*whole.children[:-1], gateway))
    async with open_system(hostile) as system:
        directory.system = system
        attack = _Attack(world, directory, keys, workspace)
        with trio.fail_after(WAIT_SECONDS * 3):
            await attack.prepare()
            await registered.wait()
            return await attack.run()


def _install(home: Home, keys: Keys) -> None:
    root = Root(keys.user.public, Assurance.SEALED)
    install = Install(1, os.urandom(32), keys.runtime.public, (root,), 1, NO_LOSS)
    write_guarded(home.install, sign_statement(Domain.INSTALL, install, keys.user), what="the install statement")
    for path, seed in ((home.runtime_key, keys.runtime_seed), (home.holder_key, keys.holder_seed)):
        write_guarded(path, seed, what="a key")


class _Attack:
    """The child's tokens, and what it tries with them."""

    def __init__(self, world: World, directory: Directory, keys: Keys, workspace: Path) -> None:
        self._world = world
        self._directory = directory
        self._keys = keys
        self._root = str(workspace.resolve())
        self._place = world.catalogue.place(self._root)
        self._send, self._receive = trio.open_memory_channel[Outcome | Refused](16)
        self._session = session_id(os.urandom(16), scripted=True)
        self._next = 1
        self._roots = world.identity.roots

    async def prepare(self) -> None:
        """Tokens, tools, and the child registered under its own key."""
        keys, now = self._keys, self._world.clock.now_ns() // 10**9
        terms = GrantTerms(
            issuer=keys.user.public,
            holder=keys.holder.public,
            aud=self._world.keys.install,
            workspace=self._place.identity,
            root=self._root,
            not_before_s=now - 1,
            expires_s=now + HOUR,
            purse_micros=UNLIMITED_MICROS,
            assurance=Assurance.SEALED,
            nonce=os.urandom(16),
        )
        grant = verify_chain(issue(workspace_grant(Mode.GUIDED, terms), keys.user), self._roots)
        self.parent = self._pass_on(grant, keys.holder, keys.parent.public, grant.leaf.grants)
        self.child_grants = (Grant(f"{self._files}/src/**", Permission.READ, 0, 0, b""),)
        self.mine = self._pass_on(self.parent, keys.parent, keys.child.public, self.child_grants)
        self.stranger = self._pass_on(self.parent, keys.parent, keys.other.public, self.child_grants)
        system = self._directory.running()
        interceptor = self._directory.by_path["root/interceptor"]
        host = tool_host("workspace", self._place.toolbox, lambda: self._place.server, interceptor, self._directory.add)
        system.supervisor("root/tools").start_child(host)
        front = system.ref("root/tools/workspace/front")
        await system.ask(front, Ping(), within=WAIT_SECONDS)
        actor = Child(interceptor, self._send)
        spec = ChildSpec(id="child", factory=lambda: actor, restart="temporary", rank=RANKS["sessions"])
        self._ref = system.supervisor("root/sessions").start_child(spec)
        self._directory.add(self._ref)
        register = Register(
            id=1,
            ref=self._ref.id,
            key=keys.child.public,
            session=self._session,
            workspace=self._place.identity,
            toolboxes=(self._place.toolbox,),
            mode="guided",
            model="none",
            scripted=True,
            asks=False,
            limits=Limits(10**6, 10**6, 10**6),
        )
        system.post(self._directory.by_path["root/gateway"], register)

    @property
    def _files(self) -> str:
        return f"file:/{self._root}"

    def _pass_on(self, parent: Token, key: SigningKey, holder: bytes, grants: tuple[Grant, ...]) -> Token:
        return verify_chain(attenuate(parent, self._narrower(parent, holder, grants), key), self._roots)

    def _narrower(self, parent: Token, holder: bytes, grants: tuple[Grant, ...]) -> Block:
        block = session_block(
            parent.leaf, parent.id, holder=holder, session=self._session, purse_micros=10**6, nonce=os.urandom(16)
        )
        return msgspec.structs.replace(block, grants=grants)

    # --- attacks

    async def run(self) -> list[Attempt]:
        """All of them."""
        read, secret = b'{"file_path":"src/open.txt"}', b'{"file_path":"secret.txt"}'
        chain = decode(self.mine.raw, tuple[SignedBlock, ...], max_bytes=MAX_CHAIN_BYTES, what="a token")
        flipped = bytearray(self.mine.raw)
        flipped[len(flipped) // 2] ^= 1
        foreign = decode(self.stranger.raw, tuple[SignedBlock, ...], max_bytes=MAX_CHAIN_BYTES, what="a token")
        attempts = [
            await self._try("its own narrow token, within its bounds", read, self.mine.raw, expected="allowed"),
            await self._try("its own token, for a file outside its bounds", secret, self.mine.raw),
            await self._try("the parent's token", secret, self.parent.raw),
            await self._try("its own token cut back to the parent's part", secret, encode(chain[:-1])),
            await self._try("the token of another child", read, self.stranger.raw),
            await self._try("a token with one bit flipped", read, bytes(flipped)),
            await self._try("a block of its own making, wider than its parent", secret, self._wider()),
            await self._try("a block taken from another chain", read, encode((*chain, foreign[-1]))),
            await self._try("no token at all", read, None),
        ]
        return attempts + await self._replays()

    async def _replays(self) -> list[Attempt]:
        """A once token, used as it was meant to be, and then again in every way to write it down."""
        args = b'{"file_path":"secret.txt"}'
        once = await self._once(args)
        blocks = decode(once, tuple[SignedBlock, ...], max_bytes=MAX_CHAIN_BYTES, what="a token")
        (block,) = blocks
        payload = block.payload
        respelt = {
            "the same bytes": once,
            "with a longer array header": b"\xdc\x00\x01" + once[1:],
            "with an even longer array header": b"\xdd\x00\x00\x00\x01" + once[1:],
            "with a longer byte-string header": once.replace(
                b"\xc5" + len(payload).to_bytes(2, "big"), b"\xc6" + len(payload).to_bytes(4, "big"), 1
            ),
            "with bytes behind it": once + b"\xc0",
            "with a block appended": encode((block, self._extension(payload))),
        }
        attempts = [await self._try("a once token, the first time", args, once, expected="allowed")]
        for how, raw in respelt.items():
            attempts.append(await self._try(f"the used once token, {how}", args, raw))
        return attempts

    async def _once(self, args: bytes) -> bytes:
        """A token for exactly one call of ``read_file``, as a person's yes makes it, but handed out directly."""
        server = self._place.server
        preparation = await server.prepare("read_file", args)
        spec = next(spec for spec in server.specs() if spec.name == "read_file")
        facts = self._world.facts
        pending = gate_state.Pending(
            0,
            self._ref.id,
            Propose(proposal=0, tool="read_file", args=args, tokens=(), tainted=True),
            gate_state.Stage.PREPARING,
            Tool(self._place.toolbox, spec, spec.tooldef(), 0, 0),
        )
        principal = facts.principals[self._ref.id]
        call = gate_decide.make_call(pending, principal, preparation, facts)
        now = facts.time_s(self._world.clock.now_ns())
        ask = Ask(Risk.LOW, "", Refusal("token.none", ""), once_only=True, strong=False)
        question = question_for(facts, call, encode_call(call), ask, preparation, os.urandom(16), now * 10**9)
        block = answer_block(
            question,
            Scope.ONCE,
            issuer=self._keys.user.public,
            assurance=Assurance.SEALED,
            keeper=self._keys.holder.public,
            nonce=os.urandom(16),
        )
        # Nobody was asked, so there is no settling record to make a question's token live: the child gets one without.
        return issue(msgspec.structs.replace(block, question=b""), self._keys.user)

    def _wider(self) -> bytes:
        """What the child can sign itself: its own block with more in it, put together by hand."""
        grants = (Grant(f"{self._files}/**", Permission.READ | Permission.WRITE, 0, 1, b""),)
        payload = encode(self._narrower(self.mine, self._keys.other.public, grants))
        block = SignedBlock(payload, self._keys.child.sign(Domain.BLOCK, payload))
        chain = decode(self.mine.raw, tuple[SignedBlock, ...], max_bytes=MAX_CHAIN_BYTES, what="a token")
        return encode((*chain, block))

    def _extension(self, payload: bytes) -> SignedBlock:
        """A block behind the once block, for another holder, so that the chain has another digest."""
        parent = decode(payload, Block, max_bytes=MAX_CHAIN_BYTES, what="a block")
        block = msgspec.structs.replace(
            parent,
            parent=block_id(payload),
            issuer=self._keys.child.public,
            holder=self._keys.other.public,
            nonce=os.urandom(16),
        )
        extended = encode(block)
        return SignedBlock(extended, self._keys.child.sign(Domain.BLOCK, extended))

    async def _try(self, name: str, args: bytes, token: bytes | None, *, expected: str = "refused") -> Attempt:
        tokens = () if token is None else (token,)
        self._next += 1
        propose = Propose(proposal=self._next, tool="read_file", args=args, tokens=tokens, tainted=True)
        self._directory.running().post(self._ref, propose)
        answer = await self._receive.receive()
        if isinstance(answer, Refused):
            return Attempt(name, True, answer.layer, answer.code, answer.reason, answer.advice, expected)
        return Attempt(name, False, "", "", "", "", expected)


def damage(kind: str, home: Path) -> None:
    """Damage the log of ``home``, which is a copy, in the way called ``kind``."""
    log, install = Home(home).log, load_install(Home(home))
    reader = SqliteReader(log)
    size = reader.size()
    reader.close()
    match kind:
        case "bit":
            tamper.flip_bit(log, size // 2)
        case "cut":
            tamper.cut_tail(log, size // 2)
        case "swap":
            tamper.swap(log, size // 2, size // 2 + 1)
        case "re-signed":
            tamper.rewrite(log, install_id(install), install.log_id, size // 2, SigningKey.from_seed(os.urandom(32)))
        case _:
            raise InputError(
                "attack.unknown", f"there is no damage called `{kind}`", advice="bit, cut, swap or re-signed"
            )


def main(arguments: list[str]) -> int:
    """``child``: print every attempt as JSON, 0 if all went as they must.  ``damage KIND HOME``: damage a copy of a
    home.
    """
    if arguments[:1] == ["damage"] and len(arguments) == 3:
        damage(arguments[1], Path(arguments[2]))
        return 0
    attempts = run()
    json.dump([msgspec.to_builtins(attempt) | {"held": attempt.held} for attempt in attempts], sys.stdout)
    return 0 if all(attempt.held for attempt in attempts) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
