"""What a message holds, against what its type declares."""

from __future__ import annotations

from enum import Enum, IntEnum
from typing import Literal

import msgspec
import pytest

from astrid.core.call import Need, Preparation
from astrid.core.gate_messages import Cancel, Executed, Prepared, Propose
from astrid.core.records import JournalRow
from astrid.core.risk import Risk
from astrid.core.shape import is_whole
from astrid.messages.gate import Offer, Save
from tests.fakes.gate_bench import TOOLS, preparation


class Inner(msgspec.Struct, frozen=True):
    number: int


class Other(msgspec.Struct, frozen=True):
    number: int


class Wider(Inner, frozen=True):
    """A subclass may behave differently."""


class Word(Enum):
    YES = "yes"


class Level(IntEnum):
    LOW = 1


class Loud(int):
    """Behaves like a number until it does not."""


class Whole(msgspec.Struct, frozen=True, kw_only=True):
    number: int = 1
    flag: bool = True
    text: str = "a"
    data: bytes = b"a"
    kind: Literal["one", "two"] = "one"
    inner: Inner = Inner(1)
    many: tuple[bytes, ...] = ()
    inners: tuple[Inner, ...] = ()
    pair: tuple[str, int] = ("a", 1)
    pairs: tuple[tuple[str, str], ...] = ()


GOOD = (
    {},
    {"number": -(2**70)},
    {"number": Level.LOW},
    {"kind": "two"},
    {"many": (b"a", b"b")},
    {"inners": (Inner(2), Inner(3))},
    {"pairs": (("a", "b"),)},
)
BAD = (
    {"number": True},
    {"number": 1.0},
    {"number": None},
    {"number": Loud(1)},
    {"number": Word.YES},
    {"flag": 1},
    {"text": b"a"},
    {"text": Word.YES},
    {"data": bytearray(b"a")},
    {"data": memoryview(b"a")},
    {"kind": "three"},
    {"kind": ["one"]},
    {"kind": b"one"},
    {"inner": Other(1)},
    {"inner": Wider(1)},
    {"inner": Inner(None)},  # type: ignore[arg-type]
    {"inner": None},
    {"many": [b"a"]},
    {"many": (b"a", "b")},
    {"many": b"ab"},
    {"inners": (Inner(1), Inner("2"))},  # type: ignore[arg-type]
    {"pair": ("a",)},
    {"pair": ("a", 1, 1)},
    {"pair": (1, "a")},
    {"pair": []},
    {"pairs": (("a",),)},
    {"pairs": ("ab",)},
)


@pytest.mark.parametrize("fields", GOOD, ids=repr)
def test_what_is_as_declared_is_whole(fields: dict[str, object]) -> None:
    assert is_whole(msgspec.structs.replace(Whole(), **fields))


@pytest.mark.parametrize("fields", BAD, ids=repr)
def test_what_is_not_as_declared_is_not(fields: dict[str, object]) -> None:
    assert not is_whole(msgspec.structs.replace(Whole(), **fields))


@pytest.mark.parametrize(
    "message",
    [
        Propose(proposal=1, tool="t", args=b"{}", tokens=(b"t",), tainted=False),
        Cancel(proposal=1),
        Prepared(ref=1, preparation=preparation()),
        Prepared(ref=1, preparation=Preparation(needs=(Need("file://a", 1),), risk=Risk.HIGH, controls=(("a", "b"),))),
        Executed(ref=1, permit_seq=1, content=b"", is_error=False, effect="done", spent_micros=0),
        Save(id=-1, rows=(JournalRow(1, b"row"),)),
        Offer(toolbox="box", specs=tuple(spec for spec, _ in TOOLS.values())),
    ],
    ids=lambda message: type(message).__name__,
)
def test_what_sessions_and_hosts_say_is_whole(message: msgspec.Struct) -> None:
    assert is_whole(message)
