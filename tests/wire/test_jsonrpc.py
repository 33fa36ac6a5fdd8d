"""One JSON-RPC text is one message, or it is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from astrid.errors import LocalProtocolError, RemoteProtocolError
from astrid.wire.errors import ErrorObject
from astrid.wire.jsonrpc import (
    MAX_DEPTH,
    MAX_MESSAGE_BYTES,
    Complaint,
    Failure,
    Id,
    Message,
    Notice,
    Request,
    Result,
    read_message,
    write_message,
)
from tests.fakes.wire_values import values_of

MODEST = settings(max_examples=150, deadline=None)

IDS = values_of(Id)
NAMES = st.from_regex(r"^[a-z][A-Za-z0-9]{0,9}\Z")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(st.text(max_size=4), JSON, max_size=3).map(lambda value: json.dumps(value).encode())
RESULTS = JSON.map(lambda value: json.dumps(value).encode())
MESSAGES: st.SearchStrategy[Message] = st.one_of(
    st.builds(Request, IDS, NAMES, OBJECTS),
    st.builds(Notice, NAMES, OBJECTS),
    st.builds(Result, IDS, RESULTS),
    st.builds(Failure, IDS, values_of(ErrorObject)),
    st.builds(Complaint, values_of(ErrorObject)),
)


def refusal(data: bytes, *, max_bytes: int = MAX_MESSAGE_BYTES) -> str:
    with pytest.raises(RemoteProtocolError) as caught:
        read_message(data, max_bytes=max_bytes)
    return caught.value.code


@MODEST
@given(message=MESSAGES)
def test_what_is_written_is_read_back_and_stays_on_one_line(message: Message) -> None:
    data = write_message(message)
    assert read_message(data) == message
    assert b"\n" not in data


@MODEST
@given(message=MESSAGES)
def test_the_standard_library_reads_the_same_message(message: Message) -> None:
    read = json.loads(write_message(message))
    assert read.pop("jsonrpc") == "2.0"
    match message:
        case Request(id_, method, params):
            assert read == {"id": id_, "method": method, "params": json.loads(params)}
        case Notice(method, params):
            assert read == {"method": method, "params": json.loads(params)}
        case Result(id_, result):
            assert read == {"id": id_, "result": json.loads(result)}
        case Failure(id_, error):
            assert (read["id"], read["error"]["code"]) == (id_, error.code)
        case Complaint(error):
            assert (read["id"], read["error"]["message"]) == (None, error.message)


def test_absent_params_are_an_empty_object() -> None:
    assert read_message(b'{"jsonrpc":"2.0","id":1,"method":"status"}') == Request(1, "status", b"{}")
    assert read_message(b'{"jsonrpc":"2.0","method":"bye"}') == Notice("bye", b"{}")


def test_the_order_of_the_members_and_white_space_mean_nothing() -> None:
    text = b' { "params" : {"a" : 1} ,\n"method":"m", "id":"x",\t"jsonrpc":"2.0" } '
    assert read_message(text) == Request("x", "m", b'{"a" : 1}')


@pytest.mark.parametrize("id_", [b"0", b"9007199254740992", b'" "', b'"' + b"~" * 64 + b'"'])
def test_an_id_at_the_edge_of_its_range_is_taken(id_: bytes) -> None:
    read = read_message(b'{"jsonrpc":"2.0","id":%s,"method":"m"}' % id_)
    assert isinstance(read, Request)
    assert read.id == json.loads(id_)


@pytest.mark.parametrize(
    "id_",
    [
        b"-1",
        b"null",
        b"true",
        b"[]",
        b"{}",
        b'""',
        b'"' + b"x" * 65 + b'"',
        b'"\\u00e9"',
        b'"\\n"',
        b'"a\\n"',
        b'"\x7f"',
    ],
)
def test_an_id_outside_its_range_is_refused(id_: bytes) -> None:
    assert refusal(b'{"jsonrpc":"2.0","id":%s,"method":"m"}' % id_) == "wire.invalid-request"


@pytest.mark.parametrize("id_", [b"1.0", b"1e3", b"9007199254740993"])
def test_a_number_that_is_no_safe_integer_is_refused_as_an_id(id_: bytes) -> None:
    assert refusal(b'{"jsonrpc":"2.0","id":%s,"method":"m"}' % id_) == "wire.not-json"


@pytest.mark.parametrize(
    "members",
    [
        {},
        {"id": 1},
        {"params": {}},
        {"id": 1, "params": {}},
        {"id": 1, "result": 1, "error": {"code": 1, "message": ""}},
        {"id": 1, "result": 1, "params": {}},
        {"id": 1, "error": {"code": 1, "message": ""}, "params": {}},
        {"id": 1, "method": "m", "result": 1},
        {"id": 1, "method": "m", "error": {"code": 1, "message": ""}},
        {"method": "m", "result": 1},
        {"result": 1},
        {"id": None, "result": 1},
        {"error": {"code": 1, "message": ""}},
        {"id": None, "method": "m"},
        {"id": 1, "method": "m", "extra": 1},
        {"id": 1, "method": "m", "params": []},
        {"id": 1, "method": "m", "params": None},
        {"id": 1, "method": "m", "params": "{}"},
        {"id": 1, "method": "M"},
        {"id": 1, "method": "a.b"},
        {"id": 1, "method": ""},
        {"id": 1, "method": "m\n"},
        {"id": 1, "method": "m" * 65},
        {"id": 1, "method": 1},
        {"id": 1, "error": "no"},
        {"id": 1, "error": {"code": "1", "message": ""}},
        {"id": 1, "error": {"code": 1}},
        {"id": 1, "error": {"code": 1, "message": "", "data": {"code": "Nonsense", "message": ""}}},
    ],
)
def test_members_that_are_no_one_kind_of_message_are_refused(members: dict[str, Any]) -> None:
    assert refusal(json.dumps({"jsonrpc": "2.0", **members}).encode()) == "wire.invalid-request"


@pytest.mark.parametrize(
    "text", [b'{"id":1,"method":"m"}', b'{"jsonrpc":"1.0","id":1,"method":"m"}', b"1", b'"m"', b"null"]
)
def test_what_is_not_version_2_is_refused(text: bytes) -> None:
    assert refusal(text) == "wire.invalid-request"


@pytest.mark.parametrize("text", [b"[]", b' \n[{"jsonrpc":"2.0","method":"m"}]'])
def test_a_batch_is_refused_by_name(text: bytes) -> None:
    assert refusal(text) == "wire.batch"


@pytest.mark.parametrize(
    "params",
    [
        b'{"a":1,"a":2}',
        b'{"a":1,"\\u0061":2}',
        b'{"a":"\\ud800"}',
        b'{"a":9007199254740993}',
        b'{"a":1.5}',
        b'{"a":NaN}',
    ],
)
def test_params_with_more_than_one_meaning_are_refused(params: bytes) -> None:
    assert refusal(b'{"jsonrpc":"2.0","id":1,"method":"m","params":%s}' % params) == "wire.not-json"


def test_a_member_named_twice_is_refused() -> None:
    assert refusal(b'{"jsonrpc":"2.0","id":1,"id":2,"method":"m"}') == "wire.not-json"


def test_a_refusal_says_which_rule_of_json_was_broken() -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        read_message(b'{"a":1,"a":1}')
    assert caught.value.fields == {"cause": "canon.json-duplicate-key"}


def test_a_message_is_as_long_as_allowed_and_no_longer() -> None:
    text = b'{"jsonrpc":"2.0","method":"m"}'
    assert read_message(text, max_bytes=len(text)) == Notice("m", b"{}")
    assert refusal(text, max_bytes=len(text) - 1) == "wire.too-long"


def test_params_nest_no_deeper_than_the_limit_for_the_whole_message() -> None:
    inner = MAX_DEPTH - 2  # the message and its params are two levels
    text = b'{"jsonrpc":"2.0","method":"m","params":{"a":%s}}'
    assert isinstance(read_message(text % (b"[" * inner + b"]" * inner)), Notice)
    assert refusal(text % (b"[" * (inner + 1) + b"]" * (inner + 1))) == "wire.not-json"


def code_of_reading(data: bytes) -> str:
    """The code with which ``data`` is refused; empty if it is a message.  Any other exception fails the test."""
    try:
        read_message(data)
    except RemoteProtocolError as error:
        return error.code
    return ""


@MODEST
@given(data=st.binary(max_size=80) | st.text(max_size=40).map(str.encode))
def test_no_bytes_make_the_reader_raise_anything_but_a_remote_error(data: bytes) -> None:
    assert code_of_reading(data) in {"wire.not-json", "wire.invalid-request", "wire.batch"}


@MODEST
@given(message=MESSAGES, data=st.data())
def test_no_damaged_message_makes_the_reader_raise_anything_but_a_remote_error(
    message: Message, data: st.DataObject
) -> None:
    text = write_message(message)
    at = data.draw(st.integers(0, len(text)))
    drop = data.draw(st.integers(0, 4))
    piece = data.draw(st.sampled_from([b"", b'"', b"{", b"}", b",", b":1", b"\xff", b"1e9"]))
    code = code_of_reading(text[:at] + piece + text[at + drop :])
    assert code in {"", "wire.not-json", "wire.invalid-request", "wire.batch"}


@pytest.mark.parametrize(
    "message",
    [
        Request(True, "m", b"{}"),
        Request(-1, "m", b"{}"),
        Request("é", "m", b"{}"),
        Request(1, "No", b"{}"),
        Request(1, "m", b"[]"),
        Request(1, "m", b"{"),
        Request(1, "m", b'{"a":1,"a":1}'),
        Request(1, "m", b""),
        Notice("m", b'{},"id":1'),
        Notice("m", b'{},"method":"n"'),
        Notice("m", b" {}"),
        Notice("m", b'{"a":\n1}'),
        Result(1, b'1,"error":null'),
        Failure(1, ErrorObject(code=1, message="\ud800")),
        Failure(1, ErrorObject(code=2**60, message="")),
        Failure(1, ErrorObject(code=2**70, message="")),
    ],
)
def test_what_the_other_end_would_refuse_or_misread_is_not_written(message: Message) -> None:
    with pytest.raises(LocalProtocolError) as caught:
        write_message(message)
    assert caught.value.code == "wire.unsayable"


def test_a_message_that_is_too_long_for_the_other_end_is_not_written() -> None:
    message = Notice("m", b'{"a":"' + b"x" * 100 + b'"}')
    assert len(write_message(message)) > 100
    with pytest.raises(LocalProtocolError):
        write_message(message, max_bytes=100)
