"""Chains of blocks from a tape of bytes: lawful ones, ones that widen something, and what thieves make of them.

The same tape gives the same chains, so that Hypothesis, a coverage-guided fuzzer and a plain generator of random bytes
draw from one place.  A tape that is at its end gives the first of everything, which is what is most ordinary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import msgspec

from astrid.core.blocks import NO_PARENT, Assurance, Block, Grant, Scope
from astrid.core.canon import Domain, digest, encode
from astrid.core.keys import SigningKey
from astrid.core.tokens import SignedBlock
from tests.fakes.authority import AUD, DEVICE_KEY, PLAIN_USER, RELAY_KEY, ROOTS, SESSION, STRANGER, USER, WORKSPACE, key
from tests.fakes.naive_chain import CALLS, OPEN_COMMANDS, PATTERNS, QUESTIONS, SMALL_ORDER, TOOLDEFS, Made, faults

T = TypeVar("T")
ROOT_KEYS = (USER, PLAIN_USER)
HOLDERS = (*(key(number) for number in range(20, 29)), DEVICE_KEY, RELAY_KEY, STRANGER)
KEYS: dict[bytes, SigningKey] = {bytes(one.public): one for one in (*ROOT_KEYS, *HOLDERS)}
ORDER = 2**252 + 27742317777372353535851937790883648493  # of the group: a signature plus this is the same one again

FULL = Grant("file://w/**", 0x5F, 0x03, 1, b"")
SEVERAL = (
    Grant("file://w/*", 0x03, 0x04, 3, b"T" * 32),
    Grant("file://w/a*", 0x07, 0x00, 1, b""),
    Grant("net://443/com/**", 0x50, 0x02, 2, b"X" * 32),
)
FIRST = Block(
    version=1,
    algorithm=1,
    parent=NO_PARENT,
    nonce=b"n" * 16,
    issuer=USER.public,
    holder=HOLDERS[0].public,
    aud=AUD,
    session=b"",
    workspace=WORKSPACE,
    scope=Scope.WORKSPACE,
    grants=(FULL,),
    not_before=100,
    expires=1000,
    uses=10,
    purse=100,
    depth=7,
    tainted_ok=True,
    call=b"",
    question=b"",
    assurance=Assurance.SEALED,
)


class Tape:
    """Choices, one byte each."""

    __slots__ = ("_at", "_data")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def __repr__(self) -> str:
        return f"Tape({self._data!r})"

    def pick(self, among: Sequence[T]) -> T:
        """One of these; at the end of the tape the first."""
        if self._at >= len(self._data):
            return among[0]
        self._at += 1
        return among[self._data[self._at - 1] % len(among)]

    def one_in(self, times: int) -> bool:
        """Whether something rare happens."""
        return self.pick(range(times)) == times - 1


# --- blocks


def grants_near(tape: Tape, grants: tuple[Grant, ...]) -> tuple[Grant, ...]:
    """Grants a little narrower, a little wider, or others."""
    one = tape.pick(grants or (FULL,))
    changed = {
        "perms": lambda: {"perms": one.perms & tape.pick((0x0F, 0x01, 0x50)) or 1},
        "more perms": lambda: {"perms": one.perms | tape.pick((0x20, 0x80, 0x02, 0x100))},
        "pattern": lambda: {"pattern": tape.pick(PATTERNS)},
        "open": lambda: {"pattern": tape.pick(OPEN_COMMANDS)},
        "risk": lambda: {"max_risk": tape.pick((0, 1, 2, 3, 4))},
        "issuable": lambda: {"issuable": tape.pick((0, one.issuable, 0x02, one.issuable | 0x04))},
        "only issues": lambda: {"perms": 0, "issuable": one.perms | one.issuable},
        "tooldef": lambda: {"tooldef": tape.pick((*TOOLDEFS, b"", b"short"))},
    }
    kinds = (
        "pattern",
        "perms",
        "risk",
        "tooldef",
        "pattern",
        "issuable",
        "more perms",
        "tooldef",
        "only issues",
        "open",
    )
    new = msgspec.structs.replace(one, **changed[tape.pick(kinds)]())
    made = {"replace": (new,), "add": (*grants, new), "swap": tuple(new if g == one else g for g in grants), "none": ()}
    found = made[tape.pick(("replace", "swap", "add", "replace", "add", "none"))]
    return found if tape.one_in(16) else tuple(sorted(set(found)))


def near(tape: Tape, value: int, steps: tuple[int, ...], others: tuple[int, ...]) -> int:
    """A number beside ``value``, or one of ``others``, whose last is the highest there is."""
    return min(max(tape.pick((*(value + step for step in steps), *others)), 0), others[-1])


FIELDS: dict[str, Callable[[Tape, Block], Any]] = {
    "expires": lambda t, b: near(t, b.expires, (-50, 0, 50), (0, 2**64 - 1)),
    "not_before": lambda t, b: near(t, b.not_before, (50, 0, -50), (0, 2**64 - 1)),
    "uses": lambda t, b: near(t, b.uses, (-1, 0, 1), (1, 0, 2**32 - 1)),
    "purse": lambda t, b: near(t, b.purse, (-1, 0, 1), (10, 0, 2**64 - 1)),
    "depth": lambda t, b: near(t, b.depth, (0, 1, -1), (0, 7, 255)),
    "scope": lambda t, _: t.pick((2, 1, 3, 0, 4)),
    "tainted_ok": lambda t, _: t.pick((False, True)),
    "session": lambda t, _: t.pick((SESSION, b"", b"Z" * 16, b"short")),
    "workspace": lambda t, _: t.pick((WORKSPACE, b"", b"V" * 32, b"short")),
    "aud": lambda t, _: t.pick((b"B" * 32, AUD)),
    "call": lambda t, _: t.pick((*CALLS, b"")),
    "question": lambda t, _: t.pick((*QUESTIONS, b"")),
    "assurance": lambda t, _: t.pick((2, 1, 3, 4, 0, 5)),
    "holder": lambda t, _: t.pick((*(one.public for one in HOLDERS), USER.public, PLAIN_USER.public, SMALL_ORDER)),
    "issuer": lambda t, _: t.pick((USER.public, *(one.public for one in HOLDERS), PLAIN_USER.public)),
    "parent": lambda t, _: t.pick((NO_PARENT, b"P" * 32)),
    "version": lambda t, _: t.pick((2, 0, 1)),
    "algorithm": lambda t, _: t.pick((2, 0, 1)),
    "grants": lambda t, b: grants_near(t, b.grants),
}
_OFTEN = ("grants", "expires", "not_before", "uses", "purse", "scope", "tainted_ok", "session", "workspace", "depth")
_NAMES = (*FIELDS, *_OFTEN, *_OFTEN, *("grants",) * 6)


def changed(tape: Tape, block: Block) -> Block:
    """``block`` with no field or a few that are other than they should be, or narrower."""
    for _ in range(tape.pick((1, 0, 1, 1, 2, 0, 3))):
        name = tape.pick(_NAMES)
        block = msgspec.structs.replace(block, **{name: FIELDS[name](tape, block)})
    return block


def first(tape: Tape) -> Made:
    """A first block, most often a lawful one."""
    kinds: tuple[dict[str, Any], ...] = (
        {},
        {"grants": SEVERAL},
        {"issuer": PLAIN_USER.public, "assurance": Assurance.PLAIN},
        {"grants": SEVERAL, "session": SESSION},
        {"scope": Scope.ALWAYS, "workspace": b""},
    )
    block = msgspec.structs.replace(FIRST, **tape.pick(kinds))
    if block.scope == Scope.ALWAYS:
        block = msgspec.structs.replace(block, tainted_ok=False)
    return signed(tape, changed(tape, block))


def child(tape: Tape, chain: Sequence[Made], number: int) -> Made:
    """A block below ``chain``, narrower or not; ``number`` makes it unlike every other."""
    above, taken = chain[-1].block, {made.block.holder for made in chain}
    free = [one.public for one in HOLDERS if one.public not in taken] or [STRANGER.public]
    often = "answer" if above.holder in ROOTS.devices else "plain"
    kind = tape.pick(("plain", often, "session", "plain", often, "once", "plain", "answer"))
    special = {
        "plain": {},
        "once": {"scope": Scope.ONCE, "depth": 0, "uses": 1, "call": above.call or CALLS[0]},
        "session": {"scope": Scope.SESSION, "session": above.session or SESSION},
        "answer": _answer(above),
    }[kind]
    block = msgspec.structs.replace(
        above,
        parent=digest(Domain.BLOCK, chain[-1].payload),
        nonce=number.to_bytes(16, "big"),
        issuer=above.holder,
        holder=tape.pick(free),
        depth=max(above.depth - 1, 0),
    )
    return signed(tape, changed(tape, msgspec.structs.replace(block, **special)))


def _answer(above: Block) -> dict[str, Any]:
    """How a device that may issue something answers a question."""
    device = ROOTS.devices.get(above.holder)
    grants = (msgspec.structs.replace(grant, perms=grant.perms | grant.issuable) for grant in above.grants)
    return {
        "question": above.question or QUESTIONS[0],
        "assurance": above.assurance if above.question or device is None else device.assurance,
        "grants": tuple(sorted(set(grants))),
    }


def signed(tape: Tape, block: Block) -> Made:
    """``block``, signed by whom it names, or now and then not quite."""
    payload = encode(block)
    signer = KEYS.get(block.issuer, STRANGER)
    if not tape.one_in(24):
        return Made(block, payload, signer.sign(Domain.BLOCK, payload), signer.public)
    match tape.pick(("somebody", "for something else", "other bytes", "again")):
        case "somebody":
            other = tape.pick(HOLDERS)
            return Made(block, payload, other.sign(Domain.BLOCK, payload), other.public)
        case "for something else":
            return Made(block, payload, signer.sign(Domain.APPROVAL, payload), signer.public, genuine=False)
        case "other bytes":
            return Made(block, payload, signer.sign(Domain.BLOCK, payload + b"\0"), signer.public, genuine=False)
        case _:
            signature = signer.sign(Domain.BLOCK, payload)
            again = int.from_bytes(signature[32:], "little") + ORDER
            return Made(block, payload, signature[:32] + again.to_bytes(32, "little"), signer.public, genuine=False)


def raw(chain: Sequence[Made]) -> bytes:
    """The bytes of a chain, whatever it is worth."""
    return encode(tuple(SignedBlock(made.payload, made.signature) for made in chain))


class Family:
    """Chains that grow from one another.  ``lawful`` are those that break no rule, every one with its bytes."""

    def __init__(self, tape: Tape) -> None:
        self.tape = tape
        self.lawful: list[tuple[Made, ...]] = []
        self.known: set[bytes] = set()
        self._number = 0

    def grow(self) -> tuple[tuple[Made, ...], list[str]]:
        """One chain more, and the rules that it breaks."""
        self._number += 1
        if not self.lawful or self.tape.one_in(12):
            made: tuple[Made, ...] = (first(self.tape),)
        else:
            # Mostly one that may be passed on, and of two the longer: else most chains would be short, or end at once.
            open_ones = [chain for chain in self.lawful if chain[-1].block.depth] or self.lawful
            among = self.lawful if self.tape.one_in(16) else open_ones
            above = max(self.tape.pick(among), self.tape.pick(among), key=len)
            made = (*above, child(self.tape, above, self._number))
        broken = list(faults(made, ROOTS))
        if not broken:
            self.lawful.append(made)
            self.known.add(raw(made))
        return made, broken

    def stolen(self) -> tuple[Made, ...]:
        """Blocks of this family, put together as nobody signed them: cut, spliced, turned round, repeated."""
        blocks = list(self.tape.pick(self.lawful))
        other = self.tape.pick(self.lawful)
        at, to = self.tape.pick(range(len(blocks))), self.tape.pick(range(len(other)))
        match self.tape.pick(("splice", "swap", "leave out", "cut", "repeat", "head", "graft")):
            case "splice":
                return (*blocks[: at + 1], *other[to:])
            case "swap":
                blocks[at], blocks[-1 - at] = blocks[-1 - at], blocks[at]
            case "leave out":
                del blocks[at]
            case "cut":
                return tuple(blocks[:at])
            case "repeat":
                blocks.insert(at, blocks[at])
            case "head":
                return tuple(blocks[at:])
            case _:
                # Another's signature over a block that is right otherwise.
                if other[to].signature != blocks[at].signature:
                    blocks[at] = blocks[at]._replace(signature=other[to].signature, genuine=False)
        return tuple(blocks)
