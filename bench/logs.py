"""Logs as a daemon leaves them behind, made faster than one does: sessions of a hundred calls, each a permit and an
outcome with the call's bytes and the result beside them, a checkpoint for every thousandth record.

Everything is chained, sealed and signed by the code that a daemon runs; only the decisions are left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import apsw

from astrid.adapters.store.database import open_writer
from astrid.adapters.store.journal import commit
from astrid.core.canon import Domain, digest
from astrid.core.chain import CHECKPOINT_RECORDS, ChainState, Tip, genesis_tip
from astrid.core.checkpoint import sign_checkpoint
from astrid.core.records import (
    Boot,
    ChargeRow,
    Entry,
    Genesis,
    OutcomeRecord,
    PermitRecord,
    SessionEnded,
    SessionStarted,
    entry,
    seal,
)
from astrid.core.tiles import Tile, TileBuilder
from astrid.home import Home
from astrid.ports import Batch
from bench.measure import progress
from tests.fakes.home import LOG_ID, RUNTIME

CALLS_OF_A_SESSION = 100
STARTED_NS = 1_790_000_000 * 10**9
MICROS = 40
_ZEROS = bytes(32)


def make_log(home: Home, aud: bytes, records: int) -> None:
    """Write a log of so many records into ``home``, whose keys are those of the tests.  Nothing is synced."""
    connection = open_writer(home.log)
    connection.authorizer = None
    connection.pragma("synchronous", "OFF")
    state = ChainState(Tip(0, genesis_tip(aud), 0, 0), TileBuilder())
    entries = happened(aud)
    while state.tip.size < records:
        room = min(CHECKPOINT_RECORDS, records - state.tip.size)
        _write(connection, state, [next(entries) for _ in range(room)])
        if state.tip.size % 100_000 == 0:
            progress(f"{state.tip.size:,} of {records:,} records made")
    connection.close()


def _write(connection: apsw.Connection, state: ChainState, entries: list[Entry]) -> None:
    first = state.tip.size + 1
    frames = tuple(state.append(one, STARTED_NS + (first + at) * 10**6) for at, one in enumerate(entries))
    payloads = tuple((seq, p.slot, p.salt, p.data) for seq, one in enumerate(entries, first) for p in one.payloads)
    tiles: tuple[Tile, ...] = tuple(state.durable(state.tip.size))
    stated = state.stated(LOG_ID)
    checkpoint = (stated.size, sign_checkpoint(stated, RUNTIME))
    commit(connection, Batch(first=first, frames=frames, payloads=payloads, tiles=tiles, checkpoint=checkpoint))


def happened(aud: bytes) -> Iterator[Entry]:
    """What a daemon writes down, without end."""
    yield entry(Genesis(1, aud, _ZEROS))
    yield entry(Boot("1", _ZEROS, _ZEROS, _ZEROS))
    for number in count():
        session, principal = number.to_bytes(16, "big"), digest(Domain.PROMPT, number.to_bytes(16, "big"))
        yield entry(
            SessionStarted(principal, b"W" * 32, "guided", "vendor/model", scripted=False),
            session=session,
        )
        for call in range(CALLS_OF_A_SESSION):
            yield from one_call(session, principal, number * CALLS_OF_A_SESSION + call + 1)
        yield entry(SessionEnded("ended"), session=session)


def one_call(session: bytes, principal: bytes, ref: int) -> Iterator[Entry]:
    """The two records of a call under a token of three blocks."""
    salt = digest(Domain.CALL, ref.to_bytes(8, "big"))
    sealed, payload = seal(salt + b'{"file_path":"src/package/module.py","limit":200}' * 8, salt)
    leaf = digest(Domain.BLOCK, session)
    permit = PermitRecord(
        ref=ref,
        host_kind="workspace",
        host_id="main",
        tool="read_file",
        tooldef=b"T" * 32,
        principal=principal,
        workspace=b"W" * 32,
        token=leaf,
        risk=0,
        tainted=True,
        now_s=STARTED_NS // 10**9,
        policy=b"P" * 32,
        epoch=1,
        charges=tuple(ChargeRow(block, MICROS) for block in (b"B" * 32, b"C" * 32, leaf)),
        micros=MICROS,
        bytes_=sealed,
    )
    yield entry(permit, session=session, payloads=(payload,), ref=ref)
    result, payload = seal(salt + b"a line of the file that was asked for\n" * 6, salt, slot=1)
    outcome = OutcomeRecord(
        ref=ref,
        permit_seq=ref,
        effect="done",
        is_error=False,
        unknown=False,
        spent=MICROS,
        sound=True,
        result=result,
    )
    yield entry(outcome, session=session, payloads=(payload,), ref=ref)
