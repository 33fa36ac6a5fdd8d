"""C2SP signed notes: a text, a blank line, and one line for each signature.  Pure.

A note that has been parsed is still ``Unverified``: nothing of its text may be used before ``verify_note`` has found it
signed.  Signature lines of other keys are kept and ignored, so that witnesses can add theirs.

This is the one exception from signing in a ``Domain``: what is signed is the note's text itself (for a cosignature a
header, a time and the text), so that other people's witnesses understand it.  The bytes signed in a domain begin with
``astrid/``, those of a cosignature with ``cosignature/``, and the texts that we sign with ``log.astrid/``: none can
stand for another.

Never: lets the 4-byte key id decide.  It only finds the line; the signature is checked with the whole key.

Invariants:
  encode_note(note) == data for every note that parse_note(data) gave; every other spelling is refused.

Source: C2SP signed-note and tlog-cosignature; protocol N0, N10.
"""

from __future__ import annotations

import base64
import binascii
import re
from hashlib import sha256

import msgspec

from astrid.core.keys import SIGNATURE_BYTES, PublicKey, SigningKey, verify_raw
from astrid.errors import ChainError

MAX_NOTE_BYTES = 64 * 1024
MAX_SIGNATURES = 32  # C2SP asks for at least 16
MAX_TIMESTAMP_S = 2**63 - 1
KEY_ID_BYTES = 4
TIMESTAMP_BYTES = 8
ED25519 = 0x01  # a plain signature over the text
COSIGNATURE_V1 = 0x04  # a witness's signature over a time and the text

_LINE = re.compile(r"— ([!-*,-~]{1,255}) ([A-Za-z0-9+/]+={0,2})\n")
_NAME = re.compile(r"[!-*,-~]{1,255}")  # printable ASCII without space and plus
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f]")


class NoteSignature(msgspec.Struct, frozen=True):
    """One signature line: who is said to have signed, the hint at the key, and the bytes of the signature."""

    name: str
    key_id: bytes
    signature: bytes


class UnverifiedNote(msgspec.Struct, frozen=True):
    """A text and the signatures that are said to be on it."""

    text: bytes
    signatures: tuple[NoteSignature, ...]


def key_id(name: str, kind: int, key: PublicKey) -> bytes:
    """The four bytes that hint at ``key`` in the lines of ``name``; ``kind`` is C2SP's number of the signature type."""
    return sha256(name.encode() + b"\n" + bytes((kind,)) + key).digest()[:KEY_ID_BYTES]


def encode_note(note: UnverifiedNote) -> bytes:
    """The one spelling of ``note``.

    Raises:
        ChainError: it has none: a malformed text or name, two signatures of one key, none, too many, or too long.
    """
    _require_text(note.text)
    if not 1 <= len(note.signatures) <= MAX_SIGNATURES:
        raise ChainError(
            "checkpoint.signature-count", f"a note has 1 to {MAX_SIGNATURES} signatures, not {len(note.signatures)}"
        )
    # SAFETY: with two lines for one key, two readers could each look at another one.
    if len({(line.name, line.key_id) for line in note.signatures}) < len(note.signatures):
        raise ChainError("checkpoint.duplicate-signature", "two signatures on one note claim the same key")
    data = note.text + b"\n" + b"".join(map(_encode_line, note.signatures))
    if len(data) > MAX_NOTE_BYTES:
        raise ChainError("checkpoint.too-long", f"the note is {len(data)} bytes, more than {MAX_NOTE_BYTES}")
    return data


def parse_note(data: bytes) -> UnverifiedNote:
    """The note that ``data`` spells.

    Raises:
        ChainError: it spells none, or in another way than ``encode_note`` does.
    """
    if len(data) > MAX_NOTE_BYTES:
        raise ChainError("checkpoint.too-long", f"the note is {len(data)} bytes, more than {MAX_NOTE_BYTES}")
    text, blank, lines = data.rpartition(b"\n\n")
    if not blank:
        raise ChainError("checkpoint.malformed", "no blank line separates a text from its signatures")
    note = UnverifiedNote(text + b"\n", tuple(map(_parse_line, lines.splitlines(keepends=True))))
    if encode_note(note) != data:
        raise ChainError("checkpoint.second-spelling", "the note is not in canonical form")
    return note


def sign_text(text: bytes, key: SigningKey, name: str) -> NoteSignature:
    """``key``'s plain signature over ``text``, as ``name``.

    Raises:
        ChainError: ``text`` cannot be a note's.
    """
    # SAFETY: every context of a ``Domain`` ends in NUL, which no text has; so no text can ask for a signature in one.
    _require_text(text)
    return NoteSignature(name, key_id(name, ED25519, key.public), key.sign_raw(text))


def cosign_text(text: bytes, key: SigningKey, name: str, timestamp_s: int) -> NoteSignature:
    """``key``'s statement, as ``name``, to have seen ``text`` at ``timestamp_s``, seconds since the epoch.

    Raises:
        ChainError: ``text`` cannot be a note's, or the time is below zero or above ``MAX_TIMESTAMP_S``.
    """
    _require_text(text)
    if not 0 <= timestamp_s <= MAX_TIMESTAMP_S:
        raise ChainError("checkpoint.timestamp", f"`{timestamp_s}` is not a time in seconds")
    signature = timestamp_s.to_bytes(TIMESTAMP_BYTES) + key.sign_raw(_cosigned(text, timestamp_s))
    return NoteSignature(name, key_id(name, COSIGNATURE_V1, key.public), signature)


def verify_note(note: UnverifiedNote, key: PublicKey, name: str) -> bytes:
    """The text of ``note``, which ``key`` has signed as ``name``.

    Raises:
        ChainError: no line claims to be of that key, or its signature is false.
    """
    line = _find(note, key_id(name, ED25519, key), name)
    if not verify_raw(key, note.text, line.signature):
        raise ChainError("checkpoint.bad-signature", f"the signature of `{name}` is not over this text", name=name)
    return note.text


def verify_cosigned(note: UnverifiedNote, key: PublicKey, name: str) -> int:
    """The time, in seconds since the epoch, at which ``key`` says, as ``name``, to have seen the text of ``note``.

    Raises:
        ChainError: no line claims to be of that key, or its signature is false.
    """
    line = _find(note, key_id(name, COSIGNATURE_V1, key), name)
    timestamp_s = int.from_bytes(line.signature[:TIMESTAMP_BYTES])
    if (
        len(line.signature) != TIMESTAMP_BYTES + SIGNATURE_BYTES
        or timestamp_s > MAX_TIMESTAMP_S
        or not verify_raw(key, _cosigned(note.text, timestamp_s), line.signature[TIMESTAMP_BYTES:])
    ):
        raise ChainError("checkpoint.bad-signature", f"the cosignature of `{name}` is not over this text", name=name)
    return timestamp_s


def _find(note: UnverifiedNote, hint: bytes, name: str) -> NoteSignature:
    for line in note.signatures:
        if line.name == name and line.key_id == hint:
            return line
    raise ChainError("checkpoint.unsigned", f"the note is not signed by the expected key of `{name}`", name=name)


def _cosigned(text: bytes, timestamp_s: int) -> bytes:
    return b"cosignature/v1\ntime %d\n" % timestamp_s + text


def _require_text(text: bytes) -> None:
    try:
        fits = text.endswith(b"\n") and _CONTROL.search(text.decode()) is None
    except UnicodeDecodeError:
        fits = False
    if not fits:
        raise ChainError("checkpoint.malformed", "a note's text is lines of UTF-8 without control characters")


def _encode_line(line: NoteSignature) -> bytes:
    if _NAME.fullmatch(line.name) is None or len(line.key_id) != KEY_ID_BYTES or not line.signature:
        raise ChainError("checkpoint.malformed", f"`{line.name[:80]}` does not make a signature line")
    return f"— {line.name} ".encode() + base64.b64encode(line.key_id + line.signature) + b"\n"


def _parse_line(data: bytes) -> NoteSignature:
    try:
        match = _LINE.fullmatch(data.decode())
        if match is None:
            raise ChainError("checkpoint.malformed", "a line after the text is not a signature")
        signed = binascii.a2b_base64(match[2], strict_mode=True)
    except (UnicodeDecodeError, binascii.Error) as error:
        raise ChainError("checkpoint.malformed", "a line after the text is not a signature") from error
    return NoteSignature(match[1], signed[:KEY_ID_BYTES], signed[KEY_ID_BYTES:])
