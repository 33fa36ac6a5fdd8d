"""Standing tokens: verified when they are put there, judged anew whenever they are looked for."""

from __future__ import annotations

from typing import Any

import pytest

from astrid.core.facts import Facts
from astrid.core.grants import Mode, mode_grants
from astrid.core.tokens import Grant, Scope, Token
from astrid.errors import TokenError
from astrid.runtime.shelf import Shelf
from tests.fakes.authority import AUD, CHILD_KEY, DAY, FOREVER, HOLDER, NOW, ROOTS, WORKSPACE, token
from tests.fakes.rules import policy


def shelf(*tokens: Token) -> Shelf:
    made = Shelf(Facts(aud=AUD, roots=ROOTS, policy=policy()))
    for seq, one in enumerate(tokens, 1):
        made.put(one.raw, seq)
    return made


def live(tokens: Shelf, **fields: Any) -> list[bytes]:
    asked: dict[str, Any] = {"holder": HOLDER.public, "workspace": WORKSPACE, "time_s": NOW} | fields
    return [one.id for one in tokens.live(**asked)]


def mode(which: Mode, **fields: Any) -> Token:
    return token(grants=mode_grants(which, "/w"), **fields)


def test_what_is_put_there_is_found_again() -> None:
    one, two = token(nonce=b"1" * 16), token(nonce=b"2" * 16)
    tokens = shelf(one, two)
    assert [(shelved.token.id, shelved.seq) for shelved in tokens.all()] == [(one.id, 1), (two.id, 2)]
    found = tokens.get(two.id)
    assert found is not None
    assert (found.token.raw, found.seq) == (two.raw, 2)
    assert tokens.get(b"x" * 32) is None


@pytest.mark.parametrize("raw", [b"", b"nonsense", token().raw[:-1] + b"\0", b"\x90"])
def test_what_does_not_verify_is_not_put_there(raw: bytes) -> None:
    tokens = shelf()
    with pytest.raises(TokenError):
        tokens.put(raw, 1)
    assert list(tokens.all()) == []


@pytest.mark.parametrize(
    ("fields", "at"),
    [
        ({"holder": CHILD_KEY.public}, {}),
        ({"workspace": b"V" * 32}, {}),
        ({}, {"workspace": b"V" * 32}),
        ({"expires": NOW}, {}),
        ({}, {"time_s": NOW + DAY}),
        ({"not_before": NOW + 1}, {}),
        ({"scope": Scope.SESSION, "session": b"S" * 16}, {}),
        ({"question": b"q" * 32}, {}),
    ],
)
def test_a_token_that_is_of_no_use_here_and_now_is_not_handed_out(fields: dict[str, Any], at: dict[str, Any]) -> None:
    assert live(shelf(token(**fields)), **at) == []


def test_a_token_for_every_workspace_is_of_use_in_each() -> None:
    always = token(scope=Scope.ALWAYS, workspace=b"", expires=FOREVER, tainted_ok=False)
    assert live(shelf(always)) == live(shelf(always), workspace=b"V" * 32) == [always.id]


@pytest.mark.parametrize("what", ["id", "issuer", "holder"])
def test_a_revoked_token_is_not_handed_out_from_that_moment_on(what: str) -> None:
    one = token()
    tokens = shelf(one)
    assert live(tokens) == [one.id]
    revoked = {"id": one.id, "issuer": one.leaf.issuer, "holder": one.leaf.holder}[what]
    tokens._facts.revoked.add(revoked)
    assert live(tokens) == []


def test_a_token_out_of_an_answer_counts_if_the_log_settled_on_it() -> None:
    answered = token(question=b"q" * 32)
    tokens = shelf(answered)
    tokens._facts.settled.add(b"another block".ljust(32))
    assert live(tokens) == []
    tokens._facts.settled.add(answered.id)
    assert live(tokens) == [answered.id]


@pytest.mark.parametrize("wanted", Mode)
@pytest.mark.parametrize("signed", Mode)
def test_a_session_works_in_a_mode_only_under_a_grant_at_least_as_wide(wanted: Mode, signed: Mode) -> None:
    order = [Mode.SAFE, Mode.GUIDED, Mode.AUTONOMOUS]
    tokens = [mode(signed)]
    if order.index(wanted) <= order.index(signed):
        found, grants = shelf().for_mode(tokens, wanted, "/w")
        assert (found, grants) == (tokens[0], mode_grants(wanted, "/w"))
    else:
        with pytest.raises(TokenError) as caught:
            shelf().for_mode(tokens, wanted, "/w")
        assert caught.value.code == "token.no-grant"
        assert f"--mode {wanted.value}" in caught.value.advice


def test_a_grant_for_another_folder_is_none() -> None:
    with pytest.raises(TokenError):
        shelf().for_mode([mode(Mode.AUTONOMOUS)], Mode.SAFE, "/w2")
    with pytest.raises(TokenError):
        shelf().for_mode([], Mode.SAFE, "/w")


def test_a_grant_for_one_definition_of_a_tool_is_no_mode() -> None:
    bound = tuple(Grant(g.pattern, g.perms, g.issuable, g.max_risk, b"T" * 32) for g in mode_grants(Mode.SAFE, "/w"))
    with pytest.raises(TokenError):
        shelf().for_mode([token(grants=bound)], Mode.SAFE, "/w")


def test_of_several_grants_the_newest_is_taken() -> None:
    old, new = mode(Mode.SAFE, nonce=b"1" * 16), mode(Mode.GUIDED, nonce=b"2" * 16)
    assert shelf().for_mode([old, new], Mode.SAFE, "/w")[0] is new


def test_modes_are_told_from_grants_of_single_things() -> None:
    tokens = shelf()
    assert all(tokens.is_mode(mode(which), "/w") for which in Mode)
    assert not tokens.is_mode(token(grants=(Grant("exec://%2Fusr%2Fbin%2Fls/-l", 4, 0, 1, b""),)), "/w")
    assert not tokens.is_mode(mode(Mode.AUTONOMOUS), "/v")
