"""The table of a connection's life, and the place in it."""

from __future__ import annotations

import itertools

import pytest

from astrid.wire import states
from astrid.wire.states import TRANSITIONS, Sign, Standing, State

ORDER = [State.FRESH, State.CHALLENGED, State.GREETED, State.AUTHENTICATED, State.CLOSING, State.BROKEN, State.CLOSED]
EVERY = [(state, sign) for state, row in TRANSITIONS.items() for sign in row]


def test_every_state_has_its_row() -> None:
    assert list(TRANSITIONS) == ORDER == list(State)


@pytest.mark.parametrize(("state", "sign"), EVERY, ids=str)
def test_no_way_leads_back(state: State, sign: Sign) -> None:
    after = TRANSITIONS[state][sign]
    assert ORDER.index(after) >= ORDER.index(state)
    assert (after is state) == (state is State.CLOSING and after is State.CLOSING)


def test_every_state_is_in_the_drawing_and_can_be_reached() -> None:
    reached = {State.FRESH} | {after for row in TRANSITIONS.values() for after in row.values()}
    assert reached == set(State)
    assert [state.name for state in State if state.name not in (states.__doc__ or "")] == []


def test_whoever_proves_nothing_never_gets_to_be_authenticated() -> None:
    into = [(state, sign) for state, sign in EVERY if TRANSITIONS[state][sign] is State.AUTHENTICATED]
    assert into == [(State.GREETED, Sign.AUTHENTICATE_ANSWERED)]


def test_nothing_happens_to_what_is_over() -> None:
    assert TRANSITIONS[State.CLOSED] == {}
    assert TRANSITIONS[State.BROKEN] == {Sign.END: State.CLOSED}


def test_they_are_judged_by_the_state_they_knew_when_we_began_to_close() -> None:
    standing = Standing()
    for sign in (Sign.NONCE, Sign.HELLO_ANSWERED):
        standing.say(sign)
    standing.say(Sign.BYE)
    assert (standing.state, standing.judged_by, standing.said_bye) == (State.CLOSING, State.GREETED, True)


def test_they_are_judged_as_closing_once_they_said_so() -> None:
    for ours in (Sign.BYE, None):
        standing = Standing()
        standing.hear(Sign.NONCE)
        if ours is not None:
            standing.say(ours)
        standing.hear(Sign.BYE)
        assert (standing.state, standing.judged_by, standing.heard_bye) == (State.CLOSING, State.CLOSING, True)


def test_what_they_say_while_we_close_moves_what_they_are_judged_by() -> None:
    standing = Standing()
    standing.say(Sign.BYE)
    standing.hear(Sign.NONCE)
    assert (standing.state, standing.judged_by) == (State.CLOSING, State.CHALLENGED)


@pytest.mark.parametrize("pair", [p for p in itertools.product(State, Sign) if p not in EVERY], ids=str)
def test_what_is_not_in_the_table_is_no_move(pair: tuple[State, Sign]) -> None:
    standing = Standing()
    standing.state, sign = pair
    with pytest.raises(KeyError):
        standing.say(sign)
