"""What the project's files must not say: where they were written."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from tests.architecture.source import ROOT, project_files


def traces(*folders: str) -> re.Pattern[str]:
    """Whatever names one of these folders, or something below it."""
    named = "|".join(re.escape(folder) for folder in folders)
    return re.compile(rf"(?<![\w.*%{{}}-])(?:{named})(?![\w-])")


# The checkout, and the environment if there is one; of a folder right below `/` nothing can be said.
HERE = [folder for folder in {str(ROOT), sys.prefix} - {sys.base_prefix} if len(Path(folder).parts) > 2]


@pytest.mark.skipif(not HERE, reason="the checkout lies right below /")
def test_no_file_names_a_folder_of_the_machine_it_was_written_on() -> None:
    found: list[str] = []
    for path in project_files():
        text = path.read_bytes().decode("utf-8", errors="replace")
        found += [f"{path.relative_to(ROOT)}: {hit[0]}" for hit in traces(*HERE).finditer(text)]
    assert found == []


def test_a_named_folder_would_be_found() -> None:
    looked_for = traces("/srv/checkout", "/srv/python")
    assert looked_for.search("see /srv/checkout/x.py")
    assert looked_for.search("run `/srv/python`")
    assert not looked_for.search("see docs/srv/checkout and /srv/checkouts")
