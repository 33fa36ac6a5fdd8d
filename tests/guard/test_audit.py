"""The audit actor on a log in memory: what is written when, what is signed, and what it does when writing fails."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from astrid.core.chain import ChainState, decode_body, decode_frame
from astrid.core.checkpoint import verify_checkpoint
from astrid.core.gate_messages import Durable
from astrid.core.keys import SigningKey
from astrid.core.records import Boot, CoalescedRecord, Entry, Genesis, JournalRow, Kind, Payload, Stop, entry
from astrid.core.verify import LogKeys, verify_log
from astrid.errors import ChainError
from astrid.guard.audit import LINGER_SECONDS, MAX_BATCH, NO_ROOM, Audit
from astrid.kernel import ChildSpec, SupervisorSpec, System, TooManyRestarts, open_system
from astrid.kernel.testing import Probe, cancel_at_every_step, run_seeded, settle
from astrid.messages.gate import Strayed
from astrid.messages.log import Append, Checkpointed, Committed, LogTrouble, Recorded, Retry, TakeCheckpoint, Tick
from astrid.ports import Journal
from tests.fakes.clock import FakeClock
from tests.fakes.journal import FakeJournal, FakeLog, failure

KEY = SigningKey.from_seed(b"\x01" * 32)
KEYS = LogKeys(b"i" * 32, b"l" * 32, KEY.public)
DIGEST = b"d" * 32
GENESIS = entry(Genesis(1, KEYS.install, KEYS.old_tip))
BOOT = entry(Boot("1", DIGEST, DIGEST, DIGEST))


class Bench:
    """A tree of the audit actor and probes in the places of those who talk to it."""

    def __init__(self, log: FakeLog, *, ballast_bytes: int = 0) -> None:
        self.log = log
        self.clock = FakeClock()
        self.journals: list[FakeJournal] = []
        self.approvals, self.interceptor, self.gateway = Probe(), Probe(), Probe()
        self.failures: list[BaseException] = []
        self.hold_next = False
        self._ballast_bytes = ballast_bytes
        self._number = 0

    @property
    def journal(self) -> FakeJournal:
        return self.journals[-1]

    @property
    def audit(self) -> Any:
        return self.system.ref("root/audit")

    def open_log(self) -> tuple[ChainState, Journal]:
        verified = verify_log(KEYS, self.log.log, self.log.checkpoints())
        self.journals.append(FakeJournal(self.log, ballast_bytes=self._ballast_bytes))
        self.journal.held = self.hold_next
        return ChainState(verified.chain.tip, verified.chain.tree), self.journal

    def tree(self, system: System) -> SupervisorSpec:
        self.system = system

        def audit() -> Audit:
            return Audit(
                self.open_log,
                clock=self.clock,
                key=KEY,
                log_id=KEYS.log_id,
                gate=lambda: system.ref("root/interceptor"),
                made=lambda ref: None,
            )

        return SupervisorSpec(
            "root",
            strategy="rest_for_one",
            children=(
                ChildSpec("audit", audit, rank=10, shutdown=30.0),
                ChildSpec("approvals", lambda: self.approvals, rank=20, capacity=5000),
                ChildSpec("interceptor", lambda: self.interceptor, rank=30, capacity=5000),
                ChildSpec("gateway", lambda: self.gateway, rank=50),
            ),
        )

    def thaw(self) -> None:
        """Let the disk write again."""
        self.journal.held = False
        self.journal.release()

    def append(self, *entries: Entry, by: Probe | None = None) -> int:
        """Have the interceptor, or another, append; the number it is answered under."""
        self._number += 1
        (by or self.interceptor).ctx.post(self.audit, Append(id=self._number, entries=entries), self._number)
        return self._number

    def take_checkpoint(self) -> int:
        self._number += 1
        self.gateway.ctx.post(self.audit, TakeCheckpoint(id=self._number), self._number)
        return self._number

    def recorded(self) -> list[Recorded]:
        return [message for message in self.interceptor.messages if isinstance(message, Recorded)]

    def trouble(self) -> list[str]:
        return [message.problem for message in self.interceptor.messages if isinstance(message, LogTrouble)]

    def signed(self) -> list[int]:
        return [size for size, _ in self.log.checkpoints()]

    def kinds(self) -> list[Kind]:
        return [Kind(decode_frame(frame).kind) for frame in self.log.log]

    def failed(self, _ref: object, _reason: object, error: BaseException) -> None:
        self.failures.append(error)


@asynccontextmanager
async def running(log: FakeLog | None = None, *, ballast_bytes: int = 0) -> AsyncIterator[Bench]:
    bench = Bench(log or FakeLog(), ballast_bytes=ballast_bytes)
    async with open_system(bench.tree, on_failure=bench.failed):
        yield bench
        bench.thaw()
    assert not bench.failures, bench.failures


def noted(number: int, **fields: Any) -> Entry:
    """A record that needs nothing but what ``fields`` ask for."""
    return entry(CoalescedRecord("any.code", number), ref=number, **fields)


def plain(*numbers: int) -> list[Entry]:
    return [noted(number) for number in numbers]


# ---- batches


async def test_records_are_answered_when_they_are_durable_and_not_before(autojump_clock: MockClock) -> None:
    async with running() as bench:
        bench.journal.held = True
        bench.append(*plain(7, 8))
        await settle()
        assert (bench.recorded(), bench.log.size()) == ([], 0)
        bench.thaw()
        await settle()
        [told] = bench.recorded()
        time_ns = bench.clock.now_ns()
        assert told == Recorded(id=1, records=(Durable(7, 1, time_ns), Durable(8, 2, time_ns)), watermark=2)


async def test_what_comes_while_a_batch_syncs_is_the_next_batch(autojump_clock: MockClock) -> None:
    async with running() as bench:
        bench.journal.held = True
        for number in range(1, 11):
            bench.append(*plain(number))
            await settle()
        assert [len(batch.frames) for batch in bench.journal.batches] == [1]
        bench.journal.release()
        await settle()
        assert [(batch.first, len(batch.frames)) for batch in bench.journal.batches] == [(1, 1), (2, 9)]
        bench.thaw()
        await settle()
        assert [told.id for told in bench.recorded()] == list(range(1, 11))


async def test_a_single_record_does_not_wait_for_time_to_pass(autojump_clock: MockClock) -> None:
    async with running() as bench:
        began = trio.current_time()
        bench.append(*plain(1))
        await bench.interceptor.wait_received(1)
        assert len(bench.recorded()) == 1
        assert trio.current_time() == began


async def test_what_nobody_waits_for_goes_with_the_next_record_that_somebody_waits_for(
    autojump_clock: MockClock,
) -> None:
    async with running() as bench:
        bench.append(*plain(1))
        await settle()
        bench.append(noted(2, urgent=False))
        bench.append(noted(3, urgent=False))
        await settle()
        assert bench.log.size() == 1
        bench.append(*plain(4))
        await settle()
        assert [len(batch.frames) for batch in bench.journal.batches if batch.frames] == [1, 3]
        assert [[one.ref for one in told.records] for told in bench.recorded()] == [[1], [2], [3], [4]]


async def test_what_nobody_waits_for_waits_no_longer_than_a_moment(autojump_clock: MockClock) -> None:
    async with running() as bench:
        bench.append(*plain(1))
        await settle()
        began = trio.current_time()
        for number in (2, 3):
            bench.append(noted(number, urgent=False))
            await trio.sleep(LINGER_SECONDS / 2)
            assert bench.log.size() == 1
        await trio.sleep(LINGER_SECONDS / 10)
        assert bench.log.size() == 3
        assert trio.current_time() - began < 2 * LINGER_SECONDS
        bench.append(noted(4, urgent=False))
        await trio.sleep(2 * LINGER_SECONDS)
        assert bench.log.size() == 4  # and the next one no longer, either


async def test_whoever_wants_a_checkpoint_does_not_wait_for_company(autojump_clock: MockClock) -> None:
    async with running() as bench:
        bench.append(*plain(1))
        await settle()
        bench.append(noted(2, urgent=False))
        bench.take_checkpoint()
        await settle()
        assert bench.signed()[-1] == 2


async def test_what_nobody_waits_for_is_written_when_the_daemon_stops(autojump_clock: MockClock) -> None:
    log = FakeLog()
    async with running(log) as bench:
        bench.append(*plain(1))
        await settle()
        bench.append(noted(2, urgent=False))
        await settle()
        assert log.size() == 1
    assert log.size() == 3  # with the record of the stop


async def test_a_batch_is_bounded_and_an_append_over_two_batches_is_answered_once(autojump_clock: MockClock) -> None:
    async with running() as bench:
        bench.append(*plain(*range(1, MAX_BATCH + 3)))
        await settle()
        assert [len(batch.frames) for batch in bench.journal.batches if batch.frames] == [MAX_BATCH, 2]
        [told] = bench.recorded()
        assert [record.seq for record in told.records] == list(range(1, MAX_BATCH + 3))


async def test_answers_come_in_the_order_of_the_log_whoever_appended(autojump_clock: MockClock) -> None:
    async with running() as bench:
        bench.journal.held = True
        first = bench.append(*plain(1))
        await settle()
        theirs = bench.append(*plain(2), by=bench.approvals)
        last = bench.append(*plain(3))
        bench.journal.held = False
        await settle()
        bench.journal.release()
        await settle()
        [told] = [message for message in bench.approvals.messages if isinstance(message, Recorded)]
        assert (told.id, told.records[0].seq) == (theirs, 2)
        assert [(told.id, told.records[0].seq) for told in bench.recorded()] == [(first, 1), (last, 3)]


async def test_payloads_and_rows_are_in_the_commit_of_their_record(autojump_clock: MockClock) -> None:
    async with running() as bench:
        session = b"s" * 16
        beside = noted(
            2,
            session=session,
            payloads=(Payload(0, b"x" * 32, b"call"), Payload(1, b"y" * 32, b"more")),
            rows=(JournalRow(5, b"row"),),
        )
        bench.append(*plain(1), beside)
        await settle()
        assert bench.journal.batches[0].payloads == ((2, 0, b"x" * 32, b"call"), (2, 1, b"y" * 32, b"more"))
        assert bench.journal.batches[0].rows == ((session, 5, b"row"),)


async def test_tiles_of_the_tree_are_stored(autojump_clock: MockClock) -> None:
    async with running() as bench:
        bench.append(*plain(*range(1, 300)))
        await settle()
        bench.append(*plain(300))
        await settle()
        assert len(bench.log.tile(0, 0)) == 256 * 32


async def test_the_log_goes_on_where_it_ended(autojump_clock: MockClock) -> None:
    log = FakeLog()
    async with running(log) as bench:
        bench.append(GENESIS, BOOT)
        await settle()
    ended = log.size()
    async with running(log) as bench:
        bench.append(BOOT)
        await settle()
        [told] = bench.recorded()
        assert told.records[0].seq == ended + 1
    assert verify_log(KEYS, log.log, log.checkpoints()).tail == 0


# ---- checkpoints


async def test_the_first_checkpoint_covers_the_first_record_alone(autojump_clock: MockClock) -> None:
    async with running() as bench:
        bench.append(GENESIS, BOOT)
        await settle()
        assert bench.signed() == [1]
        assert bench.recorded()[0].watermark == 2


async def test_nothing_is_signed_that_is_not_durable(autojump_clock: MockClock) -> None:
    async with running() as bench:
        bench.journal.held = True
        bench.append(*plain(1), noted(2, checkpoint=True))
        await settle()
        assert [batch.checkpoint for batch in bench.journal.batches] == [None]
        bench.journal.release()
        await settle()
        assert bench.signed() == []
        assert [batch.checkpoint and batch.checkpoint[0] for batch in bench.journal.batches] == [None, 2]


async def test_a_wanted_checkpoint_is_made_at_once_and_verifies(autojump_clock: MockClock) -> None:
    async with running() as bench:
        bench.append(GENESIS)
        await settle()
        bench.append(noted(2, checkpoint=True))
        await settle()
        (_, (size, note)) = bench.log.checkpoints()
        assert (size, verify_checkpoint(note, KEY.public, KEYS.log_id).size) == (2, 2)
        assert verify_log(KEYS, bench.log.log, bench.log.checkpoints()).signed == 2


async def test_under_load_that_never_pauses_a_wanted_checkpoint_comes_all_the_same(autojump_clock: MockClock) -> None:
    async with running() as bench:
        bench.journal.held = True
        for number in range(1, 20):
            bench.append(noted(number, checkpoint=True))
            await settle()
            if number % 3 == 0:
                bench.journal.release()
                await settle()
        bench.thaw()
        await settle()
        signed = bench.signed()
        assert signed == sorted(signed)
        assert len(signed) >= 5


async def test_a_checkpoint_that_is_asked_for_covers_everything_up_to_then(autojump_clock: MockClock) -> None:
    async with running() as bench:
        bench.append(*plain(1, 2, 3))
        number = bench.take_checkpoint()
        await settle()
        [told] = bench.gateway.messages
        assert isinstance(told, Checkpointed)
        assert (told.id, told.size) == (number, 3)
        assert verify_checkpoint(told.note, KEY.public, KEYS.log_id).size == 3


async def test_a_checkpoint_that_is_there_already_is_given_again(autojump_clock: MockClock) -> None:
    async with running() as bench:
        bench.append(*plain(1))
        bench.take_checkpoint()
        await settle()
        bench.take_checkpoint()
        await settle()
        first, again = bench.gateway.messages
        assert isinstance(first, Checkpointed)
        assert isinstance(again, Checkpointed)
        assert (first.size, first.note) == (again.size, again.note)
        assert bench.signed() == [1]


async def test_a_checkpoint_is_made_at_most_a_minute_after_the_last(autojump_clock: MockClock) -> None:
    async with running() as bench:
        bench.append(GENESIS)
        await settle()
        bench.append(BOOT)
        await settle()
        assert bench.signed() == [1]
        await trio.sleep(50)
        assert bench.signed() == [1]
        await trio.sleep(10)
        assert bench.signed() == [1, 2]
        await trio.sleep(600)
        assert bench.signed() == [1, 2]  # there is nothing new to sign


async def test_the_wall_clock_does_not_put_checkpoints_off(autojump_clock: MockClock) -> None:
    async with running() as bench:
        bench.append(GENESIS)
        await settle()
        bench.clock.set_by(-1000)
        bench.append(BOOT)
        await trio.sleep(60)
        assert bench.signed() == [1, 2]


@pytest.mark.parametrize("size", [1, 100, 600, 3000])
async def test_at_most_a_thousand_records_are_ever_without_a_checkpoint(autojump_clock: MockClock, size: int) -> None:
    async with running() as bench:
        bench.append(GENESIS)
        await settle()
        for number in range(1, 3000, size):
            bench.append(*plain(*range(number, number + size)))
            await settle()
        committed = signed = longest = 0
        for batch in bench.journal.batches:
            committed += len(batch.frames)
            signed = signed if batch.checkpoint is None else batch.checkpoint[0]
            longest = max(longest, committed - signed)
    assert 0 < longest <= 1000


async def test_an_ordered_stop_is_recorded_and_signed(autojump_clock: MockClock) -> None:
    async with running() as bench:
        bench.append(GENESIS, BOOT)
        await settle()
    assert bench.kinds() == [Kind.GENESIS, Kind.BOOT, Kind.STOP]
    assert bench.signed()[-1] == 3
    assert bench.journal.closed


@pytest.mark.parametrize("queued", [0, 3])
async def test_a_stop_while_a_batch_is_in_flight_is_recorded_and_signed(autojump_clock: MockClock, queued: int) -> None:
    bench = Bench(FakeLog())
    async with trio.open_nursery() as nursery:
        async with open_system(bench.tree, on_failure=bench.failed):
            bench.append(GENESIS, BOOT)
            await settle()
            bench.journal.held = True
            for number in range(queued + 1):
                bench.append(*plain(number + 1))
                await settle()

            async def disk() -> None:
                while not bench.journal.closed:
                    await trio.sleep(1)
                    bench.journal.release()

            nursery.start_soon(disk)
        nursery.cancel_scope.cancel()
    assert not bench.failures
    assert bench.kinds()[-1] is Kind.STOP
    assert bench.signed()[-1] == bench.log.size() == 4 + queued


# ---- trouble


async def test_a_full_disk_suspends_the_gate_and_nothing_is_lost(autojump_clock: MockClock) -> None:
    async with running() as bench:
        bench.journal.failures.append(failure("journal.full", retry=True))
        bench.append(*plain(1))
        bench.append(*plain(2))
        await settle()
        assert len(bench.trouble()) == 1
        assert "journal.full" in bench.trouble()[0]
        assert bench.recorded() == []
        await trio.sleep(2)
        assert bench.trouble()[-1] == ""
        assert [told.id for told in bench.recorded()] == [1, 2]
        first, again, *_ = bench.journal.batches
        assert first is again


async def test_a_write_is_tried_until_it_succeeds(autojump_clock: MockClock) -> None:
    async with running() as bench:
        bench.journal.failures.extend(failure("journal.locked", retry=True) for _ in range(5))
        bench.append(*plain(1))
        await trio.sleep(4.5)
        assert bench.recorded() == []
        await trio.sleep(1)
        assert len(bench.recorded()) == 1
    assert [problem for problem in bench.trouble() if problem == ""]


async def test_last_words_are_written_on_a_full_disk_while_the_gate_stays_suspended(autojump_clock: MockClock) -> None:
    async with running(ballast_bytes=10_000) as bench:
        bench.append(*plain(1))
        await settle()
        bench.log.free_bytes = 0
        bench.append(*plain(2))
        await settle()
        assert bench.recorded()[-1].records[0].seq == 2
        assert bench.trouble()[-1] == NO_ROOM
        await trio.sleep(30)
        assert bench.trouble()[-1] == NO_ROOM
        bench.log.free_bytes = 10**9
        await trio.sleep(6)
        assert bench.trouble()[-1] == ""
        assert not bench.journal.short_of_room


async def test_on_a_full_disk_the_stop_is_still_recorded_and_signed(autojump_clock: MockClock) -> None:
    async with running(ballast_bytes=10_000) as bench:
        bench.append(GENESIS, BOOT)
        await settle()
        bench.log.free_bytes = 0
    assert bench.kinds()[-1] is Kind.STOP
    assert bench.signed()[-1] == bench.log.size()


async def test_a_stop_that_cannot_be_written_ends_all_the_same(autojump_clock: MockClock) -> None:
    async with running() as bench:
        bench.append(GENESIS, BOOT)
        await settle()
        bench.journal.failures.extend(failure("journal.full", retry=True) for _ in range(99))
        bench.append(*plain(1))
        await settle()
    assert bench.kinds() == [Kind.GENESIS, Kind.BOOT]
    assert bench.journal.closed


async def test_a_gate_that_starts_during_trouble_is_told_of_it(autojump_clock: MockClock) -> None:
    async with running() as bench:
        bench.journal.failures.extend(failure("journal.full", retry=True) for _ in range(99))
        bench.append(*plain(1))
        await settle()
        bench.interceptor.received.clear()
        bench.append(BOOT)
        await settle()
        assert "journal.full" in bench.trouble()[-1]
        bench.interceptor.received.clear()
        await trio.sleep(6)
        assert "journal.full" in bench.trouble()[-1]


async def test_trouble_of_the_time_before_is_taken_back_when_the_gate_starts(autojump_clock: MockClock) -> None:
    async with running() as bench:
        bench.append(BOOT)
        await settle()
        assert bench.trouble() == [""]


async def test_an_error_that_cannot_be_retried_restarts_everything_that_stands_on_the_log(
    autojump_clock: MockClock,
) -> None:
    bench = Bench(FakeLog())
    async with open_system(bench.tree, on_failure=bench.failed) as system:
        bench.append(GENESIS, BOOT)
        await settle()
        bench.journal.failures.append(failure("journal.failed", retry=False))
        bench.append(*plain(1))
        await trio.sleep(1)
        names = ("audit", "approvals", "interceptor", "gateway")
        assert [system.ref(f"root/{name}").incarnation for name in names] == [2, 2, 2, 2]
        assert len(bench.journals) == 2
        assert bench.journals[0].closed
        assert bench.log.size() == 2
        bench.append(BOOT)
        await settle()
        assert bench.recorded()[-1].records[0].seq == 3
    assert [error.code for error in bench.failures] == ["journal.failed"]  # type: ignore[attr-defined]


async def test_a_log_that_does_not_verify_is_never_written_to(autojump_clock: MockClock) -> None:
    log = FakeLog()
    async with running(log) as bench:
        bench.append(GENESIS, BOOT)
        await settle()
    log.log[1], before = log.log[1][:-1] + b"\xff", log.size()
    bench = Bench(log)
    with pytest.raises(TooManyRestarts) as caught:
        async with open_system(bench.tree, on_failure=bench.failed):
            pytest.fail("it started")
    assert isinstance(caught.value.__cause__, ChainError)
    assert log.size() == before
    assert bench.journals == []


# ---- the clock


async def test_a_clock_that_is_set_back_does_not_move_the_logs_time(autojump_clock: MockClock) -> None:
    async with running() as bench:
        bench.append(*plain(1))
        await settle()
        bench.clock.set_by(-3600)
        bench.append(*plain(2))
        await settle()
        times = [decode_frame(frame).time_ns for frame in bench.log.log]
        assert times[0] == times[1]


async def test_a_clock_that_jumped_ahead_does_not_spoil_the_logs_time(autojump_clock: MockClock) -> None:
    async with running() as bench:
        bench.append(*plain(1))
        await settle()
        bench.clock.set_by(30 * 86400)
        bench.append(*plain(2))
        await settle()
        bench.clock.set_by(-30 * 86400)
        await trio.sleep(5)
        bench.append(*plain(3))
        await settle()
        times = [decode_frame(frame).time_ns for frame in bench.log.log]
        assert times == [times[0], times[0], times[0] + 5 * 10**9]


# ---- who may say what


@pytest.mark.parametrize("message", [Committed(), Retry(), Tick(), TakeCheckpoint(id=1), "nonsense"])
async def test_what_only_another_may_say_is_refused_loudly(autojump_clock: MockClock, message: object) -> None:
    bench = Bench(FakeLog())
    async with open_system(bench.tree, on_failure=bench.failed):
        bench.interceptor.ctx.post(bench.audit, message)
        await settle()
    assert [error.code for error in bench.failures] == ["audit.message"]  # type: ignore[attr-defined]


@pytest.mark.parametrize("message", [Committed(), Retry(), Tick(), TakeCheckpoint(id=1), "nonsense"])
async def test_what_comes_from_whoever_is_not_trusted_is_told_to_the_gate_and_ends_nothing(
    autojump_clock: MockClock, message: object
) -> None:
    async with running() as bench:
        bench.append(GENESIS, BOOT)
        bench.system.post(bench.audit, message)
        await settle()
        assert bench.kinds() == [Kind.GENESIS, Kind.BOOT]
        [told] = [one for one in bench.interceptor.messages if isinstance(one, Strayed)]
        assert (told.ref, type(message).__name__ in told.what) == (0, True)


async def test_what_strays_before_there_is_a_gate_ends_nothing(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running() as bench:
        actor: Any = bench.audit.cell.life._actor  # type: ignore[union-attr]
        monkeypatch.setattr(actor, "_gate", lambda: None)
        bench.system.post(bench.audit, "nonsense")
        await settle()
        assert [one for one in bench.interceptor.messages if isinstance(one, Strayed)] == []


@pytest.mark.parametrize("who", ["gateway", "outside"])
async def test_only_the_guard_appends(autojump_clock: MockClock, who: str) -> None:
    bench = Bench(FakeLog())
    async with open_system(bench.tree, on_failure=bench.failed) as system:
        forged = Append(id=1, entries=(BOOT,))
        if who == "gateway":
            bench.gateway.ctx.post(bench.audit, forged)
        else:
            system.post(bench.audit, forged)
        await settle()
        assert bench.log.size() == 0
    assert [error.code for error in bench.failures] == (  # type: ignore[attr-defined]
        ["audit.message"] if who == "gateway" else []
    )


# ---- in any order

STEPS = st.sampled_from(
    ("append", "append", "append of approvals", "long append", "wanted", "ask", "write", "fail", "time")
)


async def _in_order(steps: list[str]) -> None:
    """Play ``steps`` on a disk that writes when it is told to, and look at everything that was said after each."""
    bench, sent = Bench(FakeLog()), dict[int, list[int]]()
    bench.hold_next = True
    async with open_system(bench.tree, on_failure=bench.failed):
        await settle()
        sent[bench.append(GENESIS, BOOT)] = [0, 0]
        for place, step in enumerate(steps, 1):
            refs = range(1000 * place, 1000 * place + (MAX_BATCH + 3 if step == "long append" else 2))
            match step:
                case "append" | "long append" | "wanted":
                    sent[bench.append(*[noted(ref, checkpoint=step == "wanted") for ref in refs])] = list(refs)
                case "append of approvals":
                    sent[bench.append(*plain(*refs), by=bench.approvals)] = list(refs)
                case "ask":
                    bench.take_checkpoint()
                case "write":
                    bench.journal.release()
                case "fail":
                    bench.journal.failures.append(failure("journal.full", retry=True))
                case _:
                    await trio.sleep(2)
            await settle()
            _is_true(bench, sent)
        bench.thaw()
        await trio.sleep(10 + len(steps))
        _is_true(bench, sent)
        told = [one.id for probe in (bench.interceptor, bench.approvals) for one in _confirmed(probe)]
        assert sorted(told) == sorted(sent)
        assert verify_log(KEYS, bench.log.log, bench.log.checkpoints()).size == bench.log.size()
    assert not bench.failures


def _confirmed(probe: Probe) -> list[Recorded]:
    return [message for message in probe.messages if isinstance(message, Recorded)]


def _is_true(bench: Bench, sent: dict[int, list[int]]) -> None:
    """All that was confirmed and signed until now is on the disk, and was confirmed once."""
    size = bench.log.size()
    for probe in (bench.interceptor, bench.approvals):
        told = _confirmed(probe)
        assert len({one.id for one in told}) == len(told)
        for one in told:
            assert max(record.seq for record in one.records) <= one.watermark <= size
            assert [record.ref for record in one.records] == sent[one.id]
            bodies = [decode_body(decode_frame(bench.log.log[record.seq - 1])) for record in one.records[:3]]
            assert all(isinstance(body, Genesis | Boot) or body.count in sent[one.id] for body in bodies)  # type: ignore[attr-defined]
    assert all(one.size <= size for one in bench.gateway.messages if isinstance(one, Checkpointed))


@settings(max_examples=60)
@given(st.lists(STEPS, min_size=3, max_size=25), st.integers(0, 3))
def test_whatever_comes_and_whenever_the_disk_writes_only_what_is_durable_is_confirmed(
    steps: list[str], seed: int
) -> None:
    run_seeded(seed, lambda: _in_order(steps))


# ---- starting again


async def test_what_was_sent_to_an_earlier_start_is_not_written(autojump_clock: MockClock) -> None:
    async with running() as bench:

        async def say_last_words(_reason: object) -> None:
            bench.append(*plain(9))
            bench.append(*plain(9), by=bench.approvals)

        setattr(bench.interceptor, "stopping", say_last_words)  # noqa: B010 - it is a method of its class
        bench.append(GENESIS, BOOT)
        await trio.sleep(1)
        bench.audit.cell.kill("a test")
        await trio.sleep(10)
        assert len(bench.journals) == 2
        bench.append(BOOT, *plain(1))
        await trio.sleep(1)
        assert bench.kinds() == [Kind.GENESIS, Kind.BOOT, Kind.BOOT, Kind.COALESCED]


# ---- cancellation


async def _life(log: FakeLog) -> None:
    bench = Bench(log)
    told: list[Recorded] = []
    try:
        async with open_system(bench.tree, on_failure=bench.failed):
            bench.append(GENESIS, BOOT)
            bench.append(*plain(1), noted(2, checkpoint=True))
            bench.take_checkpoint()
            await trio.sleep(1)
            bench.journal.failures.append(failure("journal.full", retry=True))
            bench.append(*plain(3))
            await trio.sleep(3)
    finally:
        told += bench.recorded()
        verified = verify_log(KEYS, log.log, log.checkpoints())
        assert verified.size >= max((one.watermark for one in told), default=0)
        assert all(journal.closed for journal in bench.journals)
        assert not bench.failures
        if verified.size:
            assert bench.kinds()[-1] is Kind.STOP
            assert verified.tail == 0


def test_wherever_it_is_cancelled_the_log_holds_together_and_ends_in_a_signed_stop() -> None:
    steps = cancel_at_every_step(lambda: _life(FakeLog()))
    assert steps > 20


def test_the_same_seed_writes_the_same_log() -> None:
    logs = [FakeLog(), FakeLog()]
    for log in logs:
        run_seeded(5, lambda log=log: _life(log))
    assert logs[0].log == logs[1].log
    assert [decode_body(decode_frame(frame)) for frame in logs[0].log][-1] == Stop("ordered")
