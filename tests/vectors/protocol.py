"""The protocol's primitives a second time, from its text: encoding, H and S (N0).  Shares no line with ``astrid``.

The scripts beside this file make vectors with it, so that a vector is an opinion of its own and no echo of the product.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nacl.bindings as sodium
from blake3 import blake3

DOMAINS = (
    *("block", "call", "question", "display", "install", "device", "approval"),
    *("revoke", "prompt", "tooldef", "pop", "audit", "snapshot", "genesis"),
)


class Raw(bytes):
    """Bytes that stand in an encoding as they are: how a hostile encoder spells something."""


def pack(value: object) -> bytes:
    """msgpack with minimal headers, for arrays, integers from 0, texts, bytes and truth values."""
    match value:
        case Raw():
            return bytes(value)
        case bool():
            return b"\xc3" if value else b"\xc2"
        case int():
            if value < 128:
                return bytes([value])
            header, size = next((h, s) for h, s in ((0xCC, 1), (0xCD, 2), (0xCE, 4), (0xCF, 8)) if value < 256**s)
            return bytes([header]) + value.to_bytes(size, "big")
        case str():
            data = value.encode()
            return (bytes([0xA0 | len(data)]) if len(data) < 32 else _length(len(data), 0xD9, 0xDA, 0xDB)) + data
        case bytes():
            return _length(len(value), 0xC4, 0xC5, 0xC6) + value
        case list():
            items = b"".join(map(pack, value))
            return (bytes([0x90 | len(value)]) if len(value) < 16 else _length(len(value), 0, 0xDC, 0xDD)) + items
        case _:
            raise TypeError(f"nothing is written for {value!r}")


def _length(length: int, one: int, two: int, four: int) -> bytes:
    if one and length < 256:
        return bytes([one, length])
    return bytes([two]) + length.to_bytes(2, "big") if length < 65536 else bytes([four]) + length.to_bytes(4, "big")


def digest(domain: str, data: bytes) -> bytes:
    """H(c, b)."""
    return blake3(data, derive_key_context=f"astrid {domain} v1").digest()


def seed(number: int) -> bytes:
    """The seed of test key number ``number``."""
    return bytes([number]) * 32


def public(number: int) -> bytes:
    """The public half of test key number ``number``."""
    return sodium.crypto_sign_seed_keypair(seed(number))[0]


def sign(number: int, domain: str, data: bytes) -> bytes:
    """S(k, c, b) with test key number ``number``."""
    _, secret = sodium.crypto_sign_seed_keypair(seed(number))
    return sodium.crypto_sign(f"astrid/{domain}/v1".encode() + b"\0" + data, secret)[:64]


def render(content: dict[str, Any]) -> str:
    """``content`` as the file holds it."""
    return json.dumps(content, indent=1) + "\n"


def write(path: str, build: Callable[[], dict[str, Any]]) -> None:
    """Write the vectors beside the script at ``path``: ``make_x.py`` writes ``x.json``."""
    script = Path(path)
    target = script.with_name(script.stem.removeprefix("make_") + ".json")
    target.write_text(render(build()), encoding="utf-8")
