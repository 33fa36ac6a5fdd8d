from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from astrid.adapters.workspace.handles import Opener, Root
from astrid.adapters.workspace.matcher import Engine, find_engine
from astrid.adapters.workspace.openers import kernel_opens, open_by_walking, open_in_kernel
from astrid.adapters.workspace.shell import OpenShell
from astrid.adapters.workspace.tools import WorkspaceTools
from tests.fakes.workspace_bench import Bench, MakeBench

PROFILE = b"\7" * 32


def has_openat2() -> bool:
    top = Root.of_system(open_by_walking)
    try:
        return kernel_opens(top.descriptor)
    finally:
        top.close()


@pytest.fixture(params=[open_in_kernel, open_by_walking], ids=["openat2", "walk"])
def opener(request: pytest.FixtureRequest) -> Opener:
    if request.param is open_in_kernel and not has_openat2():
        pytest.skip("this kernel has no openat2")
    return request.param


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A workspace folder, with a secret and another folder beside it."""
    inside = tmp_path / "ws"
    inside.mkdir()
    (tmp_path / "secret.txt").write_text("TOP SECRET")
    (tmp_path / "ws-evil").mkdir()
    (tmp_path / "ws-evil" / "secret.txt").write_text("TOP SECRET")
    (tmp_path / "home").mkdir()
    return inside


@pytest.fixture
def root(folder: Path, opener: Opener) -> Iterator[Root]:
    opened = Root.open(folder, opener)
    yield opened
    opened.close()


@pytest.fixture
def make_bench(folder: Path, opener: Opener) -> Iterator[MakeBench]:
    made: list[WorkspaceTools] = []

    def make(**options: object) -> Bench:
        hidden: set[str] = set()
        tools = WorkspaceTools(
            folder,
            home=folder.parent / "home",
            profile=PROFILE,
            hidden=lambda resource: any(resource == name or resource.startswith(f"{name}/") for name in hidden),
            opener=opener,
            **{"shell": OpenShell(), **options},  # type: ignore[arg-type]
        )
        made.append(tools)
        return Bench(folder, folder.parent / "home", tools, hidden)

    yield make
    for tools in made:
        tools.close()


@pytest.fixture
def bench(make_bench: MakeBench) -> Bench:
    return make_bench(engine=Engine())


@pytest.fixture(params=["rg", "worker"])
def engine(request: pytest.FixtureRequest, root: Root) -> Engine:
    """Both programs that search; ``rg`` may also be named by the variable RG."""
    if request.param == "worker":
        return Engine()
    found = Engine(os.environ["RG"]) if "RG" in os.environ else find_engine(root)
    if found.rg is None:
        pytest.skip("rg is not installed")
    return found
