from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from astrid.adapters.sandbox.watching import extent_of


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[int]:
    (tmp_path / "kept" / "deep").mkdir(parents=True)
    (tmp_path / "kept" / "deep" / "file").write_bytes(b"x" * 100_000)
    (tmp_path / "open" / "kept").mkdir(parents=True)
    (tmp_path / "open" / "kept" / "file").write_bytes(b"x" * 300_000)
    descriptor = os.open(tmp_path, os.O_PATH | os.O_DIRECTORY)
    yield descriptor
    os.close(descriptor)


def test_all_that_lies_in_a_folder_is_counted(folder: int) -> None:
    found = extent_of(folder, 1000)
    assert found.files == 6
    assert found.bytes >= 400_000


def test_what_is_fixed_is_left_out_at_the_top_and_nowhere_else(folder: int) -> None:
    found = extent_of(folder, 1000, frozenset({"kept"}))
    assert found.files == 3
    assert 300_000 <= found.bytes < 400_000


def test_no_more_is_counted_than_asked_for(folder: int) -> None:
    assert extent_of(folder, 2).files <= 4
