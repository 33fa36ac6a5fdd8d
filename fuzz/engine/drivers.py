"""Two ways of choosing the next input: guided by coverage, or by chance and what was kept.

``atheris`` feeds inputs that reach something new back into its mutations (libFuzzer).  Where it is not installed,
Hypothesis draws with fresh seeds, and in between what is in the corpora is mutated; one mutant in ``TRACED`` is run
under a tracer, and kept if it reaches a new line.

Never: ends because a target fails; ``Attack.execute`` has dealt with that.

Source: libFuzzer's manual; Hypothesis, "Use with external fuzzers".
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import random
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from fuzz.engine.board import MAX_INPUT_BYTES
from fuzz.engine.corpus import cache_folder, kept_folder, name_of, read_inputs, write_whole
from fuzz.engine.keeping import lines_of
from fuzz.engine.targets import Target

MUTANTS = 100  # between two rounds of Hypothesis itself
TRACED = 8
CHANCE_LENGTHS = (16, 32, 64, 64, 128, 128, 256, 256, 512, 1024)
_MEGABYTES = 3000


def has_atheris() -> bool:
    """Whether coverage can guide the choice here."""
    return importlib.util.find_spec("atheris") is not None


def instrumented(file: str) -> AbstractContextManager[object]:
    """Within this block, each module of Astrid that is imported, and the target's own, is made to say where it runs."""
    atheris = importlib.import_module("atheris")
    return atheris.instrument_imports(include=["astrid", f"fuzz.{file}"], enable_loader_override=False)


def run_atheris(target: Target, execute: Callable[[bytes], object], seed: int) -> None:
    """Feed ``execute`` for ever; it ends the process when the time is over."""
    atheris: Any = importlib.import_module("atheris")
    chance = _chance(target, seed)
    folders = [str(folder) for folder in (cache_folder(target), kept_folder(target), chance) if folder.is_dir()]
    options = [
        f"-max_len={MAX_INPUT_BYTES}",
        f"-rss_limit_mb={_MEGABYTES}",
        f"-seed={seed % 2**31 or 1}",
        f"-artifact_prefix={cache_folder(target, 'artifacts')}{os.sep}",
        "-timeout=0",  # one clock for both drivers: the attack's
        "-len_control=20",
        "-handle_int=0",
        "-verbosity=1",  # to the log of the target
    ]

    def take(data: bytes) -> None:
        execute(data)

    atheris.Setup(["fuzz", *options, *folders], take, internal_libfuzzer=True)
    atheris.Fuzz()


def _chance(target: Target, seed: int) -> Path:
    """A folder of inputs of pure chance: from an empty corpus libFuzzer finds long inputs only after a long time."""
    folder = cache_folder(target, "chance")
    for old in folder.iterdir():
        old.unlink()
    rng = random.Random(seed)  # noqa: S311 - inputs, not secrets
    for length in CHANCE_LENGTHS:
        data = rng.randbytes(length)
        write_whole(folder / name_of(data), data)
    return folder


def run_hypothesis(
    target: Target, execute: Callable[[bytes], object], draw: Callable[[int], None], rng: random.Random
) -> None:
    """Feed ``execute`` for ever with mutants, and have ``draw(seed)`` draw afresh in between."""
    inputs = read_inputs(kept_folder(target), cache_folder(target)) or [b""]
    known: set[tuple[str, int]] = set()
    while True:
        draw(rng.getrandbits(63) + 1)
        for _ in range(MUTANTS):
            data = mutate(inputs, rng)
            if rng.randrange(TRACED):
                execute(data)
                continue
            reached = lines_of(lambda data=data: execute(data))
            if reached - known:
                known |= reached
                inputs.append(data)
                write_whole(cache_folder(target) / name_of(data), data)


def mutate(inputs: list[bytes], rng: random.Random) -> bytes:
    """An input like those that are known, a little changed; now and then one of pure chance."""
    if rng.randrange(10) == 0:
        return rng.randbytes(rng.randrange(1, 512))
    data = bytearray(rng.choice(inputs))
    for _ in range(rng.choice((1, 1, 2, 4, 8))):
        place = rng.randrange(len(data) + 1)
        length = rng.choice((1, 1, 2, 4, 16))
        match rng.randrange(6):
            case 0:
                data[place:place] = rng.randbytes(length)
            case 1:
                del data[place : place + length]
            case 2:
                data[place : place + length] = rng.randbytes(length)
            case 3:
                data[place : place + length] = rng.choice((b"\0", b"\1", b"\x7f", b"\xff")) * length
            case 4:  # a piece of itself, somewhere else
                start = rng.randrange(len(data) + 1)
                data[place:place] = data[start : start + 4 * length]
            case _:  # the end of another
                other = rng.choice(inputs)
                data[place:] = other[rng.randrange(len(other) + 1) :]
    return bytes(data[:MAX_INPUT_BYTES])
