"""Logs of an install that exists only in tests, chained and signed as the daemon does it."""

from __future__ import annotations

from typing import Any

import msgspec

from astrid.core.canon import encode
from astrid.core.chain import ChainState, Frame, Tip, decode_frame, frame_digest, genesis_tip
from astrid.core.checkpoint import Checkpoint, cosign, sign_checkpoint
from astrid.core.cosignature import client_name, record_of
from astrid.core.keys import SigningKey
from astrid.core.merkle import CompactRange, leaf_hash
from astrid.core.records import Boot, CoalescedRecord, DeferredRecord, Entry, Genesis, Stop, entry, seal
from astrid.core.tiles import TileBuilder
from astrid.core.tokens import Grant, Permission, Scope, Token
from astrid.core.verify import LogKeys
from tests.fakes.authority import token

INSTALL, LOG_ID = b"I" * 32, b"L" * 32
RUNTIME = SigningKey.from_seed(b"\x42" * 32)
OTHER_RUNTIME = SigningKey.from_seed(b"\x43" * 32)
KEYS = LogKeys(INSTALL, LOG_ID, RUNTIME.public)
ZEROS = b"\0" * 32

GENESIS = entry(Genesis(1, INSTALL, ZEROS))
BOOT = entry(Boot("1", ZEROS, ZEROS, ZEROS))
STOP = entry(Stop("ordered"))


def note_of(size: int, session: bytes = b"") -> Entry:
    """A small record."""
    return entry(CoalescedRecord("tool.unknown", size), session=session)


def deferred(number: int) -> Entry:
    """A record of another kind and length."""
    return entry(DeferredRecord(number, b"q" * 16), session=b"S" * 16)


def new_state() -> ChainState:
    """The writing end of an empty log."""
    return ChainState(Tip(0, genesis_tip(INSTALL), 0, 0), TileBuilder())


def write(entries: list[Entry], times_ns: list[int] | None = None) -> list[bytes]:
    """The records that ``entries`` become; one nanosecond apart unless told otherwise."""
    state = new_state()
    times = times_ns or list(range(1, len(entries) + 1))
    return [state.append(one, now_ns) for one, now_ns in zip(entries, times, strict=True)]


def some_log(records: int = 12) -> list[bytes]:
    """A log with two starts."""
    between = [note_of(n) if n % 3 else deferred(n) for n in range(records - 4)]
    half = len(between) // 2
    return write([GENESIS, BOOT, *between[:half], STOP, BOOT, *between[half:]])


def checkpoint(frames: list[bytes], size: int | None = None, **fields: Any) -> Checkpoint:
    """What the runtime would state of the first ``size`` records."""
    covered = frames[: len(frames) if size is None else size]
    tree = CompactRange()
    for data in covered:
        tree.append(leaf_hash(data))
    stated = Checkpoint(
        log_id=LOG_ID,
        size=len(covered),
        root=tree.root(),
        tip=frame_digest(covered[-1]),
        boot=decode_frame(covered[-1]).boot,
    )
    return msgspec.structs.replace(stated, **fields)


def note(
    frames: list[bytes], size: int | None = None, *, key: SigningKey = RUNTIME, **fields: Any
) -> tuple[int, bytes]:
    """A stored checkpoint: its size, and the signed note."""
    stated = checkpoint(frames, size, **fields)
    return stated.size, sign_checkpoint(stated, key)


def client_token(client: SigningKey) -> Token:
    """What the user lets a client ask."""
    asks = Grant("rpc://*", Permission.INVOKE, 0, 1, b"")
    return token(holder=client.public, workspace=b"", scope=Scope.ALWAYS, tainted_ok=False, grants=(asks,))


def cosigned(stated: Checkpoint, client: SigningKey, *, key: SigningKey = RUNTIME, time_s: int = 9) -> Entry:
    """The record of what a client cosigned."""
    signed, name = sign_checkpoint(stated, key), client_name(client.public)
    data = cosign(signed, client, name, time_s, runtime_key=key.public, log_id=stated.log_id)
    held = client_token(client)
    sealed, payload = seal(held.raw, b"s" * 32)
    return entry(record_of(data, held, sealed), payloads=(payload,))


def chained_anew(frames: list[bytes]) -> list[bytes]:
    """``frames`` as somebody would write them again who may do everything but sign: numbers and links made right."""
    prev: bytes = genesis_tip(INSTALL)
    made: list[bytes] = []
    for seq, data in enumerate(frames, 1):
        made.append(encode(msgspec.structs.replace(decode_frame(data), prev=prev, seq=seq)))
        prev = frame_digest(made[-1])
    return made


def changed(data: bytes, **fields: Any) -> bytes:
    """A record with one field changed and nothing else."""
    return encode(msgspec.structs.replace(decode_frame(data), **fields))


__all__ = ["Frame"]
