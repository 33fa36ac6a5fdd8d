"""The strict JSON scan that comes before any decoder sees a text.  Pure, linear, never recurses on its own.

Two parsers may read one text differently: the last of two equal keys or the first, 2^53+1 or its neighbour, half a
surrogate pair kept or replaced.  What was shown, hashed, approved and run must be one thing, so a text that leaves such
room is refused here.

Accepted is exactly JSON (RFC 8259) in UTF-8 without a byte order mark, in which
  no object names a key twice, also not in two spellings of one key (``"a"`` and ``"\\u0061"``);
  every ``\\u`` escape of a surrogate belongs to a pair;
  every integer lies in -2^53 .. 2^53, and a number with a fraction or an exponent appears only where the caller allows
    it, finite;
  containers nest at most ``max_depth`` deep.

How: msgspec's decoder is strict about syntax, UTF-8, surrogates and infinities, but keeps the last of two equal keys.
Outside strings each colon is one key; so if the decoded objects hold fewer keys than the text has such colons, a key
was lost.

Never: returns what it decoded.  The caller decodes the same bytes into a type of its own.

Source: protocol N4; RFC 8259; RFC 7493 (I-JSON).
"""

from __future__ import annotations

import re
from typing import cast

import msgspec

from astrid.errors import CanonError

MAX_SAFE_INT = 2**53

# Runs only over text that already parsed, so every quote opens a string that ends; the possessive quantifiers keep it
# linear.
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)

_decoder = msgspec.json.Decoder()


def scan_json(data: bytes, *, max_bytes: int, max_depth: int, floats: bool = False) -> None:
    """Returns if ``data`` is JSON with exactly one meaning (see the head of this module).

    Raises:
        CanonError: ``canon.json-too-long``, ``canon.json-utf8``, ``canon.json-syntax``, ``canon.json-number``,
            ``canon.json-depth`` or ``canon.json-duplicate-key``.
    """
    if len(data) > max_bytes:
        raise CanonError("canon.json-too-long", f"the JSON text is {len(data)} bytes, more than {max_bytes}")
    keys = _count_keys(_parse(data), max_depth, floats)
    if _STRING.sub(b"", data).count(b":") != keys:
        raise CanonError("canon.json-duplicate-key", "a JSON object names a key twice", advice="name each key once")


def _parse(data: bytes) -> object:
    try:
        return _decoder.decode(data)
    except UnicodeDecodeError as error:
        raise CanonError("canon.json-utf8", "the JSON text is not UTF-8") from error
    except RecursionError as error:
        raise CanonError("canon.json-depth", "the JSON text nests too deep") from error
    except msgspec.ValidationError as error:  # without a type to validate against, only a number can be out of range
        raise CanonError("canon.json-number", "a JSON number is too large") from error
    except msgspec.DecodeError as error:
        detail = str(error).removeprefix("JSON is malformed: ")
        raise CanonError("canon.json-syntax", f"the text is not JSON: {detail[0].lower()}{detail[1:]}") from error


def _count_keys(value: object, max_depth: int, floats: bool) -> int:
    """How many keys all objects inside ``value`` hold together; on the way each number and the depth are judged."""
    keys = depth = 0
    level = [value]
    while level:
        below: list[object] = []
        for node in level:
            kind = type(node)
            if kind is dict:
                members = cast("dict[str, object]", node)
                keys += len(members)
                below.extend(members.values())
            elif kind is list:
                below.extend(cast("list[object]", node))
            elif kind is int:
                if not -MAX_SAFE_INT <= cast("int", node) <= MAX_SAFE_INT:
                    raise CanonError(
                        "canon.json-number", "a JSON integer is beyond 2^53", advice="write it as a string"
                    )
                continue
            elif kind is float and not floats:
                raise CanonError("canon.json-number", f"the JSON number `{node}` is not an integer")
            else:
                continue
            if depth >= max_depth:
                raise CanonError("canon.json-depth", f"the JSON text nests more than {max_depth} deep")
        level = below
        depth += 1
    return keys
