"""A path beside the workspace, signed at the command line: a run that nobody watches reads it, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from astrid.core.risk import Risk
from astrid.core.tokens import Assurance
from tests.fakes.processes import Place
from tests.fakes.terminal import installed

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(not installed(), reason="the product is not installed where an isolated Python finds it"),
]


@pytest.fixture
def plain(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path, assurance=Assurance.PLAIN)
    yield made
    made.stop()


def test_a_path_is_read_only_once_it_was_signed(plain: Place) -> None:
    for name in ("notes", "notes-other"):
        (plain.root / name).mkdir()
        (plain.root / name / "a").write_text("beside")

    def ends(name: str) -> int:
        read: dict[str, Any] = {"id": "t1", "name": "read_file", "arguments": {"file_path": f"{plain.root}/{name}/a"}}
        return plain.exec(
            "go", "--model", plain.script({"text": "", "tool_calls": [read]}, {"text": "done"})
        ).returncode

    assert ends("notes") == 3
    signed = plain.astrid("tokens", "grant", "--workspace", ".", "--also-read", "../notes", "--yes")
    assert signed.returncode == 0, signed.stderr
    assert (ends("notes"), ends("notes-other")) == (0, 3)
    token = signed.stdout.split()[1]
    shown = json.loads(plain.astrid("tokens", "show", token, "--json").stdout)
    pattern = f"file:/{plain.root}/notes/**"
    assert shown["grants"] == [{"pattern": pattern, "perms": ["read", "list"], "max_risk": Risk.MEDIUM}]
    assert plain.astrid("tokens", "revoke", token, "--yes").returncode == 0
    assert ends("notes") == 3
    refused = plain.astrid("tokens", "grant", "--workspace", ".", "--also-write", "../notes", "--yes")
    assert (refused.returncode, "[token.weak-key]" in refused.stderr) == (1, True)  # the key lies open in its file
