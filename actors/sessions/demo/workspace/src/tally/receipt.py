"""Lines of a receipt and their total, in cents."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Line:
    """One line: what, how many, and the price of one in cents."""

    name: str
    count: int
    cents: int


def total(lines: list[Line], discount_percent: int = 0) -> int:
    """The sum in cents, after a discount, rounded down."""
    gross = sum(line.cents for line in lines)
    return gross * (100 - discount_percent) // 100
