"""Money: whole micro-dollars, read and printed exactly, and what tokens cost.  Pure integers.

Never: a float.  A float turns NaN into "fits every budget" and loses cents in sums; an amount that cannot be written as
whole micro-dollars is refused, not rounded.

Invariants:
  parse_usd(format_usd(m)) == m for every amount that parse_usd can give.
  cost() rounds up, once; worst_case() is never below the cost of any answer to the request it was computed for.

Source: architecture 6 (step 3, the hard cap on model calls); protocol N1 and N3.
"""

from __future__ import annotations

import re
from typing import NewType

import msgspec

from astrid.errors import InputError

Micros = NewType("Micros", int)

MICROS_PER_USD = 1_000_000
MAX_MICROS = Micros(2**63 - 1)
UNLIMITED = Micros(2**64 - 1)  # a limit that is none: the field's maximum, never absence
TOKENS_PER_PRICE = 1_000_000
MAX_PRICE_MICROS = 1_000_000 * MICROS_PER_USD  # per million tokens; a dearer price is a slip of the pen

# A vendor puts text of its own before a request that has tools; it is billed and is not among the request's bytes.
VENDOR_PREAMBLE_TOKENS = 1_024

_USD = re.compile(r"\$?(0|[1-9][0-9]{0,12})(?:\.([0-9]{1,6}))?")


class Price(msgspec.Struct, frozen=True, kw_only=True):
    """What a million tokens cost, in micro-dollars.  Where a model has several tiers, the dearest.

    Input that is written to the vendor's cache, or read from it, is often billed at a rate of its own; ``None`` is the
    input rate.
    """

    input_micros_per_million: int
    output_micros_per_million: int
    cache_write_micros_per_million: int | None = None
    cache_read_micros_per_million: int | None = None

    def __post_init__(self) -> None:
        for rate in (*self.input_rates, self.output_micros_per_million):
            if not 0 <= rate <= MAX_PRICE_MICROS:
                raise InputError(
                    "money.bad-price", f"`{rate}` micro-dollars is not a price of a million tokens", rate=rate
                )

    @property
    def input_rates(self) -> tuple[int, int, int]:
        """What a million tokens of input cost: plain, written to the cache, read from it."""
        plain, write, read = (
            self.input_micros_per_million,
            self.cache_write_micros_per_million,
            self.cache_read_micros_per_million,
        )
        return plain, plain if write is None else write, plain if read is None else read


def parse_usd(text: str) -> Micros:
    """The amount that ``text`` spells: dollars with at most six decimals, such as ``1.25`` or ``$0.000001``.

    Raises:
        InputError: another spelling (a sign, an exponent, a space, a leading zero), or more than ``MAX_MICROS``.
    """
    match = _USD.fullmatch(text)
    if match is None:
        raise InputError(
            "money.malformed",
            f"`{text[:40]}` is not an amount of dollars",
            advice="write dollars with at most six decimals, such as 1.25 or $0.000001",
        )
    micros = int(match[1]) * MICROS_PER_USD + int((match[2] or "").ljust(6, "0"))
    if micros > MAX_MICROS:
        raise InputError("money.too-large", f"`{text}` is more than {format_usd(MAX_MICROS)}")
    return Micros(micros)


def format_usd(amount: Micros) -> str:
    """``amount`` for people, with two to six decimals: ``$1.25``, ``$0.000001``; below zero ``-$0.50``."""
    if amount == UNLIMITED:
        return "unlimited"
    dollars, micros = divmod(abs(amount), MICROS_PER_USD)
    decimals = f"{micros:06}".rstrip("0").ljust(2, "0")
    return f"{'-' if amount < 0 else ''}${dollars}.{decimals}"


def cost(
    price: Price, input_tokens: int, output_tokens: int, *, cache_write_tokens: int = 0, cache_read_tokens: int = 0
) -> Micros:
    """What these tokens cost, rounded up; ``input_tokens`` are those at the plain rate.  At most ``MAX_MICROS``.

    Raises:
        InputError: a count is below zero.
    """
    counts = (input_tokens, cache_write_tokens, cache_read_tokens, output_tokens)
    # SAFETY: a vendor's figure must not be able to lower what the other figures add up to.
    if min(counts) < 0:
        raise InputError("money.negative-tokens", f"token counts are never below zero: `{counts}`")
    rates = (*price.input_rates, price.output_micros_per_million)
    total = sum(count * rate for count, rate in zip(counts, rates, strict=True))
    # An absurd count saturates: it freezes every purse it is booked on, and can still be recorded.
    return Micros(min(-(-total // TOKENS_PER_PRICE), MAX_MICROS))


def worst_case(price: Price, request_bytes: int, max_tokens: int) -> Micros:
    """What an answer of at most ``max_tokens`` to a request of ``request_bytes`` bytes can cost at most.

    No token is shorter than a byte, so bytes bound the input, which is billed at its dearest rate.

    Raises:
        InputError: a count is below zero.
    """
    if request_bytes < 0:  # cost() would see it only after the preamble was added
        raise InputError("money.negative-tokens", f"a request has no `{request_bytes}` bytes")
    dearest = Price(
        input_micros_per_million=max(price.input_rates), output_micros_per_million=price.output_micros_per_million
    )
    return cost(dearest, request_bytes + VENDOR_PREAMBLE_TOKENS, max_tokens)
