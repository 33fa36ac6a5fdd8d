"""A box that refuses everything is no use: ordinary work goes on in it."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from astrid.adapters.sandbox.launcher import open_launcher
from astrid.adapters.sandbox.profile import build_box
from astrid.box_ports import Tier

pytestmark = pytest.mark.e2e

SECONDS = 60.0
ENV = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8", "GIT_CONFIG_NOSYSTEM": "1"}
AUTHOR = "-c user.name=a -c user.email=a@example.org"
MAIN_C = r'printf "#include <stdio.h>\nint main(void) { puts(\"built\"); return 0; }\n" > main.c'
# What is needed, a script, and what it prints last.
WORK = {
    "git commits": (
        "git",
        f"echo x > file && git add file && git {AUTHOR} commit -qm one && git log --format=%s",
        "one",
    ),
    "gcc compiles": ("gcc", f"{MAIN_C} && gcc -o main main.c && ./main", "built"),
    "make builds": ("make", r"printf 'all:\n\t@echo made\n' > Makefile && make -j4", "made"),
    "node computes": ("node", "node -e 'setTimeout(() => console.log(6 * 7), 1)'", "42"),
    "node starts programs": (
        "node",
        "node -e 'require(`child_process`).exec(`echo hi`, (e, o) => console.log(o))'",
        "hi",
    ),
    "npm reads a package": (
        "npm",
        'echo \'{"name":"p","scripts":{"t":"echo ran"}}\' > package.json && npm run -s t',
        "ran",
    ),
    "python uses threads": (
        "python3",
        "python3 -c 'from concurrent.futures import *; print(sum(ThreadPoolExecutor(8).map(int, range(9))))'",
        "36",
    ),
    "asyncio starts programs": (
        "python3",
        (
            r"""printf 'import asyncio as a\nasync def main():\n p = await a.create_subprocess_shell("echo async")\n'"""
            r""" > a.py && printf ' await p.wait()\na.run(main())\n' >> a.py && python3 a.py"""
        ),
        "async",
    ),
    "python uses many processes": (
        "python3",
        "python3 -c 'import multiprocessing as m; print(sum(m.get_context(\"fork\").Pool(3).map(abs, [-1, -2, -3])))'",
        "6",
    ),
    "a test suite runs": (
        "python3",
        (
            r"printf 'import unittest\nclass T(unittest.TestCase):\n def test(self): self.assertTrue(1)\n' > test_x.py"
            " && python3 -m unittest 2>&1 | tail -1"
        ),
        "OK",
    ),
    "a database is written": (
        "python3",
        'python3 -c \'import sqlite3; c = sqlite3.connect("d"); c.execute("create table t(x)"); c.commit(); print(1)\'',
        "1",
    ),
    "files are packed": (
        "tar",
        "mkdir d && echo x > d/f && tar czf d.tgz d && rm -r d && tar xzf d.tgz && cat d/f",
        "x",
    ),
    "temporary files are made": (
        "bash",
        "f=$(mktemp) && echo tmp > $f && cat $f && cd && touch x && ls ~ > $f && cat $f",
        "x",
    ),
    "pipes and jobs work": ("bash", "seq 1000 | sort -rn | head -3 | tail -1 & wait; cat <(echo here) <<< no", "here"),
    "a script is made and run": ("bash", "printf '#!/bin/sh\\necho script\\n' > s && chmod +x s && ./s", "script"),
}


# Semaphores of processes lie in /dev/shm, which without a root of one's own is everybody's; docs/sandbox.md says so.
BEYOND_L0 = {"python uses many processes"}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path.resolve() / "project"
    folder.mkdir()
    subprocess.run(["/usr/bin/git", "init", "-q", "."], cwd=folder, check=True, env={"HOME": str(tmp_path)})
    return folder


@pytest.mark.parametrize("what", WORK)
async def test_ordinary_work_goes_on(project: Path, tier: Tier, tmp_path: Path, what: str) -> None:
    if tier == "l0" and what in BEYOND_L0:
        pytest.skip("no tier l0 gives this")
    program, script, last = WORK[what]
    if shutil.which(program, path=ENV["PATH"]) is None:
        pytest.skip(f"{program} is not here")
    folder = os.open(project, os.O_PATH | os.O_DIRECTORY)
    try:
        async with open_launcher(least="l0", never=(), temporary=tmp_path) as launcher:
            box = build_box(tier, str(project), folder)
            argv = ["/bin/bash", "-c", script]
            done = await launcher.run(box, argv, cwd="", env=ENV, seconds=SECONDS, max_bytes=100_000)
    finally:
        os.close(folder)
    assert done.stdout.decode().strip().splitlines()[-1:] == [last], (done.stdout + done.stderr).decode()
    assert done.returncode == 0


async def test_nothing_that_only_the_box_needed_stays_in_the_workspace(
    project: Path, tier: Tier, tmp_path: Path
) -> None:
    before = sorted(path.name for path in project.rglob("*"))  # noqa: ASYNC240 - a few files
    folder = os.open(project, os.O_PATH | os.O_DIRECTORY)
    try:
        async with open_launcher(least="l0", never=(), temporary=tmp_path) as launcher:
            box = build_box(tier, str(project), folder)
            await launcher.run(box, ["/bin/true"], cwd="", env=ENV, seconds=SECONDS, max_bytes=1000)
    finally:
        os.close(folder)
    assert sorted(path.name for path in project.rglob("*")) == before  # noqa: ASYNC240 - as above
