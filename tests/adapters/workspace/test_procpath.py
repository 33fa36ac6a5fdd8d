from __future__ import annotations

from pathlib import Path

import pytest

from astrid.adapters.workspace.procpath import is_of_a_process


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (b"/proc/self", True),
        (b"/proc/self/../cpuinfo", True),
        (b"//proc/./4000000/root", True),
        (b"/x/../../proc/thread-self", True),
        (b"/proc", False),
        (b"/proc/cpuinfo", False),
        (b"/proc/self2", False),
        (b"/prob/self", False),
        (b"/a\0/proc/self", False),
        (b"/", False),
    ],
)
def test_the_folders_of_processes_are_known_by_name(path: bytes, expected: bool) -> None:
    assert is_of_a_process(path) is expected


def test_links_are_followed_wherever_they_lead(tmp_path: Path) -> None:
    folder = str(tmp_path).encode()
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "up").symlink_to("../way")
    (tmp_path / "way").symlink_to("/proc/self/cwd")
    (tmp_path / "plain").symlink_to("a/file")
    (tmp_path / "round").symlink_to("round")
    assert is_of_a_process(folder + b"/a/up/x")
    assert not is_of_a_process(folder + b"/plain/x")
    assert not is_of_a_process(folder + b"/round/x")
