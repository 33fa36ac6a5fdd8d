"""A daemon looks for garbage less often, and still finds it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from astrid.daemon import __main__ as daemon
from astrid.daemon import lifecycle
from astrid.runtime import collector

_CYCLES = """
import gc, weakref
from astrid.runtime.collector import settle

class Node:
    def __init__(self):
        self.me = self

settle()
assert gc.isenabled() and gc.get_freeze_count() > 1000
first = weakref.ref(Node())
made = 0
while first() is not None:
    Node()
    made += 1
    assert made < 100_000, "nobody looked"
assert made > 700, "looked as often as ever"
"""


def test_what_refers_to_itself_still_goes_only_later() -> None:
    subprocess.run([sys.executable, "-c", _CYCLES], check=True)


def test_a_daemon_settles_before_it_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    monkeypatch.delenv("PYTHONPATH", raising=False)  # it chooses what code runs, and no daemon takes that
    monkeypatch.setattr(collector, "settle", lambda: done.append("settled"))
    monkeypatch.setattr(lifecycle, "run_daemon", lambda home, options: done.append("ran"))
    monkeypatch.setattr(daemon, "open_home", lambda folder: folder)
    assert daemon.main(["run"]) == 0
    assert done == ["settled", "ran"]
