"""The launcher and the tiers, as for the adapter's own tests; a scene for each attack."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.adapters.sandbox.conftest import tier
from tests.sandbox.scene import Scene

__all__ = ["tier"]


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    one = Scene(tmp_path.resolve() / "scene")
    yield one
    one.close()
