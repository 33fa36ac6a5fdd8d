"""What the gate knows, and how a log gives it back."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from astrid.core import gate_admin
from astrid.core.budget import Ledger, Purse
from astrid.core.call import Need
from astrid.core.canon import Signed
from astrid.core.chain import Frame
from astrid.core.facts import (
    DENIAL_BYTES_PER_SESSION,
    LAST_BYTES_PER_SESSION,
    LOG_BYTES_PER_SESSION,
    Facts,
    Principal,
    Quota,
)
from astrid.core.gate_state import Stage
from astrid.core.records import (
    AskedRecord,
    ChargeRow,
    CoalescedRecord,
    DeferredRecord,
    DeniedRecord,
    Entry,
    JournalRow,
    Kind,
    OutcomeRecord,
    PermitRecord,
    RevokedRecord,
    Sealed,
    SettledRecord,
    entry,
)
from astrid.errors import ChainError
from tests.fakes.authority import (
    AUD,
    HOLDER,
    NOW,
    ROOTS,
    SALT,
    SESSION,
    SESSION_KEY,
    USER,
    WORKSPACE,
    call,
    pass_on,
    token,
)
from tests.fakes.gate_bench import FILES, MODEL, PARENT, RICH, Bench, body, preparation
from tests.fakes.rules import policy

SEALED = Sealed(1, b"s" * 32)
OTHER = b"T" * 16


def facts() -> Facts:
    return Facts(aud=AUD, roots=ROOTS, policy=policy())


def take(into: Facts, made: Signed, *, seq: int = 1, time_ns: int = 5, session: bytes = SESSION) -> None:
    into.replay(Frame(b"p" * 32, seq, 1, time_ns, int(entry(made).kind), session, b""), made)


def stranger() -> Principal:
    return Principal(key=b"k" * 32, session=OTHER, workspace=WORKSPACE, toolboxes=(), limits=RICH, asks=True)


def permit(ref: int, micros: int = 5, *blocks: bytes) -> PermitRecord:
    rows = tuple(ChargeRow(one, micros) for one in blocks or (b"b" * 32,))
    return PermitRecord(
        *(ref, "workspace", "main", "read_file", b"t" * 32, b"k" * 32, WORKSPACE, b"b" * 32, 0, False),
        *(NOW, b"P" * 32, 1, rows, micros, SEALED),
    )


def outcome(ref: int, spent: int) -> OutcomeRecord:
    return OutcomeRecord(ref, 1, "done", False, False, spent, True, SEALED)


# --- looking things up


def test_the_first_toolbox_that_has_a_tool_decides_which_one_is_meant() -> None:
    bench = Bench()
    mine, theirs = bench.facts.tools["box", "read_file"], bench.facts.tools["box", "write_file"]
    bench.facts.tools = {("a", "x"): mine, ("b", "x"): theirs, ("c", "y"): theirs}
    principal = bench.facts.principals[PARENT]
    for boxes, found in ((("a", "b"), mine), (("b", "a"), theirs), (("d", "b"), theirs), (("c",), None), ((), None)):
        meant = msgspec.structs.replace(principal, toolboxes=boxes)
        assert bench.facts.tool(meant, "x") is found


def test_time_is_in_whole_seconds_and_never_before_the_last_record() -> None:
    made = facts()
    assert made.time_s(NOW * 10**9 + 999_999_999) == NOW
    made.durable_ns = (NOW + 60) * 10**9
    assert made.time_s(NOW * 10**9) == NOW + 60


def test_the_present_of_a_call_is_that_of_its_own_session() -> None:
    made = facts()
    made.revoked.add(b"r" * 32)
    made.settled.add(b"b" * 32)
    now = made.moment(call(tainted=True), NOW * 10**9)
    assert (now.time_s, now.aud, now.session, now.workspace, now.tainted, now.epoch) == (
        *(NOW, AUD, SESSION, WORKSPACE, True, 1),
    )
    assert (now.revoked, now.settled) == ({b"r" * 32}, {b"b" * 32})


CHAIN = pass_on(token(), HOLDER)


@pytest.mark.parametrize("target", [*CHAIN.ids, USER.public, HOLDER.public, SESSION_KEY.public])
def test_a_token_is_revoked_with_any_block_and_any_key_of_its_chain(target: bytes) -> None:
    made = facts()
    assert not made.is_revoked(CHAIN)
    made.revoked = {target}
    assert made.is_revoked(CHAIN)


# --- quota


def test_denials_have_a_share_of_their_own() -> None:
    quota = Quota()
    quota.wrote(SESSION, DENIAL_BYTES_PER_SESSION)
    assert not quota.spent(SESSION)
    quota.wrote(SESSION, DENIAL_BYTES_PER_SESSION - 1, denial=True)
    assert not quota.spent(SESSION)
    quota.wrote(SESSION, 1, denial=True)
    assert quota.spent(SESSION)
    assert not quota.spent(OTHER)


def test_the_shares_are_4_mib_of_denials_and_64_in_all() -> None:
    assert (DENIAL_BYTES_PER_SESSION, LOG_BYTES_PER_SESSION) == (4 << 20, 64 << 20)


def test_a_session_is_known_from_its_start_to_its_end() -> None:
    quota = Quota()
    assert not quota.knows(SESSION)
    quota.begin(SESSION)
    quota.wrote(SESSION, 5)
    quota.begin(SESSION)  # principals may share a session
    assert quota.knows(SESSION)
    assert not quota.has_room(SESSION, LOG_BYTES_PER_SESSION + LAST_BYTES_PER_SESSION)
    quota.end(SESSION)
    assert not quota.knows(SESSION)


def test_everything_written_counts_to_the_whole() -> None:
    quota = Quota()
    quota.wrote(SESSION, LOG_BYTES_PER_SESSION - 1)
    assert not quota.spent(SESSION)
    quota.wrote(SESSION, 1, denial=True)
    assert quota.spent(SESSION)


@given(st.integers(0, 72 << 20), st.integers(0, 72 << 20))
def test_a_session_may_say_so_much_more_for_how_its_last_turn_ends_and_no_byte_beyond(written: int, size: int) -> None:
    quota = Quota()
    quota.wrote(SESSION, written)
    assert quota.has_room(SESSION, size) is (written + size <= LOG_BYTES_PER_SESSION + LAST_BYTES_PER_SESSION)


def test_a_count_is_recorded_each_time_it_has_doubled() -> None:
    quota = Quota()
    made = [one for _ in range(1000) for one in quota.count(SESSION, "tool.unknown")]
    assert [body(one) for one in made] == [CoalescedRecord("tool.unknown", 2**n) for n in range(10)]
    assert {one.session for one in made} == {SESSION}
    (rest,) = quota.end(SESSION)
    assert body(rest).count == 1000
    assert quota.end(SESSION) == []


def test_codes_and_sessions_are_counted_apart() -> None:
    quota = Quota()
    for _ in range(3):
        quota.count(SESSION, "one")
    assert quota.count(SESSION, "two") != []
    assert quota.count(OTHER, "one") != []


# --- replay


def test_a_permit_without_an_outcome_stays_reserved() -> None:
    made = facts()
    take(made, permit(3, 5, b"a" * 32, b"b" * 32), seq=7, time_ns=11)
    assert made.ledger.purses == {
        b"a" * 32: Purse(0, 5),
        b"b" * 32: Purse(0, 5),
        b"session" + SESSION: Purse(0, 5),
        b"workspace" + WORKSPACE: Purse(0, 5),
    }
    assert made.ledger.used == {b"a" * 32: 1, b"b" * 32: 1}
    assert (made.open_permits[3].seq, made.open_permits[3].session) == (7, SESSION)
    assert (made.durable_ns, made.last_ref) == (11, 3)


def test_an_outcome_settles_its_permit_at_what_it_says() -> None:
    made = facts()
    take(made, permit(3))
    take(made, permit(4))
    take(made, outcome(3, 60), time_ns=12)
    assert made.ledger.purses[b"session" + SESSION] == Purse(60, 5)
    assert list(made.open_permits) == [4]
    assert made.ledger.used == {b"b" * 32: 2}


def test_what_is_left_open_is_settled_in_full() -> None:
    made = facts()
    take(made, permit(3))
    take(made, permit(4, 7))
    made.settle_unknown()
    assert made.ledger.purses[b"session" + SESSION] == Purse(12, 0)
    assert made.open_permits == {}


@pytest.mark.parametrize("wrong", [permit(3), outcome(4, 1)], ids=["a permit twice", "an outcome without a permit"])
def test_a_log_that_no_gate_wrote_is_refused_and_says_where(wrong: Signed) -> None:
    made = facts()
    take(made, permit(3))
    with pytest.raises(ChainError) as caught:
        take(made, wrong, seq=9)
    assert (caught.value.code, caught.value.where) == ("chain.replay", "record 9")


def test_only_an_answer_that_made_a_token_makes_one_live() -> None:
    made = facts()
    for block in (b"\0b" * 16, b"\0" * 32):
        take(made, SettledRecord(b"q" * 16, 1, block, b"k" * 32, 2, "once", SEALED))
    assert made.settled == {b"\0b" * 16}


def test_a_revocation_is_remembered() -> None:
    made = facts()
    take(made, RevokedRecord(b"t" * 32, "token", b"k" * 32, SEALED))
    assert made.revoked == {b"t" * 32}


@pytest.mark.parametrize(
    "made",
    [
        DeniedRecord(8, "", "", b"k" * 32, "policy", "policy.path", SEALED),
        AskedRecord(8, b"q" * 16, "bash", 2, NOW, SEALED),
        DeferredRecord(8, b"q" * 16),
    ],
    ids=lambda made: type(made).__name__,
)
def test_a_number_that_any_record_used_is_not_used_again(made: Signed) -> None:
    into = facts()
    take(into, made)
    take(into, msgspec.structs.replace(made, ref=2))
    assert into.last_ref == 8


def test_other_records_change_the_time_alone() -> None:
    made = facts()
    take(made, CoalescedRecord("tool.unknown", 4), time_ns=9)
    assert (made.durable_ns, made.last_ref, made.ledger.purses) == (9, 0, Ledger().purses)


# --- what a session has had of the log, after a restart


def replayed(log: list[Entry]) -> Facts:
    made = facts()
    for seq, one in enumerate(log, 1):
        made.replay(Frame(b"p" * 32, seq, 1, 5, int(one.kind), one.session, one.body), body(one))
    return made


def busy() -> Bench:
    """A session that has done a little of everything."""
    bench = Bench()
    bench.log.append(
        gate_admin.register(bench.facts, 9, stranger(), gate_admin.Opening("guided", "p/m", scripted=False))
    )
    # As if of the one that the bench registers by itself.
    bench.log[0] = msgspec.structs.replace(bench.log[0], session=SESSION)
    bench.facts.quota.end(stranger().session)
    bench.facts.quota.begin(SESSION)
    bench.propose("read_file")
    bench.prepared(made=preparation(max_micros=5))
    bench.sync()
    bench.executed(content=b"x" * 999)
    bench.propose("model")
    bench.prepared(made=preparation(needs=(Need("model://p/m", 16),)), sender=MODEL)
    bench.propose("nonsense", args=b"x" * 999)
    bench.do(bench.gate.strayed(PARENT, "nonsense"))
    bench.do(bench.gate.strayed(0, "nonsense"))
    bench.at(Stage.ASKING)
    bench.defer()
    me = bench.facts.principals[PARENT]
    bench.log.append(gate_admin.prompted(bench.facts, me, 1, 3, b"do it", salt=SALT))
    bench.log.append(gate_admin.attach(bench.facts, SESSION, b"an image", salt=SALT))
    bench.log.append(gate_admin.save(bench.facts, me, (JournalRow(1, b""), JournalRow(2, b"")), salt=SALT))
    return bench


def test_the_log_gives_back_what_every_session_has_had_of_it() -> None:
    bench = busy()
    made = replayed(bench.log)
    assert made.quota._bytes == bench.facts.quota._bytes
    assert made.quota._denial_bytes == bench.facts.quota._denial_bytes
    assert set(made.quota._bytes) == {SESSION, b""}
    assert made.rows == bench.facts.rows == {SESSION: 2}


def test_what_ended_with_its_session_is_not_given_back() -> None:
    bench = busy()
    bench.propose("read_file")
    bench.prepared()
    bench.sync()
    bench.do(bench.gate.principal_gone(PARENT))
    bench.log += gate_admin.ended(bench.facts, SESSION, "finished")
    bench.executed(4)
    assert bench.log[-1].kind in (Kind.OUTCOME, Kind.SESSION_ENDED)
    made = replayed(bench.log)
    assert set(made.quota._bytes) == {b""}
    assert made.rows == {}


def test_a_session_that_had_its_share_is_paused_after_a_restart_too() -> None:
    bench = busy()
    while not bench.facts.quota.spent(SESSION):
        bench.propose("nonsense", args=b"x" * 5000)
        bench.sync()
    for _ in range(9):
        bench.propose("nonsense")
    made = replayed(bench.log)
    assert made.quota.spent(SESSION)
    assert made.quota.count(SESSION, "gate.paused") == []  # the ninth: eight are recorded


def test_limits_of_today_do_not_undo_what_was_permitted_then() -> None:
    made = facts()
    for ref in range(1, 100):
        take(made, permit(ref, 2**62))
        take(made, outcome(ref, 0))
    assert made.ledger.used == {b"b" * 32: 99}


def test_the_bench_offers_its_tools_from_one_host() -> None:
    """What the tests of the gate lean on."""
    assert Bench().facts.tools["box", "read_file"].host == FILES
    assert Bench().facts.principals[PARENT].key == SESSION_KEY.public


def test_who_is_no_principal_can_be_dismissed_and_that_changes_nothing() -> None:
    facts = Bench().facts
    before, keys = dict(facts.principals), set(facts.keys)
    facts.dismiss(999)
    assert (facts.principals, facts.keys) == (before, keys)
    facts.dismiss(PARENT)
    assert (PARENT in facts.principals, before[PARENT].key in facts.keys) == (False, False)
