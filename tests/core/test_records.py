"""What the log records: one body a kind, nothing in it that was said, and all of it readable again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from astrid.core.canon import Signed, commitment, decode, encode
from astrid.core.records import (
    BODIES,
    MAX_BODY_BYTES,
    NO_SESSION,
    ChargeRow,
    CoalescedRecord,
    DeferredRecord,
    Entry,
    Genesis,
    JournalRow,
    Kind,
    PermitRecord,
    Sealed,
    Stop,
    entry,
    is_sealed,
    seal,
)
from astrid.errors import CanonError

MODEST = settings(max_examples=60, deadline=None)
SALT = b"s" * 32
VECTORS = Path(__file__).parents[1] / "vectors" / "records.json"


def value_of(info: Any) -> Any:
    """Some value of a field's type."""
    match info:
        case msgspec.inspect.StructType():
            return info.cls(*(value_of(field.type) for field in info.fields))
        case msgspec.inspect.VarTupleType():
            return (value_of(info.item_type),)
        case msgspec.inspect.BytesType():
            return b"b" * (info.min_length or 3)
        case msgspec.inspect.StrType():
            return "text"
        case msgspec.inspect.BoolType():
            return True
        case _:
            assert isinstance(info, msgspec.inspect.IntType)
            return 7


def body_of(kind: Kind) -> Any:
    return value_of(msgspec.inspect.type_info(BODIES[kind]))


@pytest.mark.parametrize("kind", BODIES, ids=lambda kind: kind.name.lower())
def test_a_body_of_each_kind_is_recorded_as_that_kind_and_read_back(kind: Kind) -> None:
    body = body_of(kind)
    made = entry(body, session=b"S" * 16, ref=3)
    assert (made.kind, made.session, made.ref) == (kind, b"S" * 16, 3)
    assert decode(made.body, BODIES[kind], max_bytes=MAX_BODY_BYTES, what="a body") == body


def test_no_two_kinds_share_a_body_and_each_kind_of_the_runtime_lies_below_those_of_guests() -> None:
    assert len(set(BODIES.values())) == len(BODIES)
    assert max(Kind) < 1000


def test_every_kind_has_a_body() -> None:
    assert set(BODIES) == set(Kind)


NUMBERS = """
    genesis 1 boot 2 stop 3 session_started 4 session_ended 5 prompt 6 permit 7 denied 8 asked 9 settled 10 outcome 11
    granted 12 revoked 13 coalesced 14 clock 15 deferred 16 journal 17 cosigned 18 subagent_started 19
    session_erased 20 attached 21 outcome_vouched 22 connection 23 connection_ended 24 files_rewinding 25
    files_rewound 26
"""


def test_the_number_of_a_kind_never_changes_since_old_logs_hold_it() -> None:
    words = NUMBERS.split()
    written = dict(zip(words[::2], map(int, words[1::2]), strict=True))
    assert {kind.name.lower(): kind.value for kind in Kind}.items() >= written.items()


def test_what_a_body_looks_like_never_changes_since_old_logs_hold_it() -> None:
    """What is to be said beside it gets a kind of its own: else an honest log of yesterday would be called tampered."""
    written = json.loads(VECTORS.read_text("utf-8"))["bodies"]
    assert set(written) == {kind.name.lower() for kind in Kind}
    for kind in Kind:
        raw = bytes.fromhex(written[kind.name.lower()])
        assert decode(raw, BODIES[kind], max_bytes=MAX_BODY_BYTES, what="a body") == body_of(kind)


FREE_TEXT = {
    "reason",
    "version",
    "mode",
    "model",
    "host_kind",
    "host_id",
    "tool",
    "layer",
    "code",
    "effect",
    "kind",
    "source",
}


NAMES = {
    "qid",
    "principal",
    "workspace",
    "session",
    "key",
    "signer",
    "issuer",
    "holder",
    "stated",
    "signature",
    "parent",
}
OF_BLOCKS = {"token", "block", "target"}  # their ids: a block has a nonce
OF_WHAT_IS_NO_SECRET = {"install", "old_tip", "policy", "catalogue", "config", "tooldef", "root", "tip"}


def bytes_fields(shape: type[Signed]) -> set[str]:
    fields = msgspec.inspect.type_info(shape).fields  # type: ignore[union-attr]
    return {field.name for field in fields if isinstance(field.type, msgspec.inspect.BytesType)}


def test_no_body_names_anything_by_a_digest_that_a_guess_could_be_compared_with() -> None:  # threat 26
    named = set().union(*map(bytes_fields, (*BODIES.values(), ChargeRow)))
    assert named <= NAMES | OF_BLOCKS | OF_WHAT_IS_NO_SECRET
    assert bytes_fields(Sealed) == {"commitment"}


@pytest.mark.parametrize(
    ("salt", "data", "expected"),
    [
        (SALT, b"said", True),
        (SALT, b"Said", False),
        (SALT, b"said ", False),
        (b"t" * 32, b"said", False),
        (b"s" * 31, b"said", False),
    ],
)
def test_only_the_very_bytes_under_their_salt_are_what_was_committed_to(
    salt: bytes, data: bytes, expected: bool
) -> None:
    sealed, _ = seal(b"said", SALT)
    assert is_sealed(sealed, salt, data) is expected


def test_a_body_holds_ids_numbers_codes_and_commitments_and_no_free_bytes() -> None:  # threat 26
    for shape in BODIES.values():
        for field in msgspec.inspect.type_info(shape).fields:  # type: ignore[union-attr]
            match field.type:
                case msgspec.inspect.BytesType():
                    assert (field.type.min_length, field.type.max_length) in ((16, 16), (32, 32), (64, 64)), field
                case msgspec.inspect.StrType():
                    assert field.name in FREE_TEXT, field
                case _:
                    assert isinstance(
                        field.type,
                        msgspec.inspect.IntType
                        | msgspec.inspect.BoolType
                        | msgspec.inspect.StructType
                        | msgspec.inspect.VarTupleType,
                    ), field


@MODEST
@given(st.binary(max_size=200), st.binary(min_size=32, max_size=32))
def test_what_is_sealed_is_kept_beside_the_record_with_its_salt(data: bytes, salt: bytes) -> None:
    sealed, payload = seal(data, salt, slot=2)
    assert sealed == Sealed(len(data), commitment(salt, data))
    assert (payload.slot, payload.salt, payload.data) == (2, salt, data)


def test_a_record_says_nothing_about_what_is_sealed_but_its_length() -> None:
    one, _ = seal(b"password one", SALT)
    other, _ = seal(b"password one", b"t" * 32)
    assert one.length == other.length
    assert one.commitment != other.commitment
    assert b"password" not in encode(one)


def test_an_entry_waits_for_nothing_it_was_not_told() -> None:
    said = DeferredRecord(1, b"q" * 16)
    made = entry(said)
    assert made == Entry(kind=Kind.DEFERRED, session=NO_SESSION, body=encode(said))
    assert made.urgent
    assert not made.checkpoint


@pytest.mark.parametrize("body", [Genesis(1, b"I" * 32, b"\0" * 32), Stop("asked")], ids=["beginning", "end"])
def test_a_checkpoint_follows_the_beginning_of_a_log_and_each_stop_in_order(body: Signed) -> None:
    assert entry(body).checkpoint


def test_an_entry_carries_what_goes_beside_it() -> None:
    _, payload = seal(b"x", SALT)
    rows = (JournalRow(1, b"row"),)
    made = entry(Stop("asked"), payloads=(payload,), rows=rows, urgent=False, checkpoint=True)
    assert (made.payloads, made.rows, made.urgent, made.checkpoint) == ((payload,), rows, False, True)


def test_a_body_that_is_too_long_is_refused() -> None:
    rows = tuple(ChargeRow(n.to_bytes(32, "big"), n) for n in range(2000))
    body = msgspec.structs.replace(body_of(Kind.PERMIT), charges=rows)
    assert isinstance(body, PermitRecord)
    with pytest.raises(CanonError) as refused:
        entry(body)
    assert refused.value.code == "record.too-long"
    assert len(entry(Stop("x" * (MAX_BODY_BYTES - 4))).body) == MAX_BODY_BYTES
    with pytest.raises(CanonError):
        entry(Stop("x" * (MAX_BODY_BYTES - 3)))


NOTHING: Any = None


@pytest.mark.parametrize(
    "body",
    [CoalescedRecord("x", -1), CoalescedRecord("x", 2**64), CoalescedRecord("\ud800", 1), Stop(NOTHING)],
    ids=repr,
)
def test_a_body_that_could_not_be_read_again_is_refused_before_it_is_sent(body: Any) -> None:  # threat 25
    with pytest.raises(CanonError) as refused:
        entry(body)
    assert refused.value.code == "canon.no-encoding"
