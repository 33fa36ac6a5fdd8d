"""A launcher for real, and which tiers this machine has."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from functools import cache
from pathlib import Path

import pytest
import trio

from astrid.adapters.sandbox.launcher import ZygoteLauncher, open_launcher
from astrid.adapters.sandbox.profile import build_box
from astrid.box_ports import Box, Tier

ENV = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8"}


@cache
def tiers() -> dict[str, str]:
    """Each tier with why it does not work here; empty if it does."""

    async def ask() -> dict[str, str]:
        async with open_launcher(least="l0", never=(), temporary=Path("/")) as launcher:
            return {tier: launcher.tiers.why.get(tier, "") for tier in ("l1", "l0")}

    return trio.run(ask)


def descriptors_of(zygote: int) -> list[str]:
    """What the zygote has open; only root may look, so for anybody else nothing."""
    return sorted(os.listdir(f"/proc/{zygote}/fd")) if os.geteuid() == 0 else []


@pytest.fixture(scope="module", params=["l1", "l0"])
def tier(request: pytest.FixtureRequest) -> Tier:
    if why := tiers()[request.param]:
        pytest.skip(f"no tier {request.param} here: {why}")
    return request.param


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    folder = tmp_path.resolve() / "workspace"
    folder.mkdir()
    return folder


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """A folder that no child ever sees."""
    folder = tmp_path.resolve() / "secret"
    folder.mkdir()
    (folder / "key").write_text("canary")
    return folder


@pytest.fixture
async def launcher(tmp_path: Path, secret: Path) -> AsyncIterator[ZygoteLauncher]:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    async with open_launcher(least="l0", never=[str(secret)], temporary=temporary) as one:
        yield one


@pytest.fixture
def box(tier: Tier, workspace: Path) -> Iterator[Box]:
    folder = os.open(workspace, os.O_PATH | os.O_DIRECTORY)
    yield build_box(tier, str(workspace), folder)
    os.close(folder)
