"""Are the identifiers inside a value printable ASCII?  Pure.

``canon.Ascii`` marks them where a type is declared.  msgspec could match each of them with a pattern while it decodes;
for a call that takes four times as long as all the rest.  Here it is found out once for a type where they are, and they
are looked at together.

Never: judges anything that is not marked, or what the decoder judges: types, sizes and ranges.

Source: protocol N0 (what else an identifier holds is escaped).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from operator import attrgetter
from typing import Annotated, Any, get_args, get_origin

import msgspec

Check = Callable[[Any], bool]

MARK = "printable ASCII"


def is_printable(text: str) -> bool:
    """Whether there is nothing in it but what stands between a space and a tilde."""
    return text.isascii() and text.isprintable()


@lru_cache(maxsize=256)
def check_of(kind: object) -> Check | None:
    """What tells whether every marked text in a value of type ``kind`` is printable; none, if no text is marked.

    The value is of that type: whoever asks has decoded it.
    """
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return is_printable if any(_is_mark(one) for one in inner[1:]) else check_of(inner[0])
    if origin is tuple:
        return _many(check_of(inner[0])) if inner[-1] is Ellipsis else _each([check_of(one) for one in inner])
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return _struct(kind)
    return None


def _is_mark(one: object) -> bool:
    return isinstance(one, msgspec.Meta) and one.extra is not None and MARK in one.extra


def _struct(kind: type[msgspec.Struct]) -> Check | None:
    found = [(field.name, check_of(field.type)) for field in msgspec.structs.fields(kind)]
    marked = [name for name, check in found if check is is_printable]
    deeper = [(attrgetter(name), check) for name, check in found if check is not None and check is not is_printable]
    if len(marked) < 2:
        deeper += [(attrgetter(name), is_printable) for name in marked]
        return _all(deeper) if deeper else None
    texts: Callable[[object], tuple[str, ...]] = attrgetter(*marked)
    rest = _all(deeper)

    def fits(value: object) -> bool:
        return is_printable("".join(texts(value))) and rest(value)

    return fits


def _all(parts: list[tuple[attrgetter[Any], Check]]) -> Check:
    if len(parts) == 1:
        [(get, only)] = parts
        return lambda value: only(get(value))

    def fits(value: object) -> bool:
        for part, check in parts:  # noqa: SIM110 - every call comes by here, and a generator takes longer
            if not check(part(value)):
                return False
        return True

    return fits


def _many(check: Check | None) -> Check | None:
    if check is None:
        return None

    def fits(items: Iterable[object]) -> bool:
        for item in items:  # noqa: SIM110 - as above
            if not check(item):
                return False
        return True

    return fits


def _each(checks: list[Check | None]) -> Check | None:
    if not any(checks):
        return None

    def fits(items: tuple[object, ...]) -> bool:
        return all(check is None or check(item) for item, check in zip(items, checks, strict=True))

    return fits
