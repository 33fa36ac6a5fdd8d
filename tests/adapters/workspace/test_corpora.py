"""What others collected to break out of a folder or a command line, through the real tools of a workspace: each text is
refused, or what it names is inside, or it is named as lying outside and so asked about.

The folder is prepared so that whoever reads a text otherwise finds something: the files that the lists look for lie
above the workspace, at every height that is ours.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from astrid.adapters.workspace.handles import Opener
from astrid.adapters.workspace.matcher import Engine
from astrid.adapters.workspace.openers import open_in_kernel
from astrid.core.call import Need, Preparation
from astrid.core.resources import covers, file_pattern_tree, parse_pattern
from astrid.core.risk import Risk
from astrid.errors import AstridError
from tests.fakes.workspace_bench import Bench, MakeBench

CORPORA = Path(__file__).parents[2] / "vectors" / "corpora"
SECRET = "TOP SECRET"
WANTED = ("secret.txt", "boot.ini", "windows/win.ini", "proc/self/environ", *(f"etc/{n}" for n in ("passwd", "hosts")))


def load(name: str) -> Any:
    return json.loads((CORPORA / name).read_text("utf-8"))


def paths() -> list[str]:
    content = load("path_traversal.json")
    found = [path.replace("{FILE}", "secret.txt") for paths in content["items"].values() for path in paths]
    assert len(found) == content["count"] == 2986
    return found


@pytest.fixture
def deep(make_bench: MakeBench, folder: Path) -> Bench:
    """A workspace above which lies, at each height of ours, what such texts look for."""
    for above in (folder.parent, folder.parent / "home"):
        for name in WANTED:
            (above / name).parent.mkdir(parents=True, exist_ok=True)
            (above / name).write_text(SECRET)
    (folder / "etc").mkdir()
    (folder / "etc" / "passwd").write_text("inside")
    (folder / "in").mkdir()
    (folder / "in" / "a.txt").write_text("inside")
    (folder / "to-in").symlink_to("in")
    (folder / "out").symlink_to("..")
    return make_bench(engine=Engine())


def state_of(root: Path) -> dict[str, str]:
    """Every plain file beside the workspace, and what it holds."""
    found = [path for path in root.rglob("*") if path.is_file() and not path.is_symlink()]
    return {str(path): path.read_text() for path in found if not path.is_relative_to(root / "ws")}


def within(needs: tuple[Need, ...], folder: Path) -> bool:
    tree = file_pattern_tree(os.fsencode(folder))
    return all(covers(tree, parse_pattern(need.resource)) for need in needs)


async def prepared(bench: Bench, tool: str, **arguments: object) -> Preparation | None:
    """What a call would touch; ``None`` if it is refused."""
    try:
        return await bench.prepare(tool, **arguments)
    except AstridError as error:
        assert error.code.partition(".")[0] in ("workspace", "command", "canon", "tool"), error
        return None


@pytest.mark.parametrize("lead", ["", "out/"])
async def test_no_collected_path_reads_or_changes_anything_outside_under_a_grant_for_the_workspace(
    deep: Bench, folder: Path, lead: str
) -> None:
    before = state_of(folder.parent)
    seen: Counter[str] = Counter()
    for text in paths():
        path = lead + text
        read = await prepared(deep, "read_file", file_path=path)
        write = await prepared(deep, "write_file", file_path=path, content="written")
        if read is None:
            seen["refused"] += 1
            assert write is None, path
        elif not within(read.needs, folder):
            seen["outside"] += 1
            assert read.risk >= Risk.MEDIUM, path
            assert write is None or (write.risk >= Risk.HIGH and not within(write.needs, folder)), path
        else:
            seen["inside"] += 1
            told = await deep.execute(deep.call("read_file", read, file_path=path))
            assert SECRET not in told.content.decode(), path
            if write is not None:
                seen["writable"] += 1
                assert within(write.needs, folder)
                if seen["writable"] % 8 == 1:  # a write waits for the disk
                    await deep.execute(deep.call("write_file", write, file_path=path, content="written"))
    assert state_of(folder.parent) == before
    assert min(seen["refused"], seen["outside"], seen["inside"]) > 10, seen
    assert seen["writable"] > 8, seen


def test_without_the_look_at_where_a_path_leads_the_collected_paths_would_read_what_lies_outside(
    deep: Bench, folder: Path
) -> None:
    """The lists are worth something here: a tool that joined folder and text would have read the secret often."""
    naive = 0
    for text in paths():
        try:
            naive += SECRET in Path(os.path.join(folder, text.replace("\\", "/"))).read_text("utf-8", "replace")
        except (OSError, ValueError):
            continue
    assert naive > 3


OTHERS: dict[str, dict[str, object]] = {
    "edit_file": {"old_string": SECRET, "new_string": "x"},
    "list_directory": {},
    "glob": {"pattern": "*"},
    "grep": {"pattern": "x"},
}


async def test_every_other_tool_sees_the_same_place_in_a_collected_path(
    deep: Bench, folder: Path, opener: Opener
) -> None:
    seen: Counter[str] = Counter()
    for text in paths()[:: 1 if opener is open_in_kernel else 5]:
        read = await prepared(deep, "read_file", file_path=text)
        for tool, rest in OTHERS.items():
            plan = await prepared(deep, tool, **{"file_path" if tool == "edit_file" else "path": text}, **rest)
            if read is None:
                seen["refused"] += 1
                assert plan is None, (tool, text)
            elif plan is not None:  # what may be read may not always be written
                inside = within(read.needs, folder)
                seen["inside" if inside else "outside"] += 1
                assert within(plan.needs, folder) is inside, (tool, text)
    assert min(seen["refused"], seen["outside"], seen["inside"]) > 10, seen


async def test_a_collected_path_as_a_pattern_finds_nothing_outside(deep: Bench, folder: Path) -> None:
    tried = 0
    for text in paths()[::7]:  # every list is met; a walk of the workspace takes its time
        plan = await prepared(deep, "glob", pattern=text)
        if plan is None:
            continue
        tried += 1
        assert within(plan.needs, folder), text
        outcome = await deep.execute(deep.call("glob", plan, pattern=text))
        assert not outcome.is_error
        assert "secret.txt" not in outcome.content.decode().replace(text, ""), text
    assert tried > 100


# --- command lines


def lines() -> list[str]:
    injected = [item["payload"] for item in load("shell_command_injection_patt.json")["items"]]
    labelled = [item["command"] for item in load("shell_dcg_labelled.json")["items"] if item["command"] is not None]
    return [*(f"true {one}" for one in injected), *injected, *labelled]


async def test_every_collected_line_is_refused_or_asked_about_each_time_and_preparing_it_runs_nothing(
    deep: Bench, folder: Path
) -> None:
    before, inside = state_of(folder.parent), sorted(os.listdir(folder))
    seen: Counter[bool] = Counter()
    for line in lines():
        plan = await prepared(deep, "bash", command=line)
        seen[plan is not None] += 1
        if plan is not None:
            assert plan.fresh, line
            assert plan.risk is Risk.HIGH, line
            assert any(need.resource.startswith("exec://") for need in plan.needs), line
            assert plan.controls == (("command", line),)
    assert (state_of(folder.parent), sorted(os.listdir(folder))) == (before, inside)
    assert min(seen[True], seen[False]) > 50, seen
