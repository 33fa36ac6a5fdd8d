from __future__ import annotations

import re
from pathlib import Path

import pytest

from astrid.adapters.sandbox.cage.numbers import MACHINES

HEADERS = {
    "x86_64": (Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"), r"#define __NR_(\w+)\s+(\d+)"),
    "aarch64": (Path("/usr/include/asm-generic/unistd.h"), r"#define __NR(?:3264)?_(\w+)\s+(\d+)"),
}
NEWER = {"fchmodat2": 452, "open_tree_attr": 467}  # than the headers of many distributions; the same everywhere


@pytest.mark.parametrize("machine", sorted(HEADERS))
def test_every_number_is_the_one_in_the_kernels_header(machine: str) -> None:
    path, pattern = HEADERS[machine]
    if not path.exists():
        pytest.skip(f"{path} is not installed")
    known = {name: int(number) for name, number in re.findall(pattern, path.read_text())}
    assert {name: known.get(name, NEWER.get(name)) for name in MACHINES[machine].calls} == MACHINES[machine].calls


def test_a_name_without_a_number_does_not_exist_on_that_machine() -> None:
    path, pattern = HEADERS["aarch64"]
    if not path.exists():
        pytest.skip(f"{path} is not installed")
    missing = MACHINES["x86_64"].calls.keys() - MACHINES["aarch64"].calls.keys()
    assert missing & {name for name, _ in re.findall(pattern, path.read_text())} == set()


@pytest.mark.parametrize("machine", sorted(MACHINES))
def test_no_number_stands_for_two_calls(machine: str) -> None:
    numbers = list(MACHINES[machine].calls.values())
    assert len(numbers) == len(set(numbers))
