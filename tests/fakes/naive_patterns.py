"""What a pattern of resources means, by definition: too slow to use, and too plain to be wrong.

A pattern's own text is read as a regular expression; which patterns include which is then a matter of trying every
resource that is short enough.

Source: protocol N0 ("Resources").
"""

from __future__ import annotations

import itertools
import re

from astrid.core.patterns import Resource, parse_resource


def naive_regex(text: str) -> re.Pattern[bytes]:
    """A pattern's own text, read as a regular expression over segments that each follow a NUL."""
    scheme, _, rest = text.partition("://")
    out = re.escape(scheme.encode())
    raws = rest.split("/") if rest else []
    for position, raw in enumerate(raws):
        if raw == "**" and position == len(raws) - 1:
            out += rb"(?:\x00[^\x00]*)*"
        elif raw == "*":
            out += rb"\x00[^\x00]+"
        else:
            literals = ("" if raw == "%%" else raw).split("*")
            out += rb"\x00" + rb"[^\x00]*".join(re.escape(naive_bytes(literal)) for literal in literals)
    return re.compile(out + rb"\Z", re.DOTALL)


def naive_bytes(raw: str) -> bytes:
    """What a part of a segment spells."""
    return re.sub(rb"%(..)", lambda hit: bytes((int(hit[1], 16),)), raw.encode())


def naive_value(resource: Resource) -> bytes:
    """A resource as the regular expressions see it."""
    return resource.scheme.encode() + b"".join(b"\0" + segment for segment in resource.segments)


def words(alphabet: str, longest: int) -> list[str]:
    """Every text of these letters, from one letter to ``longest``."""
    return ["".join(word) for size in range(1, longest + 1) for word in itertools.product(alphabet, repeat=size)]


def texts(scheme: str, places: list[list[str]], *, tails: bool = False) -> list[str]:
    """Every text with zero, one, two, ... segments from ``places``, with and without a tail."""
    found = [
        f"{scheme}://{'/'.join(raws)}"
        for count in range(len(places) + 1)
        for raws in itertools.product(*places[:count])
    ]
    return [*found, *(text + ("**" if text.endswith("://") else "/**") for text in found if tails)]


def language(text: str, values: list[bytes]) -> int:
    """Those of ``values`` that the pattern ``text`` names, as bits."""
    match = naive_regex(text).match
    return sum(1 << place for place, value in enumerate(values) if match(value))


def languages(patterns: list[str], resources: list[str]) -> dict[str, int]:
    """Pattern -> the set of resources in its language, as bits; decided by the naive definition."""
    values = [naive_value(parse_resource(text)) for text in resources]
    return {text: language(text, values) for text in patterns}
