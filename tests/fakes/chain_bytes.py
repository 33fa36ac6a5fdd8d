"""Other bytes for a chain of blocks: edits, other spellings of the same values, and such as their issuer really signed.

Never: gives back what it was given, but by chance; whoever asks compares.

Source: protocol N0 ("Encoding"); MessagePack.
"""

from __future__ import annotations

from astrid.core.blocks import Grant
from astrid.core.canon import Domain
from tests.fakes.chains import KEYS, Tape
from tests.fakes.naive_chain import Made


def edited(tape: Tape, data: bytes) -> bytes:
    """Other bytes than ``data``, a little."""
    at = (tape.pick(range(256)) * 256 + tape.pick(range(256))) % len(data)
    match tape.pick(("flip", "cut", "insert", "append", "zero", "double")):
        case "flip":
            return data[:at] + bytes([data[at] ^ 1 << tape.pick(range(8))]) + data[at + 1 :]
        case "cut":
            return data[:at]
        case "insert":
            return data[:at] + bytes([tape.pick(range(256))]) + data[at:]
        case "append":
            return data + bytes([tape.pick((0xC0, 0x90, 0, 0xFF))])
        case "zero":
            return data[:at] + b"\0" * min(8, len(data) - at) + data[at + 8 :]
        case _:
            return data + data


def respelt(tape: Tape, value: object) -> bytes:
    """``value`` in MessagePack, with headers of any width and texts and bytes in each other's clothes."""
    match value:
        case bool():
            return b"\xc3" if value else b"\xc2"
        case int():
            return _number(tape, value)
        case bytes():
            return _text(tape, value, b"\xc4", (2, 3, 4, -1))
        case str():
            return _text(tape, value.encode(), b"\xd9", (1, 2, 3, 4, -1))
        case _:
            items = tuple(value)  # type: ignore[call-overload]
            return _count(tape, items) + b"".join(respelt(tape, one) for one in items)


def _number(tape: Tape, value: int) -> bytes:
    widths = [(b"\xcc", 1), (b"\xcd", 2), (b"\xce", 4), (b"\xcf", 8)]
    code, size = tape.pick([one for one in widths if value < 256 ** one[1]])
    if value < 128 and not tape.one_in(8):
        return bytes([value])
    return code + value.to_bytes(size, "big")


def _text(tape: Tape, value: bytes, bin8: bytes, widths: tuple[int, ...]) -> bytes:
    smallest = 1 if len(value) < 256 else 2
    if bin8 == b"\xd9" and len(value) < 32 and not tape.one_in(8):
        return bytes([0xA0 | len(value)]) + value
    width = smallest if not tape.one_in(8) else tape.pick(widths)
    if width == -1:
        other = b"\xc4" if bin8 == b"\xd9" else b"\xd9"
        return bytes([other[0] + smallest - 1]) + len(value).to_bytes(smallest, "big") + value
    size = {1: 1, 2: 2, 3: 4, 4: 4}[max(width, smallest)]
    return bytes([bin8[0] + {1: 0, 2: 1, 4: 2}[size]]) + len(value).to_bytes(size, "big") + value


def _count(tape: Tape, items: tuple[object, ...]) -> bytes:
    if not tape.one_in(8):
        return bytes([0x90 | len(items)]) if len(items) < 16 else b"\xdc" + len(items).to_bytes(2, "big")
    size = tape.pick((2, 4))
    return (b"\xdc" if size == 2 else b"\xdd") + len(items).to_bytes(size, "big")


def loosely_signed(tape: Tape, made: Made) -> Made:
    """``made`` in another spelling, which its issuer really signed."""
    block = made.block
    fields = tuple(getattr(block, name) for name in block.__struct_fields__)
    loose = tuple(tuple(map(_plain, one)) if isinstance(one, tuple) else one for one in fields)
    payload = respelt(tape, loose)
    return made._replace(payload=payload, signature=KEYS[block.issuer].sign(Domain.BLOCK, payload))


def _plain(grant: Grant) -> tuple[object, ...]:
    return tuple(getattr(grant, name) for name in grant.__struct_fields__)
