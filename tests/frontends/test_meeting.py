"""What a daemon says of itself is checked before anything is sent to it."""

from __future__ import annotations

import msgspec
import pytest

from astrid.core.checkpoint import Checkpoint, sign_checkpoint, verify_checkpoint
from astrid.core.install import Install, Root, install_id
from astrid.core.keys import SigningKey, load_public_key
from astrid.core.merkle import CompactRange, leaf_hash
from astrid.core.tiles import TileBuilder, consistency_proof
from astrid.core.tokens import Assurance
from astrid.errors import ChainError, TokenError
from astrid.frontends.meeting import check_server
from astrid.wire.results import Welcome
from tests.fakes.home import LOG_ID, RUNTIME, USER

INSTALL = Install(1, LOG_ID, RUNTIME.public, (Root(USER.public, Assurance.SEALED),), 1)
LEAVES = [leaf_hash(b"%d" % number) for number in range(20)]


def checkpoint(size: int, *, boot: int = 1) -> Checkpoint:
    tree = CompactRange()
    for leaf in LEAVES[:size]:
        tree.append(leaf)
    return Checkpoint(log_id=LOG_ID, size=size, root=tree.root(), tip=bytes([size]) * 32, boot=boot)


def proof(old: int, new: int) -> tuple[bytes, ...]:
    builder = TileBuilder()
    for leaf in LEAVES[:new]:
        builder.append(leaf)
    return tuple(consistency_proof(old, new, builder.reader(lambda level, index: b"")))


def welcome(size: int, *, old: int = 0, key: SigningKey = RUNTIME, boot: int = 1) -> Welcome:
    return Welcome(
        protocol=1,
        version="1",
        aud=install_id(INSTALL),
        home="/h",
        mode="persistent",
        session_mode="safe",
        checkpoint=sign_checkpoint(checkpoint(size, boot=boot), key),
        consistency=proof(old, size) if 0 < old <= size else (),
    )


@pytest.mark.parametrize(("old", "new"), [(1, 1), (1, 20), (7, 8), (16, 20)])
def test_a_log_that_grew_is_trusted(old: int, new: int) -> None:
    assert check_server(INSTALL, checkpoint(old), welcome(new, old=old)) == checkpoint(new)


def test_at_the_first_meeting_its_signature_is_enough() -> None:
    assert check_server(INSTALL, None, welcome(5)) == checkpoint(5)


def test_another_install_is_not_ours() -> None:
    with pytest.raises(TokenError) as caught:
        check_server(INSTALL, None, msgspec.structs.replace(welcome(5), aud=b"\0" * 32))
    assert caught.value.code == "client.other-daemon"


@pytest.mark.parametrize(
    ("kept", "said", "code"),
    [
        (checkpoint(9), welcome(5, old=5), "checkpoint.rollback"),
        (checkpoint(5, boot=3), welcome(9, old=5), "checkpoint.restored"),
        (checkpoint(5), welcome(9), "checkpoint.split-view"),
        (checkpoint(5), welcome(9, old=4), "checkpoint.split-view"),
        (msgspec.structs.replace(checkpoint(5), root=b"\1" * 32), welcome(5, old=5), "checkpoint.fork"),
        (msgspec.structs.replace(checkpoint(5), tip=b"\1" * 32), welcome(5, old=5), "checkpoint.false-tip"),
        (msgspec.structs.replace(checkpoint(5), log_id=b"\1" * 32), welcome(5, old=5), "checkpoint.other-log"),
        (None, welcome(5, key=USER), "checkpoint.unsigned"),
    ],
)
def test_a_log_that_does_not_continue_what_was_seen_is_named_after_the_attack(
    kept: Checkpoint | None, said: Welcome, code: str
) -> None:
    with pytest.raises(ChainError) as caught:
        check_server(INSTALL, kept, said)
    assert caught.value.code == code


def test_the_fakes_here_are_what_the_core_takes() -> None:
    note = sign_checkpoint(checkpoint(3), RUNTIME)
    assert verify_checkpoint(note, load_public_key(RUNTIME.public), LOG_ID) == checkpoint(3)
