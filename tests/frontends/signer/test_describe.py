from __future__ import annotations

from typing import Any

import pytest

from astrid.core.blocks import Block, Grant, Scope
from astrid.core.canon import MAX_U64
from astrid.core.tokens import UNLIMITED_MICROS, UNLIMITED_USES
from astrid.frontends.signer.describe import describe_block, time_text
from tests.fakes.authority import block


def text(**fields: Any) -> str:
    return describe_block(block(**fields)).replace("|\n|", "")


@pytest.mark.parametrize(
    ("fields", "row"),
    [
        ({}, 'allows: read+write "file://w/**", up to risk medium'),
        ({"scope": Scope.ALWAYS}, "good for: every session of this install, in every folder"),
        ({"scope": Scope.ONCE}, "good for: one call"),
        ({"uses": 3}, "uses: 3"),
        ({"uses": UNLIMITED_USES}, "uses: any number"),
        ({"purse": 1}, "may spend: $0.000001"),
        ({"purse": UNLIMITED_MICROS}, "may spend: whatever the budgets allow"),
        ({"expires": MAX_U64}, "until: it is revoked"),
        ({"tainted_ok": False}, "while untrusted text is in view: no"),
        ({"session": b"s" * 16}, f"session: session:{(b's' * 16).hex()}"),
        ({"workspace": b""}, "install: install:"),
        ({"call": b"c" * 32}, f"call: {(b'c' * 32).hex()}"),
        ({"question": b"q" * 32}, f"answers question: {(b'q' * 32).hex()}"),
        (
            {"grants": (Grant("file://w/**", 0, 6, 2, b"t" * 32),)},
            'allows: no use of its own "file://w/**", up to risk high, may let others write+execute, only',
        ),
    ],
)
def test_what_a_block_says_is_shown(fields: dict[str, Any], row: str) -> None:
    assert row in text(**fields)


CHANGES: dict[str, Any] = {
    "holder": b"h" * 32,
    "issuer": b"i" * 32,
    "aud": b"a" * 32,
    "session": b"s" * 16,
    "workspace": b"",
    "scope": Scope.ALWAYS,
    "grants": (Grant("file://w/a", 1, 0, 1, b""),),
    "not_before": 1,
    "expires": 2,
    "uses": 1,
    "purse": 1,
    "depth": 1,
    "tainted_ok": False,
    "call": b"c" * 32,
    "question": b"q" * 32,
    "assurance": 1,
}


@pytest.mark.parametrize("name", CHANGES)
def test_no_two_blocks_that_authorise_different_things_look_alike(name: str) -> None:
    assert text(**{name: CHANGES[name]}) != text()


def test_every_field_that_authorises_something_was_changed() -> None:
    assert set(CHANGES) | {"version", "algorithm", "parent", "nonce"} == set(Block.__struct_fields__)


def test_no_row_is_wider_than_a_narrow_terminal() -> None:
    shown = describe_block(block(grants=(Grant("file://" + "x" * 900, 1, 0, 1, b""),)))
    assert max(map(len, shown.splitlines())) <= 78


def test_a_time_that_no_calendar_knows_is_shown_as_a_number() -> None:
    assert time_text(2**63) == f"second {2**63}"
    assert time_text(0) == "1970-01-01 00:00:00 UTC"
