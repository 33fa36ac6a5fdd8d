"""Makes ``primitives.json``: a digest and a signature for each domain, an enrolment code, a sealed key file.

python -m tests.vectors.make_primitives
"""

from __future__ import annotations

from typing import Any

import nacl.bindings as sodium
from nacl.pwhash import argon2id

from tests.vectors.protocol import DOMAINS, digest, pack, public, seed, sign, write

TEXT = b"one text, fourteen meanings"


def build() -> dict[str, Any]:
    """The content of the file."""
    salt, nonce, passphrase = b"0123456789abcdef", b"a nonce of 24 bytes here", b"correct horse battery staple"
    stretched = argon2id.kdf(32, passphrase, salt, opslimit=2, memlimit=64 * 1024 * 1024)
    box = sodium.crypto_secretbox(seed(1), nonce, stretched)
    return {
        "note": "protocol N0. digest: BLAKE3 derive-key; signature: Ed25519 over context, NUL, text",
        "text": TEXT.hex(),
        "seed": seed(1).hex(),
        "public": public(1).hex(),
        "domains": [
            {"domain": domain, "digest": digest(domain, TEXT).hex(), "signature": sign(1, domain, TEXT).hex()}
            for domain in DOMAINS
        ],
        "enrolment": {
            "user": public(1).hex(),
            "device": public(6).hex(),
            "code": int.from_bytes(digest("device", pack([public(1), public(6)]))[:4], "big") >> 2,
        },
        "sealed_key": {
            "passphrase": passphrase.hex(),
            "salt": salt.hex(),
            "nonce": nonce.hex(),
            "file": (b"astrid-sealed-key-v1\n" + salt + nonce + box).hex(),
        },
    }


if __name__ == "__main__":
    write(__file__, build)
