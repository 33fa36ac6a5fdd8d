"""What a daemon says of itself is checked before anything is sent to it."""

from __future__ import annotations

import msgspec
import pytest

from astrid.core.checkpoint import Checkpoint, cosign, sign_checkpoint, verify_checkpoint
from astrid.core.cosignature import client_name, read_cosigned
from astrid.core.install import NO_LOSS, Install, Root, install_id
from astrid.core.keys import SigningKey, load_public_key
from astrid.core.merkle import CompactRange, leaf_hash
from astrid.core.tiles import TileBuilder, consistency_proof
from astrid.core.tokens import Assurance
from astrid.errors import ChainError, TokenError
from astrid.frontends.meeting import Credentials, check_server, cosign_stated
from astrid.wire.results import Cosigned, Welcome
from tests.fakes.home import LOG_ID, RUNTIME, USER

INSTALL = Install(1, LOG_ID, RUNTIME.public, (Root(USER.public, Assurance.SEALED),), 1, NO_LOSS)
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


# --- what other clients were shown

CLIENT, PHONE = SigningKey.from_seed(b"\5" * 32), SigningKey.from_seed(b"\6" * 32)
MINE = Credentials(b"", b"\0" * 32, CLIENT)
NOW = 1_790_000_000


def seen(
    stated: Checkpoint,
    new: int,
    *,
    key: SigningKey = PHONE,
    by: SigningKey | None = None,
    runtime: SigningKey = RUNTIME,
) -> Cosigned:
    """What the client with ``key`` was shown, as the daemon hands it on with its log of ``new`` records."""
    signer = by or key
    name, data = client_name(signer.public), sign_checkpoint(stated, runtime)
    note = cosign(data, signer, name, NOW, runtime_key=runtime.public, log_id=stated.log_id)
    return Cosigned(key=key.public, note=note, consistency=proof(stated.size, new) if stated.size <= new else ())


def knowing(said: Welcome, *known: Cosigned) -> Welcome:
    return msgspec.structs.replace(said, cosigned=known)


@pytest.mark.parametrize("size", [1, 4, 8, 11])
def test_a_log_that_others_saw_grow_is_trusted(size: int) -> None:
    said = knowing(welcome(11, old=4), seen(checkpoint(size), 11), seen(checkpoint(5), 11, key=CLIENT))
    assert check_server(INSTALL, checkpoint(4), said) == checkpoint(11)
    assert check_server(INSTALL, None, msgspec.structs.replace(said, consistency=())) == checkpoint(11)


FORK = msgspec.structs.replace(checkpoint(5), root=b"\7" * 32)


@pytest.mark.parametrize(
    "other",
    [
        seen(FORK, 11),
        seen(msgspec.structs.replace(FORK, size=11), 11),
        seen(msgspec.structs.replace(FORK, size=15), 11),
        seen(checkpoint(15), 11),
        seen(checkpoint(5, boot=2), 11),
        msgspec.structs.replace(seen(checkpoint(5), 11), consistency=()),
        msgspec.structs.replace(seen(checkpoint(5), 11), consistency=proof(4, 11)),
        seen(FORK, 11, key=CLIENT),
    ],
    ids=["fork", "as long", "longer", "ahead of ours", "of a later start", "no proof", "another's proof", "ourselves"],
)
def test_what_another_client_saw_must_be_the_past_of_what_we_see(other: Cosigned) -> None:  # threat 50
    good = seen(checkpoint(3), 11, key=CLIENT)
    for known in ((other,), (good, other), (other, good)):
        with pytest.raises(ChainError) as caught:
            check_server(INSTALL, checkpoint(4), knowing(welcome(11, old=4), *known))
        assert caught.value.code == "client.split-view"
        assert other.key.hex() in caught.value.message


@pytest.mark.parametrize(
    ("other", "code"),
    [
        (seen(checkpoint(5), 11, by=CLIENT), "checkpoint.unsigned"),
        (seen(checkpoint(5), 11, runtime=USER), "checkpoint.unsigned"),
        (seen(msgspec.structs.replace(checkpoint(5), log_id=b"\1" * 32), 11), "checkpoint.other-log"),
        (seen(checkpoint(5), 11, key=RUNTIME), "cosign.own-key"),
        (Cosigned(key=PHONE.public, note=b"nonsense", consistency=()), "checkpoint.malformed"),
    ],
    ids=["by another client", "not by the runtime", "of another log", "by the runtime itself", "nonsense"],
)
def test_a_cosignature_that_is_none_is_refused_too(other: Cosigned, code: str) -> None:
    with pytest.raises(ChainError) as caught:
        check_server(INSTALL, checkpoint(4), knowing(welcome(11, old=4), other))
    assert caught.value.code == code


def cosigned_of(said: Welcome, size: int, *, boot: int = 1) -> bytes | None:
    return cosign_stated(INSTALL, MINE, said, checkpoint(size, boot=boot), now_s=NOW)


def test_the_stated_checkpoint_is_cosigned_with_our_key_and_the_time() -> None:
    note = cosigned_of(welcome(11), 11)
    assert note is not None
    seen_by = read_cosigned(note, CLIENT.public, runtime_key=load_public_key(RUNTIME.public), log_id=LOG_ID)
    assert (seen_by.checkpoint, seen_by.time_s) == (checkpoint(11), NOW)


def test_what_we_have_cosigned_of_late_is_not_cosigned_again() -> None:
    known = seen(checkpoint(3), 11, key=CLIENT)
    assert cosigned_of(knowing(welcome(11), known), 11) is None
    assert cosigned_of(knowing(welcome(11, boot=2), known), 11, boot=2) is not None
    assert cosigned_of(knowing(welcome(11), seen(checkpoint(3), 11)), 11) is not None  # that was somebody else


def test_nothing_is_cosigned_that_this_log_s_runtime_did_not_sign() -> None:
    with pytest.raises(ChainError):
        cosigned_of(welcome(11, key=USER), 11)


def test_the_fakes_here_are_what_the_core_takes() -> None:
    note = sign_checkpoint(checkpoint(3), RUNTIME)
    assert verify_checkpoint(note, load_public_key(RUNTIME.public), LOG_ID) == checkpoint(3)
