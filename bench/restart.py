"""What does it cost to know again, from a log of 10,000 records, what the daemon knew that wrote them?

There is no snapshot (protocol N11), so this is all of it, from the first record on: ledger, uses, revocations, shares
of the log, open permits.  The peer reads the same records and decodes them, each only in its one spelling, as whoever
reads a log must.  What a start costs that also verifies chain, tree and checkpoints stands beside it; ``bench.verify``
has the bar for that part.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from astrid.adapters.store.journal import SqliteReader
from astrid.core.canon import Signed
from astrid.core.chain import Frame, decode_body, decode_frame
from astrid.core.facts import Facts
from astrid.core.install import roots_of
from astrid.core.policy import Policy, PolicyConfig
from astrid.core.records import OutcomeRecord
from astrid.home import Home
from astrid.runtime.boot import EPOCH, load_install, log_keys
from astrid.runtime.log import read_frames, read_past
from bench import measure
from bench.logs import make_log
from bench.measure import Row, cost, shown
from tests.fakes.home import make_home

ROUNDS = 12
RECORDS = 10_000
BAR = 3


def records(path: Path) -> Iterator[tuple[Frame, Signed]]:
    """Every record, read and decoded."""
    reader = SqliteReader(path)
    for data in read_frames(reader):
        frame = decode_frame(data)
        yield frame, decode_body(frame)
    reader.close()


def decoded(path: Path) -> int:
    """Read and decode all; how many outcomes there are."""
    outcomes = 0
    for _, body in records(path):
        outcomes += isinstance(body, OutcomeRecord)
    return outcomes


def rebuilt(path: Path, facts: Facts) -> Facts:
    """Read and decode all, and know what it says."""
    for frame, body in records(path):
        facts.replay(frame, body)
    return facts


def restarted(home: Home, facts: Facts) -> Facts:
    """As a daemon starts: verified against the witnesses, then known."""
    past = read_past(home, log_keys(load_install(home)), facts)
    if past.tip.size != RECORDS:
        raise AssertionError(f"what was read is not the log that was made: {past.tip.size} records")
    return facts


def rows(rounds: int) -> Iterator[Row]:
    """A restart over reading and decoding."""
    with tempfile.TemporaryDirectory(prefix="astrid-bench-") as folder:
        home, aud = make_home(Path(folder, "home"))
        make_log(home, aud, RECORDS)
        roots, policy = roots_of(load_install(home), epoch=EPOCH), Policy(PolicyConfig(), home="/home/u")

        def nothing_known() -> Facts:
            return Facts(aud=aud, roots=roots, policy=policy)

        known, started = rebuilt(home.log, nothing_known()), restarted(home, nothing_known())
        if known.ledger.used[b"B" * 32] - len(known.open_permits) != decoded(home.log):
            raise AssertionError("what is known is not what the log says")
        if (known.ledger.purses, known.ledger.used) != (started.ledger.purses, started.ledger.used):
            raise AssertionError("a start knows something else than what was rebuilt")
        one, ours, whole = measure.least(
            rounds,
            lambda: cost(lambda: decoded(home.log), RECORDS),
            lambda: cost(lambda: rebuilt(home.log, nothing_known()), RECORDS),
            lambda: cost(lambda: restarted(home, nothing_known()), RECORDS),
        )
        verified = f"verified as at a start {shown(whole)} ({whole / one:.1f} x), a million in {whole * 1e6:.0f} s"
        yield Row(
            what=f"restart from {RECORDS:,} records, without a snapshot",
            measured=ours / one,
            bar=BAR,
            unit="x reading and decoding them",
            detail=f"{shown(ours)} a record beside {shown(one)}; {verified}",
        )


if __name__ == "__main__":
    sys.exit(measure.main(rows, rounds=ROUNDS))
