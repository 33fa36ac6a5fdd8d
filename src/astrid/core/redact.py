"""Takes the values of secrets out of text, in the forms in which programs print them.  Pure.

Looked for are the value itself and what comes of it in Base64 (wherever it begins in what was encoded), in hexadecimal,
percent-encoded, as a JSON string and backwards.  What is found becomes the secret's name, so that a reader knows what
stood there.

This is a net and no wall: whoever has a value can write it in a form that nobody looks for.  Secrets are kept from
tools in the first place; this catches what a tool prints of one by accident.

Invariants:
  Cut anywhere, a text comes out the same as in one piece.
  Of a text that holds no form of a value, nothing is changed; what is held back is shorter than the longest form.

Source: threats 26, 36.
"""

from __future__ import annotations

import json
import re
from base64 import b64encode
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from urllib.parse import quote

from astrid.errors import InputError

LEAST_BYTES = 8  # of a value; shorter ones stand in all kinds of text
MOST_BYTES = 4096  # of a value
# Of Base64, what whole characters say of a value that begins 0, 1 or 2 bytes behind a group of three.
_FIRST_WHOLE = (0, 2, 3)


class Redactor:
    """The values of some secrets, by name.  Nothing that prints this object prints one."""

    __slots__ = ("_forms", "_marks", "_pattern")

    def __init__(self, values: Mapping[str, bytes]) -> None:
        """
        Raises:
            InputError: a value is too short to be looked for.
        """
        self._marks = {form: mark(name) for name, value in values.items() for form in _forms(value)}
        self._forms = sorted(self._marks)
        longest_first = sorted(self._forms, key=len, reverse=True)
        self._pattern = re.compile(b"|".join(map(re.escape, longest_first))) if longest_first else None

    def __repr__(self) -> str:
        return "<redactor>"

    def redact(self, data: bytes) -> bytes:
        """``data`` without the values."""
        if self._pattern is None:
            return data
        return self._pattern.sub(lambda found: self._marks[found[0]], data)

    def redact_text(self, text: str) -> str:
        """The same, of text."""
        return self.redact(text.encode("utf-8", "surrogateescape")).decode("utf-8", "surrogateescape")

    def stream(self) -> Stream:
        """For a text that comes in pieces."""
        return Stream(self)

    def settled(self, data: bytes) -> int:
        """How much of ``data`` stays as it is, whatever follows: the rest may be the beginning of a form."""
        if self._pattern is None:
            return len(data)
        longest = max(map(len, self._forms))
        begins = next(
            (at for at in range(max(0, len(data) - longest + 1), len(data)) if self._begins(data[at:])), len(data)
        )
        # A form that is there already may reach into what could be the beginning of another: it is one or the other.
        ends = (found.end() for found in self._pattern.finditer(data) if found.start() < begins)
        return max((end for end in ends if end > begins), default=begins)

    def _begins(self, tail: bytes) -> bool:
        at = bisect_left(self._forms, tail)
        at += self._forms[at : at + 1] == [tail]  # a whole form is the beginning of the next one, if of any
        return at < len(self._forms) and self._forms[at].startswith(tail)


class Stream:
    """One text that is redacted in pieces."""

    __slots__ = ("_held", "_redactor")

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self._held = b""

    def feed(self, piece: bytes) -> bytes:
        """What can be said by now."""
        data = self._held + piece
        settled = self._redactor.settled(data)
        self._held = data[settled:]
        return self._redactor.redact(data[:settled])

    def finish(self) -> bytes:
        """What was held back, when no more comes."""
        held, self._held = self._held, b""
        return self._redactor.redact(held)


def mark(name: str) -> bytes:
    """What stands in the place of the secret ``name``."""
    return f"[secret {name}]".encode()


def _forms(value: bytes) -> Iterator[bytes]:
    if len(value) < LEAST_BYTES:
        raise InputError(
            "secrets.short",
            f"a secret has {LEAST_BYTES} bytes or more: a shorter one cannot be told from other text",
            advice="use a longer one",
        )
    yield value
    yield value[::-1]
    text = value.decode("utf-8", "replace")
    yield json.dumps(text, ensure_ascii=False)[1:-1].encode()
    yield json.dumps(text)[1:-1].encode()
    yield value.hex().encode()
    yield value.hex().upper().encode()
    plain = quote(value, safe="").encode()
    yield plain
    yield re.sub(b"%[0-9A-F]{2}", lambda found: found[0].lower(), plain)
    for before in range(3):
        whole = (before + len(value)) * 8 // 6  # the last character may say something of what follows
        encoded = b64encode(bytes(before) + value)[_FIRST_WHOLE[before] : whole]
        yield encoded
        yield encoded.translate(bytes.maketrans(b"+/", b"-_"))
