"""Astrid installed in the very folder it works in: a model that writes its code would be the signer's next start."""

from __future__ import annotations

import site
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from tests.fakes.processes import Place
from tests.fakes.terminal import installed

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(not installed(), reason="the product is not installed where an isolated Python finds it"),
]


def test_a_model_cannot_write_the_code_by_which_astrid_runs(tmp_path: Path) -> None:
    place = Place(tmp_path)
    environment = place.workspace / ".venv"
    venv.create(environment, with_pip=False, symlinks=True)
    packages = next(environment.glob("lib/python3*/site-packages"))
    source = Path(__file__).resolve().parents[2] / "src"
    (packages / "installed.pth").write_text("".join(f"{folder}\n" for folder in (*site.getsitepackages(), source)))
    evil = tmp_path / "evil"
    code = f"import pathlib; pathlib.Path({str(evil)!r}).touch()"
    targets = (packages / "evil.pth", environment / "pyvenv.cfg", environment / "bin" / "activate.py")
    calls = [
        {"name": "write_file", "arguments": {"file_path": str(path.relative_to(place.workspace)), "content": code}}
        for path in targets
    ]
    before = (environment / "pyvenv.cfg").read_bytes()
    astrid = [str(environment / "bin" / Path(sys.executable).name), "-I", "-m", "astrid.frontends.cli"]
    task = ("exec", "task", "--mode", "guided", "--approve", str(place.grants))
    model = place.script({"tool_calls": calls}, {"text": "done"})
    try:
        done = subprocess.run([*astrid, *task, "--json", "--model", model], **place.options(), check=False)
        assert done.stdout.count('"workspace.own-code"') == len(targets), done.stdout + done.stderr
        shown = subprocess.run([*astrid, "keys", "show"], **place.options(), check=False)
        assert shown.returncode == 0, shown.stderr
    finally:
        place.stop()
    assert not evil.exists()
    assert not targets[0].exists()
    assert (environment / "pyvenv.cfg").read_bytes() == before
