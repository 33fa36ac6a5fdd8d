"""What a session cost is what its records say, and nothing that somebody put beside them."""

from __future__ import annotations

from typing import Any

import pytest

from astrid.core import records as r
from astrid.core.canon import Signed
from astrid.core.chain import Frame
from astrid.core.conversation import Done, TextDelta, Usage, encode_answer
from astrid.core.records import entry, seal
from astrid.daemon.costing import Costs
from astrid.wire.results import SessionCost

NOTHING, SALT = b"\0" * 32, b"s" * 32
SESSION, OTHER = b"S" * 16, b"O" * 16
ANSWER = encode_answer(
    [
        TextDelta(text="a"),
        Usage(input_tokens=5, output_tokens=6, cache_write_tokens=7, cache_read_tokens=8),
        Done(stop_reason="end_turn"),
    ]
)


class Log:
    """Records as a gate writes them, and what lies beside them."""

    def __init__(self) -> None:
        self.frames: list[tuple[Frame, Signed]] = []
        self.beside: dict[tuple[int, int], tuple[bytes, bytes]] = {}

    def put(self, body: Signed, session: bytes = SESSION) -> int:
        made, seq = entry(body, session=session), len(self.frames) + 1
        self.frames.append((Frame(NOTHING, seq, 1, 10**18, made.kind, session, made.body), body))
        return seq

    def permit(self, ref: int, micros: int, *, model: str = "", tool: str = "model", session: bytes = SESSION) -> None:
        kind = "model" if model else "demo"
        sealed = r.Sealed(0, NOTHING)
        self.put(
            r.PermitRecord(
                ref, kind, model or "bank", tool, NOTHING, NOTHING, NOTHING, NOTHING, 0, False, 1, NOTHING, 1, (),
                micros, sealed,
            ),
            session,
        )  # fmt: skip

    def outcome(self, ref: int, spent: int, content: bytes = b"", *, unknown: bool = False, **given: Any) -> int:
        sealed, payload = seal(content, SALT, slot=1)
        seq = self.put(r.OutcomeRecord(ref, 1, "done", unknown, unknown, spent, True, sealed), **given)
        self.beside[seq, 1] = payload.salt, payload.data
        return seq

    def cost(self, cap: int | None = 100) -> SessionCost:
        costs = Costs(SESSION)
        for frame, body in self.frames:
            costs.take(frame, body, lambda seq, slot: self.beside.get((seq, slot)))
        return costs.answer(cap)


def test_calls_tokens_and_money_are_counted_for_each_model() -> None:
    log = Log()
    for ref, name in ((1, "p/a"), (2, "p/b"), (3, "p/a")):
        log.permit(ref, 20, model=name)
        log.outcome(ref, ref, ANSWER)
    first, second = log.cost().models
    assert (first.model, first.calls, first.uncounted, first.spent_micros) == ("p/a", 2, 0, "4")
    assert (first.input_tokens, first.output_tokens) == (10, 12)
    assert (first.cache_write_tokens, first.cache_read_tokens) == (14, 16)
    assert (second.model, second.calls, second.spent_micros) == ("p/b", 1, "2")
    assert log.cost().spent_micros == "6"


def test_of_tools_only_those_that_cost_are_named() -> None:
    log = Log()
    for ref, tool, spent in ((1, "read_file", 0), (2, "pay", 9), (3, "pay", 9)):
        log.permit(ref, spent, tool=tool)
        log.outcome(ref, spent)
    assert [(one.tool, one.calls, one.spent_micros) for one in log.cost().tools] == [("pay", 2, "18")]


def test_what_has_not_ended_is_reserved_and_not_spent() -> None:
    log = Log()
    log.permit(1, 20, model="p/a")
    cost = log.cost()
    assert (cost.models, cost.reserved_micros, cost.spent_micros, cost.cap_micros) == ((), "20", "0", "100")


def test_what_is_not_known_is_said_to_be_booked_in_full_and_has_no_count() -> None:
    log = Log()
    log.permit(1, 20, model="p/a")
    log.outcome(1, 20, ANSWER, unknown=True)
    cost = log.cost(None)
    assert (cost.unknown_calls, cost.unknown_micros, cost.spent_micros, cost.cap_micros) == (1, "20", "20", None)
    assert (cost.models[0].uncounted, cost.models[0].input_tokens) == (1, 0)


@pytest.mark.parametrize("damage", ["erased", "exchanged", "nonsense", "no figure"])
def test_a_count_that_is_not_what_was_recorded_is_none(damage: str) -> None:
    log = Log()
    log.permit(1, 20, model="p/a")
    said = {"nonsense": b"{}", "no figure": encode_answer([Done(stop_reason="end_turn")])}.get(damage, ANSWER)
    seq = log.outcome(1, 7, said)
    if damage == "erased":
        del log.beside[seq, 1]
    elif damage == "exchanged":
        log.beside[seq, 1] = SALT, ANSWER.replace(b"5", b"4")
    [model] = log.cost().models
    assert (model.uncounted, model.input_tokens, model.spent_micros) == (1, 0, "7")


def test_the_records_of_another_session_do_not_count() -> None:
    log = Log()
    log.permit(1, 20, model="p/a", session=OTHER)
    log.outcome(1, 7, ANSWER, session=OTHER)
    costs = Costs(SESSION)
    for frame, body in log.frames:
        costs.take(frame, body, lambda seq, slot: None)
    assert not costs.found
    assert costs.answer(None).spent_micros == "0"


def test_an_end_without_a_beginning_counts_for_nothing() -> None:
    log = Log()
    log.outcome(9, 7, ANSWER)
    assert log.cost().spent_micros == "0"
