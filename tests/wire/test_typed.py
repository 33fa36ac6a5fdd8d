"""What is written as a type is read as that type, or it is not written."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import Struct

from astrid.errors import LocalProtocolError
from astrid.wire import typed
from astrid.wire.fields import Wire
from astrid.wire.params import AuditList, Nothing, OfSession, Pop, SubscribeEvents
from astrid.wire.results import Done, Sessions, Subscribed

SESSION = "session:" + "0" * 32
POP = Pop(counter=1, signature=bytes(64))


@pytest.mark.parametrize(
    ("shape", "value"),
    [
        (SubscribeEvents, SubscribeEvents(session_id="0" * 32)),
        (SubscribeEvents, SubscribeEvents(session_id=SESSION, after=-1)),
        (SubscribeEvents, SubscribeEvents(session_id=SESSION, after=2**53 + 1)),
        (SubscribeEvents, SubscribeEvents(session_id=SESSION, after=True)),
        (SubscribeEvents, SubscribeEvents(session_id=SESSION, pop=Pop(counter=0, signature=bytes(64)))),
        (SubscribeEvents, SubscribeEvents(session_id=SESSION, pop=Pop(counter=1, signature=bytes(63)))),
        (SubscribeEvents, OfSession(session_id=SESSION, pop=POP)),
        (Nothing, Done()),
        (AuditList, AuditList(tool="\ud800")),
        (AuditList, AuditList(limit=2**70)),
        (AuditList, AuditList(kind=object())),  # type: ignore[arg-type]
        (Sessions, Sessions(sessions=[], left_out=0)),  # type: ignore[arg-type]
    ],
)
def test_what_would_not_be_read_back_the_same_is_not_written(shape: type[Wire], value: Wire) -> None:
    with pytest.raises(LocalProtocolError) as caught:
        typed.write(shape, value)
    assert caught.value.code == "wire.unsayable"


def test_a_value_that_contains_itself_is_not_written() -> None:
    class Knot(Struct):
        inner: Any = None

    knot = Knot()
    knot.inner = knot
    with pytest.raises(LocalProtocolError):
        typed.encode(knot)


def test_what_is_written_is_one_line_of_json() -> None:
    assert typed.write(Subscribed, Subscribed(after=7)) == b'{"after":7}'
