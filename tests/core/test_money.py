"""Money: exact in, exact out, and never a cost below the truth."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from astrid.core.money import (
    MAX_MICROS,
    MAX_PRICE_MICROS,
    UNLIMITED,
    VENDOR_PREAMBLE_TOKENS,
    Micros,
    Price,
    cost,
    format_usd,
    parse_usd,
    worst_case,
)
from astrid.errors import InputError

MODEST = settings(max_examples=200, deadline=None)

RATES = st.integers(0, 100_000_000)
PRICES = st.builds(
    Price,
    input_micros_per_million=RATES,
    output_micros_per_million=RATES,
    cache_write_micros_per_million=st.none() | RATES,
    cache_read_micros_per_million=st.none() | RATES,
)
COUNTS = st.integers(0, 10_000_000)
THREE_FIFTEEN = Price(input_micros_per_million=3_000_000, output_micros_per_million=15_000_000)


@pytest.mark.parametrize(
    ("text", "micros"),
    [
        ("0", 0),
        ("1.25", 1_250_000),
        ("$1.25", 1_250_000),
        ("$0.000001", 1),
        ("100", 100_000_000),
        ("0.1", 100_000),
        ("$10.000000", 10_000_000),
        ("9223372036854.775807", 2**63 - 1),
    ],
)
def test_an_amount_is_read_exactly(text: str, micros: int) -> None:
    assert parse_usd(text) == micros


@pytest.mark.parametrize(
    "text",
    [
        "",
        "$",
        "-1",
        "+1",
        "$-1",
        "-$1",
        "1.",
        ".5",
        "1.0000000",
        "0.0000001",
        "1e3",
        "1E3",
        "nan",
        "NaN",
        "inf",
        "Infinity",
        "unlimited",
        "01",
        "00.5",
        " 1",
        "1 ",
        "1\n",
        "1_000",
        "1,000",
        "1,5",
        "0x10",
        "$$1",
        "1$",
        "€1",
        "١",
        "１",
        "1.٥",
        "9" * 5_000,
    ],
)
def test_another_spelling_of_an_amount_is_refused(text: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_usd(text)
    assert caught.value.code == "money.malformed"
    assert len(caught.value.message) < 100


@pytest.mark.parametrize("text", ["9223372036854.775808", "9223372036855", "$9999999999999.999999"])
def test_more_than_a_record_can_hold_is_refused(text: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_usd(text)
    assert caught.value.code == "money.too-large"


@MODEST
@given(st.integers(0, MAX_MICROS).map(Micros))
@example(MAX_MICROS)
def test_every_amount_is_read_back_as_it_was_printed(amount: Micros) -> None:
    assert parse_usd(format_usd(amount)) == amount


@MODEST
@given(st.integers(0, 9 * 10**12), st.integers(0, 6), st.booleans())
def test_an_amount_means_what_decimal_arithmetic_says(digits: int, places: int, sign: bool) -> None:
    number = Decimal(digits).scaleb(-places)
    text = f"{number:f}"
    assert parse_usd("$" + text if sign else text) == number * 1_000_000


@MODEST
@given(st.text(max_size=12))
def test_no_text_gives_an_amount_that_no_budget_can_hold(text: str) -> None:
    try:
        amount = parse_usd(text)
    except InputError:
        return
    assert isinstance(amount, int)
    assert 0 <= amount <= MAX_MICROS


@pytest.mark.parametrize(
    ("micros", "text"),
    [
        (0, "$0.00"),
        (1, "$0.000001"),
        (1_250_000, "$1.25"),
        (1_234_500, "$1.2345"),
        (100_000_000, "$100.00"),
        (-500_000, "-$0.50"),
        (UNLIMITED, "unlimited"),
        (UNLIMITED - 1, "$18446744073709.551614"),
    ],
)
def test_an_amount_is_printed_with_at_least_two_decimals(micros: int, text: str) -> None:
    assert format_usd(Micros(micros)) == text


def test_a_fraction_of_a_micro_dollar_is_paid_for_whole_and_once() -> None:
    cheap = Price(input_micros_per_million=1, output_micros_per_million=1)
    assert cost(cheap, 0, 0) == 0
    assert cost(cheap, 1, 0) == 1
    assert cost(cheap, 500_000, 500_000) == 1
    assert cost(cheap, 500_000, 500_001) == 2
    assert cost(THREE_FIFTEEN, 1_000, 100) == 4_500


@MODEST
@given(PRICES, COUNTS, COUNTS, COUNTS, COUNTS)
def test_a_cost_is_the_exact_sum_rounded_up(price: Price, plain: int, written: int, read: int, output: int) -> None:
    write_rate = price.cache_write_micros_per_million
    read_rate = price.cache_read_micros_per_million
    exact = Fraction(
        plain * price.input_micros_per_million
        + written * (price.input_micros_per_million if write_rate is None else write_rate)
        + read * (price.input_micros_per_million if read_rate is None else read_rate)
        + output * price.output_micros_per_million,
        1_000_000,
    )
    paid = cost(price, plain, output, cache_write_tokens=written, cache_read_tokens=read)
    assert 0 <= paid - exact < 1


@MODEST
@given(PRICES, COUNTS, COUNTS, COUNTS, COUNTS)
def test_more_tokens_never_cost_less(price: Price, plain: int, output: int, more: int, further: int) -> None:
    assert cost(price, plain, output) <= cost(price, plain + more, output + further)


@MODEST
@given(PRICES, st.data(), st.integers(0, 200_000), st.integers(0, 64_000))
def test_no_answer_costs_more_than_the_worst_case(
    price: Price, data: st.DataObject, request_bytes: int, max_tokens: int
) -> None:
    total = data.draw(st.integers(0, request_bytes + VENDOR_PREAMBLE_TOKENS))
    written = data.draw(st.integers(0, total))
    read = data.draw(st.integers(0, total - written))
    output = data.draw(st.integers(0, max_tokens))
    paid = cost(price, total - written - read, output, cache_write_tokens=written, cache_read_tokens=read)
    assert paid <= worst_case(price, request_bytes, max_tokens)


def test_the_worst_case_takes_the_dearest_rate_of_input() -> None:
    cached = Price(
        input_micros_per_million=3_000_000,
        output_micros_per_million=15_000_000,
        cache_write_micros_per_million=6_000_000,
        cache_read_micros_per_million=300_000,
    )
    expected = 6 * (10_000 + VENDOR_PREAMBLE_TOKENS) + 15 * 2_000
    assert worst_case(cached, 10_000, 2_000) == expected


def test_an_absurd_count_costs_the_most_that_can_be_booked() -> None:
    assert cost(THREE_FIFTEEN, 2**63, 2**63) == MAX_MICROS
    assert worst_case(THREE_FIFTEEN, 2**63, 2**63) == MAX_MICROS


@pytest.mark.parametrize("counts", [(-1, 5), (5, -1), (-(10**9), 10**12)])
def test_a_count_below_zero_never_lowers_a_cost(counts: tuple[int, int]) -> None:
    for act in (
        lambda: cost(THREE_FIFTEEN, *counts),
        lambda: worst_case(THREE_FIFTEEN, *counts),
        lambda: cost(THREE_FIFTEEN, 1, 1, cache_write_tokens=counts[0], cache_read_tokens=counts[1]),
    ):
        with pytest.raises(InputError) as caught:
            act()
        assert caught.value.code == "money.negative-tokens"


def test_the_dearest_price_that_is_believed_is_a_dollar_a_token() -> None:
    price = Price(input_micros_per_million=MAX_PRICE_MICROS, output_micros_per_million=0)
    assert format_usd(cost(price, 1, 1)) == "$1.00"


@pytest.mark.parametrize("rate", [-1, MAX_PRICE_MICROS + 1])
@pytest.mark.parametrize(
    "field",
    [
        "input_micros_per_million",
        "output_micros_per_million",
        "cache_write_micros_per_million",
        "cache_read_micros_per_million",
    ],
)
def test_a_price_below_zero_or_beyond_reason_is_refused(field: str, rate: int) -> None:
    rates = {"input_micros_per_million": 1, "output_micros_per_million": 1} | {field: rate}
    with pytest.raises(InputError) as caught:
        Price(**rates)
    assert caught.value.code == "money.bad-price"
