"""One use of a token, in a universe of a few resources, times, purses and places; and what ``decide`` says of it.

Source: protocol N2 c to e, N3.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple, TypeVar

from astrid.core.budget import Ledger, Purse
from astrid.core.call import Call, Need
from astrid.core.canon import Digest
from astrid.core.decide import Circumstances, Limits, Permit, decide
from astrid.core.ids import CallDigest
from astrid.core.tokens import Moment, Token
from astrid.core.tools import ToolSpec
from tests.fakes.authority import call
from tests.fakes.chains import Tape
from tests.fakes.naive_chain import AUDS, CALLS, MONEY, RESOURCES, SESSIONS, TIMES, TOOLDEFS, VALUES, WORKSPACES, effect
from tests.fakes.naive_decide import naive_decide
from tests.fakes.naive_patterns import naive_regex
from tests.fakes.naive_policy import naive_judge
from tests.fakes.rules import HOME, PERMISSIVE, policy, spec

T = TypeVar("T")
RICH = Limits(2**64 - 1, 2**64 - 1, 2**64 - 1)
OPEN = policy()
SPECS = {name: spec("a_tool", name) for name in ("read", "staging", "exec", "egress")}


class Point(NamedTuple):
    """A use: of what, when, where, for how much, and how much was taken before from every block of its chain."""

    resource: str
    permission: int
    tooldef: bytes
    risk: int
    time: int
    session: bytes
    workspace: bytes
    aud: bytes
    call: bytes
    tainted: bool
    micros: int
    used: int
    spent: int
    settled: bool
    effect: str
    fresh: bool
    standing: bool


def point(tape: Tape, token: Token) -> Point:
    """A use that ``token`` might well allow, or almost."""
    leaf, allows = token.leaf, effect(token.leaf)

    def inside(name: str, universe: Sequence[T]) -> T:
        """What the block allows of this, or now and then anything."""
        found = [one for one in universe if one in allows[name]]  # type: ignore[operator]
        return tape.pick(universe if not found or tape.one_in(16) else found)

    grant = tape.pick(leaf.grants)
    bits = [1 << bit for bit in range(8) if grant.perms >> bit & 1] or [1]
    return Point(
        resource=tape.pick(RESOURCES if tape.one_in(4) else named(grant.pattern)),
        permission=tape.pick((1, 2, 4, 8, 3, 128, 255) if tape.one_in(8) else bits),
        tooldef=grant.tooldef if grant.tooldef and not tape.one_in(8) else tape.pick(TOOLDEFS),
        risk=tape.pick((0, grant.max_risk, 1, 2, 3)),
        time=inside("time", TIMES),
        session=inside("session", SESSIONS),
        workspace=inside("workspace", WORKSPACES),
        aud=inside("install", AUDS),
        call=inside("call", CALLS),
        tainted=inside("taint", (False, True)),
        micros=inside("money", MONEY[:-2]),
        used=tape.pick((0, 0, 0, 0, 1, 9, 10)),
        spent=tape.pick((0, 0, 0, 0, 1, 90, 100, 101)),
        settled=not tape.one_in(4),
        effect=tape.pick(("read", "read", "read", "staging", "exec", "egress")),
        fresh=tape.one_in(8),
        standing=not tape.one_in(8),
    )


@lru_cache(maxsize=64)
def named(pattern: str) -> tuple[str, ...]:
    """The resources of the universe that a pattern names."""
    match = naive_regex(pattern).match
    return tuple(text for text, value in zip(RESOURCES, VALUES, strict=True) if match(value))


class Case(NamedTuple):
    """What goes into a decision about one use."""

    call: Call
    digest: CallDigest
    spec: ToolSpec
    around: Circumstances


def case(token: Token, at: Point, principal: bytes = b"") -> Case:
    """The holder of ``token``, or ``principal``, proposes the use."""
    made = call(
        principal_key=principal or token.leaf.holder,
        session=at.session,
        workspace=at.workspace,
        aud=at.aud,
        tooldef=at.tooldef,
        needs=(Need(at.resource, at.permission),),
        risk=at.risk,
        tainted=at.tainted,
        max_micros=at.micros,
    )
    ledger = Ledger()
    for identity in token.ids:
        ledger.used[identity] = at.used
        ledger.purses[identity] = Purse(at.spent, 0)
    settled = frozenset(answers(token)) if at.settled else frozenset[bytes]()
    moment = Moment(at.time, at.aud, at.session, at.workspace, at.tainted, token.epoch, frozenset(), settled)
    around = Circumstances(OPEN, ledger, RICH, moment, at.standing, "each time" if at.fresh else "")
    return Case(made, CallDigest(Digest(at.call)), SPECS[at.effect], around)


def answers(token: Token) -> Iterator[bytes]:
    """The blocks of a chain that answer a question; a log may name them."""
    above = b""
    for identity, block in zip(token.ids, token.blocks, strict=True):
        if block.question and not above:
            yield identity
        above = block.question


def permits(token: Token, at: Point, principal: bytes = b"") -> bool:
    """Whether the use may be made on the strength of ``token`` alone."""
    made = case(token, at, principal)
    return isinstance(decide(made.call, made.digest, made.spec, [token], made.around), Permit)


def should_permit(token: Token, at: Point) -> bool:
    """The same by the words of the design."""
    made = case(token, at)
    judged = naive_judge((PERMISSIVE,), HOME, made.call, made.spec)
    return naive_decide(made.call, made.digest, made.spec, [token], made.around, judged) == {token.id.hex()}
