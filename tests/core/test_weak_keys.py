"""What is no key is refused where it is loaded, not only where it is used: in every statement, token and note that can
bring a key in.  The signature over the whole is good each time; it is the key inside that is not.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from astrid.core import answers, cosignature, install, tokens
from astrid.core.approval import decode_answer, verify_answer
from astrid.core.blocks import Assurance, Grant
from astrid.core.canon import Domain, encode
from astrid.core.checkpoint import Checkpoint, sign_checkpoint
from astrid.core.cosignature import read_cosigned
from astrid.core.install import (
    NO_LOSS,
    Device,
    Install,
    Revocation,
    Root,
    SignedStatement,
    roots_of,
    sign_statement,
    verify_device,
    verify_install,
    verify_revocation,
)
from astrid.core.keys import PublicKey, load_public_key
from astrid.core.tokens import Roots, SignedBlock, block_id, verify_chain
from astrid.errors import AstridError, KeyFormatError
from tests.fakes.authority import AUD, DAY, HOLDER, NOW, ROOTS, STRANGER, USER, answer, ask, below, block, key, token
from tests.vectors import make_weak_keys

VECTORS = Path(__file__).parent.parent / "vectors" / "weak_keys.json"
CONTENT: Any = json.loads(VECTORS.read_text("utf-8"))
WEAK = {vector["name"]: bytes.fromhex(vector["key"]) for vector in CONTENT["keys"]}
MIXED = next(data for name, data in WEAK.items() if name.startswith("a good key and"))
RUNTIME = key(9)
LOG = b"L" * 32
INSTALL = Install(1, LOG, RUNTIME.public, (Root(USER.public, Assurance.SEALED),), NOW, NO_LOSS)
TRUSTED = roots_of(INSTALL, epoch=1)
ISSUES = (Grant("file://w/**", 0, 3, 1, b""),)


def stated(**changes: Any) -> Install:
    return verify_install(sign_statement(Domain.INSTALL, msgspec.structs.replace(INSTALL, **changes), USER))


def with_root(weak: bytes) -> object:
    return stated(roots=(*INSTALL.roots, Root(weak, Assurance.SEALED)))


def with_runtime_key(weak: bytes) -> object:
    return stated(runtime_key=weak)


def with_device(weak: bytes) -> object:
    device = Device(AUD, weak, "phone", Assurance.DEVICE, ISSUES, NOW + DAY)
    return verify_device(sign_statement(Domain.DEVICE, device, USER), TRUSTED, AUD)


def with_revoked(weak: bytes) -> object:
    revocation = Revocation(AUD, weak, "key", NOW, USER.public)
    return verify_revocation(sign_statement(Domain.REVOKE, revocation, USER), TRUSTED, AUD)


def with_holder(weak: bytes) -> object:
    payload = encode(block(holder=weak))
    return verify_chain(encode((SignedBlock(payload, USER.sign(Domain.BLOCK, payload)),)), ROOTS)


def with_later_holder(weak: bytes) -> object:
    parent = token()
    first = encode(parent.leaf)
    second = encode(below(parent, issuer=HOLDER.public, holder=weak))
    assert block_id(first) == parent.id
    chain = (
        SignedBlock(first, USER.sign(Domain.BLOCK, first)),
        SignedBlock(second, HOLDER.sign(Domain.BLOCK, second)),
    )
    return verify_chain(encode(chain), ROOTS)


NAMED: dict[str, Callable[[bytes], object]] = {
    "a user key of an install": with_root,
    "the runtime key of an install": with_runtime_key,
    "a device": with_device,
    "a revoked key": with_revoked,
    "the holder of a grant": with_holder,
    "who it was handed on to": with_later_holder,
}


# --- by whom something is signed; who loads it has been told that this key counts


class Forger:
    """Signs under a key that nobody has to know: for some of these, any signature would do."""

    def __init__(self, public: bytes) -> None:
        self.public = public

    def sign(self, domain: Domain, data: bytes) -> bytes:
        return self.public + bytes(32)


def by_install_signer(weak: bytes) -> object:
    forger = Forger(weak)
    payload = encode(msgspec.structs.replace(INSTALL, roots=(Root(weak, Assurance.SEALED),)))
    return verify_install(encode(SignedStatement(payload, weak, forger.sign(Domain.INSTALL, payload))))


def by_issuer(weak: bytes) -> object:
    payload = encode(block(issuer=weak))
    chain = (SignedBlock(payload, Forger(weak).sign(Domain.BLOCK, payload)),)
    return verify_chain(encode(chain), Roots({weak: Assurance.SEALED}, 1, {}))


def by_answerer(weak: bytes) -> object:
    raw = ask()
    signed, made = decode_answer(answer(raw, b"", by=Forger(weak), decision=0))  # type: ignore[arg-type]
    roots = Roots({weak: Assurance.SEALED}, 1, {})
    return verify_answer(signed, made, raw, roots, HOLDER.public, now_s=NOW)


def by_cosigner(weak: bytes) -> object:
    state = Checkpoint(log_id=LOG, size=1, root=b"r" * 32, tip=b"t" * 32, boot=1)
    return read_cosigned(sign_checkpoint(state, RUNTIME), weak, runtime_key=RUNTIME.public, log_id=LOG)


SIGNED: dict[str, Callable[[bytes], object]] = {
    "an install": by_install_signer,
    "a grant": by_issuer,
    "an answer": by_answerer,
    "a cosignature": by_cosigner,
}


def test_the_script_makes_the_keys_that_are_tried() -> None:
    assert make_weak_keys.build() == CONTENT
    assert len(WEAK) == len(set(WEAK.values())) == len(CONTENT["keys"]) > 25


@pytest.mark.parametrize("name", WEAK)
def test_none_of_them_is_loaded(name: str) -> None:
    with pytest.raises(KeyFormatError) as refused:
        load_public_key(WEAK[name])
    assert refused.value.code == "key.weak"


@pytest.mark.parametrize("door", [*NAMED, *SIGNED])
def test_none_of_them_comes_in_with_something_that_is_well_signed(door: str) -> None:
    enter = (NAMED | SIGNED)[door]
    for name, data in WEAK.items():
        with pytest.raises(AstridError) as refused:
            enter(data)
        assert refused.value.code in ("statement.key", "token.key", "cosign.key", "key.weak"), (name, refused.value)


@pytest.mark.parametrize("door", NAMED)
def test_a_good_key_comes_in_at_the_same_door(door: str) -> None:
    NAMED[door](STRANGER.public)


@pytest.mark.parametrize("door", NAMED)
def test_a_key_that_were_looked_at_only_when_it_is_used_would_have_come_in(
    door: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (install, tokens, answers, cosignature):
        monkeypatch.setattr(module, "load_public_key", PublicKey)
    NAMED[door](MIXED)
