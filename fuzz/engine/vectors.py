"""Crashes made permanent: one file each, ``tests/vectors/fuzz/<file>/<number>.json``, replayed by ``make test``.

A vector holds the choices that Hypothesis made, in its own format (or the raw bytes or the seed, where the process died
of them), and in words what was drawn.  Choices mean something only together with the strategies of the target, so
replaying also checks that they still are what is drawn: a vector that has silently become another input guards nothing.

Never: overwrites a vector, or writes one a second time.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import Phase, seed
from hypothesis.database import choices_from_bytes
from msgspec.structs import replace

from fuzz.engine.corpus import PADDING, write_whole
from fuzz.engine.targets import (
    PROJECT,
    Choices,
    Target,
    change_settings,
    from_text,
    taking_bytes,
    to_text,
    watched,
)

FOLDER = PROJECT / "tests" / "vectors" / "fuzz"
EXAMPLES = 100  # that are drawn with one seed
_SHOWN = 4000  # characters of what was drawn


class Vector(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One input that broke something once, as ``choices``; where the process died of it, as ``raw`` bytes, or as the
    ``seed`` with which it was drawn among others."""

    target: str
    error: str
    drawn: str
    choices: str = ""
    raw: str = ""
    seed: int = 0

    @property
    def where(self) -> Target:
        """The target it belongs to."""
        file, _, item = self.target.partition(".")
        return Target(file, item)


def all_vectors() -> list[Path]:
    """Every vector of the project, in order."""
    return sorted(FOLDER.glob("*/[0-9][0-9][0-9][0-9].json"))


def read(path: Path) -> Vector:
    """The vector in a file.

    Raises:
        msgspec.ValidationError: it is none.
    """
    return msgspec.json.decode(path.read_bytes(), type=Vector)


def number(vector: Vector) -> tuple[Path, bool]:
    """Write it under the next free number of its file; its path, and whether it is new."""
    folder = FOLDER / vector.where.file
    folder.mkdir(parents=True, exist_ok=True)
    there = sorted(folder.glob("[0-9][0-9][0-9][0-9].json"))
    for path in there:
        old = read(path)
        if replace(old, error="", drawn="") == replace(vector, error="", drawn=""):
            return path, False
    last = int(there[-1].stem) if there else 0
    path = folder / f"{last + 1:04}.json"
    write_whole(path, (json.dumps(msgspec.to_builtins(vector), indent=1, ensure_ascii=False) + "\n").encode())
    return path, True


def command(path: Path) -> str:
    """The one command that replays it."""
    return f"python -m fuzz --replay {path.relative_to(PROJECT)}"


def replay(vector: Vector) -> None:
    """Run it again; whatever the target raises comes out.

    Raises:
        AssertionError: the target no longer draws what the vector says, so that it shows nothing.
    """
    test = vector.where.load()
    with watched(test) as seen:
        if vector.seed:
            draw(test, vector.seed, EXAMPLES)
        elif vector.raw:
            taking_bytes(test)(from_text(vector.raw) + PADDING)
        else:
            _run(test, vector.choices)
    wanted = list(choices_from_bytes(from_text(vector.choices)) or ())
    if seen and not vector.choices and (vector.raw or vector.seed):
        return
    for execution in seen:
        got = list(choices_from_bytes(execution) or ())
        shared = min(len(wanted), len(got))
        if wanted[:shared] == got[:shared] and shared > 0:
            return
    raise AssertionError(f"{vector.target} no longer draws what this vector holds; write it anew from what it says")


def describe(test: Any, choices: str) -> str:
    """What these choices are, in Hypothesis' words, which it leaves at the error."""
    try:
        _run(test, choices)
    except Exception as error:  # noqa: BLE001 - that it fails is why it is described
        return "\n".join(getattr(error, "__notes__", ())).replace(f"{PROJECT}/", "")[:_SHOWN]
    return "it did not fail again"


def draw(test: Any, number: int, examples: int, memory: Choices | None = None) -> None:
    """Have Hypothesis draw ``examples`` with this seed; what fails is told to ``memory``."""
    seed(number)(test)  # it takes the memory away
    change_settings(
        test,
        database=memory or Choices.of(),
        deadline=None,
        derandomize=False,
        phases=(Phase.generate,),
        max_examples=examples,
    )
    test()


def _run(test: Any, choices: str) -> None:
    memory = Choices.of(from_text(choices))
    # Where fewer choices are held than are drawn now, the rest is the same each time.  A seed takes the memory away.
    seed(0)(test)
    change_settings(test, database=memory, deadline=None, derandomize=False, phases=(Phase.reuse,), print_blob=False)
    test()


def made(target: Target, error: str, test: Any, choices: bytes) -> Vector:
    """The vector of a failure."""
    text = to_text(choices)
    return Vector(target=target.name, error=error, drawn=describe(test, text), choices=text)
