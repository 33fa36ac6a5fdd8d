"""Is the log of a home whole, and how sure can one be?  Without a daemon, for the home itself or a copy of it.

    sound     0   it holds together, and what says so does not come from the copy alone
    tampered  1   it does not: where, and what is wrong
    unknown   2   it holds together, but whoever made the copy could have made that; or it cannot be read

Never: trusts a key that came with the log.  In one's own home the install statement lies outside the log's folder; with
a copy it came along, so there a key, a statement or a checkpoint has to come from elsewhere.

Source: protocol N9 to N11; threats 11, 12, 26.
"""

from __future__ import annotations

import enum
import json
from collections import Counter
from pathlib import Path

import msgspec

from astrid.adapters.store.journal import SqliteReader
from astrid.core.canon import decode
from astrid.core.chain import Frame, decode_body
from astrid.core.checkpoint import Checkpoint, origin, verify_checkpoint
from astrid.core.cosignature import check_client
from astrid.core.gate_admin import rows_digest
from astrid.core.install import MAX_STATEMENT_BYTES, NO_LOSS, Install, Lost, SignedStatement, roots_of, verify_install
from astrid.core.keys import load_public_key
from astrid.core.records import CosignedRecord, JournalRecord, JournalRow, is_sealed, sealed_in
from astrid.core.tokens import Roots
from astrid.core.verify import LogKeys, Verified, verify_log
from astrid.errors import (
    AstridError,
    ChainError,
    ConfigError,
    InputError,
    JournalError,
    KeyFormatError,
    TokenError,
    plain,
)
from astrid.home import Home, read_guarded
from astrid.runtime.boot import EPOCH, log_keys
from astrid.runtime.log import DAMAGED, read_frames

MAX_NOTE_BYTES = 64 * 1024
_CHANGED = "keep this copy, which was changed or damaged, and put back one that is found whole"

Beside = tuple[int, int, bytes, bytes]
"""Something beside a record: its number, the slot, salt and bytes."""


class Result(enum.IntEnum):
    """What was found; also what the process exits with."""

    SOUND = 0
    TAMPERED = 1
    UNKNOWN = 2


class Trust(msgspec.Struct, frozen=True):
    """What is known from elsewhere: a public key (hex), an install statement, checkpoints."""

    key: str | None = None
    install: Path | None = None
    witnesses: tuple[Path, ...] = ()


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """The answer."""

    result: Result
    home: str
    says: str
    code: str = ""
    where: str = ""
    advice: str = ""
    records: int = 0
    signed: int = 0
    checkpoints: int = 0
    cosignatures: int = 0  # by keys that the user let cosign
    cosigners: int = 0  # how many such keys
    unattributed: int = 0  # cosignatures by keys whose token was erased
    last_ns: int = 0
    runtime_key: str = ""
    trusts: str = ""
    after: str = ""

    @property
    def exit_code(self) -> int:
        """0 sound, 1 tampered, 2 could not tell."""
        return int(self.result)

    def to_json(self) -> str:
        """One object."""
        fields = {name: getattr(self, name) for name in self.__struct_fields__ if name != "result"}
        return json.dumps({"result": self.result.name.lower(), "exit": self.exit_code, **fields})

    def to_text(self) -> str:
        """For a terminal."""
        lines = [f"{self.result.name.lower()}: {self.says}"]
        if self.records:
            lines.append(f"  {self.records} records, {self.checkpoints} checkpoints, signed up to record {self.signed}")
        if self.records:
            erased = f"; {self.unattributed} whose token was erased" if self.unattributed else ""
            lines.append(f"  {self.cosignatures} cosignatures by {self.cosigners} clients{erased}")
        if self.runtime_key:
            lines.append(f"  signed by {self.runtime_key}")
        if self.after:
            lines.append(f"  begins after a log that was given up: {self.after}")
        if self.trusts:
            lines.append(f"  believed because of {self.trusts}")
        if self.where:
            lines.append(f"  at {self.where}")
        if self.code:
            lines.append(f"  code {self.code}")
        if self.advice:
            lines.append(f"  {self.advice}")
        return "\n".join(map(plain, lines))  # a copy is named by whoever made it


def verify_home(root: Path, trust: Trust, *, is_own: bool) -> Finding:
    """Verify the log below ``root``, to whom one's own home may be trusted for its install statement."""
    home = Home(root)
    try:
        install, keys, reasons = _keys(home, trust, is_own=is_own)
        return _judge(home, keys, install, trust, reasons)
    except AstridError as error:
        result = _result(error)
        return Finding(
            result=result,
            home=str(root),
            says=error.message,
            code=error.code,
            where=error.where,
            advice=error.advice or (_CHANGED if result is Result.TAMPERED else ""),
        )


def _result(error: AstridError) -> Result:
    if isinstance(error, JournalError):
        return Result.TAMPERED if error.code in DAMAGED else Result.UNKNOWN
    return Result.TAMPERED if isinstance(error, ChainError | TokenError) else Result.UNKNOWN


def _keys(home: Home, trust: Trust, *, is_own: bool) -> tuple[Install, LogKeys, list[str]]:
    """Who signs this log, and why that is to be believed; no reason: it came with the copy."""
    reasons: list[str] = []
    source = trust.install or home.install
    if trust.install is not None:
        reasons.append(f"the install statement {source}")
    elif is_own:
        reasons.append("this home's own install statement")
    raw = read_guarded(source, what="the install statement", private=False)
    install = verify_install(raw)
    if trust.key is not None:
        reasons.append(_match_key(trust.key, raw, install))
    return install, log_keys(install), reasons


def _match_key(text: str, raw: bytes, install: Install) -> str:
    try:
        key = load_public_key(bytes.fromhex(text))
    except (ValueError, KeyFormatError) as error:
        # SAFETY: whatever cannot be a key says nothing about the log, and least of all that somebody tampered with it.
        raise InputError(
            "verify.key", f"`{text[:80]}` is not a public key", advice="write its 64 hex digits"
        ) from error
    if key == install.runtime_key:
        return "the runtime key that was given"
    # SAFETY: it is not enough that the statement names the key; that key has to have signed it.
    if decode(raw, SignedStatement, max_bytes=MAX_STATEMENT_BYTES, what="a statement").signer != key:
        raise TokenError(
            "verify.other-key",
            "the install statement is neither signed by the key that was given, nor does it name it for this log",
            advice="this is the log of another install, or one that somebody has signed anew",
        )
    return "the user key that was given"


def _judge(home: Home, keys: LogKeys, install: Install, trust: Trust, reasons: list[str]) -> Finding:
    witnesses = [_read_witness(path, keys) for path in trust.witnesses]
    reasons += [f"the checkpoint {path}" for path in trust.witnesses]
    kept = [_read_witness(path, keys) for path in (home.anchor, home.witness) if path.exists()]
    if not home.log.exists():
        return _no_log(home, [*witnesses, *kept])
    reader = SqliteReader(home.log)
    try:
        reader.hold()  # a daemon may be writing meanwhile: records and checkpoints have to be those of one moment
        beside = _Beside(reader, keys, roots_of(install, epoch=EPOCH))
        verified = verify_log(keys, read_frames(reader), reader.checkpoints(), [*witnesses, *kept], beside.check)
    finally:
        reader.close()
    found = _finding(home, install, verified, reasons)
    return msgspec.structs.replace(
        found,
        cosignatures=beside.cosigned.total(),
        cosigners=len(beside.cosigned),
        unattributed=beside.unattributed,
    )


def _no_log(home: Home, witnesses: list[Checkpoint]) -> Finding:
    if witnesses:
        most = max(checkpoint.size for checkpoint in witnesses)
        raise ChainError(
            "chain.missing",
            f"the log is gone, and a checkpoint says that it had {most} records",
            where=str(home.log),
            advice="restore the log from a copy",
        )
    return Finding(result=Result.UNKNOWN, home=str(home.root), says="there is no log yet", where=str(home.log))


def _finding(home: Home, install: Install, verified: Verified, reasons: list[str]) -> Finding:
    result, says, advice = Result.SOUND, "the log is whole", ""
    if verified.signed == 0:
        result, says = Result.UNKNOWN, "nothing of the log is signed yet"
    elif not verified.well_signed:
        result, says = Result.TAMPERED, f"the last {verified.tail} records are not signed, more than a daemon leaves"
        advice = "a running daemon signs at least every thousandth record"
    elif not reasons:
        result, says = Result.UNKNOWN, "the log holds together, but nothing from elsewhere shows whose it is"
        advice = "give --key, --install or --witness with what you kept elsewhere"
    return Finding(
        result=result,
        home=str(home.root),
        says=says,
        advice=advice,
        records=verified.size,
        signed=verified.signed,
        checkpoints=verified.checkpoints,
        last_ns=verified.chain.time_ns,
        runtime_key=install.runtime_key.hex(),
        trusts=" and ".join(reasons),
        after=_lost(install.lost),
    )


def _lost(lost: Lost) -> str:
    return "" if lost == NO_LOSS else f"{origin(lost.log_id)}, of which a checkpoint showed {lost.size} records"


def _read_witness(path: Path, keys: LogKeys) -> Checkpoint:
    try:
        note = read_guarded(path, what="the checkpoint", max_bytes=MAX_NOTE_BYTES, private=False)
    except ConfigError as error:
        raise InputError(
            "verify.witness", error.message, where=str(path), advice="name a file with a checkpoint"
        ) from error
    return verify_checkpoint(note, keys.runtime_key, keys.log_id)


class _Beside:
    """What lies beside the records is what they commit to, where it was not erased.

    ``cosigned`` counts the cosignatures of each client that the user's own word shows to be one.  A daemon can make up
    any key, so a cosignature without that word is worth nothing and is not among them.
    """

    def __init__(self, reader: SqliteReader, keys: LogKeys, roots: Roots) -> None:
        self._reader = reader
        self._payloads = reader.payloads()  # in the order of the records, as they come here
        self._next = next(self._payloads, None)
        self._keys = keys
        self._roots = roots
        self.cosigned: Counter[bytes] = Counter()
        self.unattributed = 0

    def check(self, frame: Frame) -> None:
        """Check everything beside one record.

        Raises:
            ChainError: it was changed.
        """
        body, beside = decode_body(frame), self._beside(frame.seq)
        if isinstance(body, JournalRecord):
            self._check_rows(frame, body, _in_slot_0(beside))
        for _, _, salt, data in beside:
            for sealed in sealed_in(body):
                if is_sealed(sealed, salt, data):
                    break
            else:
                raise ChainError(
                    "chain.payload",
                    "what lies beside the record is not what it commits to",
                    where=f"record {frame.seq}",
                    advice=_CHANGED,
                )
        if isinstance(body, CosignedRecord):
            self._check_client(frame, body, _in_slot_0(beside))

    def _beside(self, seq: int) -> list[Beside]:
        """Everything beside record ``seq``."""
        found: list[Beside] = []
        while self._next is not None and self._next[0] <= seq:
            if self._next[0] == seq:
                found.append(self._next)
            self._next = next(self._payloads, None)
        return found

    def _check_client(self, frame: Frame, body: CosignedRecord, chain: bytes | None) -> None:
        if chain is None:
            self.unattributed += 1
            return
        try:
            token = check_client(body.key, chain, self._roots, self._keys.install)
            if token.id != body.block:
                raise ChainError(
                    "chain.payload", "the token beside the record is not the one that it names", advice=_CHANGED
                )
        except ChainError as error:
            error.where = f"record {frame.seq}"
            raise
        self.cosigned[body.key] += 1

    def _check_rows(self, frame: Frame, body: JournalRecord, kept: bytes | None) -> None:
        rows = self._reader.rows(frame.session, body.first, body.count)
        made = tuple(JournalRow(number, data) for number, data in enumerate(rows, body.first))
        # What is kept is itself checked against the record, as every payload is.
        if rows and (kept is None or rows_digest(made) != kept):
            raise ChainError(
                "chain.rows",
                "the rows of the journal are not those that were recorded",
                where=f"record {frame.seq}",
                advice=_CHANGED,
            )


def _in_slot_0(beside: list[Beside]) -> bytes | None:
    """What lies first beside a record, unless it was erased."""
    return beside[0][3] if beside and beside[0][1] == 0 else None
