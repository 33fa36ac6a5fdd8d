"""INVARIANT: whatever a chain of blocks allows, every block before it allows; and nothing else verifies.

Families of chains grow from a tape of bytes (``tests/fakes/chains``), lawful ones and ones that widen something; what
a chain is worth is decided by the words of the protocol over a small universe of uses (``tests/fakes/naive_chain``).
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from astrid.core.budget import Ledger
from astrid.core.call import Call, call_digest
from astrid.core.decide import Circumstances, Decision, Limits, Permit, charge_of, decide
from astrid.core.tokens import Moment, Token
from tests.fakes.authority import AUD, HOLDER, NOW, SESSION, WORKSPACE, call, key, pass_on, token
from tests.fakes.chain_checks import checked_bytes, checked_growth, checked_theft, checked_use
from tests.fakes.chain_uses import OPEN, Point, permits, point, should_permit
from tests.fakes.chains import Family, Tape
from tests.fakes.naive_chain import Made
from tests.fakes.rules import spec

CHAINS = 20  # of a family
RICH = Limits(10**9, 10**9, 10**9)
MEMBERS = [key(number) for number in range(30, 60)]
tapes = st.binary(min_size=300, max_size=300).map(Tape)


def grown(family: Family) -> list[tuple[tuple[Made, ...], Token]]:
    """The chains of a family that verify, each judged on the way."""
    return [one for _ in range(CHAINS) if (one := checked_growth(family)) is not None]


@given(tapes)
def test_a_chain_verifies_exactly_if_it_breaks_no_rule_and_none_allows_more_than_what_is_above(tape: Tape) -> None:
    grown(Family(tape))


@given(tapes)
def test_blocks_that_are_cut_spliced_or_turned_round_are_no_new_chain(tape: Tape) -> None:
    family = Family(tape)
    grown(family)
    for _ in range(CHAINS if family.lawful else 0):
        checked_theft(family)


@given(tapes)
def test_no_other_bytes_are_a_chain_whoever_signed_them(tape: Tape) -> None:
    family = Family(tape)
    for chain, _ in grown(family):
        checked_bytes(family, chain)


@given(tapes)
def test_what_may_be_done_with_a_chain_is_what_the_design_says_and_every_holder_above_may_do_it(tape: Tape) -> None:
    family = Family(tape)
    tokens: dict[bytes, Token] = {}
    for _, found in grown(family):
        tokens[found.id] = found
        for _ in range(3):
            at = point(tape, found)
            assert permits(found, at) is should_permit(found, at)
            checked_use(found, at, tokens)


@given(tapes)
def test_a_token_is_worth_nothing_to_others_elsewhere_later_or_again(tape: Tape) -> None:
    family = Family(tape)
    for _, found in grown(family):
        at = point(tape, found)
        if permits(found, at):
            refused_elsewhere(found, at)


def refused_elsewhere(found: Token, at: Point) -> None:
    leaf = found.leaf
    worse = [
        at._replace(aud=b"B" * 32 if at.aud == AUD else AUD),
        at._replace(time=max(block.not_before for block in found.blocks) - 1),
        at._replace(time=min(block.expires for block in found.blocks)),
        at._replace(used=min(block.uses for block in found.blocks)),
        *[at._replace(micros=block.purse - at.spent + 1) for block in found.blocks if block.purse < 2**63],
        *([at._replace(session=b"Y" * 16)] if leaf.session else []),
        *([at._replace(workspace=b"Y" * 32)] if leaf.workspace else []),
        *([at._replace(call=b"Y" * 32)] if leaf.call else []),
        *([at._replace(settled=False)] if leaf.question else []),
        *([] if leaf.tainted_ok else [at._replace(tainted=True)]),
    ]
    for other in worse:
        assert not permits(found, other), other
    assert not permits(found, at, principal=key(77).public)


# --- siblings


@given(tapes)
def test_siblings_together_take_no_more_than_each_block_above_them_has(tape: Tape) -> None:
    """Some hand their token on, some use theirs; what a ledger says is what counting says, block by block."""
    family, ledger = [token(uses=9, purse=100)], Ledger()
    limits = {family[0].id: (9, 100)}
    running: list[tuple[Token, int]] = []
    uses, spent = dict.fromkeys(limits, 0), dict.fromkeys(limits, 0)
    for number in range(30):
        mine, micros = tape.pick(family), tape.pick((0, 1, 10, 30, 70))
        match tape.pick(("use", "hand on", "use", "settle")):
            case "hand on" if mine.leaf.depth:
                made = handed_on(tape, mine, number)
                family.append(made)
                limits[made.id] = made.leaf.uses, made.leaf.purse
                uses[made.id] = spent[made.id] = 0
            case "settle" if running:
                ended, reserved = running.pop(running.index(tape.pick(running)))
                really = tape.pick((reserved, 0, reserved // 2))
                ledger.settle(charge_of(proposal(ended, reserved), ended, RICH), really)
                for identity in ended.ids:
                    spent[identity] += really
            case _:
                open_micros = {i: sum(m for other, m in running if i in other.ids) for i in mine.ids}
                fits = all(
                    uses[i] < limits[i][0] and spent[i] + open_micros[i] + micros <= limits[i][1] for i in mine.ids
                )
                decision = ask(mine, micros, ledger)
                assert isinstance(decision, Permit) is fits
                if isinstance(decision, Permit):
                    ledger.reserve(decision.charge)
                    running.append((mine, micros))
                    for identity in mine.ids:
                        uses[identity] += 1
    for identity, (most, purse) in limits.items():
        assert uses[identity] <= most
        assert spent[identity] + sum(micros for one, micros in running if identity in one.ids) <= purse


def handed_on(tape: Tape, mine: Token, number: int) -> Token:
    """``mine`` with one block more, to somebody new."""
    holder = next(one for one in (HOLDER, *MEMBERS) if one.public == mine.holder)
    uses, purse = tape.pick((mine.leaf.uses, 1, 3)), tape.pick((mine.leaf.purse, 20, 50))
    fields = {"uses": min(uses, mine.leaf.uses), "purse": min(purse, mine.leaf.purse), "nonce": bytes([number]) * 16}
    return pass_on(mine, holder, holder=MEMBERS[number].public, **fields)


def proposal(mine: Token, micros: int) -> Call:
    return call(principal_key=mine.holder, max_micros=micros)


def ask(mine: Token, micros: int, ledger: Ledger) -> Decision:
    made = proposal(mine, micros)
    moment = Moment(NOW, AUD, SESSION, WORKSPACE, False, 1, frozenset(), frozenset())
    around = Circumstances(OPEN, ledger, RICH, moment, True, "")
    return decide(made, call_digest(b""), spec(), [mine], around)
