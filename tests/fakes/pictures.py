"""Images, as small as they can be, with the header that a test wants."""

from __future__ import annotations

import struct
import zlib


def png(width: int = 4, height: int = 3, *, size: int = 0) -> bytes:
    """A PNG that says that it is so large, filled up to ``size`` bytes."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = (_chunk(b"IHDR", header), _chunk(b"IDAT", zlib.compress(b"\0" * 15)), _chunk(b"IEND", b""))
    return (b"\x89PNG\r\n\x1a\n" + b"".join(chunks)).ljust(size, b"\0")


def jpeg(width: int = 4, height: int = 3, *, before: bytes = b"\xff\xe0\0\x04AB", marker: int = 0xC0) -> bytes:
    """A JPEG that says that it is so large, with other segments ``before`` that."""
    frame = b"\xff" + bytes([marker]) + struct.pack(">HBHHB", 11, 8, height, width, 1) + b"\1\x11\0"
    return b"\xff\xd8" + before + frame + b"\xff\xda\0\x08\1\1\0\0\x3f\0\0\xff\xd9"


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
