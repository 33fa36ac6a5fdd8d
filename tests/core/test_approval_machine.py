"""Questions against a naive model: any order of puts, answers, lies, expiries, departures and restarts."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from astrid.core.approval import (
    MAX_DENIALS,
    MAX_OPEN_PER_SESSION,
    Approvals,
    Joined,
    Notify,
    Record,
    Refuse,
    Resolve,
    Stage,
    Verdict,
)
from astrid.core.blocks import Assurance, Grant, Scope
from astrid.core.call import Need
from astrid.core.keys import SigningKey
from astrid.core.question import question_digest
from astrid.core.tokens import verify_chain
from astrid.errors import TokenError
from tests.fakes.authority import (
    DEVICE_KEY,
    HOLDER,
    NOW,
    PLAIN_USER,
    RELAY_KEY,
    ROOTS,
    SALT,
    STRANGER,
    USER,
    WRITE,
    ask,
    call,
    device_token,
    no,
    yes,
)

SESSIONS = (b"S" * 16, b"X" * 16)
TOOLS = ("write_file", "bash")
WIDE = (Grant("file://**", WRITE, 0, 1, b"T" * 32),)


@dataclass
class Asked:
    """What the model knows of a question."""

    raw: bytes
    session: bytes
    tool: str
    wish: int
    expires: int
    stage: str = "putting"
    refs: list[int] = field(default_factory=list)
    end: str = ""


class Questions(RuleBasedStateMachine):
    """``log`` is what would be on disk: questions whose record is durable, and whether their end is."""

    def __init__(self) -> None:
        super().__init__()
        self.now = NOW
        self.next = 0
        self.asked: dict[bytes, Asked] = {}
        self.ended: dict[bytes, str] = {}
        self.refused: set[int] = set()
        self.resolved: dict[int, bytes] = {}
        self.left: set[int] = set()
        self.denials: dict[tuple[bytes, str], int] = {}
        self.durable_denials: dict[tuple[bytes, str], int] = {}

    @initialize()
    def start(self) -> None:
        self.machine = Approvals(roots=ROOTS, keeper=HOLDER.public)

    # --- proposals

    @rule(session=st.sampled_from(SESSIONS), tool=st.sampled_from(TOOLS), wish=st.integers(0, 4))
    def put(self, session: bytes, tool: str, wish: int) -> None:
        self.next += 1
        ref, qid = self.next, self.next.to_bytes(16, "big")
        made = call(session=session, tool=tool, needs=(Need(f"file://w/{wish}", WRITE),))
        raw = ask(made, qid=qid, asked=self.now, expires=self.now + 300)
        effects = self.machine.put(ref, raw, SALT)
        equal = [
            (other, one)
            for other, one in self.asked.items()
            if (one.session, one.tool, one.wish) == (session, tool, wish) and one.stage != "settling"
        ]
        mine = [one for one in self.asked.values() if one.session == session]
        if equal:
            ((other, one),) = equal
            one.refs.append(ref)
            assert effects == ([Joined(ref, other)] if one.stage == "open" else [])
        elif self.denials.get((session, tool), 0) >= MAX_DENIALS:
            assert [type(effect) for effect in effects] == [Refuse]
            assert effects[0].code == "approval.said-no"  # type: ignore[union-attr]
            self.refused.add(ref)
        elif len(mine) >= MAX_OPEN_PER_SESSION:
            assert [type(effect) for effect in effects] == [Refuse]
            assert effects[0].code == "approval.too-many"  # type: ignore[union-attr]
            self.refused.add(ref)
        else:
            assert [type(effect) for effect in effects] == [Record]
            self.asked[qid] = Asked(raw, session, tool, wish, self.now + 300, refs=[ref])

    @precondition(lambda self: self.next)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        ref = data.draw(st.integers(1, self.next))
        self.machine.leave(ref)
        for one in self.asked.values():
            if ref in one.refs:
                one.refs.remove(ref)
                self.left.add(ref)

    # --- records

    @precondition(lambda self: any(one.stage != "open" for one in self.asked.values()))
    @rule(data=st.data())
    def record_is_durable(self, data: st.DataObject) -> None:
        qid = data.draw(st.sampled_from([qid for qid, one in self.asked.items() if one.stage != "open"]))
        one = self.asked[qid]
        (effect,) = self.machine.recorded(qid)
        if one.stage == "putting":
            assert effect == Notify(qid, one.raw, tuple(one.refs))
            one.stage = "open"
            return
        assert isinstance(effect, Resolve)
        assert (effect.qid, effect.session) == (qid, one.session)
        assert effect.refs == tuple(one.refs)
        assert (effect.verdict.name.lower() if effect.verdict is not None else "expired") == one.end
        assert bool(effect.token) is (one.end not in ("deny", "expired"))
        if effect.token:
            token = verify_chain(effect.token, ROOTS)
            assert (token.id, token.leaf.question) == (effect.block, question_digest(one.raw))
        if one.end == "deny":
            key = (one.session, one.tool)
            self.durable_denials[key] = self.durable_denials.get(key, 0) + 1
        for ref in effect.refs:
            assert ref not in self.resolved
            self.resolved[ref] = qid
        del self.asked[qid]
        self.ended[qid] = one.end

    # --- answers

    def open_question(self, data: st.DataObject) -> tuple[bytes, Asked] | None:
        live = [(qid, one) for qid, one in self.asked.items() if one.stage == "open" and self.now < one.expires]
        return data.draw(st.sampled_from(live)) if live else None

    @rule(data=st.data(), verdict=st.sampled_from(Verdict), who=st.sampled_from(("user", "device")))
    def somebody_answers(self, data: st.DataObject, verdict: Verdict, who: str) -> None:
        found = self.open_question(data)
        if found is None:
            return
        qid, one = found
        if verdict is Verdict.DENY:
            raw = no(one.raw, qid=qid)
        elif who == "device" and verdict is not Verdict.ALWAYS:
            parent = device_token(DEVICE_KEY)
            raw = yes(one.raw, Scope(verdict - 1), by=DEVICE_KEY, assurance=Assurance.DEVICE, parent=parent, qid=qid)
        else:
            raw = yes(one.raw, Scope(verdict - 1), qid=qid)
        (effect,) = self.machine.answer(raw, now_s=self.now, salt=SALT)
        assert isinstance(effect, Record)
        assert effect.qid == qid
        one.stage, one.end = "settling", verdict.name.lower()
        if verdict is Verdict.DENY:
            key = (one.session, one.tool)
            self.denials[key] = self.denials.get(key, 0) + 1

    @rule(
        data=st.data(), lie=st.sampled_from(("stranger", "forged", "shown", "plain", "relay", "wider", "scope", "self"))
    )
    def somebody_lies(self, data: st.DataObject, lie: str) -> None:
        found = self.open_question(data)
        if found is None:
            return
        qid, one = found
        self.refuses(self.lying(lie, one.raw, qid))

    def lying(self, lie: str, raw: bytes, qid: bytes) -> bytes:
        match lie:
            case "stranger":
                return no(raw, by=STRANGER, qid=qid)
            case "forged":
                return no(raw, by=STRANGER, qid=qid, signer=USER.public)
            case "shown":
                return yes(raw, qid=qid, shown=b"x" * 32)
            case "plain":
                return no(raw, by=PLAIN_USER, qid=qid, assurance=Assurance.SEALED)
            case "relay":
                return no(raw, by=RELAY_KEY, qid=qid, assurance=Assurance.DEVICE)
            case "wider":
                return yes(raw, Scope.SESSION, qid=qid, changes={"grants": WIDE})
            case "scope":
                return yes(raw, Scope.SESSION, qid=qid, decision=Verdict.ONCE)
            case _:
                return yes(raw, qid=qid, changes={"holder": HOLDER.public})

    def refuses(self, raw: bytes) -> None:
        before = dict(self.machine.open)
        with pytest.raises(TokenError):
            self.machine.answer(raw, now_s=self.now, salt=SALT)
        assert self.machine.open == before

    @precondition(lambda self: len(self.asked) > 1)
    @rule(data=st.data())
    def somebody_answers_one_question_with_the_answer_to_another(self, data: st.DataObject) -> None:
        one, other = data.draw(st.permutations(sorted(self.asked)))[:2]
        self.refuses(yes(self.asked[one].raw, qid=other))

    @precondition(lambda self: any(one.stage != "open" for one in self.asked.values()))
    @rule(data=st.data(), by=st.sampled_from((USER, STRANGER)))
    def somebody_answers_too_early_or_again(self, data: st.DataObject, by: SigningKey) -> None:
        qid = data.draw(st.sampled_from([qid for qid, one in self.asked.items() if one.stage != "open"]))
        self.refuses(no(self.asked[qid].raw, by=by, qid=qid))

    @precondition(lambda self: self.ended)
    @rule(data=st.data())
    def somebody_answers_what_is_over(self, data: st.DataObject) -> None:
        self.refuses(no(ask(), qid=data.draw(st.sampled_from(sorted(self.ended)))))

    # --- time

    @rule(seconds=st.sampled_from((1, 100, 299, 300)))
    def time_passes(self, seconds: int) -> None:
        self.now += seconds
        over = [one for one in self.asked.values() if one.stage == "open" and one.expires <= self.now]
        if over:
            qid = next(qid for qid, one in self.asked.items() if one is over[0])
            self.refuses(yes(over[0].raw, qid=qid))
        effects = self.machine.expire(now_s=self.now, salt=SALT)
        assert len(effects) == len(over)
        for one in over:
            one.stage, one.end = "settling", "expired"

    @rule()
    def the_daemon_restarts(self) -> None:
        self.machine = Approvals(roots=ROOTS, keeper=HOLDER.public)
        for qid, one in list(self.asked.items()):
            if one.stage == "putting":
                del self.asked[qid]  # nobody was ever told
                continue
            # What was being settled was not durable: it never happened.
            one.stage, one.end, one.refs = "open", "", []
            assert self.machine.restore(one.raw, now_s=self.now) is (self.now < one.expires)
        self.denials = dict(self.durable_denials)
        for (session, tool), times in self.durable_denials.items():
            for _ in range(times):
                self.machine.denied(session, tool)

    # --- always

    @invariant()
    def the_machine_knows_what_the_model_knows(self) -> None:
        stages = {Stage.PUTTING: "putting", Stage.OPEN: "open", Stage.SETTLING: "settling"}
        known = {qid: (stages[one.stage], one.refs, one.raw) for qid, one in self.machine.open.items()}
        assert known == {qid: (one.stage, tuple(one.refs), one.raw) for qid, one in self.asked.items()}
        assert [qid for qid, _ in self.machine.waiting()] == [q for q, one in self.asked.items() if one.stage == "open"]

    @invariant()
    def no_session_has_more_than_three_questions(self) -> None:
        for session in SESSIONS:
            assert sum(one.session == session for one in self.machine.open.values()) <= MAX_OPEN_PER_SESSION

    @invariant()
    def no_proposal_ends_twice(self) -> None:
        assert not self.resolved.keys() & (self.refused | self.left)


Questions.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestQuestions = Questions.TestCase
