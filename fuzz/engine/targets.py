"""What can be fuzzed: each ``test_...`` of ``fuzz/*.py`` that Hypothesis drives, and each state machine there.

A state machine becomes a function like the others: Hypothesis offers that for programs such as this one.

Never: runs anything but the import of a file.
"""

from __future__ import annotations

import base64
import importlib
import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any, cast

from hypothesis import HealthCheck, settings
from hypothesis.control import current_build_context
from hypothesis.database import ExampleDatabase, choices_to_bytes
from hypothesis.stateful import RuleBasedStateMachine, get_state_machine_test

PROJECT = Path(__file__).parents[2]
FOLDER = PROJECT / "fuzz"
_NO_TARGETS = frozenset({"__init__", "__main__", "conftest"})

Test = Callable[[], None]
"""What ``@given`` made: called without arguments, it draws its own."""


@dataclass(frozen=True, slots=True)
class Target:
    """One function or state machine."""

    file: str
    item: str

    @property
    def name(self) -> str:
        """What it is called on the command line, and in ``.fuzz`` and ``fuzz/corpus``."""
        return f"{self.file}.{self.item}"

    def load(self) -> Any:
        """Its test, as Hypothesis made it, with the settings that were loaded when its file was first imported."""
        found = getattr(importlib.import_module(f"fuzz.{self.file}"), self.item)
        return get_state_machine_test(cast("type[RuleBasedStateMachine]", found)) if inspect.isclass(found) else found


def find_targets(names: Sequence[str] = ()) -> list[Target]:
    """The targets with these names (a file, or ``file.item``), or all there are, in the order of their names.

    Raises:
        ImportError: a file cannot be imported; a target that nobody runs would look like one that holds.
    """
    files = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem not in _NO_TARGETS)
    wanted = {name.partition(".")[0] for name in names}
    found: list[Target] = []
    for file in files:
        if not names or file in wanted:
            module = importlib.import_module(f"fuzz.{file}")
            found += [
                Target(file, item) for item, value in vars(module).items() if _is_target(module.__name__, item, value)
            ]
    return sorted(
        (target for target in found if not names or target.file in names or target.name in names),
        key=lambda target: target.name,
    )


def _is_target(module: str, item: str, value: object) -> bool:
    if inspect.isclass(value):
        return issubclass(value, RuleBasedStateMachine) and value.__module__ == module and not item.startswith("_")
    return item.startswith("test_") and hasattr(value, "hypothesis")


def load_profile() -> None:
    """What holds while targets are imported: no deadline, no database of examples but the one that is given later."""
    settings.register_profile(
        "engine",
        deadline=None,
        database=None,
        print_blob=False,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    settings.load_profile("engine")


def change_settings(test: Any, **changes: Any) -> None:
    """Have ``test`` run with these settings from now on, whatever its file says."""
    test._hypothesis_internal_use_settings = settings(test._hypothesis_internal_use_settings, **changes)


def taking_bytes(test: Any) -> Callable[[bytes], bytes | None]:
    """``test`` as a function of bytes, with the settings and the body that it has now.

    The property of Hypothesis for this, ``fuzz_one_input``, keeps those of the first time that anybody asked.
    """
    return test.hypothesis._get_fuzz_target()


class Choices(ExampleDatabase):
    """Hypothesis' own memory, for one test: what it is to try first, and what failed, as choices in its own format.

    ``saved`` holds each failure that it made known, the smallest last.
    """

    def __init__(self, *first: bytes) -> None:
        super().__init__()
        self.first = first
        self.saved: list[bytes] = []

    @classmethod
    def of(cls, *first: bytes) -> Choices:
        """A memory that is made like this; Hypothesis' own types say less of what its classes return."""
        return cast("Choices", cls(*first))

    def save(self, key: bytes, value: bytes) -> None:
        """Hypothesis found a failure, or a smaller one."""
        self.saved.append(value)

    def fetch(self, key: bytes) -> Iterator[bytes]:
        """What Hypothesis is to try first.  In its first list it takes a failure for the smallest there is, and would
        not look for a smaller one."""
        if key.endswith(b".secondary"):
            yield from self.first

    def delete(self, key: bytes, value: bytes) -> None:
        """Nothing is forgotten: what no longer fails is as worth trying as what does."""


@contextmanager
def watched(test: Any) -> Iterator[list[bytes]]:
    """The choices of each execution of ``test`` within the block, in Hypothesis' format."""
    inner = test.hypothesis.inner_test
    seen: list[bytes] = []

    @wraps(inner)  # Hypothesis calls a failing test by its name
    def watching(*args: Any, **kwargs: Any) -> object:
        drawn = current_build_context().data
        try:
            return inner(*args, **kwargs)
        finally:
            seen.append(choices_to_bytes(drawn.choices))

    test.hypothesis.inner_test = watching
    try:
        yield seen
    finally:
        test.hypothesis.inner_test = inner


def to_text(choices: bytes) -> str:
    """Bytes as they stand in a file of text."""
    return base64.b64encode(choices).decode()


def from_text(text: str) -> bytes:
    """The bytes of ``to_text``."""
    return base64.b64decode(text, validate=True)
