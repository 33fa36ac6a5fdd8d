"""Cosignatures: what a client states that it saw of the log, kept in the log for every other client to compare.  Pure.

A daemon that shows two logs has to keep its clients apart for ever: as soon as one is handed what another cosigned, the
two logs meet, and the runtime's own signature on both says who is to blame.

What it does not prove.  That nothing is held back: a daemon may leave cosignatures out of the log that it shows to one
client, and is found out when that client meets the other log.  That the client is somebody else than the daemon: the
user signed for its key, but whatever can read the key's file can sign with it, so the best witness is on another
machine.  That its token was good at that moment: the daemon looked, and the log names the token and its revocation.

Never: fetches a proof, or believes a key because it came with the cosignature (``check_client`` wants the user's word).

Invariants:
  cosigned_note(record_of(note, ...), ...) == note for every note that read_cosigned takes.
  add() takes at most one cosignature of a client for each start of the daemon and each ``DUE_RECORDS`` records.

Source: protocol N10, N11; threats 50; C2SP tlog-cosignature.
"""

from __future__ import annotations

import msgspec

from astrid.core.checkpoint import (
    Checkpoint,
    encode_note_body,
    origin,
    parse_note_body,
    verify_checkpoint,
    verify_cosignature,
)
from astrid.core.keys import PublicKey, load_public_key
from astrid.core.note import (
    COSIGNATURE_V1,
    ED25519,
    TIMESTAMP_BYTES,
    NoteSignature,
    UnverifiedNote,
    encode_note,
    key_id,
    parse_note,
)
from astrid.core.records import CosignedRecord, Sealed
from astrid.core.tokens import Roots, Token, lets_ask, verify_chain
from astrid.errors import ChainError, KeyFormatError, TokenError

METHOD = "auditCosign"  # what a client's token covers, if the client may cosign
DUE_RECORDS = 1000
MAX_HANDED_OUT = 16
SKEW_SECONDS = 24 * 3600


class Seen(msgspec.Struct, frozen=True):
    """A checkpoint that a client cosigned, and when it says that it saw it, in seconds since the epoch."""

    checkpoint: Checkpoint
    time_s: int


def client_name(key: bytes) -> str:
    """The name under which the client with ``key`` cosigns."""
    return f"client.astrid/{key.hex()}"


def read_cosigned(note: bytes, key: bytes, *, runtime_key: PublicKey, log_id: bytes) -> Seen:
    """What the runtime of ``log_id`` stated and the client with ``key`` cosigned; whether it is true is not known yet.

    Raises:
        ChainError: malformed, of another log, not signed by both, or with anything else on it.
    """
    checkpoint = verify_checkpoint(note, runtime_key, log_id)
    if key == runtime_key:  # the witness of a log is not who writes it
        raise ChainError("cosign.own-key", "the runtime's key is not a client's")
    time_s = verify_cosignature(note, _load(key), client_name(key))
    _signatures(parse_note(note), key, log_id)
    return Seen(checkpoint, time_s)


def record_of(note: bytes, token: Token, sealed: Sealed) -> CosignedRecord:
    """The record of a note that ``read_cosigned`` took, by the holder of ``token``, to whose bytes ``sealed`` commits.

    Raises:
        ChainError: it cannot be such a note.
    """
    unverified = parse_note(note)
    state = parse_note_body(unverified.text)
    stated, cosigned = _signatures(unverified, token.holder, state.log_id)
    return CosignedRecord(
        size=state.size,
        root=state.root,
        tip=state.tip,
        boot=state.boot,
        stated=stated,
        key=token.holder,
        time_s=int.from_bytes(cosigned[:TIMESTAMP_BYTES]),
        signature=cosigned[TIMESTAMP_BYTES:],
        block=token.id,
        chain=sealed,
    )


def cosigned_note(record: CosignedRecord, *, runtime_key: PublicKey, log_id: bytes) -> bytes:
    """The note that ``record`` was made of, for other people's witnesses too.  Unverified, as the record is.

    Raises:
        ChainError: there is none: a field is out of range.
    """
    by_runtime, by_client = origin(log_id), client_name(record.key)
    timestamp = record.time_s.to_bytes(TIMESTAMP_BYTES)
    lines = (
        NoteSignature(by_runtime, key_id(by_runtime, ED25519, runtime_key), record.stated),
        NoteSignature(
            by_client, key_id(by_client, COSIGNATURE_V1, PublicKey(record.key)), timestamp + record.signature
        ),
    )
    return encode_note(UnverifiedNote(encode_note_body(_state(record, log_id)), lines))


def check_record(record: CosignedRecord, *, runtime_key: PublicKey, log_id: bytes) -> Checkpoint:
    """The checkpoint of log ``log_id`` that ``record`` shows its client to have cosigned.

    Raises:
        ChainError: it shows none.
    """
    note = cosigned_note(record, runtime_key=runtime_key, log_id=log_id)
    return read_cosigned(note, record.key, runtime_key=runtime_key, log_id=log_id).checkpoint


def check_client(key: bytes, chain: bytes, roots: Roots, aud: bytes) -> Token:
    """The token ``chain`` by which the user made ``key`` a client of install ``aud``.

    SAFETY: without this the daemon could make up clients that agree with it.  Its own holder key has tokens of the user
    too, but none that lets it ask a daemon for anything.  What a client hands on does not count: keys without number
    could fill the log, and push what others cosigned out of what clients are handed.

    Raises:
        ChainError: it is no such token.
    """
    try:
        token = verify_chain(chain, roots)
    except TokenError as error:
        raise ChainError("cosign.no-client", f"the key was not made a client's: {error.message}") from error
    if token.holder != key or len(token.blocks) != 1 or token.leaf.aud != aud or not lets_ask(token, METHOD):
        raise ChainError("cosign.no-client", "the user did not let this key cosign for this install")
    return token


def is_due(last: Checkpoint | None, stated: Checkpoint) -> bool:
    """Whether a client that cosigned ``last`` cosigns ``stated``: the log of another start, or a much longer one."""
    return last is None or stated.boot > last.boot or stated.size - last.size >= DUE_RECORDS


class Cosignatures:
    """The newest cosignature of each client that the log holds."""

    __slots__ = ("_newest",)

    def __init__(self) -> None:
        self._newest: dict[bytes, CosignedRecord] = {}  # the newest last

    def put(self, record: CosignedRecord) -> None:
        """``record`` is in the log."""
        self._newest.pop(record.key, None)
        self._newest[record.key] = record

    def add(self, record: CosignedRecord) -> None:
        """``record`` is about to be in the log.

        Raises:
            ChainError: its client has cosigned as much already; a client must not be able to fill the log.
        """
        last = self._newest.get(record.key)
        if not is_due(None if last is None else _state(last), _state(record)):
            raise ChainError("cosign.not-due", "this client has cosigned the log of this start already")
        self.put(record)

    def newest(self) -> tuple[CosignedRecord, ...]:
        """What a client is handed: of each of the last clients, the newest first."""
        return tuple(reversed(self._newest.values()))[:MAX_HANDED_OUT]


def _signatures(note: UnverifiedNote, key: bytes, log_id: bytes) -> tuple[bytes, bytes]:
    """The runtime's signature and the client's: what the record keeps, so nothing else may be there."""
    if [line.name for line in note.signatures] != [origin(log_id), client_name(key)]:
        raise ChainError(
            "cosign.lines", "a cosigned checkpoint is signed by the runtime, then by the client, and no more"
        )
    return note.signatures[0].signature, note.signatures[1].signature


def _state(record: CosignedRecord, log_id: bytes = b"") -> Checkpoint:
    return Checkpoint(log_id=log_id, size=record.size, root=record.root, tip=record.tip, boot=record.boot)


def _load(key: bytes) -> PublicKey:
    try:
        return load_public_key(key)
    except KeyFormatError as error:
        raise ChainError("cosign.key", error.message) from error
