"""Principals that do whatever they like: a parent with a key of its own, a child with a narrower token, and a stranger
whom nobody registered.

They present each other's tokens and those of honest sessions, cut, splice and flip them, propose what no tool takes,
cancel what is not theirs, and say what only the guard may say.  Each proposal that they do not give up must end once.

Source: threats 1, 4, 5, 25, 30; protocol N2.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import msgspec

from astrid.core.call import Preparation
from astrid.core.gate_messages import (
    Answered,
    Approved,
    Cancel,
    Deferred,
    Executed,
    Outcome,
    Prepared,
    Propose,
    Put,
    Refused,
)
from astrid.core.keys import SigningKey
from astrid.core.records import JournalRow
from astrid.core.tokens import Roots, attenuate, verify_chain
from astrid.kernel import Actor, Message, Posted, Ref, Sender
from astrid.messages.gate import Prompted, Save, TakeIn
from astrid.messages.log import LogTrouble, Recorded
from astrid.ports import Entropy
from tests.simulation.edges import arguments
from tests.simulation.plan import TOOLS, VARIANTS, Call

TOKENS = ("own", "all", "others", "none", "flipped", "cut", "spliced", "many", "given", "stolen")
TRICKS = (
    *("propose",) * 10,
    *("again", "cancel", "cancel-at-once", "save", "say", "foreign", "same-number", "burst", "burst", "burst"),
)
Wrong = Callable[[str, str], None]


class Rogue(Actor):
    """One of them.  ``owed`` are its proposals that have not ended and that it has not given up."""

    def __init__(self, name: str, tokens: tuple[bytes, ...], interceptor: Callable[[], Ref], wrong: Wrong) -> None:
        self.name = name
        self.tokens = tokens
        self.given: list[bytes] = []  # what people's answers made
        self.owed: dict[int, Propose] = {}
        self.ends: Counter[int] = Counter()
        self.heard: list[object] = []
        self._number = 0
        self._interceptor = interceptor
        self._wrong = wrong
        self._given_up: set[int] = set()

    async def receive(self, message: object, sender: Sender) -> object:
        match message:
            case Outcome() | Refused() | Deferred() | Approved():
                self._ended(message)
            case _:
                pass
        return None

    def _ended(self, message: Outcome | Refused | Deferred | Approved) -> None:
        number = message.proposal
        self.heard.append(message)
        self.ends[number] += 1
        if self.ends[number] > 1 or (number not in self.owed and number not in self._given_up):
            self._wrong("I5", f"proposal {number} of {self.name} ended twice, or was never made")
        proposal = self.owed.pop(number, None)
        if isinstance(message, Approved):
            self.given.append(message.token)
            if proposal is not None:
                self._propose(proposal.tool, proposal.args, (message.token,), tainted=proposal.tainted)

    def propose(self, tool: str, args: bytes, tokens: tuple[bytes, ...], *, tainted: bool) -> int:
        """Propose something; its number."""
        return self._propose(tool, args, tokens, tainted=tainted)

    def _propose(self, tool: str, args: bytes, tokens: tuple[bytes, ...], *, tainted: bool) -> int:
        self._number += 1
        message = Propose(proposal=self._number, tool=tool, args=args, tokens=tokens, tainted=tainted)
        if self.ctx.post(self._interceptor(), message, self._number) is Posted.ACCEPTED:
            self.owed[self._number] = message
        return self._number

    def cancel(self, number: int) -> None:
        """Give up on a proposal; it may end without a word, or be answered that was on its way."""
        if self.owed.pop(number, None) is not None:
            self._given_up.add(number)
        self.ctx.post(self._interceptor(), Cancel(proposal=number))

    def do(self, a: int, b: int, others: Sequence[bytes], stolen: Sequence[bytes], everybody: Sequence[Ref]) -> str:
        """One trick; what it was."""
        trick = TRICKS[a % len(TRICKS)]
        call = Call(TOOLS[b % len(TOOLS)], VARIANTS[(a * 7 + b) % len(VARIANTS)] if a % 5 == 4 else "plain")
        args = arguments(call).encode("utf-8", "surrogatepass")
        kind = TOKENS[(a + b) % len(TOKENS)] if a % 2 else "own"
        tokens = self._tokens(kind, others, stolen)
        own_first = self.tokens[:1]
        post = self.ctx.post
        match trick:
            case "propose":
                self.propose(call.tool, args, tokens, tainted=bool(b & 4))
            case "again":
                last = next(reversed(self.owed.values()), None)
                if last is not None:
                    self.propose(last.tool, last.args, (*last.tokens, *self.given[-2:]), tainted=last.tainted)
            case "cancel":
                self.cancel(next(iter(self.owed), 1 + b))
            case "cancel-at-once":
                self.cancel(self.propose(call.tool, args, tokens, tainted=False))
            case "save":
                rows = (JournalRow(1 + b % 3, b"row"), JournalRow(2 + b % 3, b"row"))
                post(self._interceptor(), Save(id=-1 - b, rows=rows))
                post(self._interceptor(), Prompted(id=-100 - b, turn=1, integrity=3, text=b"believe me"))
            case "same-number":
                again = Propose(proposal=10_000, tool=call.tool, args=args, tokens=tokens, tainted=False)
                for _ in range(2):
                    post(self._interceptor(), again)
            case "burst":  # more at once than any purse has
                for number in range(12):
                    dear = f'{{"n":1,"micros":{4_000 + 500 * (b % 9)},"i":{number}}}'.encode()
                    self.propose("pay", dear, own_first, tainted=False)
                if b % 2:
                    self.cancel(max(self.owed, default=1))
            case "say":
                for message in lies(1 + b % 9, first_of(tokens)):
                    post(self._interceptor(), message)
            case _:  # to whomever it has no business with
                for message in lies(1 + b % 9, first_of(tokens)):
                    post(everybody[a % len(everybody)], message)
        return f"{trick} {call.tool} {call.variant} with {kind}"

    def _tokens(self, kind: str, others: Sequence[bytes], stolen: Sequence[bytes]) -> tuple[bytes, ...]:
        own = self.tokens
        first = own[0] if own else b""
        match kind:
            case "all":
                return (*own, *others, *stolen[-2:])[:60]
            case "others":
                return tuple(others)[:60]
            case "stolen":
                return tuple(stolen[-6:])
            case "none":
                return ()
            case "flipped":
                place = len(first) // 2
                return (first[:place] + bytes([first[place] ^ 1]) + first[place + 1 :],) if first else (b"",)
            case "cut":
                return tuple(_recut(first))
            case "spliced":
                return tuple(_spliced(first, others))
            case "many":
                return own * 65
            case "given":
                return (*own, *self.given)
            case _:
                return own


def first_of(tokens: Sequence[bytes]) -> bytes:
    """Any token at all."""
    return tokens[0] if tokens else b"no token"


def _recut(raw: bytes) -> list[bytes]:
    """The chain without its last block, which would be wider, and without its first."""
    chain = msgspec.msgpack.decode(raw) if raw else []
    return [msgspec.msgpack.encode(chain[:-1]), msgspec.msgpack.encode(chain[1:])]


def _spliced(raw: bytes, others: Sequence[bytes]) -> list[bytes]:
    """The beginning of one chain with the end of another."""
    chains = [msgspec.msgpack.decode(one) for one in (raw, *others) if one]
    return [msgspec.msgpack.encode([*one[:1], *other[-1:]]) for one in chains for other in chains][:6]


def lies(ref: int, token: bytes) -> tuple[Message | msgspec.Struct, ...]:
    """What only the guard, its hosts and the gateway may say."""
    return (
        Executed(ref=ref, permit_seq=ref, content=b"", is_error=False, effect="none", spent_micros=0),
        Prepared(ref=ref, preparation=Preparation(needs=())),
        Recorded(id=ref, records=(), watermark=10**6),
        LogTrouble(problem=""),
        Put(ref=ref, qid=b"q" * 16, code="", reason="", attended=True),
        Answered(qid=b"q" * 16, block=b"b" * 32, session=b"s" * 16, refs=(ref,), said_no=False, token=token),
        TakeIn(id=ref, token=token, source="me"),
    )


class Family(msgspec.Struct):
    """The keys and tokens of a parent and of its child."""

    parent: SigningKey
    child: SigningKey
    parent_token: bytes
    child_token: bytes


def family(
    base: bytes, roots: Roots, narrow: Callable[..., bytes], session: bytes, entropy: Entropy, kind: int
) -> Family:
    """A parent that holds ``base`` through the daemon's holder, and a child that the parent gave less."""
    parent, child = (SigningKey.from_seed(entropy.random_bytes(32)) for _ in range(2))
    raw = narrow(base, holder=parent.public, session=session, purse_micros=60_000)
    token = verify_chain(raw, roots)
    leaf = token.leaf
    first = leaf.grants[0] if kind & 1 else max(leaf.grants, key=lambda grant: grant.pattern.startswith("file"))
    block = msgspec.structs.replace(
        leaf,
        parent=token.id,
        nonce=entropy.random_bytes(16),
        issuer=parent.public,
        holder=child.public,
        depth=leaf.depth - 1,
        grants=(msgspec.structs.replace(first, perms=first.perms & 0b10001 or first.perms),),
        uses=2 + kind % 3,
        purse=min(leaf.purse, 1_200),
        tainted_ok=leaf.tainted_ok and bool(kind & 2),
    )
    return Family(parent, child, raw, attenuate(token, block, parent))
