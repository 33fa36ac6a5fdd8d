"""Writes ``weak_keys.json``: 32 bytes each that are no point, not the one spelling of a point, or a point outside the
group in which the discrete logarithm is hard.  By the arithmetic of RFC 8032 alone, without the product or its library.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

P = 2**255 - 19
D = -121665 * pow(121666, P - 2, P) % P
ROOT_OF_MINUS_ONE = pow(2, (P - 1) // 4, P)
ORDER = 2**252 + 27742317777372353535851937790883648493
Point = tuple[int, int]


def x_of(y: int, sign: int) -> int | None:
    """The x with this sign that makes (x, y) a point."""
    square = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * ROOT_OF_MINUS_ONE % P
    if (x * x - square) % P:
        return None
    return x if x & 1 == sign else -x % P


def add(a: Point, b: Point) -> Point:
    (x1, y1), (x2, y2) = a, b
    product = D * x1 * x2 * y1 * y2 % P
    x = (x1 * y2 + x2 * y1) * pow(1 + product, P - 2, P)
    return x % P, (y1 * y2 + x1 * x2) * pow(1 - product, P - 2, P) % P


def times(count: int, point: Point) -> Point:
    total = (0, 1)
    while count:
        if count & 1:
            total = add(total, point)
        point, count = add(point, point), count >> 1
    return total


def spelled(point: Point, *, raised: bool = False) -> bytes:
    """The bytes of a point; with y raised by the modulus where 255 bits hold that."""
    x, y = point
    y += P if raised else 0
    assert y < 2**255
    return (y | (x & 1) << 255).to_bytes(32, "little")


def base() -> Point:
    y = 4 * pow(5, P - 2, P) % P
    x = x_of(y, 0)
    assert x is not None
    return x, y


def small() -> Point:
    """A point of order 8: what is left of any point when the large prime is taken out of it."""
    for y in range(2, 100):
        x = x_of(y, 0)
        if x is not None and times(4, times(ORDER, (x, y))) != (0, 1):
            return times(ORDER, (x, y))
    raise AssertionError


def keys() -> Iterator[tuple[str, bytes]]:
    eighth = small()
    for count in range(8):
        yield f"small order: {count} eighths of the way around", spelled(times(count, eighth))
    for y in (0, 1, *(y for y in range(2, 19) if x_of(y, 0) is not None)):
        x = x_of(y, 0)
        assert x is not None
        yield f"a second spelling of y = {y}", spelled((x, y), raised=True)
    yield "the neutral element with a sign", (1 | 1 << 255).to_bytes(32, "little")
    yield "the point of order 2 with a sign", (P - 1 | 1 << 255).to_bytes(32, "little")
    for y in [y for y in range(2, 30) if x_of(y, 0) is None][:4]:
        yield f"no point: y = {y}", y.to_bytes(32, "little")
    yield "all bits", b"\xff" * 32
    for count in range(1, 8):
        yield f"a good key and {count} eighths", spelled(add(times(12345, base()), times(count, eighth)))


def build() -> dict[str, object]:
    return {
        "note": "protocol N0: none of these is a key, wherever it stands in something that is loaded",
        "keys": [{"name": name, "key": data.hex()} for name, data in keys()],
    }


if __name__ == "__main__":
    path = Path(__file__).with_name("weak_keys.json")
    path.write_text(json.dumps(build(), indent=1) + "\n", encoding="utf-8")
