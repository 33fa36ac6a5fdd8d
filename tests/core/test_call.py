"""A call is its bytes: every field counts, and a yes to one call is a yes to no other (threat 7)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from astrid.core.blocks import ALL_PERMISSIONS, Scope
from astrid.core.budget import Ledger
from astrid.core.call import (
    MAX_CALL_BYTES,
    MAX_NEEDS,
    MAX_PRES,
    Call,
    Need,
    Pre,
    Preparation,
    call_digest,
    decode_call,
    encode_call,
)
from astrid.core.canon import Domain, digest
from astrid.core.decide import Ask, Circumstances, Decision, Denied, Limits, Permit, decide
from astrid.core.policy import Policy, PolicyConfig
from astrid.core.resources import parse_pattern
from astrid.core.tokens import Grant, Token
from astrid.core.tools import ToolSpec
from astrid.errors import CanonError
from tests.fakes.authority import SESSION_KEY, call, moment, token
from tests.vectors import make_calls
from tests.vectors.protocol import render

MODEST = settings(max_examples=100, deadline=None)
VECTORS = Path(__file__).parent.parent / "vectors"
CONTENT: dict[str, Any] = json.loads((VECTORS / "calls.json").read_text("utf-8"))


def named(vectors: list[dict[str, Any]]) -> list[Any]:
    return [pytest.param(vector, id=vector["name"]) for vector in vectors]


def test_the_script_makes_the_vectors_that_are_checked() -> None:
    assert (VECTORS / "calls.json").read_text("utf-8") == render(make_calls.build())


@pytest.mark.parametrize("vector", named(CONTENT["valid"]))
def test_a_right_call_is_read_and_spelled_and_digested_as_the_protocol_says(vector: dict[str, Any]) -> None:
    raw = bytes.fromhex(vector["raw"])
    assert encode_call(decode_call(raw)) == raw
    assert call_digest(raw).hex() == vector["digest"]


@pytest.mark.parametrize("vector", named(CONTENT["hostile"]))
def test_a_wrong_call_is_refused_for_what_is_wrong_with_it(vector: dict[str, Any]) -> None:
    with pytest.raises(CanonError) as refused:
        decode_call(bytes.fromhex(vector["raw"]))
    assert refused.value.code == vector["code"]


def test_no_two_calls_of_the_vectors_have_one_digest() -> None:
    assert len({vector["digest"] for vector in CONTENT["valid"]}) == len(CONTENT["valid"]) > len(make_calls.FIELDS)


def test_a_digest_is_that_of_the_bytes_in_the_domain_of_calls() -> None:
    assert call_digest(b"x") == digest(Domain.CALL, b"x")


def test_a_call_that_is_too_long_is_refused_before_it_is_read() -> None:
    with pytest.raises(CanonError) as refused:
        decode_call(b"\xdc" * (MAX_CALL_BYTES + 1))
    assert refused.value.code == "canon.too-long"


@pytest.mark.parametrize(
    ("code", "changes"),
    [
        ("call.needs", {"needs": ()}),
        ("call.unsorted", {"needs": (Need("file://w/b", 1), Need("file://w/a", 1))}),
        ("call.pattern", {"needs": (Need("file://w/*", 1),)}),
        ("call.permission", {"needs": (Need("file://w/a", 0),)}),
        ("call.absent", {"pre": (Pre("w/a", 0, 0, b"F" * 32),)}),
        ("canon.no-encoding", {"tool": "pаy"}),
        ("canon.no-encoding", {"risk": 4}),
        ("canon.no-encoding", {"aud": b"A"}),
        ("canon.no-encoding", {"max_micros": -1}),
    ],
    ids=str,
)
def test_a_call_that_no_host_would_read_is_not_made(code: str, changes: dict[str, Any]) -> None:
    with pytest.raises(CanonError) as refused:
        encode_call(call(**changes))
    assert refused.value.code == code


SEGMENT = st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="%*/"), min_size=1, max_size=6)


@st.composite
def calls(draw: st.DrawFn) -> Call:
    paths = draw(st.lists(SEGMENT, min_size=1, max_size=4, unique=True))
    needs = tuple(sorted(Need(f"file://w/{path}", draw(st.integers(1, ALL_PERMISSIONS))) for path in paths))
    return call(
        needs=needs,
        tool=draw(SEGMENT),
        tainted=draw(st.booleans()),
        max_micros=draw(st.integers(0, 2**64 - 1)),
        args=draw(st.binary(max_size=60)),
    )


@MODEST
@given(calls(), calls())
def test_calls_have_one_digest_only_if_they_are_one_call(one: Call, other: Call) -> None:
    assert decode_call(encode_call(one)) == one
    assert (call_digest(encode_call(one)) == call_digest(encode_call(other))) is (one == other)


@MODEST
@given(st.lists(SEGMENT.filter(lambda name: name not in (".", "..")), min_size=1, max_size=3))
def test_a_need_that_is_accepted_is_no_pattern_but_a_tree_of_files(path: list[str]) -> None:
    text = "file://" + "/".join(path)
    for resource, accepted in ((text, True), (f"{text}/**", True), (f"{text}/*", False), (f"{text}*/x", False)):
        try:
            encode_call(call(needs=(Need(resource, 1),)))
        except CanonError:
            assert not accepted
        else:
            assert accepted
            assert all(len(pieces) == 1 for pieces in parse_pattern(resource).segments)


def test_the_most_needs_that_a_call_may_have_fit_the_grants_of_a_block() -> None:
    needs = tuple(Need(f"file://w/{n:02}", 1) for n in range(MAX_NEEDS))
    assert len(decode_call(encode_call(call(needs=needs))).needs) == 64


def test_a_call_has_at_most_1024_preconditions() -> None:
    pres = tuple(Pre(f"w/{n:04}", 5, 7, b"") for n in range(MAX_PRES))
    assert len(decode_call(encode_call(call(pre=pres))).pre) == 1024


def test_a_preparation_says_nothing_that_it_was_not_told() -> None:
    made = Preparation(needs=(Need("file://w/a", 1),))
    assert (made.pre, made.risk, made.max_micros, made.fresh, made.controls) == ((), 0, 0, False, ())


# --- a yes to one call, tried on its neighbours

SPEC = ToolSpec(
    "write_file", "workspace", "main", b"", b"{}", "staging", (), (), (), 0, (), "", bytes(32), bytes(32), False
)
POLICY = Policy(PolicyConfig(blocked_tools=(), denied_paths=()), home="/nowhere")
LIMITS = Limits(2**64 - 1, 2**64 - 1, 2**64 - 1)
EVERYTHING = tuple(Grant(pattern, ALL_PERMISSIONS, 0, 3, b"") for pattern in ("file://**", "mcp://**", "tool://**"))
ONE = decode_call(bytes.fromhex(CONTENT["valid"][0]["raw"]))
NEIGHBOURS = [
    pytest.param(decode_call(bytes.fromhex(vector["raw"])), id=vector["name"]) for vector in CONTENT["valid"][1:]
]


def decided(made: Call, chain: Token) -> Decision:
    # The moment is the one of the call that was approved, or what the session and install fields say is not tested.
    around = Circumstances(
        policy=POLICY,
        ledger=Ledger(),
        limits=LIMITS,
        moment=moment(tainted=made.tainted),
        standing=True,
        fresh_reason="",
    )
    return decide(made, call_digest(encode_call(made)), SPEC, [chain], around)


def once(made: Call) -> Token:
    """The widest once token there can be: only the digest of the call binds it."""
    return token(
        scope=Scope.ONCE,
        depth=0,
        uses=1,
        purse=2**64 - 1,
        call=call_digest(encode_call(made)),
        workspace=b"",
        grants=EVERYTHING,
        holder=SESSION_KEY.public,
    )


def test_a_once_token_permits_the_call_it_was_made_for() -> None:
    assert isinstance(decided(ONE, once(ONE)), Permit)


@pytest.mark.parametrize("other", NEIGHBOURS)
def test_a_once_token_does_not_permit_a_call_that_differs_in_one_field(other: Call) -> None:
    decision = decided(other, once(ONE))
    if other.caller_key:
        assert isinstance(decision, Denied)
    else:
        assert isinstance(decision, Ask)
        assert decision.missing.code in ("token.other-call", "token.possession")


def test_the_neighbours_differ_in_every_field_but_the_version() -> None:
    others = [neighbour.values[0] for neighbour in NEIGHBOURS]
    differing = {
        name for other in others for name in Call.__struct_fields__ if getattr(other, name) != getattr(ONE, name)
    }
    assert differing == set(Call.__struct_fields__) - {"version"}
    assert msgspec.structs.replace(ONE) == ONE
