"""What a test of actors needs: a strict codec, a probe, seeded runs in virtual time, and a cancellation at every step.

Only for tests.  The seeded runs use a private switch of Trio's scheduler, which its own tests use too.
"""

from __future__ import annotations

import importlib
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar, cast

import msgspec
import trio
import trio.testing

from astrid.kernel.actor import Actor
from astrid.kernel.message import Message
from astrid.kernel.ref import Sender

T = TypeVar("T")

STEPS = 200_000

_PLAIN: tuple[type, ...] = (Message, bool, int, float, str, bytes, tuple)


class StrictMailbox:
    """A codec for ``open_system(strict=...)``: no message gets through that could not go to another process.

    It takes a ``Message``, or for an answer a plain value, whose fields are immutable all the way down.  With an
    ``encode`` and a ``decode``, such as those of the program's own codec, messages go through those instead.
    """

    def __init__(
        self,
        encode: Callable[[object], bytes] | None = None,
        decode: Callable[[bytes], object] | None = None,
    ) -> None:
        self._encode = encode or self._encode_with_type
        self._decode = decode or self._decode_with_type
        self._types: dict[bytes, type[object]] = {}

    def encode(self, message: object, /) -> bytes:
        """The bytes of a message.

        Raises:
            TypeError: it, or something in it, is mutable or no message.
        """
        hash(message)  # immutable all the way down, or it raises
        return self._encode(message)

    def decode(self, data: bytes, /) -> object:
        """The message of these bytes."""
        return self._decode(data)

    def _encode_with_type(self, message: object) -> bytes:
        kind = type(message)
        if not issubclass(kind, _PLAIN):
            raise TypeError(f"a `{kind.__qualname__}` is no message")
        name = f"{kind.__module__}.{kind.__qualname__}".encode()
        self._types[name] = kind
        return name + b"\0" + msgspec.msgpack.encode(message)

    def _decode_with_type(self, data: bytes) -> object:
        name, _, body = data.partition(b"\0")
        kind: type[object] = self._types[name]
        return msgspec.msgpack.decode(body, type=kind)


class Probe(Actor):
    """An actor that keeps what it is sent.  A test may send through its ``ctx``, and so as an actor.

    One probe serves all incarnations of its child: ``ChildSpec("probe", lambda: probe)``.
    """

    def __init__(self, answer: Callable[[object], object] = lambda message: None) -> None:
        self.received: list[tuple[object, Sender]] = []
        self._answer = answer
        self._news = trio.Condition()

    @property
    def messages(self) -> list[object]:
        """What it was sent, in order."""
        return [message for message, _ in self.received]

    async def receive(self, message: object, sender: Sender) -> object:
        """Keep it, and answer with what the test wants."""
        self.received.append((message, sender))
        async with self._news:
            self._news.notify_all()
        return self._answer(message)

    async def wait_received(self, number: int) -> None:
        """Return once it has been sent so many messages."""
        async with self._news:
            while len(self.received) < number:
                await self._news.wait()


async def settle() -> None:
    """Return when nothing happens any more until time passes or a test acts."""
    await trio.testing.wait_all_tasks_blocked()


class _Random(Protocol):
    def seed(self, seed: int) -> None: ...
    def getstate(self) -> object: ...
    def setstate(self, state: object) -> None: ...


class _Scheduler(Protocol):
    """The private part of Trio that is used here."""

    _ALLOW_DETERMINISTIC_SCHEDULING: bool
    _r: _Random


class _StepLimit(trio.abc.Instrument):
    """Cancels a run that would not end."""

    def __init__(self, limit: int) -> None:
        self.scope = trio.CancelScope()
        self.last = ""  # the task that took the step too many
        self._left = limit

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self._left -= 1
        if self._left == -1:
            self.last = task.name
            self.scope.cancel()  # what an instrument raises, Trio only logs


class _ActAt(trio.abc.Instrument):
    """Does something just before the n-th step that any task takes after it was armed."""

    def __init__(self, step: int) -> None:
        self.fired = False
        self._left = step
        self._action: Callable[[], object] | None = None

    def arm(self, action: Callable[[], object]) -> None:
        """Begin to count."""
        self._action = action

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        if self._action is None or self.fired:
            return
        self._left -= 1
        if self._left == 0:
            self.fired = True
            self._action()

    def disarm(self) -> None:
        """Count no more: what follows is not the scenario's."""
        self._action = None


def run_seeded(
    seed: int,
    async_fn: Callable[[], Awaitable[T]],
    *,
    instruments: tuple[trio.abc.Instrument, ...] = (),
    steps: int = STEPS,
) -> T:
    """Run in virtual time, with a schedule that depends on the seed alone: the same seed, the same run.

    Raises:
        AssertionError: it took more than ``steps`` steps.
    """
    scheduler = cast(_Scheduler, importlib.import_module("trio._core._run"))
    switch, generator = "_ALLOW_DETERMINISTIC_SCHEDULING", "_r"
    was = getattr(scheduler, switch)
    random = cast(_Random, getattr(scheduler, generator))
    state = random.getstate()
    setattr(scheduler, switch, True)
    random.seed(seed)
    limit = _StepLimit(steps)
    result: list[T] = []

    async def main() -> None:
        with limit.scope:
            result.append(await async_fn())

    try:
        trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0), instruments=[limit, *instruments])
    finally:
        setattr(scheduler, switch, was)
        random.setstate(state)
    if limit.last or not result:
        raise AssertionError(f"the run took more than {steps} steps; the last one was of {limit.last}")
    return result[0]


def act_at_every_step(
    scenario: Callable[[Callable[[Callable[[], object]], None]], Awaitable[object]], seed: int = 0, *, stride: int = 1
) -> int:
    """Run ``scenario`` again and again; what it arms is done at the first step after that, at the second, and so on;
    with a ``stride``, at every so manieth.

    It is called with a function ``arm(action)``.  Each run begins afresh; an error of one ends everything.  How many
    steps there were in which the action could be done.
    """
    step = 1
    while True:
        act = _ActAt(step)

        async def run(act: _ActAt = act) -> None:
            try:
                await scenario(act.arm)
            finally:
                act.disarm()

        run_seeded(seed, run, instruments=(act,))
        if not act.fired:
            return step - stride
        step += stride


def cancel_at_every_step(scenario: Callable[[], Awaitable[object]], seed: int = 0) -> int:
    """Run ``scenario`` again and again, cancelled from outside at its first step, at its second, and so on to its end.

    What must hold after a cancellation, the scenario asserts in a ``finally``.
    """

    async def run(arm: Callable[[Callable[[], object]], None]) -> None:
        with trio.CancelScope() as scope:
            arm(scope.cancel)
            await scenario()

    return act_at_every_step(run, seed)
