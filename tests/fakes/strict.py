"""A codec for ``open_system(strict=...)``: every message travels as bytes, as it would to another process.

Unlike the kernel's own it also takes the structs that the core defines, and tuples of them as answers.
"""

from __future__ import annotations

import msgspec

from astrid.kernel import Message
from astrid.kernel.testing import StrictMailbox

_PLAIN = (bool, int, str, bytes)


class StrictCodec(StrictMailbox):
    """``kinds`` are the names of everything that travelled."""

    def __init__(self) -> None:
        super().__init__(self._write, self._read)
        self.kinds: set[str] = set()
        self._shapes: dict[str, type] = {}

    def _write(self, message: object) -> bytes:
        return msgspec.msgpack.encode(self._pack(message))

    def _pack(self, value: object) -> tuple[str, object]:
        kind = type(value)
        if kind is tuple:
            return "tuple", [self._pack(item) for item in value]  # type: ignore[attr-defined]
        if not issubclass(kind, (Message, msgspec.Struct, *_PLAIN)):
            raise TypeError(f"a `{kind.__qualname__}` is no message")
        name = f"{kind.__module__}.{kind.__qualname__}"
        self._shapes[name] = kind
        self.kinds.add(kind.__qualname__)
        return name, msgspec.msgpack.encode(value)

    def _read(self, data: bytes) -> object:
        return self._unpack(msgspec.msgpack.decode(data))

    def _unpack(self, packed: list[object]) -> object:
        name, body = packed
        if name == "tuple":
            return tuple(self._unpack(item) for item in body)  # type: ignore[attr-defined]
        return msgspec.msgpack.decode(body, type=self._shapes[str(name)])  # type: ignore[arg-type]
