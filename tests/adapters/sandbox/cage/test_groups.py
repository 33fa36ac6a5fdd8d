"""Control groups: whose may be divided, and what is laid on a program; in a tree of files that looks like the kernel's.

Where the kernel lets us make a group at all, programs also run in one and are killed by it, for real.  That the kernel
keeps to the limits is shown by the zygote's own test, on machines that hand them on, and nowhere else.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from astrid.adapters.sandbox import starting
from astrid.adapters.sandbox.cage import groups, packets
from astrid.adapters.sandbox.cage.groups import Groups, NoGroupsError, find_own, settle
from tests.adapters.sandbox.conftest import tiers
from tests.adapters.sandbox.test_zygote import PLENTY, Daemon
from tests.architecture.source import SRC

DAEMON = 4_000_000  # above every process there is
FILES = ("cgroup.procs", "cgroup.subtree_control", "cgroup.kill", "memory.max", "memory.oom.group", "pids.max")


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A group that was given to a daemon and us, in a tree where a new folder comes filled, as the kernel's does."""

    def make(path: str) -> None:
        os.mkdir(path)
        for name in FILES:
            Path(path, name).touch()

    monkeypatch.setattr(groups, "make_folder", make)
    monkeypatch.setattr(groups, "remove_folder", shutil.rmtree)
    folder = tmp_path / "astrid.service"
    make(str(folder))
    (folder / "cgroup.controllers").write_text("cpu memory pids\n")
    (folder / "cgroup.procs").write_text(f"{DAEMON}\n{os.getpid()}\n")
    return folder


def facts(tmp_path: Path, cgroup: str, mountinfo: str) -> str:
    (tmp_path / "cgroup").write_text(cgroup)
    (tmp_path / "mountinfo").write_text(mountinfo)
    return str(tmp_path)


PLAIN = "31 23 0:28 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
HYBRID = (
    "39 31 0:36 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n41 31 0:38 / /cg/unified rw - cgroup2 cgroup2 rw\n"
)
PART = "41 31 0:38 /docker/1 /sys/fs/cgroup ro - cgroup2 cgroup rw\n"


@pytest.mark.parametrize(
    ("cgroup", "mountinfo", "place"),
    [
        ("0::/user.slice/a.scope\n", PLAIN, "/sys/fs/cgroup/user.slice/a.scope"),
        ("8:pids:/x\n0::/\n", HYBRID, "/cg/unified"),
        ("0::/docker/1/a\n", PART, "/sys/fs/cgroup/a"),
        ("0::/docker/1\n", PART, "/sys/fs/cgroup"),
    ],
)
def test_our_own_group_is_found_where_it_is_mounted(tmp_path: Path, cgroup: str, mountinfo: str, place: str) -> None:
    assert find_own(facts(tmp_path, cgroup, mountinfo)) == place


@pytest.mark.parametrize(
    ("cgroup", "mountinfo"),
    [
        ("8:pids:/x\n", PLAIN),
        ("0::/a\n", "39 31 0:36 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n"),
        ("0::/docker/2\n", PART),
        ("0::/docker/10\n", PART),
        ("0::/../b\n", PLAIN),
        ("", ""),
    ],
)
def test_a_group_that_we_cannot_see_is_none(tmp_path: Path, cgroup: str, mountinfo: str) -> None:
    with pytest.raises(NoGroupsError):
        find_own(facts(tmp_path, cgroup, mountinfo))


def test_a_group_that_is_ours_alone_is_divided(own: Path) -> None:
    assert settle(str(own), DAEMON) == str(own)
    assert (own / "cgroup.subtree_control").read_text() == "+memory +pids"
    assert (own / "astrid-self" / "cgroup.procs").read_text() == f"{max(DAEMON, os.getpid())}"  # the last that moved


@pytest.mark.parametrize("other", ["1", "0"])
def test_nobody_else_is_moved(own: Path, other: str) -> None:
    with (own / "cgroup.procs").open("a") as file:
        file.write(f"{other}\n")
    with pytest.raises(NoGroupsError, match="others run in"):
        settle(str(own), DAEMON)
    assert not (own / "astrid-self").exists()
    assert (own / "cgroup.subtree_control").read_text() == ""


def test_a_group_without_memory_is_left_alone(own: Path) -> None:
    (own / "cgroup.controllers").write_text("cpu pids\n")
    with pytest.raises(NoGroupsError, match="has no memory"):
        settle(str(own), DAEMON)
    assert not (own / "astrid-self").exists()


def test_a_group_of_somebody_else_is_left_alone(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, _: not str(path).endswith("subtree_control"))  # pyright: ignore[reportUnknownLambdaType, reportUnknownArgumentType]
    with pytest.raises(NoGroupsError, match="belongs to somebody else"):
        settle(str(own), DAEMON)
    assert not (own / "astrid-self").exists()


def test_where_there_is_nothing_there_is_no_group(tmp_path: Path) -> None:
    with pytest.raises(NoGroupsError, match="not ours to divide"):
        settle(str(tmp_path / "none"), DAEMON)


def test_another_zygote_takes_the_place_that_the_first_has_made(own: Path) -> None:
    settle(str(own), DAEMON)
    with pytest.raises(NoGroupsError, match="does not hand on memory and pids"):
        settle(str(own / "astrid-self"), DAEMON)
    (own / "cgroup.subtree_control").write_text("memory pids\n")
    groups.make_folder(str(own / "astrid-box-1-7"))
    assert settle(str(own / "astrid-self"), DAEMON) == str(own)
    assert not (own / "astrid-box-1-7").exists()


def test_a_program_gets_a_group_with_its_limits_and_it_goes_with_it(own: Path) -> None:
    made = Groups(str(own))
    group = made.make(3, memory_bytes=1000, tasks=5)
    folder = own / f"astrid-box-{os.getpid()}-3"
    assert os.path.samestat(os.fstat(group), folder.stat())
    os.close(group)
    assert {name: (folder / name).read_text() for name in ("memory.max", "memory.oom.group", "pids.max")} == {
        "memory.max": "1000",
        "memory.oom.group": "1",
        "pids.max": "5",
    }
    assert not (folder / "memory.swap.max").exists()  # nothing is made that the kernel does not have
    assert made.kill(3) == ""
    assert (folder / "cgroup.kill").read_text() == "1"
    made.remove()
    assert not folder.exists()


@pytest.mark.parametrize("missing", ["memory.max", "memory.oom.group", "pids.max"])
def test_a_limit_that_cannot_be_laid_is_an_error_and_leaves_no_group(
    own: Path, missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = groups.make_folder

    def make_less(path: str) -> None:
        make(path)
        Path(path, missing).unlink()

    monkeypatch.setattr(groups, "make_folder", make_less)
    with pytest.raises(FileNotFoundError):
        Groups(str(own)).make(3, memory_bytes=1000, tasks=5)
    assert list(own.glob("astrid-box-*")) == []


def test_it_is_told_when_the_kernel_ended_a_program_for_its_memory(own: Path) -> None:
    made = Groups(str(own))
    os.close(made.make(3, memory_bytes=1000, tasks=5))
    (own / f"astrid-box-{os.getpid()}-3" / "memory.events").write_text("low 0\noom 1\noom_kill 4\noom_group_kill 1\n")
    assert made.kill(3) == "memory"


def test_a_group_that_is_still_in_use_is_removed_later(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: str) -> None:
        raise OSError(16, "busy", path)

    made = Groups(str(own))
    os.close(made.make(3, memory_bytes=0, tasks=0))
    made.kill(3)
    with monkeypatch.context() as busy:
        busy.setattr(groups, "remove_folder", refuse)
        made.remove()
    assert list(own.glob("astrid-box-*"))
    made.remove()
    assert list(own.glob("astrid-box-*")) == []


# --- with the kernel


@pytest.fixture
def real() -> Iterator[str]:
    """An empty group of the kernel's, in our own."""
    try:
        place = f"{find_own()}/astrid-test-{os.getpid()}"
        os.mkdir(place)
    except (NoGroupsError, OSError) as error:
        pytest.skip(f"no control group can be made here: {error}")
    yield place
    os.rmdir(place)


# In a process of its own: it is copied as a zygote is, with one thread.
IN_A_GROUP = """
import json, os, select, sys
sys.path.append(sys.argv[1])
from astrid.adapters.sandbox.cage import packets, selftest, supervisor
from astrid.adapters.sandbox.cage.groups import Groups
from astrid.adapters.sandbox.cage.requests import Floor, Request
_, _, place, tier = sys.argv
made = Groups(place)
group = made.make(1, memory_bytes=0, tasks=0)
null = os.open("/dev/null", os.O_RDWR)
folder = os.open("/usr", os.O_PATH)
script = "(setsid sleep 1000 &); (setsid sh -c 'sleep 1000 & sleep 1000' &); sleep 1000"
argv = ("/bin/sh", "-c", script)
request = Request(1, tier, argv, {"PATH": "/bin"}, "/usr", "", rx=selftest.SYSTEM, tmp_bytes=1 << 20)
pid, reports = supervisor.start(request, [null, null, null, folder], Floor("none", ()), group=group)
started = json.loads(packets.receive(reports, 65536, 1).data)
inside = f"{place}/astrid-box-{os.getpid()}-1"
def members():
    return open(f"{inside}/cgroup.procs").read().split()
while len(members()) < 5:
    select.select([], [], [], 0.005)
was = [started["ev"], str(pid) in members(), str(os.getpid()) in members()]
made.kill(1)
ended = os.waitpid(pid, 0)[1]
while members():
    select.select([], [], [], 0.005)
made.remove()
print(json.dumps([*was, ended, os.path.exists(inside)]))
"""


@pytest.mark.e2e
@pytest.mark.parametrize("tier", ["l1", "l0"])
def test_a_program_and_all_it_starts_is_in_its_group_and_killed_by_it(real: str, tier: str) -> None:
    if why := tiers()[tier]:
        pytest.skip(f"no tier {tier} here: {why}")
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-E", "-c", IN_A_GROUP, str(SRC), real, tier],
        stdout=subprocess.PIPE,
        timeout=PLENTY,
        check=True,
    )
    assert done.stdout == b'["started", true, false, 9, false]\n'


# A zygote that believes in the group it is given, whatever that hands on.
BELIEVING = """\
import sys
sys.path.append(sys.argv[1])
from astrid.adapters.sandbox.cage import groups, selftest
groups.find_own = lambda: {place!r}
groups.settle = lambda own, daemon: own
selftest.try_groups = lambda tier, found: ""
"""


@pytest.mark.e2e
@pytest.mark.parametrize("tier", ["l1", "l0"])
def test_a_zygote_gives_each_program_a_group_and_leaves_none(
    real: str, tier: str, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if why := tiers()[tier]:
        pytest.skip(f"no tier {tier} here: {why}")
    monkeypatch.setattr(starting, "_CODE", BELIEVING.format(place=real) + starting._CODE)  # pyright: ignore[reportPrivateUsage]
    process, line = starting.start_zygote()
    line.settimeout(PLENTY)
    daemon = Daemon(line, process.pid, workspace)
    packets.send(line, {"least": "l0", "never": []})
    assert daemon.hear()["groups"] == ""
    gone = daemon.ask(1, tier=tier, argv=["/bin/sh", "-c", "(setsid sleep 1000 &); exit 7"])
    assert (gone["status"], gone["limit"]) == (7 << 8, "")
    assert list(Path(real).glob("astrid-box-*")) == []
    refused = daemon.ask(2, tier=tier, memory_bytes=1 << 30)
    if "memory" not in Path(real, "cgroup.controllers").read_text().split():
        assert refused["ev"] == "error"  # a limit that the kernel does not take is no limit
    null, folder = daemon.null, daemon.folder
    asked = {"id": 3, "tier": tier, "argv": ["/bin/sleep", "1000"], "env": {}, "workspace": str(workspace)}
    packets.send(line, {**asked, "rx": ["/usr", "/bin", "/lib", "/lib64"]}, [null, null, null, folder])
    assert daemon.hear()["ev"] == "started"
    assert [path.name for path in Path(real).glob("astrid-box-*")] == [f"astrid-box-{process.pid}-3"]
    line.close()
    assert process.wait(PLENTY) == 0
    assert list(Path(real).glob("astrid-box-*")) == []
    os.close(null)
    os.close(folder)
