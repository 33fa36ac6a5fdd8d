"""Modes: what a person lets Astrid do in a folder, and how a session gets its share."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from astrid.core.blocks import UNLIMITED_USES, Assurance, Grant, Permission, Scope
from astrid.core.grants import (
    MAX_GRANT_SECONDS,
    SESSION_DEPTH,
    GrantTerms,
    Mode,
    fleet_block,
    mode_grants,
    session_block,
    workspace_grant,
)
from astrid.core.resources import covers, file_resource, matches, parse_pattern, parse_resource
from astrid.core.tokens import attenuate, check_live, issue, verify_chain
from astrid.errors import PatternError, TokenError
from tests.fakes.authority import AUD, CHILD_KEY, DAY, HOLDER, NOW, ROOTS, SESSION, SESSION_KEY, USER, WORKSPACE, moment

MODEST = settings(max_examples=60, deadline=None)
TERMS = GrantTerms(
    issuer=USER.public,
    holder=HOLDER.public,
    aud=AUD,
    workspace=WORKSPACE,
    root="/home/u/proj",
    not_before_s=NOW,
    expires_s=NOW + DAY,
    purse_micros=10_000_000,
    assurance=Assurance.SEALED,
    nonce=b"n" * 16,
)


def permissions(mode: Mode, path: str) -> int:
    """What ``mode`` lets a session do with the file at ``path``."""
    resource = file_resource(path)
    allowed = [
        grant.perms for grant in mode_grants(mode, TERMS.root) if matches(parse_pattern(grant.pattern), resource)
    ]
    return sum(allowed)


READS, WRITES, RUNS, DELETES = (
    Permission.READ | Permission.LIST,
    Permission.WRITE | Permission.CREATE,
    Permission.EXECUTE,
    Permission.DELETE,
)


@pytest.mark.parametrize(
    ("mode", "allowed"),
    [(Mode.SAFE, READS), (Mode.GUIDED, READS | WRITES | RUNS), (Mode.AUTONOMOUS, READS | WRITES | RUNS | DELETES)],
)
def test_each_mode_allows_its_part_inside_the_workspace_and_nothing_outside(mode: Mode, allowed: int) -> None:
    assert permissions(mode, "/home/u/proj") == permissions(mode, "/home/u/proj/src/a.py") == allowed
    for outside in ("/home/u", "/home/u/project", "/etc/passwd", "/"):
        assert permissions(mode, outside) == 0


def test_no_mode_names_a_program_or_reaches_the_network_but_for_a_model() -> None:
    for mode in Mode:
        schemes = {parse_pattern(grant.pattern).scheme: grant.perms for grant in mode_grants(mode, TERMS.root)}
        assert set(schemes) == {"file", "model", "tool"}
        assert schemes["model"] == Permission.INVOKE
        assert schemes["tool"] == Permission.DELEGATE  # to sub-agents, which get no more than this
        assert all(not grant.issuable for grant in mode_grants(mode, TERMS.root))


def within(inner: Grant, outer: Grant) -> bool:
    return (
        not inner.perms & ~outer.perms
        and inner.max_risk <= outer.max_risk
        and covers(parse_pattern(outer.pattern), parse_pattern(inner.pattern))
    )


def test_safe_lies_within_guided_and_guided_within_autonomous() -> None:
    for narrow, wide in pairwise((Mode.SAFE, Mode.GUIDED, Mode.AUTONOMOUS)):
        outer = mode_grants(wide, TERMS.root)
        assert all(any(within(grant, other) for other in outer) for grant in mode_grants(narrow, TERMS.root))
        assert mode_grants(narrow, TERMS.root) != outer


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("assurance", [Assurance.PLAIN, Assurance.SEALED])
def test_a_workspace_grant_verifies_even_by_a_plain_key(mode: Mode, assurance: Assurance) -> None:
    roots = msgspec.structs.replace(ROOTS, keys={USER.public: assurance})
    token = verify_chain(issue(workspace_grant(mode, msgspec.structs.replace(TERMS, assurance=assurance)), USER), roots)
    assert (token.leaf.scope, token.leaf.workspace, token.leaf.session) == (Scope.WORKSPACE, WORKSPACE, b"")
    assert (token.leaf.uses, token.leaf.purse, token.leaf.depth) == (UNLIMITED_USES, 10_000_000, SESSION_DEPTH + 1)
    assert token.holder == HOLDER.public
    assert check_live(token, moment(tainted=True)) is None


def test_a_workspace_grant_ends_after_thirty_days_whatever_is_asked() -> None:
    forever = workspace_grant(Mode.SAFE, msgspec.structs.replace(TERMS, expires_s=2**64 - 1))
    assert forever.expires == NOW + MAX_GRANT_SECONDS
    assert workspace_grant(Mode.SAFE, TERMS).expires == NOW + DAY


@pytest.mark.parametrize("root", ["relative", "/home/../etc", "/home//u", "/home/u\0"])
def test_a_folder_that_is_no_resolved_path_gets_no_grant(root: str) -> None:
    with pytest.raises(PatternError):
        workspace_grant(Mode.SAFE, msgspec.structs.replace(TERMS, root=root))


@MODEST
@given(st.text(st.characters(exclude_characters="/\0", exclude_categories=("Cs",)), min_size=1, max_size=12))
def test_a_folder_whose_name_looks_like_a_pattern_is_one_folder(name: str) -> None:
    try:
        grants = mode_grants(Mode.GUIDED, f"/w/{name}")
    except PatternError:
        return
    pattern = next(parse_pattern(grant.pattern) for grant in grants if grant.pattern.startswith("file://"))
    assert matches(pattern, file_resource(f"/w/{name}/x"))
    assert not matches(pattern, parse_resource("file://w/elsewhere-entirely/x"))


# --- sessions


def session(**changes: Any) -> Any:
    parent = verify_chain(issue(workspace_grant(Mode.GUIDED, TERMS), USER), ROOTS)
    given: dict[str, Any] = {
        "holder": SESSION_KEY.public,
        "session": SESSION,
        "purse_micros": 1_000_000,
        "nonce": b"m" * 16,
    }
    return verify_chain(attenuate(parent, session_block(parent.leaf, parent.id, **(given | changes)), HOLDER), ROOTS)


def test_a_session_gets_the_grants_for_itself_alone_and_its_own_purse() -> None:
    token = session()
    assert token.leaf.grants == mode_grants(Mode.GUIDED, TERMS.root)
    assert (token.leaf.session, token.leaf.scope, token.leaf.depth) == (SESSION, Scope.SESSION, SESSION_DEPTH)
    assert token.leaf.purse == 1_000_000
    assert check_live(token, moment()) is None
    refusal = check_live(token, moment(session=b"X" * 16))
    assert refusal is not None
    assert refusal.code == "token.session"


def test_a_session_never_gets_more_money_than_the_grant_has() -> None:
    assert session(purse_micros=2**64 - 1).leaf.purse == TERMS.purse_micros


def test_a_grant_that_may_not_be_passed_on_is_refused_when_it_is() -> None:
    last = msgspec.structs.replace(workspace_grant(Mode.SAFE, TERMS), depth=0)
    parent = verify_chain(issue(last, USER), ROOTS)
    block = session_block(
        parent.leaf, parent.id, holder=SESSION_KEY.public, session=SESSION, purse_micros=1, nonce=b"m" * 16
    )
    with pytest.raises(TokenError) as refused:
        attenuate(parent, block, HOLDER)
    assert refused.value.code == "token.depth"


def test_sub_agents_get_less_and_less_depth_until_none_is_left() -> None:
    token, signer = session(), SESSION_KEY
    holders = [CHILD_KEY, *(type(CHILD_KEY)(bytes([n]) * 32) for n in range(40, 44))]
    depths = []
    for holder in holders:
        if not token.leaf.depth:
            break
        block = session_block(
            token.leaf, token.id, holder=holder.public, session=SESSION, purse_micros=1, nonce=b"m" * 16
        )
        token, signer = verify_chain(attenuate(token, block, signer), ROOTS), holder
        depths.append(token.leaf.depth)
    assert depths == [3, 2, 1, 0]


@pytest.mark.parametrize(("asked", "gets"), [(1, 1), (2**64 - 1, TERMS.purse_micros)])
def test_a_fleet_gets_the_grant_and_a_purse_that_is_no_larger(asked: int, gets: int) -> None:
    parent = verify_chain(issue(workspace_grant(Mode.GUIDED, TERMS), USER), ROOTS)
    block = fleet_block(parent.leaf, parent.id, holder=CHILD_KEY.public, purse_micros=asked, nonce=b"f" * 16)
    fleet = verify_chain(attenuate(parent, block, HOLDER), ROOTS)
    assert (fleet.leaf.purse, fleet.leaf.depth, fleet.leaf.scope) == (gets, parent.leaf.depth - 1, parent.leaf.scope)
    assert (fleet.leaf.grants, fleet.holder) == (parent.leaf.grants, CHILD_KEY.public)
