"""One target in a process of its own: load it, feed it until the time is over, hand over each new kind of crash.

Run by the runner as ``python -m fuzz.engine.attack ORDER`` with an ``Order`` in JSON.

Never: stops at a crash.  A crash that is like one before, by the kind of the error and the place that raised it, is
only counted.  A crash is made as small as Hypothesis can within ``SHRINKING_SECONDS``.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import sys
import time
import traceback
from collections.abc import Generator
from pathlib import Path
from types import FrameType
from typing import Literal, NoReturn

import msgspec
from hypothesis import Phase, reject

from fuzz.engine import vectors
from fuzz.engine.board import Board
from fuzz.engine.corpus import PADDING, cache_folder, name_of, write_whole
from fuzz.engine.drivers import instrumented, run_atheris, run_hypothesis
from fuzz.engine.targets import Choices, Target, change_settings, load_profile, taking_bytes

HANG_SECONDS = 30  # for one execution
AGAIN_SECONDS = 1
SHRINKING_SECONDS = 20
DRAWN = 0.2  # of the time, under atheris
LEAST_SECONDS = 1.0  # however long it took to begin


class HungError(AssertionError):
    """One execution took longer than any may."""


class Order(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a process is to do, and until when by the clock that never steps back, which all processes share."""

    file: str
    item: str
    driver: Literal["atheris", "hypothesis"]
    until: float
    seed: int
    board: str


@contextlib.contextmanager
def alarm(seconds: float, error: BaseException) -> Generator[None]:
    """Raise ``error`` in this block if it lasts longer than ``seconds``."""
    inside = True

    def ring(_number: int, _frame: FrameType | None) -> None:
        if inside:
            raise error

    before = signal.signal(signal.SIGALRM, ring)
    # Again and again: an error that is raised while Python collects garbage, or that a target catches, is lost.
    signal.setitimer(signal.ITIMER_REAL, seconds, AGAIN_SECONDS)
    try:
        yield
    finally:
        inside = False
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


class Attack:
    """See the module."""

    def __init__(self, order: Order) -> None:
        self.target = Target(order.file, order.item)
        self.test = self.target.load()
        self._order = order
        self._board = Board(Path(order.board), fresh=False)
        self._memory = Choices.of()
        change_settings(self.test, database=self._memory, derandomize=False)
        self._execute = taking_bytes(self.test)
        self._seen: set[str] = set()
        self._parent = os.getppid()
        self._end = max(order.until, time.monotonic() + LEAST_SECONDS)

    def run(self) -> NoReturn:
        """Until the time is over."""
        rng = random.Random(self._order.seed)  # noqa: S311 - inputs, not secrets
        if self._order.driver == "atheris":
            # Coverage says nothing about values; Hypothesis knows which ones are awkward.
            now = time.monotonic()
            drawing = now + (self._end - now) * DRAWN
            while time.monotonic() < drawing:
                self.draw(rng.getrandbits(63) + 1)
            run_atheris(self.target, self.execute, self._order.seed)
        else:
            run_hypothesis(self.target, self.execute, self.draw, rng)
        raise AssertionError("a driver ended before its time")

    def execute(self, data: bytes) -> None:
        """Run one input."""
        self._go_on()
        self._board.begin(data)
        try:
            with alarm(HANG_SECONDS, HungError(f"no end within {HANG_SECONDS} s")):
                self._execute(data + PADDING)
        except Exception as error:  # noqa: BLE001 - whatever a target raises is what is looked for
            self._crash(error)

    def draw(self, number: int) -> None:
        """Have Hypothesis itself draw, with this seed."""
        try:
            with self._counted(number), alarm(HANG_SECONDS * 4, HungError(f"no end within {HANG_SECONDS * 4} s")):
                vectors.draw(self.test, number, vectors.EXAMPLES, self._memory)
        except Exception as error:  # noqa: BLE001 - as above
            self._crash(error)

    @contextlib.contextmanager
    def _counted(self, number: int) -> Generator[None]:
        inner = self.test.hypothesis.inner_test

        def counting(*args: object, **kwargs: object) -> object:
            self._go_on()
            self._board.begin(b"", number)
            return inner(*args, **kwargs)

        self.test.hypothesis.inner_test = counting
        try:
            yield
        finally:
            self.test.hypothesis.inner_test = inner

    def _go_on(self) -> None:
        if time.monotonic() >= self._end or os.getppid() != self._parent:
            # SAFETY: libFuzzer would end a process that raises as if its input had crashed.
            sys.stderr.flush()
            os._exit(0)

    def _crash(self, error: Exception) -> None:
        kind = origin(error)
        if kind in self._seen:
            self._board.again()
            return
        self._seen.add(kind)
        choices = self._memory.saved[-1] if self._memory.saved else b""
        if not isinstance(error, HungError):
            choices = self._shrink(choices, kind)
        vector = vectors.made(self.target, f"{kind}: {error}"[:2000], self.test, choices)
        data = msgspec.json.encode(vector)
        write_whole(cache_folder(self.target, "crashes") / f"{name_of(data)}.json", data)
        self._memory = Choices.of()
        change_settings(self.test, database=self._memory, derandomize=False)
        self._execute = taking_bytes(self.test)

    def _shrink(self, choices: bytes, kind: str) -> bytes:
        """The smallest choices that fail alike, as far as there is time."""
        memory = Choices.of(choices)
        change_settings(self.test, database=memory, derandomize=False, phases=(Phase.reuse, Phase.shrink))
        inner = self.test.hypothesis.inner_test

        def failing_alike(*args: object, **kwargs: object) -> None:
            try:
                inner(*args, **kwargs)
            except Exception as error:
                if origin(error) != kind:
                    reject()  # another bug, however small, is not this one
                raise

        self.test.hypothesis.inner_test = failing_alike
        # That it fails is known.  Where it does not fail again, Hypothesis says so, and the first choices stay.
        with contextlib.suppress(Exception, KeyboardInterrupt), alarm(SHRINKING_SECONDS, KeyboardInterrupt()):
            self.test()
        self.test.hypothesis.inner_test = inner
        return memory.saved[-1] if memory.saved else choices


def origin(error: Exception) -> str:
    """Which kind of failure it is: the error and the place in the project that raised it; of several the first."""
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "site-packages" not in frame.filename]
    frames = [frame for frame in frames if "/engine/" not in frame.filename and "/lib/python" not in frame.filename]
    place = f"{Path(frames[-1].filename).name}:{frames[-1].name}:{frames[-1].lineno}" if frames else "nowhere"
    return f"{type(error).__name__} at {place}"


def main(text: str) -> NoReturn:
    """Do what the runner ordered."""
    order = msgspec.json.decode(text, type=Order)
    load_profile()
    with instrumented(order.file) if order.driver == "atheris" else contextlib.nullcontext():
        attack = Attack(order)
    attack.run()


if __name__ == "__main__":
    main(sys.argv[1])
