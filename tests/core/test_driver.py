"""The guard by hand: each way a call ends, whatever may come between two steps, and a crash after each record."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import msgspec
import pytest

from astrid.core.budget import EMPTY
from astrid.core.call import call_digest, decode_call
from astrid.core.chain import CHECKPOINT_NS, CHECKPOINT_RECORDS
from astrid.core.checkpoint import check_consistent, verify_checkpoint
from astrid.core.driver import Driver
from astrid.core.driver_disk import Disk
from astrid.core.facts import Facts
from astrid.core.gate_messages import (
    Approved,
    Deferred,
    Execute,
    Leave,
    Minted,
    Outcome,
    Prepare,
    Prepared,
    Progress,
    Refused,
    Streamed,
    Unprepared,
    Withdraw,
)
from astrid.core.ids import CallDigest
from astrid.core.records import CoalescedRecord, Kind, entry
from astrid.core.tiles import consistency_proof
from astrid.core.tokens import Scope
from astrid.errors import ChainError, InternalError, TokenError
from tests.fakes.authority import CHILD_KEY, DAY, NOW, SESSION, SESSION_KEY, no, token, yes
from tests.fakes.driver_bench import ASKS, READ_FILE, SETUP, Bench, Tool, bodies, executed, principal, revocation
from tests.fakes.gate_bench import SECOND, STANDING, preparation

MINUTE = 60 * SECOND


def started() -> Bench:
    """A bench whose first records are written."""
    bench = Bench()
    bench.driver.run()
    return bench


def kinds(driver: Driver) -> list[Kind]:
    """What was recorded since the start, written or not."""
    made = [made for _, made in driver.disk.records] + [made for _, made, _ in driver.unwritten]
    return [Kind(one.kind) for one in made][3:]


# --- how a call ends


def test_a_permitted_call_ends_in_what_its_host_says_of_it() -> None:
    bench = Bench()
    end = bench.call(args=b'{"a":1}')
    assert isinstance(end, Outcome)
    assert (end.content, end.is_error, end.unknown, end.first_party) == (b"ok", False, False, True)
    assert [call.args for call in bench.tool.calls] == [b'{"a":1}']
    assert kinds(bench.driver) == [Kind.PERMIT, Kind.OUTCOME_VOUCHED]
    assert bench.driver.told == [(bench.me, end)]


def test_a_call_that_no_token_covers_is_refused_where_nobody_may_be_asked() -> None:
    bench = Bench(asks=False)
    other = token(holder=SESSION_KEY.public, session=SESSION, scope=Scope.SESSION, uses=1)
    end = bench.call(other.raw)
    assert isinstance(bench.call(other.raw), Refused)
    assert isinstance(end, Outcome)
    assert len(bench.tool.ran) == 1


@pytest.mark.parametrize(
    ("happens", "code"),
    [
        (lambda bench: bench.call(tool="nonsense"), "tool.unknown"),
        (lambda bench: bench.driver.call(99, "read_file", b"{}"), "gate.unknown-principal"),
    ],
    ids=["a tool that is not there", "somebody unknown"],
)
def test_what_makes_no_sense_is_refused(happens: Callable[[Bench], Any], code: str) -> None:
    bench = Bench()
    end = happens(bench)
    assert isinstance(end, Refused)
    assert (end.code, bench.tool.ran) == (code, [])


def test_a_call_that_its_host_refuses_to_prepare_is_refused() -> None:
    bench = Bench()
    bench.tool.look = Unprepared(ref=0, layer="workspace", code="workspace.outside", reason="no", advice="")
    end = bench.call()
    assert isinstance(end, Refused)
    assert (end.layer, end.code, bench.tool.ran) == ("workspace", "workspace.outside", [])


def test_where_nobody_is_there_a_question_stays_open_and_its_call_is_deferred() -> None:
    bench = Bench()
    bench.driver.attended = False
    bench.tool.look = ASKS
    end = bench.call()
    [(qid, one)] = bench.driver.approvals.waiting()
    assert end == Deferred(proposal=1, qid=qid)
    assert one.refs == ()
    assert kinds(bench.driver) == [Kind.ASKED, Kind.DEFERRED]


def test_a_call_waits_for_whoever_is_there() -> None:
    bench = Bench()
    bench.tool.look = ASKS
    assert bench.call() is None
    assert not bench.driver.post
    assert not bench.driver.unwritten


def test_a_yes_is_told_with_its_token_and_the_same_call_then_runs_once() -> None:
    bench = Bench()
    number, qid, raw = bench.asking()
    bench.driver.answer(yes(raw, qid=qid))
    assert bench.driver.ending(number) is None
    bench.driver.run()
    end = bench.driver.ending(number)
    assert isinstance(end, Approved)
    assert isinstance(bench.call(STANDING.raw, end.token), Outcome)
    assert bench.call(STANDING.raw, end.token) is None
    assert len(bench.tool.ran) == 1


def test_a_no_is_a_refusal() -> None:
    bench = Bench()
    number, qid, raw = bench.asking()
    bench.driver.answer(no(raw, qid=qid))
    bench.driver.run()
    end = bench.driver.ending(number)
    assert isinstance(end, Refused)
    assert (end.code, bench.tool.ran) == ("approval.denied", [])


def test_when_nobody_comes_the_call_is_deferred_and_a_later_yes_is_told_to_the_session() -> None:
    bench = Bench()
    number, qid, raw = bench.asking()
    bench.driver.nobody_came()
    bench.driver.run()
    assert bench.driver.ending(number) == Deferred(proposal=number, qid=qid)
    bench.driver.answer(yes(raw, qid=qid))
    bench.driver.run()
    to, minted = bench.driver.told[-1]
    assert isinstance(minted, Minted)
    assert (to, minted.qid) == (bench.me, qid)
    assert isinstance(bench.call(STANDING.raw, minted.token), Outcome)


def test_a_question_whose_time_is_over_refuses_what_waits_for_it() -> None:
    bench = Bench()
    number, _, _ = bench.asking()
    bench.driver.expire()
    assert bench.driver.approvals.waiting()
    bench.driver.now_ns += 8 * DAY * SECOND
    bench.driver.expire()
    bench.driver.run()
    end = bench.driver.ending(number)
    assert isinstance(end, Refused)
    assert end.code == "approval.expired"
    assert not bench.driver.approvals.waiting()


def test_two_equal_calls_wait_for_one_question() -> None:
    bench = Bench()
    first, qid, raw = bench.asking()
    second = bench.propose()
    bench.driver.run()
    assert len(bench.driver.approvals.waiting()) == 1
    bench.driver.answer(yes(raw, qid=qid))
    bench.driver.run()
    ends = [bench.driver.ending(first), bench.driver.ending(second)]
    assert all(isinstance(end, Approved) for end in ends)


def test_a_fourth_open_question_is_not_put() -> None:
    bench = Bench()
    for number in range(3):
        bench.asking(args=b"%d" % number)
    end = bench.call(args=b"3")
    assert isinstance(end, Refused)
    assert end.code == "approval.too-many"


def test_an_answer_that_is_none_changes_nothing() -> None:
    bench = Bench()
    _, qid, raw = bench.asking()
    with pytest.raises(TokenError):
        bench.driver.answer(yes(raw, qid=b"another question"))
    assert [one for one, _ in bench.driver.approvals.waiting()] == [qid]
    assert not bench.driver.unwritten


# --- step by step


def test_nothing_goes_on_until_it_is_told_to() -> None:
    bench = started()
    number = bench.propose()
    assert [type(message) for _, message in bench.driver.post] == [Prepare]
    assert bench.tool.asked == []
    assert bench.driver.step()
    assert [type(message) for _, message in bench.driver.post] == [Prepared]
    assert bench.driver.step()
    assert not bench.driver.step()
    assert kinds(bench.driver) == [Kind.PERMIT]
    assert bench.driver.commit() == 1
    assert bench.tool.ran == []
    assert bench.driver.step()
    assert len(bench.tool.ran) == 1
    assert bench.driver.ending(number) is None
    assert bench.driver.step()
    assert isinstance(bench.driver.ending(number), Outcome)
    assert bench.driver.commit(5) == 1
    assert bench.driver.commit(1) == bench.driver.commit() == 0


def test_as_many_records_become_durable_as_are_said() -> None:
    bench = Bench()
    waiting = len(bench.driver.unwritten)
    assert bench.driver.commit(1) == 1
    assert (len(bench.driver.disk.records), len(bench.driver.unwritten)) == (1, waiting - 1)
    assert bench.driver.commit() == waiting - 1


def test_a_call_runs_only_once_its_permit_is_durable_and_as_the_bytes_that_it_names() -> None:
    bench = started()
    bench.permitted()
    before = len(bench.driver.disk.records)
    bench.driver.run()
    [execute] = bench.tool.ran
    [permit] = bodies(bench.driver.disk, Kind.PERMIT)
    assert execute.permit_seq == before + 1
    assert decode_call(execute.call).args == b"{}"
    assert permit.ref == execute.ref


def test_a_call_given_up_before_its_permit_is_durable_does_not_run_and_costs_nothing() -> None:
    bench = started()
    bench.tool.look = preparation(max_micros=50)
    number = bench.permitted()
    bench.driver.cancel(bench.me, number)
    bench.driver.run()
    assert bench.tool.ran == []
    assert bench.driver.ending(number) is None
    assert bodies(bench.driver.disk, Kind.OUTCOME)[0].effect == "none"
    assert bench.driver.facts.ledger.purses[STANDING.id] == EMPTY


def test_a_call_given_up_while_it_runs_is_withdrawn_and_still_settled() -> None:
    bench = started()
    number = bench.permitted()
    bench.driver.commit(1)
    bench.driver.cancel(bench.me, number)
    bench.driver.run()
    assert [type(one) for one in bench.tool.asked] == [Prepare, Execute, Withdraw]
    assert bench.driver.ending(number) is None
    assert kinds(bench.driver) == [Kind.PERMIT, Kind.OUTCOME_VOUCHED]


def test_a_call_given_up_while_a_person_is_asked_leaves_the_question_open() -> None:
    bench = Bench()
    number, qid, raw = bench.asking()
    bench.driver.cancel(bench.me, number)
    assert [type(message) for _, message in bench.driver.post] == [Leave]
    bench.driver.run()
    bench.driver.answer(yes(raw, qid=qid))
    bench.driver.run()
    assert bench.driver.ending(number) is None
    assert isinstance(bench.driver.told[-1][1], Minted)


@pytest.mark.parametrize(("target", "kind"), [(STANDING.id, "token"), (SESSION_KEY.public, "key")])
def test_a_token_revoked_before_the_permit_is_durable_runs_nothing(target: bytes, kind: str) -> None:
    bench = started()
    number = bench.permitted()
    bench.driver.revoke(revocation(target, kind))
    bench.driver.run()
    end = bench.driver.ending(number)
    assert isinstance(end, Refused)
    assert (end.code, bench.tool.ran) == ("token.revoked", [])
    assert kinds(bench.driver) == [Kind.PERMIT, Kind.REVOKED, Kind.OUTCOME]


def test_a_token_revoked_while_a_call_runs_withdraws_it() -> None:
    bench = started()
    bench.tool.silent = True
    bench.call()
    bench.driver.revoke(revocation(STANDING.id))
    bench.driver.run()
    assert isinstance(bench.tool.asked[-1], Withdraw)


def test_a_host_that_dies_with_a_call_leaves_it_unknown_and_paid_in_full_whatever_it_says_later() -> None:
    bench = started()
    bench.tool.look = preparation(max_micros=50)
    number = bench.permitted()
    bench.driver.commit(1)
    bench.driver.step()
    assert len(bench.driver.post) == 1
    bench.driver.kill_host(bench.host)
    bench.driver.run()
    end = bench.driver.ending(number)
    assert isinstance(end, Outcome)
    assert (end.unknown, end.effect) == (True, "maybe")
    assert bench.driver.facts.ledger.purses[STANDING.id].spent == 50
    assert len(bodies(bench.driver.disk, Kind.OUTCOME)) == 1


def test_what_is_on_its_way_to_a_host_that_dies_is_lost() -> None:
    bench = started()
    number = bench.permitted()
    bench.driver.commit(1)
    bench.driver.kill_host(bench.host)
    bench.driver.run()
    assert bench.tool.ran == []
    end = bench.driver.ending(number)
    assert isinstance(end, Outcome)
    assert end.unknown


def test_a_host_that_dies_takes_its_tools_along_and_another_may_offer_them() -> None:
    bench = started()
    number = bench.permitted()
    bench.driver.kill_host(bench.host)
    other = Tool()
    bench.driver.offer("box", (READ_FILE,), other)
    bench.driver.run()
    end = bench.driver.ending(number)
    assert isinstance(end, Refused)
    assert (end.code, other.asked) == ("tool.changed", [])
    assert isinstance(bench.call(), Outcome)
    assert len(other.ran) == 1


def test_two_hosts_do_not_offer_one_tool() -> None:
    bench = started()
    with pytest.raises(InternalError, match="two hosts"):
        bench.driver.offer("box", (READ_FILE,), Tool())
    assert isinstance(bench.call(), Outcome)
    assert len(bench.tool.ran) == 1


def test_a_host_may_speak_up_later_and_say_a_little_before() -> None:
    bench = started()
    bench.tool.silent = True
    assert bench.call() is None
    [execute] = bench.tool.ran
    bench.driver.post.append((bench.host, Progress(ref=execute.ref, chunk=b"half")))
    bench.driver.post.append((bench.host, executed(execute, content=b"whole")))
    bench.driver.run()
    assert [message for _, message in bench.driver.told[:-1]] == [Streamed(proposal=1, chunk=b"half")]
    end = bench.driver.ending(1)
    assert isinstance(end, Outcome)
    assert end.content == b"whole"


def test_a_host_speaks_only_for_itself() -> None:
    bench = started()
    bench.tool.silent = True
    bench.call()
    bench.driver.post.append((bench.host + 1, executed(bench.tool.ran[0])))
    bench.driver.run()
    assert bench.driver.ending(1) is None


def test_a_session_that_ends_waits_for_nothing_and_its_calls_are_settled() -> None:
    bench = started()
    bench.tool.silent = True
    bench.call()
    bench.driver.end_session(bench.me)
    bench.driver.run()
    assert isinstance(bench.tool.asked[-1], Withdraw)
    bench.driver.post.append((bench.host, executed(bench.tool.ran[0])))
    bench.driver.run()
    assert bench.driver.told == []
    assert kinds(bench.driver) == [Kind.PERMIT, Kind.SESSION_ENDED, Kind.OUTCOME_VOUCHED]
    bench.driver.register(principal())


def test_what_a_person_said_no_to_twice_is_asked_again_only_in_another_session() -> None:
    bench = Bench()
    for number in range(2):
        _, qid, raw = bench.asking(args=b"%d" % number)
        bench.driver.answer(no(raw, qid=qid))
        bench.driver.run()
    bench.tool.look = ASKS
    end = bench.call(args=b"2")
    assert isinstance(end, Refused)
    assert end.code == "approval.said-no"
    bench.driver.end_session(bench.me)
    bench.me = bench.driver.register(principal())
    assert bench.call(args=b"2") is None


def test_two_sessions_do_not_share_a_key() -> None:
    bench = started()
    with pytest.raises(TokenError, match="registered already"):
        bench.driver.register(principal())
    bench.driver.register(principal(key=CHILD_KEY.public))
    assert kinds(bench.driver) == [Kind.SESSION_STARTED]


def test_a_standing_token_is_recorded_before_it_counts_as_taken_in() -> None:
    bench = started()
    standing = token()
    assert bench.driver.take_in(standing.raw).id == standing.id
    bench.driver.run()
    assert [body.block for body in bodies(bench.driver.disk, Kind.GRANTED)] == [standing.id]
    with pytest.raises(TokenError):
        bench.driver.take_in(standing.raw[:-1])
    bench.driver.now_ns += DAY * SECOND
    with pytest.raises(TokenError, match="expired"):
        bench.driver.take_in(standing.raw)
    assert kinds(bench.driver) == [Kind.GRANTED]


def test_a_revocation_that_nobody_signed_changes_nothing() -> None:
    bench = started()
    with pytest.raises(TokenError):
        bench.driver.revoke(revocation(STANDING.id)[:-1])
    assert isinstance(bench.call(), Outcome)


def test_the_same_words_give_the_same_log_and_another_seed_another_one() -> None:
    def life(seed: bytes) -> Disk:
        bench = Bench(Driver(msgspec.structs.replace(SETUP, seed=seed), now_ns=NOW * SECOND))
        bench.asking()
        bench.driver.run()
        again = bench.crash()
        again.call()
        return again.driver.disk

    one, other = life(b"s" * 32), life(b"t" * 32)
    assert one == life(b"s" * 32)
    assert one.frames() != other.frames()


def test_no_salt_is_used_twice_in_any_number_of_lives() -> None:
    bench = Bench()
    for number in range(3):
        _, qid, raw = bench.asking(args=b"%d" % number)
        bench.driver.answer(yes(raw, qid=qid))
        bench.driver.revoke(revocation(b"x" * 32))
        bench.tool.look = preparation()
        bench.call()
        bench = bench.crash()
    salts = [payload.salt for _, made in bench.driver.disk.records for payload in made.payloads]
    assert len(salts) == len(set(salts)) == 15


def test_no_proposal_has_the_number_of_one_in_an_earlier_life() -> None:
    bench = Bench()
    for number in range(3):
        bench.tool.look = preparation()
        bench.call()
        bench.asking(args=b"%d" % number)
        bench = bench.crash()
    refs = [body.ref for kind in (Kind.PERMIT, Kind.ASKED) for body in bodies(bench.driver.disk, kind)]
    assert len(refs) == len(set(refs)) == 6


def test_what_crashed_may_go_on_beside_the_next_start() -> None:
    bench = started()
    again = bench.crash()
    assert isinstance(bench.call(), Outcome)
    assert isinstance(again.call(), Outcome)
    assert SETUP.verify(bench.driver.disk).chain.boot == SETUP.verify(again.driver.disk).chain.boot - 1


# --- the log


def test_checkpoints_are_signed_where_one_must_be_and_at_intervals() -> None:
    bench = Bench()
    bench.driver.run()
    assert bench.driver.disk.notes[0][0] == 1
    before = len(bench.driver.disk.notes)
    bench.call()
    assert len(bench.driver.disk.notes) == before
    bench.driver.now_ns += CHECKPOINT_NS
    bench.call()
    assert len(bench.driver.disk.notes) == before + 1
    bench.driver.revoke(revocation(b"x" * 32))
    bench.driver.run()
    assert bench.driver.disk.notes[-1][0] == len(bench.driver.disk.records)


def test_every_checkpoint_is_shown_from_the_stored_tiles_to_continue_the_one_before() -> None:
    driver = Driver(SETUP, now_ns=NOW * SECOND)
    for number in range(CHECKPOINT_RECORDS + 600):
        driver.record(entry(CoalescedRecord("tool.unknown", number)))
        if number == 300:
            driver = driver.crash()
        driver.commit()
    stated = [verify_checkpoint(note, SETUP.keys.runtime_key, SETUP.keys.log_id) for _, note in driver.disk.notes]
    read = driver.chain.tree.reader(lambda level, index: driver.disk.tiles[level, index])
    assert len(stated) >= 3
    for old, new in pairwise(stated):
        check_consistent(old, new, consistency_proof(old.size, new.size, read))


def test_a_log_that_is_not_whole_is_not_opened() -> None:
    bench = started()
    bench.call()
    bench.driver.revoke(revocation(b"x" * 32))
    bench.driver.run()
    cut = bench.driver.disk.copy()
    cut.records.pop()
    with pytest.raises(ChainError) as caught:
        Driver(SETUP, cut, now_ns=NOW * SECOND)
    assert caught.value.code == "chain.cut"
    changed = bench.driver.disk.copy()
    changed.records[3], changed.records[4] = changed.records[4], changed.records[3]
    with pytest.raises(ChainError) as caught:
        SETUP.verify(changed)
    assert caught.value.code == "chain.gap"
    assert SETUP.verify(bench.driver.disk).size == len(bench.driver.disk.records)


@pytest.mark.parametrize(("data", "spoilt"), [(b"something else", 1), (None, 0)], ids=["changed", "erased"])
def test_a_question_whose_bytes_are_not_those_that_were_asked_is_not_open(data: bytes | None, spoilt: int) -> None:
    bench = Bench()
    bench.asking()
    disk = bench.driver.disk
    at = next(at for at, (_, made) in enumerate(disk.records) if made.kind == Kind.ASKED)
    frame, made = disk.records[at]
    payloads = () if data is None else (msgspec.structs.replace(made.payloads[0], data=data),)
    disk.records[at] = frame, msgspec.structs.replace(made, payloads=payloads)
    again = bench.crash()
    assert again.driver.approvals.waiting() == []
    assert len(again.driver.spoilt) == spoilt


# --- a crash after each record


class Moment(msgspec.Struct, frozen=True):
    """A crash in a life: what was durable, the calls that had run, and the token that a person had given."""

    disk: Disk
    ran: tuple[CallDigest, ...]
    token: bytes


def life() -> list[Moment]:
    """A life with every kind of record, and what was left of it after each; one record more from moment to moment."""
    bench = Bench()
    moments: list[Moment] = []
    given = b""

    def slowly() -> None:
        while bench.driver.step() or bench.driver.commit(1):
            if len(bench.driver.disk.records) > len(moments):
                moments.append(
                    Moment(bench.driver.disk.copy(), tuple(call_digest(one.call) for one in bench.tool.ran), given)
                )

    def call(*tokens: bytes, args: bytes, tool: str = "read_file") -> int:
        number = bench.propose(*tokens, args=args, tool=tool)
        slowly()
        return number

    bench.driver.take_in(token().raw)
    bench.tool.look = preparation(max_micros=50)
    bench.tool.fields = {"spent_micros": 60}
    call(args=b"costs more than it may")
    bench.tool.fields = {}
    bench.tool.silent = True
    call(args=b"runs and runs")
    bench.tool.silent = False
    call(args=b"afterwards")
    call(args=b"refused", tool="nonsense")
    bench.tool.look = ASKS
    number = call(args=b"asked")
    qid, one = bench.driver.approvals.waiting()[0]
    bench.driver.answer(yes(one.raw, qid=qid))
    slowly()
    approved = bench.driver.ending(number)
    assert isinstance(approved, Approved)
    given = approved.token
    call(given, args=b"asked")
    call(given, args=b"asked")
    bench.driver.nobody_came()
    slowly()
    call(args=b"denied")
    qid, one = bench.driver.approvals.waiting()[-1]
    bench.driver.answer(no(one.raw, qid=qid))
    bench.driver.revoke(revocation(b"x" * 32))
    slowly()
    bench.driver.end_session(bench.me)
    slowly()
    assert len(moments) == len(bench.driver.disk.records)
    return moments


LIFE = life()


@pytest.fixture(params=range(len(LIFE)), ids=lambda at: f"{at + 1} records")
def moment(request: pytest.FixtureRequest) -> Moment:
    return LIFE[request.param]


def reopened(moment: Moment) -> Driver:
    """The next start, its first records written."""
    driver = Driver(SETUP, moment.disk.copy(), now_ns=NOW * SECOND + MINUTE)
    driver.run()
    return driver


def test_the_life_has_every_kind_of_record_that_a_crash_may_follow() -> None:
    life = {made.kind for _, made in LIFE[-1].disk.records}
    absent = {Kind.STOP, Kind.PROMPT, Kind.COALESCED, Kind.CLOCK, Kind.JOURNAL, Kind.COSIGNED, Kind.SUBAGENT_STARTED}
    # Its tools are first-party, and run nothing that reaches out.
    absent |= {Kind.SESSION_ERASED, Kind.ATTACHED, Kind.OUTCOME, Kind.CONNECTION, Kind.CONNECTION_ENDED}
    absent |= {Kind.FILES_REWINDING, Kind.FILES_REWOUND}
    assert life == set(Kind) - absent


def test_after_a_crash_every_open_permit_is_unknown_paid_in_full_and_never_run_again(moment: Moment) -> None:
    ended = {body.ref for body in bodies(moment.disk, Kind.OUTCOME)}
    cut_off = [body for body in bodies(moment.disk, Kind.PERMIT) if body.ref not in ended]
    driver = reopened(moment)
    told = bodies(driver.disk, Kind.OUTCOME)[len(ended) :]
    assert [(one.ref, one.spent) for one in told] == [(one.ref, one.micros) for one in cut_off]
    assert all(one.unknown and one.effect == "maybe" for one in told)
    assert driver.facts.open_permits == {}
    assert all(purse.reserved == 0 for purse in driver.facts.ledger.purses.values())
    assert not driver.post


def test_what_ran_had_a_durable_permit_at_every_crash(moment: Moment) -> None:
    permits = [made.payloads[0].data for _, made in moment.disk.records if made.kind == Kind.PERMIT]
    assert Counter(moment.ran) <= Counter(map(call_digest, permits))


def test_after_a_crash_money_and_uses_are_what_the_log_says(moment: Moment) -> None:
    permits = {body.ref: body for body in bodies(moment.disk, Kind.PERMIT)}
    spent = {body.ref: body.spent for body in bodies(moment.disk, Kind.OUTCOME)}
    ledger = reopened(moment).facts.ledger
    for block in {row.block for permit in permits.values() for row in permit.charges}:
        on = [ref for ref, permit in permits.items() if block in {row.block for row in permit.charges}]
        assert ledger.used[block] == len(on)
        assert ledger.purses[block].spent == sum(spent.get(ref, permits[ref].micros) for ref in on)


def test_after_a_crash_every_question_without_an_end_is_open_and_can_be_answered(moment: Moment) -> None:
    settled = {body.qid for body in bodies(moment.disk, Kind.SETTLED)}
    asked = [body.qid for body in bodies(moment.disk, Kind.ASKED) if body.qid not in settled]
    driver = reopened(moment)
    waiting = driver.approvals.waiting()
    assert [qid for qid, _ in waiting] == asked
    for qid, one in waiting:
        driver.answer(yes(one.raw, qid=qid))
    driver.run()
    answered = {body.block for body in bodies(driver.disk, Kind.SETTLED) if body.qid in asked}
    assert len(answered) == len(asked)
    assert answered <= driver.facts.settled


def test_after_a_crash_a_token_is_live_if_its_answer_is_in_the_log_and_good_for_one_call_ever(moment: Moment) -> None:
    [by] = {body.block for body in bodies(LIFE[-1].disk, Kind.SETTLED) if any(body.block)}
    answered = by in {body.block for body in bodies(moment.disk, Kind.SETTLED)}
    used = by in {body.token for body in bodies(moment.disk, Kind.PERMIT)}
    again = Bench(Driver(SETUP, moment.disk.copy(), now_ns=NOW * SECOND + MINUTE), asks=False)
    again.tool.look = ASKS
    [raw] = {one.token for one in LIFE if one.token}
    first, second = again.call(raw, args=b"asked"), again.call(raw, args=b"asked")
    if answered and not used:
        assert isinstance(first, Outcome)
        assert len(again.tool.ran) == 1
    else:
        assert isinstance(first, Refused)
        assert first.code == ("token.used" if used else "token.unsettled")
        assert again.tool.ran == []
    assert isinstance(second, Refused)


def test_after_a_crash_what_was_revoked_is(moment: Moment) -> None:
    driver = reopened(moment)
    assert driver.facts.revoked == {body.target for body in bodies(moment.disk, Kind.REVOKED)}


def test_after_a_crash_the_log_goes_on_and_holds_together(moment: Moment) -> None:
    again = Bench(reopened(moment))
    again.tool.look = preparation()
    boot = again.driver.chain.tip.boot
    assert SETUP.verify(again.driver.disk).size == len(again.driver.disk.records) > len(moment.disk.records)
    assert boot == len(bodies(moment.disk, Kind.BOOT)) + 1
    assert isinstance(again.call(args=b"a new life"), Outcome | Refused)
    twice = again.crash()
    twice.driver.run()
    assert facts_of(twice.driver.facts) == facts_of(again.driver.facts)


def test_a_crash_before_the_first_record_is_a_beginning() -> None:
    bench = Bench().crash()
    assert isinstance(bench.call(), Outcome)
    assert len(bodies(bench.driver.disk, Kind.GENESIS)) == 1
    assert len(bodies(bench.driver.disk, Kind.BOOT)) == 1


def facts_of(facts: Facts) -> tuple[Any, ...]:
    """What a start finds in the log."""
    return facts.ledger.purses, facts.ledger.used, facts.revoked, facts.settled, facts.open_permits
