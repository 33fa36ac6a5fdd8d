"""Vendors that fail, over real HTTP and under a whole runtime: each mishap ends alike with each of them, and is paid.

Time is virtual, and is let go on only after nothing came over the network for a while.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from astrid.adapters.llm import connection
from astrid.core.chain import decode_body, decode_frame
from astrid.core.grants import Mode
from astrid.core.records import OutcomeRecord, PermitRecord
from astrid.hosts.model import ModelServer
from astrid.runtime.parts import Brain
from tests.fakes.anthropic_server import AnthropicServer, Reply, cut
from tests.fakes.journal import FakeLog, FakeStore
from tests.fakes.runtime import running
from tests.fakes.vendors import VENDORS, Vendor

pytest.importorskip("anthropic", reason="the extra is not installed")

QUIET_SECONDS = 0.02  # real ones: what is under way on the loopback is there long before
PATIENCE = 10_000
READ = ("same", "read_file", '{"file_path": "a.txt"}')
ALL = -1  # what was set aside
TOKENS = 7  # what a good answer costs
DONE = [("done", TOKENS)]


@dataclass(frozen=True)
class Mishap:
    """What goes wrong, before the vendor says that all is right; what is said of it; and what each call costs, with
    what may have happened.  Where a vendor has no count before the end, nobody knows: ``maybe`` stands for ``done``.
    """

    what: str
    replies: Callable[[Vendor], list[Reply]]
    paid: list[tuple[str, int]]
    again: tuple[str, ...] = ()  # the codes after which the model is asked again
    ends: tuple[str, str] = ("end_turn", "")


def first(vendor: Vendor) -> tuple[bytes, ...]:
    """The beginning of an answer: one vendor has counted by then, the other has not."""
    return vendor.answer("half an answer").pieces[:3]


def paused(reply: Reply, seconds: float) -> Reply:
    return replace(reply, pause_seconds=seconds)


MISHAPS = [
    Mishap(
        "too many requests",
        lambda v: [v.refusal(429, ("retry-after", "12"))],
        [("none", 0), *DONE],
        ("model.rate-limited",),
    ),
    Mishap("an error", lambda v: [v.refusal(500)], [("maybe", ALL), *DONE], ("model.unavailable",)),
    Mishap("a timeout of its own", lambda v: [v.refusal(408)], [("maybe", ALL), *DONE], ("model.timeout",)),
    Mishap(
        "a cut in mid-stream",
        lambda v: [Reply(first(v), ending="drop")],
        [("done", ALL), *DONE],
        ("model.stream-broken",),
    ),
    Mishap(
        "too much to do in mid-stream",
        lambda v: [Reply((*first(v), v.breaks))],
        [("done", ALL), *DONE],
        ("model.overloaded",),
    ),
    Mishap("an empty reply", lambda _: [Reply()], [("maybe", ALL), *DONE], ("model.stream-broken",)),
    Mishap(
        "silence in mid-stream",
        lambda v: [paused(v.answer("slow"), connection.SILENCE_SECONDS + 10)],
        [("maybe", ALL), *DONE],
        ("model.timeout",),
    ),
    Mishap(
        "an answer without end",
        lambda v: [paused(Reply((*first(v), *(v.ping,) * 50)), connection.SILENCE_SECONDS - 10)],
        [("done", ALL), *DONE],
        ("model.timeout",),
    ),
    Mishap(
        "an answer beyond the bound",
        lambda v: [v.answer("x" * 40_000)],
        [("done", ALL)],
        ends=("failed", "model.bad-answer"),
    ),
    Mishap(
        "pings between the events",
        lambda v: [Reply(tuple(piece for event in v.answer("hi").pieces for piece in (v.ping, event)))],
        DONE,
    ),
    Mishap("one byte after the other", lambda v: [Reply(cut(b"".join(v.answer("hi").pieces), 1))], DONE),
    Mishap("long pauses", lambda v: [paused(v.answer("hi"), connection.SILENCE_SECONDS / 2)], DONE),
    Mishap("nothing said", lambda v: [v.answer("", counts=((9, 0),))], [("done", 9)]),
    Mishap("a count that falls", lambda v: [v.answer("hi", counts=((500, 400), (10, 20)))], [("done", 900)]),
    Mishap("no count", lambda v: [v.answer("hi", counts=())], [("done", ALL)]),
    Mishap("a count of the beginning alone", lambda v: [v.answer("hi", counts=((3, 1), None))], [("done", ALL)]),
    Mishap("a count of nothing", lambda v: [v.answer("hi", counts=((0, 0),))], [("done", ALL)]),
    Mishap("two calls with one id", lambda v: [v.answer("", READ, READ)], [*DONE, *DONE]),
    Mishap("an invented tool", lambda v: [v.answer("", ("a", "no_such_tool", "{}"))], [*DONE, *DONE]),
    Mishap("arguments that are no JSON", lambda v: [v.answer("", ("a", "read_file", '{"file_p'))], [*DONE, *DONE]),
]


@dataclass(frozen=True)
class Turn:
    """One turn: what people were told, what was sent, what was set aside for each call, and what each cost."""

    events: list[dict[str, Any]]
    requests: list[dict[str, Any]]
    reserved: list[int]
    paid: list[tuple[str, int]]

    @property
    def again(self) -> tuple[str, ...]:
        return tuple(event["code"] for event in self.events if event["event"] == "retrying")

    @property
    def ends(self) -> tuple[str, str]:
        return self.events[-1]["stop_reason"], self.events[-1].get("code") or ""


async def turn(folder: Path, vendor: Vendor, server: AnthropicServer) -> Turn:
    log = FakeLog()
    async with running(folder, store=FakeStore(log)) as runtime:
        (runtime.workspace / "a.txt").write_text("hello")
        model = vendor.model(server.url)
        catalogue: Any = runtime.world.catalogue
        catalogue._brains["it"] = Brain(model.name, "model:" + "5" * 32, ModelServer(model), False, 10_000)
        await runtime.grant(Mode.GUIDED)
        await runtime.open_as("it")
        await runtime.say("do it")
        events = await runtime.until("turn_complete", within=PATIENCE)
    bodies = [decode_body(decode_frame(frame)) for frame in log.log]
    permits = {one.ref: one for one in bodies if isinstance(one, PermitRecord) and one.host_kind == "model"}
    outcomes = {one.ref: one for one in bodies if isinstance(one, OutcomeRecord) and one.ref in permits}
    paid = [(outcomes[ref].effect, outcomes[ref].spent) for ref in permits]
    return Turn(events, [seen.body for seen in server.seen], [one.micros for one in permits.values()], paid)


@pytest.fixture
def clock() -> MockClock:
    """Whoever asks for it runs under it."""
    return MockClock(autojump_threshold=QUIET_SECONDS)


@pytest.fixture(params=VENDORS, ids=[vendor.name for vendor in VENDORS])
def vendor(request: pytest.FixtureRequest) -> Vendor:
    return request.param


@pytest.fixture
async def server(vendor: Vendor, nursery: trio.Nursery) -> AnthropicServer:
    server = AnthropicServer(complain=vendor.complain)
    await nursery.start(server.run)
    return server


@pytest.mark.parametrize("mishap", MISHAPS, ids=[mishap.what for mishap in MISHAPS])
async def test_a_mishap_ends_alike_with_every_vendor_and_is_never_paid_too_low(
    tmp_path: Path,
    clock: MockClock,
    monkeypatch: pytest.MonkeyPatch,
    vendor: Vendor,
    server: AnthropicServer,
    mishap: Mishap,
) -> None:
    monkeypatch.setattr(connection, "MAX_ANSWER_BYTES", 20_000)
    monkeypatch.setattr(connection, "CALL_SECONDS", 800.0)
    server.replies += [*mishap.replies(vendor), vendor.answer("all right")]
    had = await turn(tmp_path, vendor, server)
    assert (had.again, had.ends) == (mishap.again, mishap.ends)
    assert len(had.requests) == len(had.paid) == len(mishap.paid), "each request has a permit, and each is settled"
    for (effect, spent), (expected, most), reserved in zip(had.paid, mishap.paid, had.reserved, strict=True):
        assert spent == (reserved if most == ALL else most)
        assert effect == expected or (most == ALL and {effect, expected} == {"maybe", "done"})


async def test_a_vendor_that_is_overloaded_for_a_minute_is_asked_until_it_is_not(
    tmp_path: Path, clock: MockClock, vendor: Vendor, server: AnthropicServer
) -> None:
    server.busy_until = trio.current_time() + 60
    server.replies.append(vendor.answer("all right"))
    had = await turn(tmp_path, vendor, server)
    assert (had.again, had.ends) == (("model.overloaded",) * 4, ("end_turn", ""))
    assert had.paid == [("none", 0)] * 4 + DONE


async def test_a_vendor_that_asks_for_time_gets_it(
    tmp_path: Path, clock: MockClock, vendor: Vendor, server: AnthropicServer
) -> None:
    server.replies += [vendor.refusal(429, ("retry-after", "77")), vendor.answer("all right")]
    began = trio.current_time()
    had = await turn(tmp_path, vendor, server)
    assert had.ends == ("end_turn", "")
    assert trio.current_time() - began >= 77


@pytest.mark.parametrize("wait", ["301", "86400", "1e9"])
async def test_a_vendor_that_asks_for_more_time_than_a_turn_has_is_not_asked_again(
    tmp_path: Path, clock: MockClock, vendor: Vendor, server: AnthropicServer, wait: str
) -> None:
    server.replies += [vendor.refusal(429, ("retry-after", wait)), vendor.answer("all right")]
    had = await turn(tmp_path, vendor, server)
    assert (had.ends, len(had.requests), had.paid) == (("failed", "model.rate-limited"), 1, [("none", 0)])


async def test_calls_with_one_id_are_two_calls_each_with_its_own_result(
    tmp_path: Path, clock: MockClock, vendor: Vendor, server: AnthropicServer
) -> None:
    server.replies += [vendor.answer("", READ, READ), vendor.answer("all right")]
    had = await turn(tmp_path, vendor, server)
    ended = [event["id"] for event in had.events if event["event"] == "tool_call_result"]
    assert len(set(ended)) == len(ended) == 2
    assert str(had.requests[1]["messages"]).count("hello") == 2
