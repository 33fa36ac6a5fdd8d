"""INVARIANT: nothing starts without its own durable permit (I1) or after a denial (I2), no cap breaks (I3), and each
proposal ends exactly once (I5), in whatever order messages come, hosts die and answers are late or forged.

``Lives`` lets calls live as they do, with everything that may go wrong on the way.  ``Noise`` adds what nobody sends in
order: any message about any call, at any stage, from anybody.  Both watch the log and what principals were told
(``tests/fakes/gate_story``).
"""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import rule

from astrid.core.gate_messages import Answered, Cancel, Executed, Progress, Put, Unprepared
from astrid.core.gate_state import Stage
from tests.fakes.authority import SESSION
from tests.fakes.gate_bench import BANK, CHILD, FILES, MODEL, PARENT
from tests.fakes.gate_bench import STRANGER as NOBODY
from tests.fakes.gate_story import PREPARED, Story

EVERYBODY = (FILES, MODEL, BANK, PARENT, CHILD, NOBODY, 0)
KINDS = ("prepared", "unprepared", "executed", "executed", "progress", "put", "defer", "answered", "cancel", "gone")
MONEY = (0, 1, 50, 70, 10**9, -1, 2**64, -(2**70))


class Lives(Story):
    """Calls, in the order in which they live."""


class Noise(Story):
    """The same, and messages about any call from anybody."""

    @rule(data=st.data(), kind=st.sampled_from(KINDS), sender=st.sampled_from(EVERYBODY))
    def anything(self, data: st.DataObject, kind: str, sender: int) -> None:
        ref = data.draw(
            st.sampled_from((*self.pending(*Stage), *self.pending(Stage.RUNNING), 0, self.gate._next_ref, 1))
        )
        pending = self.gate.pending.get(ref)
        if pending is not None and data.draw(st.booleans()):
            sender = pending.tool.host
        stage = None if pending is None else pending.stage
        host = pending is not None and pending.tool.host == sender
        made = getattr(self, f"send_{kind}")(data, sender, ref)
        if kind in ("prepared", "unprepared") and not (host and stage is Stage.PREPARING):
            assert made == [], "only the host that was asked says what a call would touch, once"
        if kind in ("executed", "progress") and not (host and stage is Stage.RUNNING):
            assert made == [], "only the host that runs a call says how it ended, once"
        if kind in ("put", "defer") and stage is not Stage.ASKING:
            assert made == [], "only a call that waits for a person is told of one"

    def send_prepared(self, data: st.DataObject, sender: int, ref: int) -> Sequence[object]:
        return self.bench.prepared(ref, data.draw(st.sampled_from(PREPARED)), sender=sender)

    def send_unprepared(self, data: st.DataObject, sender: int, ref: int) -> Sequence[object]:
        said = Unprepared(ref=ref, layer="gate", code="gate.bug", reason="\0", advice="")
        return self.bench.do(self.gate.unprepared(sender, said))

    def send_executed(self, data: st.DataObject, sender: int, ref: int) -> Sequence[object]:
        seq = data.draw(st.integers(0, len(self.bench.log) + 1))
        mine = self.gate.pending.get(ref)
        if mine is not None and data.draw(st.booleans()):
            seq = mine.permit_seq
        said = Executed(
            ref=ref,
            permit_seq=seq,
            content=data.draw(st.sampled_from((b"", b"ok"))),
            is_error=data.draw(st.booleans()),
            effect=data.draw(st.sampled_from(("none", "maybe", "done"))),
            spent_micros=data.draw(st.sampled_from(MONEY)),
        )
        made = self.bench.do(self.gate.executed(sender, said))
        assert made == [] or (mine is not None and mine.permit_seq == seq), "another call's permit ends nothing"
        return made

    def send_progress(self, data: st.DataObject, sender: int, ref: int) -> Sequence[object]:
        return self.bench.do(self.gate.progress(sender, Progress(ref=ref, chunk=b"...")))

    def send_put(self, data: st.DataObject, sender: int, ref: int) -> Sequence[object]:
        code = data.draw(st.sampled_from(("", "approval.too-many")))
        said = Put(ref=ref, qid=b"q" * 16, code=code, reason="", attended=data.draw(st.booleans()))
        return self.bench.do(self.gate.put(said))

    def send_defer(self, data: st.DataObject, sender: int, ref: int) -> Sequence[object]:
        return self.bench.do(self.gate.defer(ref, b"q" * 16))

    def send_answered(self, data: st.DataObject, sender: int, ref: int) -> Sequence[object]:
        """Late, for several calls at once, some of which never asked; the token is junk."""
        refs = (ref, *data.draw(st.lists(st.integers(0, self.gate._next_ref), max_size=3, unique=True)))
        yes = data.draw(st.booleans())
        said = Answered(
            qid=b"q" * 16,
            block=b"B" * 32,
            session=SESSION,
            refs=tuple(dict.fromkeys(refs)),
            said_no=not yes,
            token=b"junk" if yes else b"",
        )
        return self.bench.do(self.gate.answered(said))

    def send_cancel(self, data: st.DataObject, sender: int, ref: int) -> Sequence[object]:
        number = data.draw(st.integers(0, self.bench.proposals + 1))
        if (sender, number) in self.made:
            self.gives_up({(sender, number)})
        return self.bench.do(self.gate.cancel(sender, Cancel(proposal=number)))

    def send_gone(self, data: st.DataObject, sender: int, ref: int) -> Sequence[object]:
        """A host dies and stays dead for a while; of others there is nothing that could die like one."""
        return self.bench.host_gone(sender)


Lives.TestCase.settings = settings(stateful_step_count=60)
Noise.TestCase.settings = settings(stateful_step_count=60)
TestLives = Lives.TestCase
TestNoise = Noise.TestCase
