"""Codes and numbers go both ways, and every error can be told."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from astrid.errors import AstridError, LaunchError, RemoteProtocolError
from astrid.wire import errors
from astrid.wire.errors import ErrorData, ErrorObject, code_of, from_wire, number_of, to_wire
from astrid.wire.jsonrpc import Failure, read_message, write_message

MODEST = settings(max_examples=150, deadline=None)


@pytest.mark.parametrize(
    ("code", "number"),
    [
        ("session.unknown", -32001),
        ("session.exists", -32002),
        ("daemon.shutting-down", -32003),
        ("internal.error", -32004),
        ("request.invalid", -32005),
        ("plugin.unknown", -32006),
        ("plugin.failed", -32007),
        ("wire.not-json", -32700),
        ("wire.invalid-request", -32600),
        ("wire.unknown-method", -32601),
        ("wire.invalid-params", -32602),
    ],
)
def test_the_numbers_that_others_know_stand_for_the_codes_they_always_did(code: str, number: int) -> None:
    assert number_of(code) == number
    assert code_of(number) == code


@pytest.mark.parametrize("code", errors.NUMBERS)
def test_going_to_a_number_and_back_gives_a_code_with_the_same_number(code: str) -> None:
    assert number_of(code_of(number_of(code))) == number_of(code)


@pytest.mark.parametrize("code", errors.NUMBERS)
def test_every_code_in_the_table_can_be_told(code: str) -> None:
    assert to_wire(AstridError(code, "")).data == ErrorData(code=code, message="")


def test_the_numbers_are_of_the_standard_or_of_the_range_left_to_servers() -> None:
    standard = {-32700, -32600, -32601, -32602, -32603}
    assert all(number in standard or -32099 <= number <= -32000 for number in errors.NUMBERS.values())


@MODEST
@given(code=st.text(max_size=20), number=st.integers())
def test_both_directions_are_total(code: str, number: int) -> None:
    assert number_of(code) in errors.NUMBERS.values()
    assert code_of(number) in errors.NUMBERS


@MODEST
@given(
    code=st.sampled_from(["policy.no-such", "journal.full", "wire.busy", *errors.NUMBERS]),
    message=st.text(max_size=50),
    where=st.text(max_size=20),
    advice=st.text(max_size=20),
)
def test_code_message_place_and_advice_arrive_as_they_were(code: str, message: str, where: str, advice: str) -> None:
    sent = write_message(Failure(1, to_wire(AstridError(code, message, where=where, advice=advice, secret="s3cret"))))
    read = read_message(sent)
    assert isinstance(read, Failure)
    got = from_wire(read.error)
    assert (got.code, got.message, got.where, got.advice) == (code, message, where, advice)
    assert got.fields == {"number": number_of(code)}


@MODEST
@given(
    code=st.text() | st.sampled_from(["", "a.b\n", "A.b", "a", "a." + "b" * 70]),
    texts=st.tuples(*[st.text(alphabet=st.characters(), max_size=20)] * 3),
    times=st.sampled_from([1, 5000]),
)
def test_every_error_can_be_told_whatever_it_holds(code: str, texts: tuple[str, str, str], times: int) -> None:
    message, where, advice = (text * times for text in texts)
    error = AstridError(code, message, where=where, advice=advice)
    assert read_message(write_message(Failure(1, to_wire(error)))) == Failure(1, to_wire(error))


def test_an_error_about_a_file_whose_name_is_not_utf8_can_be_told() -> None:
    error = LaunchError("launch.no-file", "no such file: `\udcff`", effect="none", where="\ud800")
    data = to_wire(error).data
    assert data == ErrorData(code="launch.no-file", message="no such file: `\\udcff`", where="\\ud800")


def test_the_fields_of_an_error_stay_here() -> None:
    error = RemoteProtocolError("wire.not-json", "bad", key="s3cret")
    assert b"s3cret" not in write_message(Failure(1, to_wire(error)))


def test_a_code_that_is_none_is_told_as_a_bug_of_ours() -> None:
    told = to_wire(AstridError("Oops", "what"))
    assert (told.code, told.data) == (-32004, ErrorData(code="internal.error", message="what"))


def test_an_error_without_data_is_read_by_its_number_alone() -> None:
    got = from_wire(ErrorObject(code=-32601, message="nope"))
    assert (got.code, got.message, got.fields) == ("wire.unknown-method", "nope", {"number": -32601})
    assert from_wire(ErrorObject(code=-1, message="")).code == "wire.remote-error"


def test_the_error_object_is_what_json_rpc_asks_for() -> None:
    sent = json.loads(
        write_message(Failure("q", to_wire(AstridError("session.unknown", "no such session", advice="x"))))
    )
    assert sent == {
        "jsonrpc": "2.0",
        "id": "q",
        "error": {
            "code": -32001,
            "message": "no such session",
            "data": {"code": "session.unknown", "message": "no such session", "where": "", "advice": "x"},
        },
    }


def test_the_codes_of_the_table_have_the_shape_of_codes() -> None:
    assert [code for code in errors.NUMBERS if not re.fullmatch(r"[a-z]+\.[a-z-]+", code)] == []
