"""The kernel's own test tools: strict mode, the probe, seeded runs."""

from __future__ import annotations

import enum
from collections.abc import Callable

import msgspec
import pytest
import trio

from astrid.kernel import (
    Actor,
    ActorGone,
    ChildSpec,
    Failed,
    Message,
    Misuse,
    Posted,
    Sender,
    SupervisorSpec,
    open_system,
)
from astrid.kernel.testing import (
    Probe,
    StrictMailbox,
    act_at_every_step,
    cancel_at_every_step,
    run_seeded,
    settle,
)


class Colour(enum.Enum):
    RED = "red"


class Inner(msgspec.Struct, frozen=True):
    a: int


class Good(Message, frozen=True, kw_only=True):
    n: int
    names: tuple[str, ...] = ()
    inner: Inner | None = None
    colour: Colour = Colour.RED
    data: bytes = b""


class WithList(Message, frozen=True, kw_only=True):
    items: list[int]


class WithCallable(Message, frozen=True, kw_only=True):
    call: Callable[[], None]


class WithLie(Message, frozen=True, kw_only=True):
    n: int


class Thawed(msgspec.Struct, tag=True):
    n: int


def nothing() -> None: ...


# ---- strict mode ----------------------------------------------------------------------------------------------------


async def test_in_strict_mode_a_message_arrives_equal_but_not_the_same() -> None:
    probe = Probe(lambda message: message)
    async with open_system(
        SupervisorSpec("root", children=(ChildSpec("a", lambda: probe),)), strict=StrictMailbox()
    ) as system:
        sent = Good(n=1, names=("x", "y"), inner=Inner(2), data=b"\0")
        answer = await system.ask(system.ref("root/a"), sent, within=1)
        (arrived,) = probe.messages
        assert arrived == sent == answer
        assert arrived is not sent
        assert answer is not arrived


@pytest.mark.parametrize(
    "message",
    [
        WithList(items=[1]),
        WithCallable(call=nothing),
        WithLie(n="not a number"),  # pyright: ignore[reportArgumentType]
        Good(n=1, names=["a list"]),  # pyright: ignore[reportArgumentType]
        Good(n=2**70),
        Good(n=1, names=("\ud800",)),
        Thawed(n=1),
        object(),
        nothing,
        ["a", "list"],
        float("nan"),
    ],
)
async def test_in_strict_mode_nothing_is_sent_that_could_not_travel(message: object) -> None:
    probe = Probe()
    spec = SupervisorSpec("root", children=(ChildSpec("a", lambda: probe),))
    async with open_system(spec, strict=StrictMailbox()) as system:
        ref = system.ref("root/a")
        with pytest.raises(Misuse) as refused:
            system.post(ref, message)
        assert refused.value.code == "kernel.unserialisable"
        with pytest.raises(Misuse):
            await system.tell(ref, message)
        with pytest.raises(Misuse):
            await system.ask(ref, message, within=1)
        with pytest.raises(Misuse):
            probe.ctx.post(ref, message)
        with pytest.raises(Misuse):
            probe.ctx.start_timer(1, message)
        await settle()
        assert probe.messages == []


async def test_in_strict_mode_a_ref_cannot_be_sent() -> None:
    probe = Probe()
    spec = SupervisorSpec("root", children=(ChildSpec("a", lambda: probe),))
    async with open_system(spec, strict=StrictMailbox()) as system:
        for secret in (probe.ctx.ref, probe.ctx, probe):
            with pytest.raises(Misuse):
                system.post(probe.ctx.ref, secret)


@pytest.mark.parametrize("answer", [None, True, 1, 1.5, "text", b"bytes", (1, "a"), Good(n=1)])
async def test_in_strict_mode_plain_values_may_be_answers(answer: object) -> None:
    probe = Probe(lambda _: answer)
    spec = SupervisorSpec("root", children=(ChildSpec("a", lambda: probe),))
    async with open_system(spec, strict=StrictMailbox()) as system:
        assert await system.ask(system.ref("root/a"), Good(n=1), within=1) == answer


async def test_in_strict_mode_an_answer_that_cannot_travel_breaks_the_one_who_gave_it() -> None:
    reasons: list[str] = []
    spec = SupervisorSpec("root", children=(ChildSpec("a", lambda: Probe(lambda _: [1])),))
    async with open_system(
        spec, strict=StrictMailbox(), on_failure=lambda ref, reason, error: reasons.append(reason.detail)
    ) as system:
        with pytest.raises(Failed):
            await system.ask(system.ref("root/a"), Good(n=1), within=1)
        await settle()
    assert reasons == ["Misuse"]


async def test_a_strict_mailbox_can_use_the_codec_of_a_program() -> None:
    union = Good | WithLie
    codec = StrictMailbox(msgspec.json.Encoder().encode, msgspec.json.Decoder(union).decode)
    probe = Probe()
    async with open_system(SupervisorSpec("root", children=(ChildSpec("a", lambda: probe),)), strict=codec) as system:
        assert system.post(system.ref("root/a"), Good(n=1)) is Posted.ACCEPTED
        with pytest.raises(Misuse):
            system.post(system.ref("root/a"), "not of the union")
        await settle()
    assert probe.messages == [Good(n=1)]


async def test_a_codec_that_changes_a_message_is_found_out() -> None:
    codec = StrictMailbox(lambda _: b"", lambda _: Good(n=2))
    async with open_system(SupervisorSpec("root", children=(ChildSpec("a", Probe),)), strict=codec) as system:
        with pytest.raises(Misuse, match="does not arrive as it was sent"):
            system.post(system.ref("root/a"), Good(n=1))


async def test_a_codec_that_changes_only_the_type_of_a_message_is_found_out() -> None:
    codec = StrictMailbox(lambda _: b"", lambda _: True)
    async with open_system(SupervisorSpec("root", children=(ChildSpec("a", Probe),)), strict=codec) as system:
        with pytest.raises(Misuse, match="does not arrive as it was sent"):
            system.post(system.ref("root/a"), 1)


# ---- probes ---------------------------------------------------------------------------------------------------------


async def test_a_probe_keeps_what_it_is_sent_over_all_its_incarnations() -> None:
    probe = Probe()
    async with open_system(SupervisorSpec("root", children=(ChildSpec("a", lambda: probe),))) as system:
        system.post(system.ref("root/a"), 1)
        await probe.wait_received(1)
        probe.ctx.stop()
        await settle()
        system.post(system.ref("root/a"), 2)
        await probe.wait_received(2)
    assert probe.messages == [1, 2]


# ---- seeded runs ----------------------------------------------------------------------------------------------------


async def scuffle() -> tuple[object, ...]:
    """Clients, timeouts and crashes: much that depends on the order in which tasks run."""
    log: list[object] = []

    class Moody(Actor):
        async def receive(self, message: object, sender: Sender) -> object:
            log.append((message, sender.path, trio.current_time()))
            await trio.sleep(0.1)
            if message == 3:
                raise ValueError
            return message

    spec = SupervisorSpec("root", intensity=1000, children=tuple(ChildSpec(n, Moody) for n in "abc"))
    async with open_system(spec) as system:

        async def client(n: int) -> None:
            for m in range(4):
                try:
                    log.append(await system.ask(system.ref(f"root/{'abc'[(n + m) % 3]}"), m, within=9))
                except ActorGone as error:
                    log.append(error.code)

        async with trio.open_nursery() as nursery:
            for n in range(5):
                nursery.start_soon(client, n)
    return tuple(log)


def test_the_same_seed_gives_the_same_run() -> None:
    runs = [[run_seeded(seed, scuffle) for _ in range(2)] for seed in range(5)]
    for first, second in runs:
        assert first == second
    assert len({first for first, _ in runs}) > 1


def test_a_seeded_run_takes_no_time() -> None:
    async def long() -> float:
        start = trio.current_time()
        await trio.sleep(86_000)
        return trio.current_time() - start

    assert run_seeded(0, long) == 86_000


def test_a_seeded_run_leaves_the_scheduler_as_it_was() -> None:
    import trio._core._run as scheduler

    before = (scheduler._ALLOW_DETERMINISTIC_SCHEDULING, scheduler._r.getstate())
    run_seeded(7, scuffle)
    assert (scheduler._ALLOW_DETERMINISTIC_SCHEDULING, scheduler._r.getstate()) == before


def test_a_seeded_run_that_would_not_end_is_ended() -> None:
    async def endless() -> None:
        while True:
            await trio.lowlevel.checkpoint()

    with pytest.raises(AssertionError, match="more than 1000 steps"):
        run_seeded(0, endless, steps=1000)


def test_every_step_of_a_scenario_is_cancelled_once() -> None:
    reached: list[int] = []

    async def scenario() -> None:
        steps = 0
        try:
            for _ in range(5):
                await trio.lowlevel.checkpoint()
                steps += 1
        finally:
            reached.append(steps)

    assert cancel_at_every_step(scenario) == 5
    assert reached == [0, 1, 2, 3, 4, 5]


def test_an_action_at_every_step_is_done_after_it_was_armed() -> None:
    done: list[int] = []

    async def scenario(arm: Callable[[Callable[[], object]], None]) -> None:
        step = 0
        await trio.lowlevel.checkpoint()
        arm(lambda: done.append(step))
        for _ in range(3):
            await trio.lowlevel.checkpoint()
            step += 1

    assert act_at_every_step(scenario) == 3
    assert done == [0, 1, 2]
