"""What does it cost to verify a log of a million records, and to prove that one of them is in it?

The peer reads the rows of the same file once and hashes each of them once.  The first row is about chain, tree and
checkpoints, read from SQLite as ``astrid audit verify`` reads them; the second is that command's whole work, with the
bodies decoded and what lies beside the records compared with them, and its peer reads and hashes that, too.  A proof is
made from the stored tiles; the slowest of many counts, but for the first, which finds what all others need again.

``ASTRID_BENCH_RECORDS`` says how many records, if not a million.
"""

from __future__ import annotations

import os
import random
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import apsw
from blake3 import blake3

from astrid.adapters.store.journal import SqliteReader
from astrid.core.checkpoint import verify_checkpoint
from astrid.core.merkle import HASH_BYTES, leaf_hash, verify_inclusion
from astrid.core.verify import LogKeys, verify_log
from astrid.home import Home
from astrid.runtime.boot import load_install, log_keys
from astrid.runtime.log import read_frames
from astrid.runtime.proofs import prove_inclusion
from astrid.runtime.verify import Result, Trust, verify_home
from bench import measure
from bench.logs import make_log
from bench.measure import Row, cost, progress, shown
from tests.fakes.home import make_home

ROUNDS = 2
RECORDS = int(os.environ.get("ASTRID_BENCH_RECORDS", "1000000"))
BAR = 4
PROOFS = 50
PROOF_BYTES = 1024
PROOF_MS = 10
LOG = "SELECT frame FROM log ORDER BY seq"
BESIDE = "SELECT sealed FROM payload ORDER BY key"


def hash_once(path: Path, *queries: str) -> None:
    """Read the rows and hash each once."""
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    for query in queries:
        for (data,) in connection.execute(query):
            blake3(data).digest()
    connection.close()


def verify_records(path: Path, keys: LogKeys) -> None:
    """Chain, tree and checkpoints."""
    reader = SqliteReader(path)
    found = verify_log(keys, read_frames(reader), reader.checkpoints())
    reader.close()
    if (found.size, found.signed) != (RECORDS, RECORDS):
        raise AssertionError(f"what was verified is not the log that was made: {found.size} records")


def verify_all(home: Home) -> None:
    """As the command does."""
    found = verify_home(home.root, Trust(), is_own=True)
    if (found.result, found.records) != (Result.SOUND, RECORDS):
        raise AssertionError(f"what was made is no sound log: {found.to_text()}")


def prove(path: Path, keys: LogKeys) -> tuple[int, float, float]:
    """The most bytes and the most seconds of processor time of many proofs, each of them checked; and the seconds of
    the first, which also folds what all others need.
    """
    reader = SqliteReader(path)
    stated = verify_checkpoint(reader.checkpoint() or b"", keys.runtime_key, keys.log_id)
    most_bytes, times = 0, list[float]()
    draw = random.Random(1)  # noqa: S311 - which records are asked about is no secret
    for seq in (1, stated.size, *(draw.randint(1, stated.size) for _ in range(PROOFS))):
        made: list[tuple[bytes, ...]] = []
        seconds = cost(lambda seq=seq, made=made: made.append(tuple(prove_inclusion(reader, seq, stated.size))))
        leaf = leaf_hash(reader.frames(seq, 1)[0])
        if not verify_inclusion(leaf, seq - 1, stated.size, made[0], stated.root):
            raise AssertionError(f"the proof of record {seq} does not hold")
        most_bytes = max(most_bytes, HASH_BYTES * len(made[0]))
        times.append(seconds)
    reader.close()
    return most_bytes, max(times[1:]), times[0]


def rows(rounds: int) -> Iterator[Row]:
    """Verification over one hashing; size and time of a proof."""
    with tempfile.TemporaryDirectory(prefix="astrid-bench-") as folder:
        home, aud = make_home(Path(folder, "home"))
        keys = log_keys(load_install(home))
        make_log(home, aud, RECORDS)
        progress("reading, hashing and verifying them in turn")
        one, ours = measure.least(
            rounds, lambda: cost(lambda: hash_once(home.log, LOG)), lambda: cost(lambda: verify_records(home.log, keys))
        )
        yield Row(
            what=f"verify {RECORDS:,} records: chain, tree, checkpoints",
            measured=ours / one,
            bar=BAR,
            unit="x reading and hashing the rows once",
            detail=f"{shown(ours)} beside {shown(one)}",
        )
        one, ours = measure.least(
            rounds, lambda: cost(lambda: hash_once(home.log, LOG, BESIDE)), lambda: cost(lambda: verify_all(home))
        )
        yield Row(
            what=f"audit verify of {RECORDS:,} records and all beside them",
            measured=ours / one,
            bar=BAR,
            unit="x reading and hashing all of it once",
            detail=f"{shown(ours)} beside {shown(one)}",
        )
        size, seconds, first = prove(home.log, keys)
        yield Row(
            what="inclusion proof, bytes", measured=size, bar=PROOF_BYTES, unit="bytes", detail=f"of {PROOFS + 2}"
        )
        yield Row(
            what="inclusion proof, time to make the slowest",
            measured=seconds * 1000,
            bar=PROOF_MS,
            unit="ms",
            detail=f"of {PROOFS + 1}; the first in a process {shown(first)}",
        )


if __name__ == "__main__":
    sys.exit(measure.main(rows, rounds=ROUNDS))
