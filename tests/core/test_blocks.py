"""What a block allows, the block above it allows: tried against brute force over a small world."""

from __future__ import annotations

import itertools
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from astrid.core.blocks import (
    ALL_PERMISSIONS,
    UNLIMITED_MICROS,
    UNLIMITED_USES,
    Assurance,
    Block,
    Grant,
    Link,
    Permission,
    Scope,
    asks_anew,
    block_id,
    check_block,
    check_grants,
    check_linked,
    check_narrower,
)
from astrid.core.canon import Domain, digest, encode
from astrid.core.resources import matches, parse_resource
from astrid.core.risk import Risk
from astrid.errors import CanonError, TokenError
from tests.fakes.authority import HOLDER, SESSION_KEY, block

MODEST = settings(max_examples=200, deadline=None)

PATTERNS = ("file://**", "file://w/**", "file://w/*", "file://w/a", "file://w/*a", "file://v/**", "mcp://s/t")
RESOURCES = tuple(
    map(parse_resource, ("file://w", "file://w/a", "file://w/ba", "file://w/a/b", "file://v/a", "mcp://s/t"))
)
PERMISSIONS = (1, 2, 3)
TOOLDEFS = (b"", b"T" * 32, b"U" * 32)


def grants() -> st.SearchStrategy[tuple[Grant, ...]]:
    bits, other = st.integers(0, 3), st.integers(0, 3)
    one = st.builds(Grant, st.sampled_from(PATTERNS), bits, other, st.integers(0, 2), st.sampled_from(TOOLDEFS))
    return st.sets(one.filter(lambda grant: grant.perms | grant.issuable), min_size=1, max_size=3).map(
        lambda chosen: tuple(sorted(chosen))
    )


def optional(*values: bytes) -> st.SearchStrategy[bytes]:
    return st.sampled_from((b"", *values))


def blocks() -> st.SearchStrategy[Block]:
    return st.builds(
        block,
        aud=st.sampled_from((b"A" * 32, b"A" * 32, b"B" * 32)),
        session=optional(b"S" * 16, b"X" * 16),
        workspace=optional(b"W" * 32, b"W" * 32),
        scope=st.sampled_from(Scope).map(int),
        grants=grants(),
        not_before=st.integers(0, 2),
        expires=st.integers(3, 5),
        uses=st.integers(1, 3),
        purse=st.integers(0, 2),
        depth=st.integers(0, 3),
        tainted_ok=st.booleans(),
        call=optional(b"C" * 32),
        question=optional(b"Q" * 32),
    )


def child_of(parent: Block) -> st.SearchStrategy[Block]:
    """Blocks that differ from ``parent`` in a few fields, so that many are narrower and many just not."""
    fields = ("aud", "session", "workspace", "scope", "grants", "not_before", "expires", "uses", "purse", "tainted_ok")

    def mix(other: Block, names: list[str], depth: int) -> Block:
        changed = {name: getattr(other, name) for name in names}
        return msgspec.structs.replace(parent, depth=depth, **changed)

    names = st.lists(st.sampled_from((*fields, "call", "question")), max_size=3)
    return st.builds(mix, blocks(), names, st.integers(0, 3))


def uses(made: Block) -> set[tuple[Any, ...]]:
    """Every use that ``made`` allows by itself in the small world."""
    world = itertools.product(RESOURCES, PERMISSIONS, (0, 1, 2), TOOLDEFS[1:])
    covered = [
        (resource.text, bits, risk, tooldef)
        for resource, bits, risk, tooldef in world
        if any(
            not bits & ~grant.perms
            and risk <= grant.max_risk
            and grant.tooldef in (b"", tooldef)
            and matches(pattern, resource)
            for pattern, grant in zip(check_grants(made.grants), made.grants, strict=True)
        )
    ]
    when = [
        (time, session, workspace, tainted, call)
        for time in range(6)
        for session in (b"S" * 16, b"X" * 16)
        for workspace in (b"W" * 32, b"X" * 32)
        for tainted in (False, True)
        for call in (b"C" * 32, b"D" * 32)
        if made.not_before <= time < made.expires
        and made.session in (b"", session)
        and made.workspace in (b"", workspace)
        and (made.tainted_ok or not tainted)
        and made.call in (b"", call)
    ]
    return set(itertools.product((made.aud,), covered, when))


def narrower(above: Block, made: Block) -> bool:
    link = Link(above, block_id(encode(above)), check_grants(above.grants))
    try:
        check_narrower(link, made, check_grants(made.grants))
    except TokenError:
        return False
    return True


@MODEST
@given(st.data())
def test_a_block_that_is_accepted_allows_nothing_that_its_parent_does_not(data: st.DataObject) -> None:
    above = data.draw(blocks())
    made = data.draw(child_of(above))
    if not narrower(above, made) or asks_anew(above, made):
        return
    assert uses(made) <= uses(above)
    assert (made.uses, made.purse) <= (above.uses, max(above.purse, made.purse))
    assert made.uses <= above.uses
    assert made.purse <= above.purse
    assert made.depth < above.depth
    assert made.scope <= above.scope


@MODEST
@given(blocks(), st.integers(1, 3))
def test_a_block_that_changes_nothing_but_its_depth_is_accepted(above: Block, depth: int) -> None:
    assert narrower(msgspec.structs.replace(above, depth=depth), msgspec.structs.replace(above, depth=depth - 1))


@MODEST
@given(st.data())
def test_narrowing_goes_on_through_any_number_of_blocks(data: st.DataObject) -> None:
    first = data.draw(blocks())
    second = data.draw(child_of(first))
    third = data.draw(child_of(second))
    if narrower(first, second) and narrower(second, third) and not third.question:
        assert uses(third) <= uses(first)


@MODEST
@given(st.data())
def test_an_answer_may_use_what_its_parent_may_issue_and_no_more(data: st.DataObject) -> None:
    above = msgspec.structs.replace(data.draw(blocks()), question=b"", depth=3)
    made = msgspec.structs.replace(data.draw(child_of(above)), question=b"Q" * 32)
    if narrower(above, made):
        issuable = tuple(
            sorted({msgspec.structs.replace(grant, perms=grant.perms | grant.issuable) for grant in above.grants})
        )
        assert uses(made) <= uses(msgspec.structs.replace(above, grants=issuable))


def test_only_a_block_that_sets_a_question_anew_answers_it() -> None:
    asked, plain = block(question=b"Q" * 32), block()
    assert asks_anew(plain, asked)
    assert not asks_anew(asked, asked)
    assert not asks_anew(plain, plain)


def test_an_id_is_the_digest_of_the_payload() -> None:
    payload = encode(block())
    assert block_id(payload) == digest(Domain.BLOCK, payload)


def test_a_block_hangs_below_the_one_whose_holder_issued_it_and_whose_id_it_names() -> None:
    above = block()
    identity = block_id(encode(above))
    check_linked(above, identity, block(issuer=HOLDER.public, parent=identity))
    for changes, code in (
        ({"issuer": SESSION_KEY.public, "parent": identity}, "token.issuer"),
        ({"issuer": HOLDER.public, "parent": b"x" * 32}, "token.parent"),
    ):
        with pytest.raises(TokenError) as refused:
            check_linked(above, identity, block(**changes))
        assert refused.value.code == code


@pytest.mark.parametrize("extra", [256, 0x8000])
@pytest.mark.parametrize("field", ["perms", "issuable"])
def test_a_permission_that_does_not_exist_is_refused(field: str, extra: int) -> None:
    grant = msgspec.structs.replace(Grant("file://w/a", 1, 1, 0, b""), **{field: 1 | extra})
    with pytest.raises(TokenError) as refused:
        check_grants((grant,))
    assert refused.value.code == "token.permission"


def test_one_grant_of_high_risk_among_harmless_ones_is_enough() -> None:
    mixed = (Grant("file://w/a", 1, 0, Risk.LOW, b""), Grant("file://w/b", 1, 0, Risk.HIGH, b""))
    with pytest.raises(TokenError) as refused:
        check_block(block(assurance=Assurance.PLAIN, grants=mixed))
    assert refused.value.code == "token.weak-key"


def test_no_limit_is_the_most_that_a_field_can_hold() -> None:
    encode(block(uses=UNLIMITED_USES, purse=UNLIMITED_MICROS))
    for beyond in ({"uses": UNLIMITED_USES + 1}, {"purse": UNLIMITED_MICROS + 1}):
        with pytest.raises(CanonError):
            encode(block(**beyond))


def test_the_numbers_that_are_signed_never_change() -> None:
    assert {one.name: one.value for one in Scope} == {"ONCE": 0, "SESSION": 1, "WORKSPACE": 2, "ALWAYS": 3}
    assert {one.name: one.value for one in Assurance} == {"PLAIN": 1, "SEALED": 2, "DEVICE": 3, "RELAYED": 4}
    names = "READ WRITE EXECUTE DELETE INVOKE LIST CREATE DELEGATE".split()
    assert {one.name: one.value for one in Permission} == {name: 1 << place for place, name in enumerate(names)}


def test_all_permissions_are_all_that_have_a_name() -> None:
    assert sum(Permission) == ALL_PERMISSIONS


@pytest.mark.parametrize("risk", Risk)
@pytest.mark.parametrize("scope", Scope)
@pytest.mark.parametrize("assurance", Assurance)
def test_weak_keys_are_good_for_little(assurance: Assurance, scope: Scope, risk: Risk) -> None:
    fields: dict[str, Any] = {"session": b"S" * 16, "tainted_ok": False}
    if scope is Scope.ONCE:
        fields |= {"depth": 0, "call": b"C" * 32, "uses": 1}
    made = block(assurance=assurance, scope=scope, grants=(Grant("file://w/a", 1, 0, risk, b""),), **fields)
    strong = assurance in (Assurance.SEALED, Assurance.DEVICE)
    modest = risk <= Risk.MEDIUM
    allowed = strong or (modest if assurance is Assurance.PLAIN else modest and scope is Scope.ONCE)
    if assurance is Assurance.PLAIN and scope is Scope.ONCE:
        allowed = True
    if allowed:
        check_block(made)
    else:
        with pytest.raises(TokenError) as refused:
            check_block(made)
        assert refused.value.code in ("token.weak-key", "token.relayed")
