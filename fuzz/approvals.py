"""INVARIANT: an answer counts exactly if it is to an open question, in time, over what was shown, by a key that may
give that much; and its token is worth something only once the record of it is durable, once if it was said once.

``tests/fakes/naive_answers`` draws answers, and says by the words of the protocol which of them count.  The machine
lets the whole guard live through questions while somebody presents every token that was ever signed, in vain ones too.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from astrid.core.answers import decode_answer
from astrid.core.approval import Approvals, Record, Resolve
from astrid.core.canon import Domain, decode, digest, encode
from astrid.core.chain import decode_body, decode_frame
from astrid.core.question import question_bytes
from astrid.core.records import Kind
from astrid.core.tokens import Assurance, Block, Grant, Scope, SignedBlock, block_id
from astrid.errors import TokenError
from tests.fakes.authority import (
    CHILD_KEY,
    DAY,
    DEVICE_KEY,
    HOLDER,
    NOW,
    PLAIN_USER,
    RELAY_KEY,
    SALT,
    STRANGER,
    USER,
    device_token,
    no,
    yes,
)
from tests.fakes.chains import KEYS, Tape, raw
from tests.fakes.driver_bench import ASKS, Bench, principal
from tests.fakes.gate_bench import SECOND, STANDING, preparation
from tests.fakes.naive_answers import ROOTS as TWO_DEVICES
from tests.fakes.naive_answers import some_answer, some_question, why_not

TIMES = (NOW, NOW, NOW, NOW + 299, NOW + 300, NOW + DAY - 1, NOW + DAY, NOW + 2 * DAY - 1, NOW + 2 * DAY)
tapes = st.binary(min_size=400, max_size=400).map(Tape)


@given(tapes)
def test_an_answer_counts_exactly_if_every_word_of_the_protocol_holds_for_it(tape: Tape) -> None:
    machine = Approvals(roots=TWO_DEVICES, keeper=HOLDER.public)
    asked = [some_question(tape, number) for number in (1, 2, 3)]
    for ref, (question, _) in enumerate(asked):
        machine.put(ref, question_bytes(question), SALT)
    asked = [one for place, one in enumerate(asked) if one[0].call not in [other.call for other, _ in asked[:place]]]
    assert list(machine.open) == [question.qid for question, _ in asked], "of two about one call, the first is put"
    standing = {question.qid: "putting" for question, _ in asked}
    for question, _ in asked[:2]:
        machine.recorded(question.qid)
        standing[question.qid] = "open"
    for _ in range(8):
        question, about = tape.pick(asked)
        said = some_answer(tape, question, about)
        if tape.one_in(8):
            # Word for word, but to another question.
            answer = msgspec.structs.replace(said.answer, qid=tape.pick(asked)[0].qid)
            signature = KEYS.get(said.signer, STRANGER).sign(Domain.APPROVAL, encode(answer))
            said = said._replace(answer=answer, signature=signature, genuine=True)
        now = tape.pick(TIMES)
        meant = next((one for one in asked if one[0].qid == said.answer.qid), asked[0])
        counts = standing.get(said.answer.qid) == "open" and not list(why_not(said, *meant, now))
        try:
            made = machine.answer(said.raw(), now_s=now, salt=SALT)
        except TokenError as error:
            assert not counts, f"refused, and should count: {error.code}"
            continue
        assert counts, f"counts, and should not: {list(why_not(said, *meant, now))}"
        assert [type(one) for one in made] == [Record], "there is no token before the record of it is durable"
        standing[said.answer.qid] = "settling"
        if tape.one_in(2):
            continue
        (end,) = machine.recorded(said.answer.qid)
        assert isinstance(end, Resolve)
        assert end.token == (raw(said.chain) if said.chain else b"")
        assert not said.chain or end.block == digest(Domain.BLOCK, said.chain[-1].payload)
        del standing[said.answer.qid]


# --- with the gate and the log

LOOKS = (ASKS, ASKS, preparation(), preparation("b.txt"))
LIES = ("stranger", "forged", "shown", "plain", "relay", "wider", "scope", "holder", "another's", "narrow device")
HAPPENINGS = ("ask", "ask", "answer", "answer", "lie", "use", "use", "use", "step", "step", "write", "run", "other")
OTHERS = ("crash", "crash", "crash", "nobody comes", "time", "time", "session ends")


class Answers(RuleBasedStateMachine):
    """See the module.  ``signed`` is every token that somebody signed, ``good`` those that approvals took: of each the
    scope and the holder of its last block, by its id.
    """

    def __init__(self) -> None:
        super().__init__()
        self.signed: dict[bytes, None] = {STANDING.raw: None}
        self.good: dict[bytes, tuple[int, bytes]] = {}
        self.live(Bench())

    def live(self, bench: Bench) -> None:
        self.bench, self.driver = bench, bench.driver
        self.looked_at, self.settled = 0, dict[bytes, int]()
        self.used: dict[bytes, int] = {}
        self.other = self.driver.register(principal(key=CHILD_KEY.public, session=b"X" * 16))
        self.look_at_records()

    @rule(data=st.data(), what=st.sampled_from(HAPPENINGS))
    def act(self, data: st.DataObject, what: str) -> None:
        driver, bench = self.driver, self.bench
        bench.tool.look = data.draw(st.sampled_from(LOOKS))
        match what:
            case "ask":
                fresh = bench.tool.look is ASKS
                driver.propose(bench.me, "read_file", b"{}", *([STANDING.raw] if fresh else []))
            case "answer":
                self.answer(data)
            case "lie":
                self.lie(data, data.draw(st.sampled_from(LIES)))
            case "use":
                # All there are, or the last ones alone: also by somebody whose they are not.
                mine = list(self.signed)[-data.draw(st.integers(1, 30)) :]
                driver.propose(data.draw(st.sampled_from((bench.me, bench.me, self.other))), "read_file", b"{}", *mine)
            case "step":
                driver.step()
            case "write":
                driver.commit(1)
            case "run":
                self.run()
            case _:
                self.something_else(data.draw(st.sampled_from(OTHERS)))
        self.look_at_records()

    def run(self) -> None:
        while self.driver.step() or self.driver.commit(1):
            self.look_at_records()

    def something_else(self, what: str) -> None:
        match what:
            case "crash":
                self.live(self.bench.crash())
            case "nobody comes":
                self.driver.nobody_came()
            case "session ends":
                self.driver.end_session(self.other)
                self.other = self.driver.register(principal(key=CHILD_KEY.public, session=b"X" * 16))
            case _:
                self.driver.now_ns += 3600 * SECOND
                self.driver.expire()

    # --- answers

    def waiting(self, data: st.DataObject) -> tuple[bytes, bytes] | None:
        found = [(qid, one.raw) for qid, one in self.driver.approvals.waiting()]
        return data.draw(st.sampled_from(found)) if found else None

    def answer(self, data: st.DataObject) -> None:
        found = self.waiting(data)
        if found is None:
            return
        qid, asked = found
        match data.draw(st.sampled_from(("yes", "yes", "session", "no", "device", "twice"))):
            case "no":
                self.say(no(asked, qid=qid))
            case "device":
                parent = device_token(DEVICE_KEY, grants=(Grant("file://w/**", 0, 3, 1, b""),))
                self.say(yes(asked, by=DEVICE_KEY, assurance=Assurance.DEVICE, parent=parent, qid=qid))
            case "session":
                self.try_to_say(lambda: yes(asked, Scope.SESSION, qid=qid))
            case "twice":
                self.say(yes(asked, qid=qid))
                assert not self.say(yes(asked, qid=qid, changes={"nonce": b"2" * 16})), "a question is answered once"
            case _:
                self.say(yes(asked, qid=qid))

    def lie(self, data: st.DataObject, lie: str) -> None:
        found = self.waiting(data)
        if found is None:
            return
        qid, asked = found
        weak = Grant("file://w/nothing", 0, 3, 1, b"")
        device = device_token(DEVICE_KEY, grants=(weak,))
        lies = {
            "stranger": lambda: yes(asked, qid=qid, by=STRANGER),
            "forged": lambda: yes(asked, qid=qid, by=STRANGER, signer=USER.public),
            "shown": lambda: yes(asked, qid=qid, shown=b"x" * 32),
            "plain": lambda: yes(asked, qid=qid, by=PLAIN_USER, assurance=Assurance.SEALED),
            "relay": lambda: yes(asked, qid=qid, by=RELAY_KEY, assurance=Assurance.DEVICE),
            "wider": lambda: yes(asked, qid=qid, changes={"grants": (Grant("file://w/**", 3, 0, 3, b""),)}),
            "scope": lambda: yes(asked, Scope.ONCE, qid=qid, decision=2),
            "holder": lambda: yes(asked, qid=qid, changes={"holder": STRANGER.public}),
            "another's": lambda: yes(asked, qid=bytes(16)),
            "narrow device": lambda: yes(asked, qid=qid, by=DEVICE_KEY, assurance=Assurance.DEVICE, parent=device),
        }
        self.try_to_say(lies[lie], lie=True)

    def try_to_say(self, made: Any, *, lie: bool = False) -> None:
        """What cannot even be made is no attack."""
        try:
            said = made()
        except TokenError:
            return
        assert not (self.say(said) and lie), "a lie was taken"

    def say(self, said: bytes) -> bool:
        """Whether approvals took the answer.  Its token is known to everybody from now on, whatever became of it."""
        token = decode_answer(said)[0].token
        if token:
            self.signed[token] = None
        try:
            self.driver.answer(said)
        except TokenError:
            return False
        if token:
            leaf = leaf_of(token)
            self.good[leaf[0]] = leaf[1:]
        return True

    # --- what holds

    def look_at_records(self) -> None:
        """Of each new permit: what it rests on was settled durably before it was so much as written down."""
        durable = len(self.driver.disk.records)
        frames = [*self.driver.disk.frames(), *(frame for frame, _, _ in self.driver.unwritten)]
        for seq, frame in enumerate(frames[self.looked_at :], self.looked_at + 1):
            kind, body = decoded(frame)
            if kind == Kind.SETTLED:
                assert body.qid not in self.settled, "a question ends once"
                self.settled[body.qid] = seq
                if any(body.block):
                    self.settled[body.block] = seq
            elif kind == Kind.PERMIT and body.token != STANDING.id:
                assert body.token in self.good, "a permit rests on an answer that nobody took"
                assert self.settled.get(body.token, seq) < seq
                fresh = seq > durable  # of what a crash left, nobody can tell when it came
                assert not fresh or self.settled[body.token] <= durable, "a token before its record was durable"
                assert body.principal == self.good[body.token][1]
                self.used[body.token] = self.used.get(body.token, 0) + 1
        self.looked_at = len(frames)

    @invariant()
    def what_was_said_once_is_done_once(self) -> None:
        ledger = self.driver.facts.ledger.used
        assert all(times == ledger[block] for block, times in self.used.items())
        assert all(times == 1 for block, times in self.used.items() if self.good[block][0] == Scope.ONCE)

    def teardown(self) -> None:
        self.run()
        after = self.bench.crash()
        after.driver.run()
        for qid, one in after.driver.approvals.waiting():
            assert qid not in self.settled, "an answered question is open again"
            assert one.raw


@lru_cache(maxsize=4096)
def decoded(data: bytes) -> tuple[int, Any]:
    frame = decode_frame(data)
    return frame.kind, decode_body(frame)


@lru_cache(maxsize=4096)
def leaf_of(token: bytes) -> tuple[bytes, int, bytes]:
    """The id of a chain's last block, how long it stands, and whose it is."""
    payload = decode(token, tuple[SignedBlock, ...], max_bytes=2**16, what="a token")[-1].payload
    block = decode(payload, Block, max_bytes=2**16, what="a block")
    return block_id(payload), block.scope, block.holder


Answers.TestCase.settings = settings(stateful_step_count=60)
TestAnswers = Answers.TestCase
