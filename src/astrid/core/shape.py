"""Does a message hold what its type declares?  Pure.

Inside one process a struct can be built from anything.  What is of another type than declared makes whoever reads it
fail; what is mutable can change after it was looked at.  So whoever takes messages from actors that it does not trust
asks here first.

Never: judges values; only types, all the way down.

Source: architecture 8 ("immutable all the way down"); rule 3 ("the same bytes"); threats 25.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import Enum
from functools import lru_cache
from typing import Literal, cast, get_args, get_origin, get_type_hints

import msgspec

Fits = Callable[[object], bool]


def is_whole(message: msgspec.Struct) -> bool:
    """Whether every field of ``message`` is exactly of its declared type: nothing that only behaves like it, nothing
    mutable.
    """
    outer, deeper = _shape(type(message))
    values = msgspec.structs.astuple(message)
    # Every message of a call comes by here: what needs no second look is compared in one go.
    if tuple(map(type, values)) != outer and not all(map(_is, values, outer)):
        return False
    for place, fits in deeper:  # noqa: SIM110 - a generator would take longer than what it asks
        if not fits(values[place]):
            return False
    return True


@lru_cache(maxsize=256)
def _shape(kind: type[msgspec.Struct]) -> tuple[tuple[type, ...], tuple[tuple[int, Fits], ...]]:
    """The type of each field, and what else to ask of those that say more than their type."""
    hints = get_type_hints(kind)
    kinds = [hints[name] for name in kind.__struct_fields__]
    deeper = ((place, _deeper(kind)) for place, kind in enumerate(kinds))
    return tuple(map(_outer, kinds)), tuple((place, fits) for place, fits in deeper if fits is not None)


def _outer(kind: object) -> type:
    origin = get_origin(kind)
    return str if origin is Literal else cast("type", origin or kind)


def _is(value: object, kind: type) -> bool:
    """Whether it is exactly of that type; the member of an enumeration of its values is, too."""
    return type(value) is kind or (isinstance(value, Enum) and isinstance(value, kind))


def _deeper(kind: object) -> Fits | None:
    """What to ask of a value that is of the outer type of ``kind``; nothing, if that says all."""
    origin, kinds = get_origin(kind), get_args(kind)
    if origin is Literal:
        return lambda value: value in kinds
    if origin is tuple:
        return cast("Fits", _many(kinds[0])) if kinds[-1] is Ellipsis else _each(kinds)
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return cast("Fits", is_whole)
    return None


def _many(kind: object) -> Callable[[Iterable[object]], bool]:
    """Any number of items of one kind."""
    outer, deeper = _outer(kind), _deeper(kind)
    if deeper is None:
        only = {outer}
        return lambda items: only.issuperset(map(type, items))

    def fits(items: Iterable[object]) -> bool:
        for item in items:  # noqa: SIM110 - as above
            if not (_is(item, outer) and deeper(item)):
                return False
        return True

    return fits


def _each(kinds: tuple[object, ...]) -> Fits:
    """One item of each kind."""
    many = tuple((_outer(kind), _deeper(kind)) for kind in kinds)

    def fits(value: object) -> bool:
        items = cast("tuple[object, ...]", value)
        return len(items) == len(many) and all(
            _is(item, outer) and (deeper is None or deeper(item))
            for item, (outer, deeper) in zip(items, many, strict=True)
        )

    return fits
