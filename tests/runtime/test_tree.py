"""The tree is the tree that is drawn, and nobody waits for whoever stands above."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pytest
from trio.testing import MockClock

from astrid.core.grants import Mode
from astrid.kernel import ChildSpec, SupervisorSpec, open_system
from astrid.kernel.testing import Probe, settle
from astrid.runtime import tree as module
from astrid.runtime.boot import World
from astrid.runtime.tree import RANKS, Directory, tree
from tests.fakes.clock import FakeEntropy, StillClock
from tests.fakes.home import make_home
from tests.fakes.runtime import running, turn

DRAWN = re.compile(r"[├└]─ (\w+)\s+(one_for_one)?")


def spec(tmp_path: Path) -> SupervisorSpec:
    world = World(make_home(tmp_path / "home")[0], clock=StillClock(), entropy=FakeEntropy())
    return tree(world, Directory())


def test_the_tree_is_the_one_that_is_drawn(tmp_path: Path) -> None:
    made = spec(tmp_path)
    drawn = DRAWN.findall(module.__doc__ or "")
    assert [name for name, _ in drawn] == [child.id for child in made.children]
    for (_, strategy), child in zip(drawn, made.children, strict=True):
        assert (strategy or None) == (child.strategy if isinstance(child, SupervisorSpec) else None)
    assert made.strategy == "rest_for_one"


def test_everybody_has_the_rank_that_is_written_down(tmp_path: Path) -> None:
    assert {child.id: child.rank for child in spec(tmp_path).children} == RANKS
    assert RANKS["audit"] < RANKS["approvals"] < RANKS["interceptor"] < RANKS["sessions"] < RANKS["gateway"]
    assert RANKS["tools"] < RANKS["interceptor"]


def test_what_stands_on_the_log_is_restarted_with_it(tmp_path: Path) -> None:
    made = spec(tmp_path)
    names = [child.id for child in made.children]
    assert names.index("audit") == 0
    assert names.index("interceptor") < min(names.index(name) for name in ("tools", "sessions", "gateway"))
    assert all(child.restart == "permanent" for child in made.children)


# ---- the directory


async def test_whoever_has_started_is_found_and_whoever_has_not_is_nobody(autojump_clock: MockClock) -> None:
    directory = Directory()
    later = directory.later("root/a")
    assert later() is None
    async with open_system(SupervisorSpec("root", children=(ChildSpec("a", Probe),))) as system:
        ref = system.ref("root/a")
        directory.add(ref)
        directory.add(ref)
        assert later() == ref
        assert directory.by_id == {ref.id: ref}


async def test_whoever_ended_for_good_is_forgotten(autojump_clock: MockClock) -> None:
    directory = Directory()
    async with open_system(
        SupervisorSpec("root", children=(SupervisorSpec("many"), ChildSpec("one", Probe)))
    ) as system:
        directory.add(system.ref("root/one"))
        many = system.supervisor("root/many")
        for number in range(1000):
            spec = ChildSpec(f"{number}", Probe, restart="temporary")
            directory.add(many.start_child(spec))
            many.stop_child(f"{number}")
            if number % 10 == 0:
                await settle()
        assert len(directory.by_id) < 200
        assert len(directory.by_path) < 200
        assert directory.by_path["root/one"] == system.ref("root/one")


@pytest.mark.skipif(sys.platform != "linux", reason="looks at what the system says is open")
async def test_a_runtime_that_has_ended_holds_no_folder_of_a_workspace_open(tmp_path: Path) -> None:
    async with running(tmp_path) as runtime:
        await runtime.grant(Mode.GUIDED)
        await runtime.open([{"model": {"name": "m"}}, turn(text="x")])
        assert held(runtime.workspace) > 0
    assert held(runtime.workspace) == 0


def held(folder: Path) -> int:
    """How many of this process's descriptors are that folder."""
    own = Path("/proc/self/fd")
    return sum(os.path.samefile(own / name, folder) for name in os.listdir(own) if (own / name).exists())
