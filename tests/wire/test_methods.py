"""The table of methods is whole, and everything in it travels."""

from __future__ import annotations

import re
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import inspect

from astrid.wire import params, results, typed
from astrid.wire.events import AnyEvent, Event
from astrid.wire.fields import Wire
from astrid.wire.methods import METHODS, NOTICES, Method
from astrid.wire.params import Nothing, Params, Pop, Proven, params_bytes
from astrid.wire.results import Answer
from astrid.wire.states import Role, Sign, State
from tests.fakes.wire_values import shape_of, values_of

# What may be asked by a process of the user that holds no token: that the daemon lives, public keys, how the log grew.
OPEN = {"hello", "status", "doctor", "keysShow", "auditCheckpoint", "auditConsistency"}
ASKED = [method.params for method in METHODS.values()]
ANSWERED = [method.result for method in METHODS.values()]
PROVEN_KINDS = [kind for kind in ASKED if issubclass(kind, Proven)]
PROVEN = st.sampled_from(PROVEN_KINDS).flatmap(values_of)
FEW = settings(max_examples=5, deadline=None)
MODEST = settings(max_examples=150, deadline=None)


def everything(base: type[Wire]) -> list[type[Wire]]:
    return [kind for child in base.__subclasses__() for kind in (child, *everything(child))]


TRAVELLING = sorted(everything(Wire), key=lambda kind: kind.__name__)


@pytest.mark.parametrize("method", METHODS.values(), ids=lambda method: method.name)
def test_whoever_has_no_token_asks_only_what_is_public(method: Method) -> None:
    assert method.needs_proof == (method.name not in OPEN)
    assert (State.GREETED in method.legal) == (method.name in OPEN - {"hello"} | {"authenticate"})


@pytest.mark.parametrize("method", METHODS.values(), ids=lambda method: method.name)
def test_every_method_is_named_like_a_verb_and_documented_in_a_sentence(method: Method) -> None:
    assert re.fullmatch(r"[a-z]+([A-Z][a-z]+)*", method.name)
    assert re.fullmatch(r"[A-Z].*\.", method.doc)


def test_only_the_handshake_moves_the_connection_and_each_of_its_signs_stands_in_the_table_once() -> None:
    signs = [sign for method in METHODS.values() for sign in method.signs or ()]
    assert {name for name, method in METHODS.items() if method.signs} == {"hello", "authenticate"}
    assert sorted(sign.name for sign in signs) == [
        "AUTHENTICATE_ANSWERED",
        "AUTHENTICATE_FAILED",
        "HELLO_ANSWERED",
        "HELLO_FAILED",
    ]


def test_no_method_is_legal_before_the_nonce_or_after_the_bye() -> None:
    legal = frozenset[State]().union(*(method.legal for method in METHODS.values()))
    assert legal == {State.CHALLENGED, State.GREETED, State.AUTHENTICATED}


def test_each_notice_has_its_speakers_and_its_time() -> None:
    table = {name: (notice.speakers, notice.legal, notice.sign) for name, notice in NOTICES.items()}
    assert table == {
        "nonce": ({Role.SERVER}, {State.FRESH}, Sign.NONCE),
        "event": ({Role.SERVER}, {State.AUTHENTICATED}, None),
        "bye": (set(Role), set(State) - {State.BROKEN, State.CLOSED}, Sign.BYE),
    }


def test_no_struct_of_parameters_or_answers_is_left_out_of_the_tables() -> None:
    bases = {Params, Proven, Answer, Event}
    used = {*ASKED, *ANSWERED, *(notice.params for notice in NOTICES.values()), *get_args(AnyEvent)}
    assert {*everything(Params), *everything(Answer), *everything(Event)} - bases - used == set()


@pytest.mark.parametrize("kind", TRAVELLING, ids=[kind.__name__ for kind in TRAVELLING])
def test_whatever_travels_is_frozen_strict_and_immutable_all_the_way_down(kind: type[Wire]) -> None:
    config = kind.__struct_config__
    assert config.frozen
    assert config.forbid_unknown_fields
    allowed = (
        inspect.StructType | inspect.VarTupleType | inspect.StrType | inspect.BytesType | inspect.IntType
        | inspect.BoolType | inspect.NoneType | inspect.LiteralType | inspect.UnionType
    )  # fmt: skip
    info = inspect.type_info(kind)
    assert isinstance(info, inspect.StructType)
    assert [field.name for field in info.fields if not isinstance(field.type, allowed)] == []


@pytest.mark.parametrize("kind", TRAVELLING, ids=[kind.__name__ for kind in TRAVELLING])
@FEW
@given(data=st.data())
def test_every_value_of_every_struct_travels(kind: type[Wire], data: st.DataObject) -> None:
    if kind is Event:  # a base, which has no tag of its own
        return
    value = data.draw(values_of(kind))
    assert typed.read(kind, typed.write(kind, value)) == value


@MODEST
@given(value=st.sampled_from([*ASKED, *ANSWERED]).flatmap(values_of))
def test_a_member_that_nobody_knows_is_refused(value: Wire) -> None:
    with pytest.raises(msgspec.ValidationError):
        typed.read(type(value), msgspec.json.encode({**shape_of(value), "unknown": 1}))


class TestParamsBytes:
    """What a proof covers."""

    @MODEST
    @given(request=PROVEN)
    def test_both_ends_compute_the_same_bytes_with_or_without_the_proof(self, request: Proven) -> None:
        bare = msgspec.structs.replace(request, pop=None)
        sealed = msgspec.structs.replace(request, pop=Pop(counter=7, signature=bytes(64)))
        received = typed.read(type(request), typed.write(type(request), sealed))
        assert params_bytes(bare) == params_bytes(sealed) == params_bytes(received)

    @MODEST
    @given(pair=st.sampled_from(PROVEN_KINDS).flatmap(lambda kind: st.tuples(values_of(kind), values_of(kind))))
    def test_two_requests_that_differ_have_different_bytes(self, pair: tuple[Proven, Proven]) -> None:
        a, b = (msgspec.structs.replace(request, pop=None) for request in pair)
        assert (params_bytes(a) == params_bytes(b)) == (a == b)

    def test_the_spelling_on_the_wire_does_not_matter(self) -> None:
        given: list[Any] = [
            b'{"session_id":"session:%s","after":0}' % (b"0" * 32),
            b' {"after": 0, "session_id" : "session:%s", "pop":null}' % (b"\\u0030" * 32),
            b'{"session_id":"session:%s"}' % (b"0" * 32),
        ]
        spelled = {params_bytes(typed.read(params.SubscribeEvents, text)) for text in given}
        assert spelled == {b'{"after":0,"interactive":false,"session_id":"session:%s"}' % (b"0" * 32)}

    def test_nested_keys_are_sorted_and_bytes_are_base64(self) -> None:
        made = params.CreateSession(workspace="/w", mode="safe", options=params.SessionOptions(max_turns=3))
        assert params_bytes(made) == (
            b'{"mode":"safe","model":null,"options":{"agent":null,"budget_micros":null,"fleet":null,"interactive":true,'
            b'"max_turns":3},"workspace":"/w"}'
        )
        assert params_bytes(params.TokensAdd(token=b"\xff")) == b'{"source":"client","token":"/w=="}'

    def test_no_parameters_are_an_empty_object(self) -> None:
        assert params_bytes(Nothing()) == params_bytes(params.ProvenNothing()) == b"{}"


def test_an_answer_to_a_question_may_be_no_and_then_grants_nothing() -> None:
    no = params.ApprovalResponse(question_id="question:" + "0" * 32, statement=b"A", signature=bytes(64))
    assert (no.payload, no.token_signature) == (b"", b"")


def test_an_open_question_is_listed_by_name_only() -> None:
    assert set(results.OpenQuestion.__struct_fields__) == {"question_id", "session_id", "asked_s", "expires_s"}
