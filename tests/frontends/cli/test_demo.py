"""`astrid demo` that is broken off."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import tempfile
from pathlib import Path

import pytest

from astrid.frontends.cli import demo
from astrid.frontends.demo.stage import Stage
from astrid.frontends.demo.table import Row


def test_a_second_interrupt_does_not_stop_the_demo_from_cleaning_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(stage: Stage, *, quiet: bool) -> list[Row]:
        raise KeyboardInterrupt

    def interrupted_again(path: Path, *, ignore_errors: bool) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        remove(path, ignore_errors=ignore_errors)

    remove = shutil.rmtree
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(demo, "_perform", interrupted)
    monkeypatch.setattr(shutil, "rmtree", interrupted_again)
    try:
        with pytest.raises(KeyboardInterrupt):
            demo.run(argparse.Namespace(keep=False, json=True))
    finally:
        signal.signal(signal.SIGINT, before)
    assert list(tmp_path.iterdir()) == []
