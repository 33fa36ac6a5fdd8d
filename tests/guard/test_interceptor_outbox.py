"""What the gate wants recorded: in its order, together, and with what was promised told once."""

from __future__ import annotations

from astrid.core.gate_messages import Durable
from astrid.core.records import Entry, Stop, entry
from astrid.guard.interceptor_outbox import MAX_TOGETHER, Outbox
from astrid.kernel import Sender
from astrid.messages.gate import Done
from astrid.messages.log import Append, Recorded

ANNE, BOB = (Sender(id=number, path=f"root/{number}", incarnation=1, rank=40) for number in (1, 2))


def records(*reasons: str) -> list[Entry]:
    return [entry(Stop(reason)) for reason in reasons]


def durable(append: Append | None, first_seq: int) -> Recorded:
    assert append is not None
    made = tuple(Durable(0, first_seq + place, 0) for place in range(len(append.entries)))
    return Recorded(id=append.id, records=made, watermark=made[-1].seq)


def test_what_collects_goes_together_in_its_order() -> None:
    outbox = Outbox()
    outbox.put(records("a", "b"))
    outbox.put(records("c"))
    append = outbox.take()
    assert append is not None
    assert append.entries == tuple(records("a", "b", "c"))


def test_nothing_goes_twice() -> None:
    outbox = Outbox()
    outbox.put(records("a"))
    outbox.take()
    assert outbox.take() is None


def test_no_two_messages_to_the_log_have_one_number() -> None:
    outbox = Outbox()
    numbers: list[int] = []
    for _ in range(3):
        outbox.put(records("a"))
        append = outbox.take()
        assert append is not None
        numbers.append(append.id)
    assert len(set(numbers)) == 3


def test_a_promise_is_told_with_the_number_of_the_first_record_that_it_rests_on() -> None:
    outbox = Outbox()
    outbox.put(records("a"))
    outbox.put(records("b", "c"), (ANNE, 7))
    outbox.put(records("d"), (BOB, 7))
    outbox.put(records("e"))
    told = outbox.recorded(durable(outbox.take(), 101))
    assert told == [(ANNE, Done(id=7, seq=102)), (BOB, Done(id=7, seq=104))]


def test_a_promise_waits_for_its_own_message_and_is_told_once() -> None:
    outbox = Outbox()
    outbox.put(records("a"))
    first = outbox.take()
    outbox.put(records("b"), (ANNE, 7))
    second = outbox.take()
    assert outbox.recorded(durable(first, 1)) == []
    assert outbox.recorded(durable(second, 2)) == [(ANNE, Done(id=7, seq=2))]
    assert outbox.recorded(durable(second, 2)) == []


def test_a_promise_is_not_told_with_what_is_put_after_it_was_taken() -> None:
    outbox = Outbox()
    outbox.put(records("a"), (ANNE, 7))
    outbox.take()
    outbox.put(records("b"))
    assert outbox.recorded(durable(outbox.take(), 2)) == []


def test_it_is_full_at_so_many_records_and_empty_when_they_are_taken() -> None:
    outbox = Outbox()
    assert not outbox.put(records(*["a"] * (MAX_TOGETHER - 1)))
    assert outbox.put(records("b"))
    outbox.take()
    assert not outbox.put(records("c"))
