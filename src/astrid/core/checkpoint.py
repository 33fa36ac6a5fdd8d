"""Checkpoints: signed statements of how long the log is and what it holds, and how two of them must relate.  Pure.

A chain proves order; only a checkpoint that somebody kept elsewhere proves that the end was not cut off, or the whole
replaced.  A checkpoint is a signed note of exactly five lines (origin, size, root, tip, boot), so that other people's
witnesses can cosign it.

The runtime key signs checkpoints and nothing else; see ``note`` for why its signature carries no ``Domain``.

Never: fetches a proof, remembers what it saw, or decides what to do about an attack.  It says which attack it is.

Invariants:
  encode_note_body(c) is the one text of c; parse_note_body refuses every other.
  check_consistent(old, new) passes only if every record under ``old`` is, unchanged and in its place, under ``new``.

Source: protocol N10, N11; C2SP tlog-checkpoint and tlog-cosignature; RFC 9162 section 2.1.4.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence

import msgspec

from astrid.core.keys import PublicKey, SigningKey
from astrid.core.merkle import HASH_BYTES, MAX_LEAVES, verify_consistency
from astrid.core.note import (
    UnverifiedNote,
    cosign_text,
    encode_note,
    parse_note,
    sign_text,
    verify_cosigned,
    verify_note,
)
from astrid.errors import ChainError

LOG_ID_BYTES = 32
MAX_BOOT = 2**32 - 1

_LOST = "sign nothing; compare with other copies by `astrid audit verify`; if none is whole, `astrid audit accept-loss`"
_BASE64_32 = "[A-Za-z0-9+/]{43}="
_BODY = re.compile(
    r"log\.astrid/([0-9a-f]{64})\n([1-9][0-9]{0,18})\n"
    rf"({_BASE64_32})\ntip ({_BASE64_32})\nboot (0|[1-9][0-9]{{0,9}})\n"
)


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    """The state of log ``log_id`` after record number ``size``, as its runtime states it.

    ``root`` is the Merkle root over the records, ``tip`` the chain digest of the last one, ``boot`` the start of the
    daemon that signs.
    """

    log_id: bytes
    size: int
    root: bytes
    tip: bytes
    boot: int


def origin(log_id: bytes) -> str:
    """The first line of every checkpoint of this log, and the name under which its runtime key signs."""
    return f"log.astrid/{log_id.hex()}"


def encode_note_body(checkpoint: Checkpoint) -> bytes:
    """The text that is signed.

    Raises:
        ChainError: a field is out of range; a log without records has no checkpoint.
    """
    lengths = (len(checkpoint.log_id), len(checkpoint.root), len(checkpoint.tip))
    if (
        lengths != (LOG_ID_BYTES, HASH_BYTES, HASH_BYTES)
        or not 1 <= checkpoint.size <= MAX_LEAVES
        or not 0 <= checkpoint.boot <= MAX_BOOT
    ):
        raise ChainError("checkpoint.out-of-range", "a field of the checkpoint is out of range", size=checkpoint.size)
    root, tip = base64.b64encode(checkpoint.root).decode(), base64.b64encode(checkpoint.tip).decode()
    return f"{origin(checkpoint.log_id)}\n{checkpoint.size}\n{root}\ntip {tip}\nboot {checkpoint.boot}\n".encode()


def parse_note_body(text: bytes) -> Checkpoint:
    """The checkpoint that ``text`` spells; whether anybody signed it is another question.

    Raises:
        ChainError: it spells none, or in another way than ``encode_note_body`` does.
    """
    match = _BODY.fullmatch(text.decode("ascii", "replace"))
    if match is None:
        raise ChainError("checkpoint.malformed", "the text is not that of a checkpoint of an Astrid log")
    checkpoint = Checkpoint(
        log_id=bytes.fromhex(match[1]),
        size=int(match[2]),
        root=base64.b64decode(match[3]),
        tip=base64.b64decode(match[4]),
        boot=int(match[5]),
    )
    if encode_note_body(checkpoint) != text:  # base64 has spare bits at its end
        raise ChainError("checkpoint.second-spelling", "the checkpoint is not in canonical form")
    return checkpoint


def sign_checkpoint(checkpoint: Checkpoint, key: SigningKey) -> bytes:
    """The note that states ``checkpoint``, signed by the runtime key.  Only for records that are already durable.

    Raises:
        ChainError: a field is out of range.
    """
    text = encode_note_body(checkpoint)
    return encode_note(UnverifiedNote(text, (sign_text(text, key, origin(checkpoint.log_id)),)))


def verify_checkpoint(note: bytes, runtime_key: PublicKey, log_id: bytes) -> Checkpoint:
    """The checkpoint that the runtime of ``log_id`` signed.  Both come from outside the log, or this proves nothing.

    Raises:
        ChainError: malformed, of another log, or not signed by ``runtime_key``.
    """
    return _verify(parse_note(note), runtime_key, log_id)


def cosign(
    note: bytes, key: SigningKey, name: str, timestamp_s: int, *, runtime_key: PublicKey, log_id: bytes
) -> bytes:
    """``note`` with one more line: ``key``'s statement to have seen it at ``timestamp_s``.

    A cosigner says that it knows no longer log and no other one; so first ``check_consistent`` with the last it kept.
    ``name`` is not under the signature: one key serves one name.

    Raises:
        ChainError: the note does not verify, ``key`` has cosigned it before, or it can take no more signatures.
    """
    unverified = parse_note(note)
    _verify(unverified, runtime_key, log_id)
    line = cosign_text(unverified.text, key, name, timestamp_s)
    return encode_note(UnverifiedNote(unverified.text, (*unverified.signatures, line)))


def verify_cosignature(note: bytes, key: PublicKey, name: str) -> int:
    """When, in seconds since the epoch, the witness ``name`` says to have seen ``note``; says nothing of the log's key.

    Raises:
        ChainError: malformed, or not cosigned by ``key``.
    """
    return verify_cosigned(parse_note(note), key, name)


def check_consistent(old: Checkpoint, new: Checkpoint, proof: Sequence[bytes]) -> None:
    """Nothing, if ``new`` continues the log that ``old`` was taken of; both are verified already.

    Raises:
        ChainError: named after the attack.
    """
    if old.log_id != new.log_id:  # another log is put in the place of the one we know
        raise ChainError(
            "checkpoint.other-log", f"this is `{origin(new.log_id)}`, not `{origin(old.log_id)}`", advice=_LOST
        )
    if new.size < old.size:  # an old copy is restored: spent tokens and revoked grants would live again
        raise ChainError("checkpoint.rollback", f"the log had {old.size} records and now has {new.size}", advice=_LOST)
    if new.boot < old.boot:  # an old copy went on growing
        raise ChainError(
            "checkpoint.restored", f"the daemon had started {old.boot} times and now {new.boot}", advice=_LOST
        )
    if new.size == old.size and new.root != old.root:  # two ends of one length: each reader is shown its own
        raise ChainError("checkpoint.fork", f"two different logs of {new.size} records are signed", advice=_LOST)
    if not verify_consistency(old.size, old.root, new.size, new.root, proof):  # the past was written again
        raise ChainError(
            "checkpoint.split-view", f"the first {old.size} records are not shown to be the same", advice=_LOST
        )
    if new.size == old.size and new.tip != old.tip:  # the tree is the same, so one of the two tips is made up
        raise ChainError("checkpoint.false-tip", f"record {new.size} is stated to have two digests", advice=_LOST)


def _verify(note: UnverifiedNote, runtime_key: PublicKey, log_id: bytes) -> Checkpoint:
    name = origin(log_id)
    if not note.text.startswith(name.encode() + b"\n"):
        raise ChainError("checkpoint.other-log", f"this is not a checkpoint of `{name}`")
    return parse_note_body(verify_note(note, runtime_key, name))
