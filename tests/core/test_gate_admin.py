"""What a person changes about the gate, and the record of each change."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from astrid.core import gate_admin
from astrid.core.canon import Domain
from astrid.core.chain import Frame
from astrid.core.facts import LAST_BYTES_PER_SESSION, LOG_BYTES_PER_SESSION, Facts, Open, Principal
from astrid.core.gate_admin import Opening
from astrid.core.ids import is_scripted, session_id
from astrid.core.install import Revocation, sign_statement
from astrid.core.records import Boot, Entry, Erasure, Genesis, JournalRow, Kind, seal
from astrid.core.tokens import Scope, issue
from astrid.core.verify import LogKeys
from astrid.errors import AstridError, CanonError, InternalError, TokenError
from tests.fakes.authority import (
    AUD,
    CHILD_KEY,
    DAY,
    HOLDER,
    NOW,
    SALT,
    SESSION,
    SESSION_KEY,
    STRANGER,
    USER,
    WORKSPACE,
    block,
    key,
    token,
)
from tests.fakes.gate_bench import PARENT, RICH, Bench, body, preparation

OPENING = Opening("guided", "p/m", scripted=False)
NOBODY_YET = Principal(
    key=key(20).public, session=SESSION, workspace=WORKSPACE, toolboxes=("box",), limits=RICH, asks=True
)

SLEEPER = session_id(b"Z" * 16, scripted=False)
ONE_WHO_SLEEPS = msgspec.structs.replace(NOBODY_YET, session=SLEEPER)


# --- principals


SUBAGENT = msgspec.structs.replace(
    NOBODY_YET, key=key(21).public, child=session_id(b"c" * 16, scripted=False), parent=SESSION
)


def test_a_sub_agent_begins_by_its_own_name_and_its_parent_is_recorded() -> None:
    bench = Bench()
    made = gate_admin.register(bench.facts, 9, SUBAGENT, OPENING)
    assert (made.session, body(made).parent) == (SUBAGENT.child, SESSION)
    assert bench.facts.quota.knows(SUBAGENT.child)


def test_a_sub_agents_journal_is_its_own() -> None:
    bench = Bench()
    gate_admin.register(bench.facts, 9, SUBAGENT, OPENING)
    made = gate_admin.save(bench.facts, SUBAGENT, (JournalRow(1, b"row"),), salt=SALT)
    heard = gate_admin.prompted(bench.facts, SUBAGENT, 1, 1, b"text", salt=SALT)
    assert (made.session, heard.session) == (SUBAGENT.child, SUBAGENT.child)
    assert bench.facts.rows == {SUBAGENT.child: 1}


def test_the_end_of_a_sub_agent_is_not_its_sessions() -> None:
    bench = Bench()
    gate_admin.register(bench.facts, 8, NOBODY_YET, OPENING)
    gate_admin.register(bench.facts, 9, SUBAGENT, OPENING)
    gate_admin.ending(bench.facts, SUBAGENT.child, "client")
    assert [bench.facts.principals[ref].ending for ref in (8, 9)] == ["", "client"]
    [ended] = gate_admin.ended(bench.facts, SUBAGENT.child, "client")
    assert ended.session == SUBAGENT.child
    assert bench.facts.quota.knows(SESSION)


def test_a_principal_is_registered_and_recorded() -> None:
    bench = Bench()
    made = gate_admin.register(bench.facts, 9, NOBODY_YET, OPENING)
    assert bench.facts.principals[9] == NOBODY_YET
    started = body(made)
    assert (made.kind, made.session) == (Kind.SESSION_STARTED, SESSION)
    assert (started.principal, started.workspace) == (NOBODY_YET.key, WORKSPACE)
    assert (started.mode, started.model, started.scripted) == ("guided", "p/m", False)


@pytest.mark.parametrize(
    ("ref", "fields"),
    [(9, {"key": SESSION_KEY.public}), (9, {"key": USER.public}), (PARENT, {})],
    ids=["a key in use", "a user key", "a ref in use"],
)
def test_two_principals_share_neither_key_nor_ref_and_none_has_the_user_s(ref: int, fields: dict[str, Any]) -> None:
    bench = Bench()
    before = dict(bench.facts.principals)
    with pytest.raises(TokenError) as caught:
        gate_admin.register(bench.facts, ref, msgspec.structs.replace(NOBODY_YET, **fields), OPENING)
    assert caught.value.code == "gate.principal-taken"
    assert bench.facts.principals == before


@pytest.mark.parametrize("scripted", [False, True])
def test_a_session_is_recorded_as_scripted_exactly_if_its_id_says_so(scripted: bool) -> None:
    bench = Bench()
    marked = msgspec.structs.replace(NOBODY_YET, session=session_id(SESSION, scripted=scripted))
    with pytest.raises(InternalError) as caught:
        gate_admin.register(bench.facts, 9, marked, Opening("guided", "p/m", scripted=not scripted))
    assert caught.value.code == "gate.session-mark"
    assert 9 not in bench.facts.principals
    made = gate_admin.register(bench.facts, 9, marked, Opening("guided", "p/m", scripted=scripted))
    assert is_scripted(made.session) is body(made).scripted is scripted


def test_a_principal_whose_start_cannot_be_recorded_is_none() -> None:
    bench = Bench()
    before = dict(bench.facts.principals)
    for principal, opening in (
        (msgspec.structs.replace(NOBODY_YET, key=b"short"), OPENING),
        (NOBODY_YET, Opening("\ud800", "p/m", scripted=False)),
    ):
        with pytest.raises(CanonError):
            gate_admin.register(bench.facts, 9, principal, opening)
    assert bench.facts.principals == before


def test_the_end_of_a_session_says_how_much_was_only_counted() -> None:
    bench = Bench()
    for code, count in (("gate.paused", 5), ("tool.unknown", 8), ("token.none", 1)):
        for _ in range(count):
            bench.facts.quota.count(SESSION, code)
    bench.facts.quota.count(b"T" * 16, "gate.paused")
    bench.facts.quota.wrote(SESSION, 10**9, denial=True)
    *counted, end = gate_admin.ended(bench.facts, SESSION, "finished")
    assert [(body(one).code, body(one).count) for one in counted] == [("gate.paused", 5)]  # 8 and 1 are recorded
    assert (end.kind, end.session, body(end).reason) == (Kind.SESSION_ENDED, SESSION, "finished")
    assert not bench.facts.quota.spent(SESSION)
    (again,) = gate_admin.ended(bench.facts, SESSION, "finished")
    assert again.kind == Kind.SESSION_ENDED


# --- sleep


def asleep() -> Bench:
    """A session that has started, said something and fallen asleep."""
    bench = Bench()
    gate_admin.register(bench.facts, 9, ONE_WHO_SLEEPS, OPENING)
    gate_admin.save(bench.facts, ONE_WHO_SLEEPS, (JournalRow(1, b"row"),), salt=SALT)
    gate_admin.release(bench.facts, 9, owing=False)
    return bench


def test_whoever_sleeps_is_no_principal_and_its_rows_and_its_share_stay() -> None:
    bench = asleep()
    assert 9 not in bench.facts.principals
    assert bench.facts.rows[SLEEPER] == 1
    taken = bench.facts.quota.has_room(SLEEPER, LOG_BYTES_PER_SESSION + LAST_BYTES_PER_SESSION)
    assert not taken


def test_nobody_falls_asleep_over_something_that_is_under_way() -> None:
    bench = Bench()
    gate_admin.register(bench.facts, 9, ONE_WHO_SLEEPS, OPENING)
    with pytest.raises(TokenError) as caught:
        gate_admin.release(bench.facts, 9, owing=True)
    assert caught.value.code == "gate.under-way"
    assert bench.facts.principals[9] == ONE_WHO_SLEEPS
    with pytest.raises(TokenError) as caught:
        gate_admin.release(bench.facts, 77, owing=False)
    assert caught.value.code == "gate.unknown-principal"


def test_whoever_wakes_is_who_they_were() -> None:
    bench = asleep()
    gate_admin.readmit(bench.facts, 10, ONE_WHO_SLEEPS)
    assert bench.facts.principals[10] == ONE_WHO_SLEEPS
    made = gate_admin.save(bench.facts, ONE_WHO_SLEEPS, (JournalRow(2, b"next"),), salt=SALT)
    assert body(made).first == 2


def test_a_session_that_is_over_does_not_wake_with_a_new_share() -> None:
    bench = asleep()
    assert [one.kind for one in gate_admin.finish(bench.facts, SLEEPER, "shutdown")] == [Kind.SESSION_ENDED]
    with pytest.raises(TokenError) as caught:
        gate_admin.readmit(bench.facts, 10, ONE_WHO_SLEEPS)
    assert caught.value.code == "gate.session-over"
    assert 10 not in bench.facts.principals


def test_nobody_wakes_twice() -> None:
    bench = asleep()
    gate_admin.readmit(bench.facts, 10, ONE_WHO_SLEEPS)
    with pytest.raises(TokenError) as caught:
        gate_admin.readmit(bench.facts, 11, ONE_WHO_SLEEPS)
    assert caught.value.code == "gate.principal-taken"


def test_only_a_session_that_sleeps_is_finished_from_outside() -> None:
    bench = asleep()
    gate_admin.readmit(bench.facts, 10, ONE_WHO_SLEEPS)
    assert gate_admin.finish(bench.facts, SLEEPER, "shutdown") == []
    gate_admin.release(bench.facts, 10, owing=False)
    assert len(gate_admin.finish(bench.facts, SLEEPER, "shutdown")) == 1
    assert gate_admin.finish(bench.facts, SLEEPER, "shutdown") == []
    assert SLEEPER not in bench.facts.rows


def test_who_ends_a_session_is_kept_with_the_principal_of_that_session_alone() -> None:
    bench = asleep()
    before = dict(bench.facts.principals)
    gate_admin.ending(bench.facts, SLEEPER, "client")  # nobody of it is awake
    assert bench.facts.principals == before
    gate_admin.readmit(bench.facts, 10, ONE_WHO_SLEEPS)
    gate_admin.ending(bench.facts, SLEEPER, "client")
    assert bench.facts.principals == {**before, 10: msgspec.structs.replace(ONE_WHO_SLEEPS, ending="client")}


# --- standing tokens


def take_in(raw: bytes, bench: Bench | None = None) -> Entry:
    facts = (bench or Bench()).facts
    taken, made = gate_admin.take_in(facts, raw, "signer", now_s=NOW, salt=SALT)
    assert taken.raw == raw
    return made


def test_a_standing_token_is_taken_in_whole() -> None:
    grant = token()
    made = take_in(grant.raw)
    granted = body(made)
    assert (granted.block, granted.issuer, granted.holder) == (grant.id, USER.public, HOLDER.public)
    assert (granted.workspace, granted.scope, granted.expires_s) == (WORKSPACE, Scope.WORKSPACE, NOW + DAY)
    assert granted.source == "signer"
    assert made.checkpoint
    assert made.payloads[0].data == grant.raw


def test_a_token_for_every_workspace_is_recorded_as_one_for_none() -> None:
    always = token(scope=Scope.ALWAYS, workspace=b"", tainted_ok=False)
    assert body(take_in(always.raw)).workspace == b"\0" * 32


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"aud": b"B" * 32}, "token.audience"),
        ({"scope": Scope.SESSION, "session": SESSION}, "token.scope"),
        ({"expires": NOW}, "token.expired"),
    ],
)
def test_what_has_no_business_being_kept_is_not(fields: dict[str, Any], code: str) -> None:
    with pytest.raises(TokenError) as caught:
        take_in(token(**fields).raw)
    assert caught.value.code == code


@pytest.mark.parametrize("target", ["token", "issuer", "holder"])
def test_what_was_revoked_is_not_taken_in_again(target: str) -> None:
    bench = Bench()
    grant = token()
    bench.facts.revoked.add({"token": grant.id, "issuer": USER.public, "holder": HOLDER.public}[target])
    with pytest.raises(TokenError) as caught:
        take_in(grant.raw, bench)
    assert caught.value.code == "token.revoked"


def test_a_token_of_a_stranger_is_not_taken_in() -> None:
    with pytest.raises(TokenError):
        take_in(issue(block(issuer=STRANGER.public), STRANGER))


# --- revocation


def revocation(signer: Any = USER, **fields: Any) -> bytes:
    made = Revocation(AUD, b"t" * 32, "token", NOW, signer.public)
    return sign_statement(Domain.REVOKE, msgspec.structs.replace(made, **fields), signer)


def test_a_revocation_acts_at_once_and_is_recorded_under_a_checkpoint() -> None:
    bench = Bench()
    lost: bytes = HOLDER.public
    made = gate_admin.revoke(bench.facts, revocation(kind="key", target=lost), salt=SALT)
    assert bench.facts.revoked == {lost}
    revoked = body(made)
    assert (revoked.target, revoked.kind, revoked.signer, made.checkpoint) == (lost, "key", USER.public, True)
    assert made.payloads[0].data == revocation(kind="key", target=lost)


@pytest.mark.parametrize(
    "raw",
    [revocation(STRANGER), revocation(aud=b"B" * 32), revocation()[:-1], b""],
    ids=["stranger", "aud", "cut", "none"],
)
def test_a_revocation_that_is_none_changes_nothing(raw: bytes) -> None:
    bench = Bench()
    with pytest.raises(AstridError):
        gate_admin.revoke(bench.facts, raw, salt=SALT)
    assert bench.facts.revoked == set()


def test_a_revocation_that_cannot_be_recorded_changes_nothing() -> None:
    bench = Bench()
    with pytest.raises(CanonError):
        gate_admin.revoke(bench.facts, revocation(), salt=b"short")
    assert bench.facts.revoked == set()


# --- journals and prompts

ROWS = (JournalRow(4, b"one"), JournalRow(5, b"two"))


def after_three() -> Facts:
    """A session has saved three rows."""
    facts = Bench().facts
    facts.rows[SESSION] = 3
    return facts


def test_rows_of_a_journal_leave_their_digest_in_the_log() -> None:
    facts = after_three()
    made = gate_admin.save(facts, NOBODY_YET, ROWS, salt=SALT)
    journal = body(made)
    sealed, payload = seal(gate_admin.rows_digest(ROWS), SALT)
    assert (journal.first, journal.count, journal.rows) == (4, 2, sealed)
    assert (made.rows, made.session, made.payloads) == (ROWS, SESSION, (payload,))
    assert body(gate_admin.save(facts, NOBODY_YET, (), salt=SALT)).count == 0
    assert facts.rows == {SESSION: 5}
    gate_admin.ended(facts, SESSION, "finished")
    assert facts.rows == {}


def test_rows_that_were_erased_cannot_be_guessed_from_the_log() -> None:
    """Threat 26: a digest without a secret in it would tell whoever tries out what a row may have held."""
    one, other = (gate_admin.save(after_three(), NOBODY_YET, ROWS, salt=bytes([n]) * 32) for n in (1, 2))
    assert body(one).rows.commitment != body(other).rows.commitment
    assert not [made for made in (one, other) if gate_admin.rows_digest(ROWS) in made.body]


@pytest.mark.parametrize(
    "rows",
    [
        (JournalRow(4, b"one"), JournalRow(5, b"twO")),
        (JournalRow(4, b"one"), JournalRow(6, b"two")),
        (JournalRow(5, b"two"), JournalRow(4, b"one")),
        (JournalRow(4, b"onet"), JournalRow(5, b"wo")),
        (JournalRow(4, b"one"),),
        (),
    ],
)
def test_an_edited_row_is_noticed(rows: tuple[JournalRow, ...]) -> None:
    """Threat 29."""
    assert gate_admin.rows_digest(rows) != gate_admin.rows_digest(ROWS)


def test_more_rows_than_a_record_can_count_are_refused() -> None:
    facts = Bench().facts
    with pytest.raises(CanonError) as caught:
        gate_admin.save(facts, NOBODY_YET, tuple(JournalRow(n, b"") for n in range(1, 2**16 + 1)), salt=SALT)
    assert (caught.value.code, facts.rows) == ("canon.no-encoding", {})


@pytest.mark.parametrize("numbers", [(3,), (5,), (4, 4), (4, 6), (5, 4), (0,), (-4,), (2**64,)])
def test_a_row_that_is_not_the_next_one_is_refused(numbers: tuple[int, ...]) -> None:
    """Stored twice it would end the log's writer."""
    facts = after_three()
    with pytest.raises(CanonError) as caught:
        gate_admin.save(facts, NOBODY_YET, tuple(JournalRow(n, b"") for n in numbers), salt=SALT)
    assert (caught.value.code, facts.rows[SESSION]) == ("record.rows", 3)


def test_what_a_session_says_of_itself_has_an_end_too() -> None:
    """Beyond its share it may say how its turn ends, and that is all; what is refused is not counted."""
    facts = after_three()
    facts.quota.wrote(SESSION, LOG_BYTES_PER_SESSION + LAST_BYTES_PER_SESSION - 300)
    gate_admin.save(facts, NOBODY_YET, ROWS, salt=SALT)
    for _ in range(2):
        with pytest.raises(CanonError) as caught:
            gate_admin.save(facts, NOBODY_YET, (JournalRow(6, b"x" * 300),), salt=SALT)
        assert (caught.value.code, facts.rows[SESSION]) == ("record.share", 5)
        with pytest.raises(CanonError):
            gate_admin.prompted(facts, NOBODY_YET, 3, 2, b"x" * 300, salt=SALT)
    assert facts.quota.has_room(SESSION, 20)


def test_an_image_is_kept_beside_the_record_that_says_so_and_counts_against_the_sessions_share() -> None:
    facts = Bench().facts
    facts.quota.begin(SLEEPER)
    made = gate_admin.attach(facts, SLEEPER, b"an image", salt=SALT)
    assert (made.kind, made.session, [one.data for one in made.payloads]) == (Kind.ATTACHED, SLEEPER, [b"an image"])
    facts.quota.wrote(SLEEPER, LOG_BYTES_PER_SESSION + LAST_BYTES_PER_SESSION - 300)
    with pytest.raises(CanonError) as caught:
        gate_admin.attach(facts, SLEEPER, b"x" * 300, salt=SALT)
    assert caught.value.code == "record.share"


def test_no_image_is_kept_for_a_session_that_is_over() -> None:
    with pytest.raises(TokenError) as caught:
        gate_admin.attach(Bench().facts, SLEEPER, b"an image", salt=SALT)
    assert caught.value.code == "gate.session-over"


def test_one_that_is_awake_is_not_erased_nor_one_whose_sub_agent_is() -> None:
    facts = Bench().facts
    gate_admin.register(facts, 9, SUBAGENT, OPENING)
    for session in (SESSION, SUBAGENT.child):
        with pytest.raises(TokenError) as caught:
            gate_admin.erase(facts, Erasure(session, ()), 1, 0)
        assert caught.value.code == "gate.session-awake"


@pytest.mark.parametrize("ended", [False, True])
def test_what_is_erased_is_recorded_and_one_that_was_cut_off_is_over(*, ended: bool) -> None:
    facts = Bench().facts
    if not ended:
        facts.quota.begin(SLEEPER)
        facts.rows[SLEEPER] = 3
    erasure = Erasure(SLEEPER, ((5, 1),))
    erased, *over = gate_admin.erase(facts, erasure, 3, 1)
    assert (erased.session, erased.erases, body(erased).rows, body(erased).texts) == (SLEEPER, erasure, 3, 1)
    assert [one.kind for one in over] == ([] if ended else [Kind.SESSION_ENDED])
    assert not facts.quota.knows(SLEEPER)
    assert SLEEPER not in facts.rows


def inherited(*batches: tuple[bytes, ...]) -> list[Entry]:
    return gate_admin.inherited(SLEEPER, batches, salt=SALT)


def test_what_a_session_inherits_is_a_record_a_batch_and_its_own_rows_come_next() -> None:
    facts = Bench().facts
    made = inherited((b"a", b"b"), (b"c",))
    assert [(body(one).first, body(one).count, one.session) for one in made] == [(1, 2, SLEEPER), (3, 1, SLEEPER)]
    assert [row.data for one in made for row in one.rows] == [b"a", b"b", b"c"]
    assert made[0].payloads[0].salt != made[1].payloads[0].salt
    assert facts.rows.get(SLEEPER) is None
    gate_admin.inherit(facts, made)
    assert facts.rows[SLEEPER] == 3
    assert body(gate_admin.save(facts, ONE_WHO_SLEEPS, (JournalRow(4, b"d"),), salt=SALT)).first == 4


def test_what_a_session_inherits_is_of_its_share_of_the_log() -> None:
    facts = Bench().facts
    gate_admin.inherit(facts, inherited((b"x" * 60 * 2**20,)))
    assert not facts.quota.has_room(SLEEPER, 8 * 2**20)
    with pytest.raises(CanonError) as caught:
        inherited((b"x" * LOG_BYTES_PER_SESSION,))
    assert caught.value.code == "record.inherited"


def test_what_somebody_said_is_recorded_with_the_label_it_got() -> None:
    made = gate_admin.prompted(Bench().facts, NOBODY_YET, 3, 2, b"CANARY", salt=SALT)
    prompt = body(made)
    assert (prompt.turn, prompt.integrity, prompt.text.length, made.session) == (3, 2, 6, SESSION)
    assert b"CANARY" not in made.body
    assert made.payloads[0].data == b"CANARY"


# --- after a crash


def test_a_permit_without_an_outcome_is_settled_in_full_and_told_as_unknown() -> None:
    bench = Bench()
    for micros in (5, 7):
        bench.propose()
        bench.prepared(made=preparation(max_micros=micros))
    facts = bench.facts
    for made in bench.log:
        permit = body(made)
        charge = bench.gate.pending[permit.ref].permit.charge
        facts.open_permits[permit.ref] = Open(permit.ref, made.session, permit, charge)
    records = gate_admin.unknown_outcomes(facts, salt=SALT)
    facts.settle_unknown()
    outcomes = [body(made) for made in records]
    assert [(one.ref, one.permit_seq, one.spent) for one in outcomes] == [(1, 1, 5), (2, 2, 7)]
    assert all((one.effect, one.unknown, one.is_error) == ("maybe", True, True) for one in outcomes)
    assert facts.ledger.purses[b"session" + SESSION].spent == 12
    assert facts.ledger.purses[b"session" + SESSION].reserved == 0
    assert facts.open_permits == {}
    assert {made.session for made in records} == {SESSION}


@pytest.mark.parametrize(("size", "kinds"), [(0, [Kind.GENESIS, Kind.BOOT]), (9, [Kind.BOOT])], ids=["new", "old"])
def test_a_start_records_itself_and_then_what_the_last_run_left_open(size: int, kinds: list[Kind]) -> None:
    bench = Bench()
    bench.propose()
    bench.prepared(made=preparation(max_micros=5))
    (made,) = bench.log
    charge = bench.gate.pending[body(made).ref].permit.charge
    bench.facts.open_permits[1] = Open(1, made.session, body(made), charge)
    keys = LogKeys(AUD, b"L" * 32, USER.public, b"T" * 32)
    boot = Boot("1", b"p" * 32, b"c" * 32, b"d" * 32)
    first = gate_admin.begin(bench.facts, keys, boot, size=size, salt=SALT)
    assert [one.kind for one in first] == [*kinds, Kind.OUTCOME]
    assert body(first[-2]) == boot
    assert [body(one) for one in first[:-2]] == [Genesis(1, AUD, b"T" * 32)] * (size == 0)
    assert bench.facts.ledger.purses[b"session" + SESSION].spent == 5
    assert bench.facts.open_permits == {}


def test_a_start_ends_the_sub_agents_of_the_last_run_and_nobody_else() -> None:
    bench = Bench()
    others = [
        msgspec.structs.replace(
            SUBAGENT, key=key(30 + number).public, child=session_id(bytes([number] * 16), scripted=False)
        )
        for number in range(2)
    ]
    log = [gate_admin.register(bench.facts, 20 + place, one, OPENING) for place, one in enumerate([SUBAGENT, *others])]
    log += [gate_admin.register(bench.facts, 30, ONE_WHO_SLEEPS, OPENING)]
    log += gate_admin.ended(bench.facts, others[0].child, "done")
    later = Bench().facts
    for seq, one in enumerate(log, 1):
        later.replay(Frame(b"p" * 32, seq, 1, 5, int(one.kind), one.session, one.body), body(one))
    boot = Boot("1", b"p" * 32, b"c" * 32, b"d" * 32)
    first = gate_admin.begin(later, LogKeys(AUD, b"L" * 32, USER.public, b"T" * 32), boot, size=9, salt=SALT)
    assert [(one.kind, one.session) for one in first[1:]] == [
        (Kind.SESSION_ENDED, SUBAGENT.child),
        (Kind.SESSION_ENDED, others[1].child),
    ]
    assert [later.quota.knows(one.own) for one in (SUBAGENT, *others, ONE_WHO_SLEEPS)] == [False, False, False, True]
    assert later.orphans == {}


def test_the_unknown_outcome_s_payload_lies_where_that_of_any_outcome_does() -> None:
    bench = Bench()
    bench.propose()
    bench.prepared()
    (made,) = bench.log
    permit = body(made)
    charge = bench.gate.pending[permit.ref].permit.charge
    bench.facts.open_permits[permit.ref] = Open(1, made.session, permit, charge)
    (unknown,) = gate_admin.unknown_outcomes(bench.facts, salt=SALT)
    bench.sync()
    bench.executed()
    assert unknown.payloads[0].slot == bench.log[1].payloads[0].slot != made.payloads[0].slot


def test_the_child_s_key_is_not_the_parent_s() -> None:
    """What the examples of this page lean on."""
    assert CHILD_KEY.public != SESSION_KEY.public
