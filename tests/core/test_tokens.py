"""Chains of blocks: what verifies, what does not, and what a verified chain is good for now."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from astrid.core import tokens
from astrid.core.blocks import Assurance, Grant, Scope, block_id
from astrid.core.canon import Domain, encode
from astrid.core.tokens import (
    MAX_BLOCKS,
    MAX_CHAIN_BYTES,
    MAX_PAYLOAD_BYTES,
    Enrolled,
    Roots,
    SignedBlock,
    Token,
    attenuate,
    check_live,
    issue,
    verify_chain,
)
from astrid.errors import AstridError, CanonError, TokenError
from tests.fakes.authority import (
    AUD,
    CHILD_KEY,
    DAY,
    DEVICE_KEY,
    HOLDER,
    NOW,
    READ,
    RELAY_KEY,
    ROOTS,
    SESSION,
    SESSION_KEY,
    STRANGER,
    USER,
    WRITE,
    below,
    block,
    device_token,
    key,
    moment,
    pass_on,
    token,
)
from tests.vectors import make_primitives, make_tokens
from tests.vectors.protocol import render

MODEST = settings(max_examples=100, deadline=None)
VECTORS = Path(__file__).parent.parent / "vectors"
CONTENT: dict[str, Any] = json.loads((VECTORS / "tokens.json").read_text("utf-8"))
VECTOR_ROOTS = Roots(
    {bytes.fromhex(key): Assurance(value) for key, value in CONTENT["roots"].items()},
    1,
    {bytes.fromhex(key): Enrolled(Assurance(value), NOW) for key, value in CONTENT["devices"].items()},
)


def named(vectors: list[dict[str, Any]]) -> list[Any]:
    return [pytest.param(vector, id=vector["name"]) for vector in vectors]


def refused(raw: bytes, roots: Roots = ROOTS) -> str:
    """The code with which ``raw`` is refused."""
    with pytest.raises(TokenError) as error:
        verify_chain(raw, roots)
    return error.value.code


# --- vectors


@pytest.mark.parametrize("script", [make_primitives, make_tokens], ids=lambda script: script.__name__)
def test_the_scripts_make_the_vectors_that_are_checked(script: Any) -> None:
    name = script.__name__.rpartition("make_")[2]
    assert (VECTORS / f"{name}.json").read_text("utf-8") == render(script.build())


@pytest.mark.parametrize("vector", named(CONTENT["valid"]))
def test_a_right_chain_verifies_and_its_blocks_have_the_ids_of_the_protocol(vector: dict[str, Any]) -> None:
    raw = bytes.fromhex(vector["raw"])
    verified = verify_chain(raw, VECTOR_ROOTS)
    assert [identity.hex() for identity in verified.ids] == vector["ids"]
    assert verified.raw == raw
    assert verified.id == verified.ids[-1]


@pytest.mark.parametrize("vector", named(CONTENT["hostile"]))
def test_a_wrong_chain_is_refused_for_what_is_wrong_with_it(vector: dict[str, Any]) -> None:
    assert refused(bytes.fromhex(vector["raw"]), VECTOR_ROOTS) == vector["code"]


def test_there_are_enough_hostile_vectors_and_no_two_are_the_same() -> None:
    assert len({vector["raw"] for vector in CONTENT["hostile"]}) == len(CONTENT["hostile"]) > 200


# --- every header byte, whatever it is changed to (threats 2, 14)

TWO = pass_on(token(), HOLDER, session=SESSION, scope=Scope.SESSION)


def headers(data: bytes) -> Iterator[int]:
    """The places of every byte that is not content: types and lengths, and the numbers that are their own header."""
    at = 0
    while at < len(data):
        first = data[at]
        extra = {0xC4: 1, 0xC5: 2, 0xD9: 1, 0xDA: 2, 0xDC: 2}.get(first, 0)
        numbers = {0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8}.get(first, 0)
        yield from range(at, at + 1 + extra)
        length = int.from_bytes(data[at + 1 : at + 1 + extra], "big") if 0xC4 <= first <= 0xDB else 0
        text = first & 31 if 0xA0 <= first < 0xC0 else 0
        at += 1 + extra + numbers + length + text


def mutations(data: bytes) -> Iterator[bytes]:
    for place in headers(data):
        for value in range(256):
            if value != data[place]:
                yield data[:place] + bytes([value]) + data[place + 1 :]


def test_no_change_of_a_header_byte_of_a_chain_verifies() -> None:
    tried = 0
    for raw in mutations(TWO.raw):
        tried += 1
        with pytest.raises(TokenError):
            verify_chain(raw, ROOTS)
    assert tried > 2000


def test_a_payload_with_a_changed_header_byte_is_refused_although_the_right_key_signed_it() -> None:
    payload = encode(block(expires=NOW + 2**33))
    verified = 0
    for changed in mutations(payload):
        raw = encode((SignedBlock(changed, USER.sign(Domain.BLOCK, changed)),))
        try:
            good = verify_chain(raw, ROOTS)
        except TokenError:
            continue
        # What is left is another value in its one spelling: a number that is its own header.
        assert encode(good.leaf) == changed
        verified += 1
    assert 0 < verified < 600


@MODEST
@given(st.data())
def test_no_bytes_but_a_chain_itself_verify(data: st.DataObject) -> None:
    raw = bytearray(TWO.raw)
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(raw) - 1))
        match data.draw(st.sampled_from(("flip", "cut", "insert"))):
            case "flip":
                raw[place] ^= data.draw(st.integers(1, 255))
            case "cut":
                del raw[place : place + data.draw(st.integers(1, 8))]
            case _:
                raw[place:place] = data.draw(st.binary(min_size=1, max_size=8))
    if bytes(raw) != TWO.raw:
        with pytest.raises(TokenError):
            verify_chain(bytes(raw), ROOTS)


@MODEST
@given(st.binary(max_size=400))
def test_bytes_from_nowhere_are_refused_and_nothing_else_happens(raw: bytes) -> None:
    with pytest.raises(TokenError):
        verify_chain(raw, ROOTS)


# --- making chains: whoever signs refuses what every verifier would refuse


def signing(**changes: Any) -> str:
    with pytest.raises(AstridError) as error:
        issue(block(**changes), USER)
    return error.value.code


@pytest.mark.parametrize(
    ("code", "changes"),
    [
        ("token.version", {"version": 2}),
        ("token.parent", {"parent": b"x" * 32}),
        ("token.holder", {"holder": USER.public}),
        ("token.issuer", {"issuer": STRANGER.public}),
        ("token.once", {"scope": Scope.ONCE}),
        ("token.grants", {"grants": ()}),
        ("token.pattern", {"grants": (Grant("file://w/../x", READ, 0, 1, b""),)}),
        ("canon.no-encoding", {"nonce": b"n" * 15}),
        ("canon.no-encoding", {"depth": -1}),
        ("token.too-long", {"grants": (Grant("file://" + "w" * 4000, READ, 0, 1, b""),)}),
    ],
    ids=str,
)
def test_what_no_verifier_accepts_is_not_issued(code: str, changes: dict[str, Any]) -> None:
    assert signing(**changes) == code


@pytest.mark.parametrize(
    ("code", "changes"),
    [
        ("token.issuer", {"issuer": STRANGER.public}),
        ("token.parent", {"parent": bytes(32)}),
        ("token.holder", {"holder": HOLDER.public}),
        ("token.holder", {"holder": USER.public}),
        ("token.wider", {"uses": 2**32 - 1, "purse": 2**64 - 1}),
        ("token.depth", {"depth": 5}),
        ("token.unbound", {"scope": Scope.SESSION}),
        ("canon.no-encoding", {"depth": -1}),
    ],
    ids=str,
)
def test_a_token_is_not_handed_on_wider_or_to_its_makers(code: str, changes: dict[str, Any]) -> None:
    parent = token()
    with pytest.raises(AstridError) as error:
        attenuate(parent, below(parent, **changes), HOLDER)
    assert error.value.code == code


def test_only_its_holder_hands_a_token_on() -> None:
    parent = token()
    with pytest.raises(TokenError) as error:
        attenuate(parent, below(parent), STRANGER)
    assert error.value.code == "token.issuer"


def longest(blocks: int, **fields: Any) -> Token:
    chain = token(depth=255, holder=key(20).public, **fields)
    for number in range(1, blocks):
        chain = pass_on(chain, key(19 + number), holder=key(20 + number).public)
    return chain


def test_a_chain_has_at_most_eight_blocks() -> None:
    chain = longest(MAX_BLOCKS)
    with pytest.raises(TokenError) as error:
        pass_on(chain, key(27), holder=key(28).public)
    assert error.value.code == "token.too-long"


def padded(size: int) -> tuple[Grant, ...]:
    """A grant whose length can be chosen, byte by byte."""
    return (Grant("file://w/" + "x" * size, READ, 0, 1, b""),)


def test_a_payload_has_at_most_four_kilobytes() -> None:
    room = MAX_PAYLOAD_BYTES - len(encode(block(grants=padded(1000)))) + 1000
    whole = verify_chain(issue(block(grants=padded(room)), USER), ROOTS)
    assert len(encode(whole.leaf)) == MAX_PAYLOAD_BYTES
    with pytest.raises(TokenError) as error:
        issue(block(grants=padded(room + 1)), USER)
    assert error.value.code == "token.too-long"


def test_a_chain_has_at_most_sixteen_kilobytes() -> None:
    above = longest(4, grants=(*padded(2800), Grant("file://w/y/**", READ, 0, 1, b"")))

    def grown(size: int) -> bytes:
        last = (Grant("file://w/y/" + "x" * size, READ, 0, 1, b""),)
        return attenuate(above, below(above, issuer=key(23).public, holder=key(24).public, grants=last), key(23))

    room = MAX_CHAIN_BYTES - len(grown(1000)) + 1000
    assert len(verify_chain(grown(room), ROOTS).raw) == MAX_CHAIN_BYTES
    with pytest.raises(TokenError) as error:
        grown(room + 1)
    assert error.value.code == "token.too-long"


def test_a_chain_that_is_too_long_is_refused_before_anything_is_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object, **__: object) -> bytes:
        raise AssertionError("computed")

    monkeypatch.setattr(tokens, "decode", never)
    raw = b"\x91" * (MAX_CHAIN_BYTES + 1)
    for use in (tokens.check_length, lambda raw: verify_chain(raw, ROOTS)):
        with pytest.raises(TokenError) as error:
            use(raw)
        assert error.value.code == "token.too-long"


def test_the_rules_are_not_applied_to_what_nobody_signed(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("judged")

    monkeypatch.setattr(tokens, "check_block", never)
    monkeypatch.setattr(tokens, "check_narrower", never)
    payload = encode(block(grants=tuple(Grant(f"file://w/{n:02}", READ, 0, 1, b"") for n in range(64))))
    assert len(payload) <= MAX_PAYLOAD_BYTES
    assert refused(encode((SignedBlock(payload, bytes(64)),))) == "token.signature"
    with pytest.raises(AssertionError, match="judged"):  # the check that is watched is the one in use
        verify_chain(encode((SignedBlock(payload, USER.sign(Domain.BLOCK, payload)),)), ROOTS)


# --- what a chain is good for now


def test_a_live_token_is_not_refused() -> None:
    assert check_live(token(), moment()) is None
    assert check_live(TWO, moment(tainted=True)) is None


@pytest.mark.parametrize(
    ("code", "changes"),
    [
        ("token.epoch", {"epoch": 2}),
        ("token.not-yet", {"time_s": NOW - 11}),
        ("token.expired", {"time_s": NOW + DAY}),
        ("token.audience", {"aud": b"B" * 32}),
        ("token.session", {"session": b"X" * 16}),
        ("token.workspace", {"workspace": b"X" * 32}),
        ("token.revoked", {"revoked": {USER.public}}),
        ("token.revoked", {"revoked": {HOLDER.public}}),
        ("token.revoked", {"revoked": {SESSION_KEY.public}}),
        ("token.revoked", {"revoked": {TWO.ids[0]}}),
        ("token.revoked", {"revoked": {TWO.ids[1]}}),
    ],
    ids=str,
)
def test_a_token_is_dead_elsewhere_at_another_time_and_when_anything_in_it_is_revoked(
    code: str, changes: dict[str, Any]
) -> None:
    refusal = check_live(TWO, moment(**changes))
    assert refusal is not None
    assert refusal.code == code


def test_a_token_lives_from_its_first_second_to_the_one_before_its_last() -> None:
    for time_s in (NOW - 10, NOW + DAY - 1):
        assert check_live(TWO, moment(time_s=time_s)) is None


def test_a_token_dies_when_any_block_of_its_chain_expires() -> None:
    short = pass_on(token(expires=NOW + 5), HOLDER, expires=NOW + 5)
    refusal = check_live(short, moment(time_s=NOW + 5))
    assert refusal is not None
    assert refusal.code == "token.expired"


def test_a_token_without_session_or_workspace_is_good_in_each() -> None:
    always = token(scope=Scope.ALWAYS, workspace=b"", tainted_ok=False)
    assert check_live(always, moment(session=b"X" * 16, workspace=b"X" * 32)) is None


def test_an_always_token_does_not_hold_under_untrusted_text() -> None:  # threat 51
    always = token(scope=Scope.ALWAYS, tainted_ok=False)
    refusal = check_live(always, moment(tainted=True))
    assert refusal is not None
    assert refusal.code == "token.tainted"
    assert signing(scope=Scope.ALWAYS, tainted_ok=True) == "token.tainted-always"


# --- questions: a token lives only if the log's settling record names it (threat 17)

QUESTION = b"Q" * 32
ANSWER = {"question": QUESTION, "scope": Scope.SESSION, "session": SESSION, "holder": SESSION_KEY.public}


def live(chain: Token, **changes: Any) -> str:
    """The code with which ``chain`` is refused now, or ``live``."""
    refusal = check_live(chain, moment(**changes))
    return "live" if refusal is None else refusal.code


def test_an_answer_is_dead_until_the_log_names_it() -> None:
    answer = token(**ANSWER)
    assert live(answer) == "token.unsettled"
    assert live(answer, settled={answer.id}) == "live"
    assert live(answer, settled={b"X" * 32}) == "token.unsettled"


def test_of_two_answers_to_one_question_exactly_one_is_live() -> None:
    answers = [token(nonce=bytes([n]) * 16, **ANSWER) for n in range(2)]
    settled = {answers[0].id}
    assert [live(answer, settled=settled) for answer in answers] == ["live", "token.unsettled"]


def test_what_is_handed_on_from_an_answer_lives_and_dies_with_it() -> None:
    answer = token(**ANSWER)
    child = pass_on(answer, SESSION_KEY, holder=CHILD_KEY.public)
    assert child.leaf.question == QUESTION
    assert live(child) == "token.unsettled"
    assert live(child, settled={answer.id}) == "live"
    # The log can only name what a person signed, not what was made of it.
    assert live(child, settled={child.id}) == "token.unsettled"


def test_an_answer_kept_by_the_daemon_reaches_the_session() -> None:
    kept = token(question=QUESTION)
    handed_on = pass_on(kept, HOLDER, session=SESSION, scope=Scope.SESSION)
    assert live(handed_on, settled={kept.id}) == "live"


# --- devices (threat 16): issuable is no permission, but in answer to a question


def device_answer(**fields: Any) -> Token:
    parent = device_token()
    given = {
        "holder": SESSION_KEY.public,
        "grants": (Grant("file://w/a", WRITE, 0, 1, b""),),
        "question": QUESTION,
        "assurance": Assurance.DEVICE,
    }
    return pass_on(parent, DEVICE_KEY, **(given | fields))


def test_a_device_says_yes_to_what_it_may_issue() -> None:
    answer = device_answer()
    assert answer.leaf.grants[0].perms == WRITE
    assert live(answer) == "token.unsettled"
    assert live(answer, settled={answer.id}) == "live"


@pytest.mark.parametrize(
    ("code", "fields"),
    [
        ("token.holder", {"holder": DEVICE_KEY.public}),
        ("token.wider", {"question": b"", "assurance": Assurance.SEALED}),
        ("token.wider", {"grants": (Grant("file://v/a", WRITE, 0, 1, b""),)}),
        ("token.wider", {"grants": (Grant("file://w/a", 4, 0, 1, b""),)}),
        ("token.assurance", {"assurance": Assurance.SEALED}),
        (
            "token.assurance",
            {"assurance": Assurance.RELAYED, "scope": Scope.ONCE, "depth": 0, "call": b"C" * 32, "uses": 1},
        ),
    ],
    ids=("for itself", "without a question", "a wider pattern", "another permission", "sealed", "relayed"),
)
def test_a_device_cannot_mint(code: str, fields: dict[str, Any]) -> None:
    with pytest.raises(TokenError) as error:
        device_answer(**fields)
    assert error.value.code == code


def test_what_a_device_minted_for_another_principal_is_dead() -> None:
    forged = device_answer(holder=STRANGER.public)
    accepted = device_answer()
    assert live(forged, settled={accepted.id}) == "token.unsettled"


def test_a_key_that_is_no_longer_enrolled_answers_nothing() -> None:
    raw = device_answer().raw
    assert refused(raw, Roots(ROOTS.keys, 2)) == "token.assurance"


def test_issuable_permissions_are_not_used_again_below_the_answer() -> None:
    grants = (Grant("file://w/a", READ, WRITE, 1, b""),)
    answer = device_answer(grants=grants, scope=Scope.SESSION, session=SESSION)
    with pytest.raises(TokenError) as error:
        pass_on(answer, SESSION_KEY, holder=CHILD_KEY.public, grants=(Grant("file://w/a", WRITE, 0, 1, b""),))
    assert error.value.code == "token.wider"


def test_a_relay_answers_once_and_at_most_medium_risk() -> None:
    parent = device_token(RELAY_KEY)
    once = {"scope": Scope.ONCE, "depth": 0, "call": b"C" * 32, "uses": 1}
    given = {"question": QUESTION, "assurance": Assurance.RELAYED, "grants": (Grant("file://w/a", WRITE, 0, 1, b""),)}
    assert pass_on(parent, RELAY_KEY, **given, **once).leaf.assurance == Assurance.RELAYED
    with pytest.raises(TokenError) as error:
        pass_on(parent, RELAY_KEY, **given, scope=Scope.SESSION, session=SESSION)
    assert error.value.code == "token.relayed"


# --- attacks across chains


def test_a_shorter_prefix_of_a_chain_belongs_to_its_own_holder() -> None:  # threat 1
    prefix = encode(make_prefix(TWO.raw, 1))
    cut = verify_chain(prefix, ROOTS)
    assert cut.holder == HOLDER.public != TWO.holder


def make_prefix(raw: bytes, blocks: int) -> tuple[SignedBlock, ...]:
    return msgspec.msgpack.decode(raw, type=tuple[SignedBlock, ...])[:blocks]


def test_a_block_has_one_id_whatever_chain_it_is_shown_in() -> None:  # threat 2: uses are counted by it
    once = token(scope=Scope.ONCE, depth=0, uses=1, call=b"C" * 32, holder=SESSION_KEY.public)
    assert once.id == block_id(encode(once.leaf))
    longer = pass_on(token(), HOLDER)
    assert longer.ids[0] == token().id


def test_a_once_block_ends_its_chain() -> None:
    once = token(scope=Scope.ONCE, depth=0, uses=1, call=b"C" * 32)
    with pytest.raises(TokenError) as error:
        pass_on(once, HOLDER)
    assert error.value.code == "token.depth"


def test_a_block_signed_for_one_chain_does_not_fit_another() -> None:  # threat 13
    one, other = token(), token(nonce=b"o" * 16)
    tail = make_prefix(pass_on(one, HOLDER).raw, 2)[1]
    assert refused(encode((*make_prefix(other.raw, 1), tail))) == "token.parent"


# --- the cache (threat 47)


def test_a_token_verified_under_old_roots_is_dead() -> None:
    verified = token()
    assert live(verified, epoch=2) == "token.epoch"
    removed = Roots({}, 2)
    assert refused(verified.raw, removed) == "token.root"


def test_refusing_many_chains_keeps_nothing_of_them() -> None:
    payload = encode(block())

    def flood(count: int) -> None:
        for number in range(count):
            with pytest.raises(TokenError):
                verify_chain(encode((SignedBlock(payload, number.to_bytes(64, "big")),)), ROOTS)

    flood(10)
    tracemalloc.start()
    try:
        flood(1500)
        assert tracemalloc.get_traced_memory()[0] < 256 * 1024
    finally:
        tracemalloc.stop()


def test_a_field_out_of_its_type_is_not_signed() -> None:
    with pytest.raises(CanonError):
        issue(block(aud=AUD[:-1]), USER)
