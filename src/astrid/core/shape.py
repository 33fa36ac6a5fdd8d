"""Does a message hold what its type declares?  Pure.

Inside one process a struct can be built from anything.  What is of another type than declared makes whoever reads it
fail; what is mutable can change after it was looked at.  So whoever takes messages from actors that it does not trust
asks here first.

Never: judges values; only types, all the way down.

Source: architecture 8 ("immutable all the way down"); rule 3 ("the same bytes"); threats 25.
"""

from __future__ import annotations

from enum import Enum
from functools import lru_cache
from typing import Literal, cast, get_args, get_origin, get_type_hints

import msgspec


def is_whole(message: msgspec.Struct) -> bool:
    """Whether every field of ``message`` is exactly of its declared type: nothing that only behaves like it, nothing
    mutable.
    """
    outer, deeper = _shape(type(message))
    values = msgspec.structs.astuple(message)
    # Every message of a call comes by here: what needs no second look is compared in one go.
    plain = tuple(map(type, values)) == outer or all(map(_is, values, outer))
    return plain and all(_fits(values[place], kind) for place, kind in deeper)


@lru_cache(maxsize=256)
def _shape(kind: type[msgspec.Struct]) -> tuple[tuple[type, ...], tuple[tuple[int, object], ...]]:
    """The type of each field, and which of them say more than their type."""
    hints = get_type_hints(kind)
    kinds = [hints[name] for name in kind.__struct_fields__]
    outer = tuple(map(_outer, kinds))
    return outer, tuple((place, kind) for place, kind in enumerate(kinds) if _is_deep(kind))


def _outer(kind: object) -> type:
    origin = get_origin(kind)
    return str if origin is Literal else cast("type", origin or kind)


def _is(value: object, kind: type) -> bool:
    """Whether it is exactly of that type; the member of an enumeration of its values is, too."""
    return type(value) is kind or (isinstance(value, Enum) and isinstance(value, kind))


def _is_deep(kind: object) -> bool:
    return get_origin(kind) is not None or (isinstance(kind, type) and issubclass(kind, msgspec.Struct))


def _fits(value: object, kind: object) -> bool:
    if not _is(value, _outer(kind)):
        return False
    match value:
        case tuple():
            return _items_fit(cast("tuple[object, ...]", value), get_args(kind))
        case msgspec.Struct():
            return is_whole(value)
        case _:
            return get_origin(kind) is not Literal or value in get_args(kind)


def _items_fit(items: tuple[object, ...], kinds: tuple[object, ...]) -> bool:
    if kinds[-1] is not Ellipsis:
        return len(items) == len(kinds) and all(map(_fits, items, kinds))
    if _is_deep(kinds[0]):
        return all(_fits(item, kinds[0]) for item in items)
    kind = _outer(kinds[0])
    return all(type(item) is kind for item in items)
