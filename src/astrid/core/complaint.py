"""What a validation error says, for a person who wrote the file and never saw the classes.  Pure.

Source: style, "Errors" (no class names); msgspec's documentation (``ValidationError``).
"""

from __future__ import annotations

import re

import msgspec

_AT = " - at `$"
_KEY = re.compile(r"Object (contains unknown|missing required) field `(.*)`", re.DOTALL)
_NAMES = {
    "`int`": "a whole number",
    "`float`": "a number",
    "`str`": "a text",
    "`bool`": "true or false",
    "`array`": "a list",
    "`object`": "a table",
    "`null`": "nothing",
}


def complaint(error: msgspec.ValidationError) -> str:
    """Which key is wrong, and how."""
    text, found, place = str(error).rpartition(_AT)
    if not found:
        text, place = place, ""
    place = place.removesuffix("`").removeprefix(".")
    key = _KEY.fullmatch(text)
    if key is not None:
        name = f"{place}.{key[2]}" if place else key[2]
        return f"there is no key `{name}`" if key[1] == "contains unknown" else f"the key `{name}` is missing"
    for name, meant in _NAMES.items():
        text = text.replace(name, meant)
    text = f"{text[:1].lower()}{text[1:]}"
    return f"`{place}`: {text}" if place else text
