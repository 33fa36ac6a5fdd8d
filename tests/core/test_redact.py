"""Secrets are taken out of text in every form that is looked for, however the text is cut up, and nothing else is."""

from __future__ import annotations

import base64
import json
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from astrid.core.redact import LEAST_BYTES, Redactor, mark
from astrid.errors import InputError

VALUE = b's3cr+t/va"ue?~\xc3\xa9!'
MARK = mark("KEY")
ONE = Redactor({"KEY": VALUE})
VALUES = st.binary(min_size=LEAST_BYTES, max_size=24)

FORMS = {
    "itself": VALUE,
    "backwards": VALUE[::-1],
    "in hexadecimal": VALUE.hex().encode(),
    "in upper case": VALUE.hex().upper().encode(),
    "percent-encoded": quote(VALUE, safe="").encode(),
    "percent-encoded in lower case": quote(VALUE, safe="")
    .encode()
    .replace(b"%2B", b"%2b")
    .replace(b"%2F", b"%2f")
    .replace(b"%3F", b"%3f")
    .replace(b"%C3", b"%c3")
    .replace(b"%A9", b"%a9"),
    "as of a form": quote_plus(VALUE).encode(),
    "in JSON": json.dumps(VALUE.decode())[1:-1].encode(),
    "in JSON as it is read": json.dumps(VALUE.decode(), ensure_ascii=False)[1:-1].encode(),
    "in Base64": base64.b64encode(VALUE),
    "in Base64 for URLs": base64.urlsafe_b64encode(VALUE),
    **{f"in Base64 behind {n} bytes": base64.b64encode(b"userpass"[:n] + VALUE + b"end") for n in range(8)},
}


@pytest.mark.parametrize("form", FORMS)
def test_each_form_of_a_value_becomes_its_name(form: str) -> None:
    text = b"before " + FORMS[form] + b" after"
    redacted = ONE.redact(text)
    assert MARK in redacted
    assert redacted.startswith(b"before ")
    assert redacted.endswith(b" after")
    # What is left of it in Base64 are characters that the value shares with its neighbours.
    assert len(redacted) - len(b"before " + MARK + b" after") <= (8 if "behind" in form else 4) + 8 * ("behind" in form)


@given(VALUES, st.binary(max_size=5), st.binary(max_size=5))
def test_a_value_is_found_in_base64_wherever_it_begins(value: bytes, before: bytes, after: bytes) -> None:
    redacted = Redactor({"KEY": value}).redact(base64.b64encode(before + value + after))
    assert MARK in redacted


@given(VALUES, st.binary(max_size=40))
def test_a_text_that_holds_no_form_is_not_changed(value: bytes, text: bytes) -> None:
    redactor = Redactor({"KEY": value})
    if redactor.redact(text) != text:
        assert len(text) >= LEAST_BYTES
        assert MARK in redactor.redact(text)


@settings(max_examples=300)
@given(
    st.lists(st.text("ab", min_size=LEAST_BYTES, max_size=11).map(str.encode), min_size=1, max_size=3),
    st.text("ab", max_size=60).map(str.encode),
    st.lists(st.integers(1, 7), max_size=30),
)
def test_cut_anywhere_a_text_comes_out_as_in_one_piece(values: list[bytes], text: bytes, sizes: list[int]) -> None:
    """Of two letters only, so that forms overlap and begin each other."""
    redactor = Redactor({f"K{number}": value for number, value in enumerate(values)})
    stream, rest, out = redactor.stream(), text, b""
    for size in sizes:
        out += stream.feed(rest[:size])
        rest = rest[size:]
    assert out + stream.feed(rest) + stream.finish() == redactor.redact(text)


@given(st.binary(max_size=200))
def test_less_is_held_back_than_the_longest_form(text: bytes) -> None:
    stream = ONE.stream()
    assert len(stream.feed(text)) > len(text) - 3 * len(VALUE)


def test_what_cannot_begin_a_value_is_not_held_back() -> None:
    assert ONE.stream().feed(b"plain text.") == b"plain text."


def test_of_two_values_the_longer_one_is_named() -> None:
    redactor = Redactor({"SHORT": b"password", "LONG": b"password-and-more"})
    assert redactor.redact(b"password-and-more, password") == mark("LONG") + b", " + mark("SHORT")


def test_without_secrets_nothing_is_looked_for_or_held_back() -> None:
    stream = Redactor({}).stream()
    assert stream.feed(b"abc") + stream.finish() == b"abc"


def test_text_is_redacted_with_what_cannot_be_decoded_in_it() -> None:
    assert ONE.redact_text("\udcff " + VALUE.decode()) == "\udcff [secret KEY]"


def test_a_value_that_stands_in_all_kinds_of_text_is_refused() -> None:
    with pytest.raises(InputError) as caught:
        Redactor({"KEY": b"x" * (LEAST_BYTES - 1)})
    assert caught.value.code == "secrets.short"


def test_printing_it_shows_nothing() -> None:
    assert repr(ONE) == "<redactor>"


def test_a_value_that_begins_another_is_held_back_until_it_is_known_which_it_is() -> None:
    stream = Redactor({"SHORT": b"password", "LONG": b"password-and-more"}).stream()
    assert stream.feed(b"a password") == b"a "
    assert stream.feed(b"-and-more password") == mark("LONG") + b" "
    assert stream.feed(b" ") + stream.finish() == mark("SHORT") + b" "


def test_a_value_that_is_whole_is_not_held_back() -> None:
    assert ONE.stream().feed(VALUE) == MARK
