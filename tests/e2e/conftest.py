"""What the tests of real processes share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.processes import Place


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """A home and a workspace of the test's own; nothing that it starts outlives it."""
    made = Place(tmp_path)
    yield made
    made.stop()
