"""``astrid demo`` as a newcomer runs it: all but the model and the person is real, and every expectation holds."""

from __future__ import annotations

import json
import os
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from astrid.frontends.demo.many import ATTEMPTS as ATTEMPTS_OF_MANY
from astrid.frontends.demo.play import ATTEMPTS
from astrid.frontends.demo.proof import DAMAGES
from tests.fakes.terminal import astrid, installed

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(not installed(), reason="the product is not installed where an isolated Python finds it"),
]
DEADLINE_SECONDS = 180  # far more than it takes; it ends a hang and is never waited for


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    place = tmp_path_factory.mktemp("demo")
    environ = {**os.environ, "TMPDIR": str(place), "HOME": str(place), "ASTRID_HOME": str(place / "not-used")}
    done = subprocess.run(
        astrid("demo", "--json"), env=environ, capture_output=True, text=True, check=False, timeout=DEADLINE_SECONDS
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return {**json.loads(done.stdout), "left": list(Path(place).iterdir())}


def test_every_expectation_of_the_demo_holds(played: dict[str, Any]) -> None:
    assert [row["what"] for row in played["expectations"] if not row["held"]] == []
    assert played["held"] is True


def test_the_demo_shows_every_attempt_of_the_poisoned_page_and_the_layer_that_stopped_it(
    played: dict[str, Any],
) -> None:
    part = "What the poisoned page asked for"
    shown = {row["what"]: row["layer"] for row in played["expectations"] if row["part"] == part}
    assert shown == {attempt.what: attempt.layer for attempt in ATTEMPTS}


def test_the_demo_shows_every_part_that_the_readme_promises(played: dict[str, Any]) -> None:
    parts = Counter(row["part"] for row in played["expectations"])
    assert parts["The task"] >= 5
    assert parts["A hostile child"] >= 10
    assert parts["Damaged copies of the log"] == len(DAMAGES) + 1


def test_every_attempt_that_the_demo_shows_was_refused_with_layer_reason_and_advice(played: dict[str, Any]) -> None:
    parts = ("What the poisoned page asked for", "A hostile client", "A hostile child")
    tried = [row for row in played["expectations"] if row["part"] in parts and row["layer"]]
    assert [row["what"] for row in tried if not (row["reason"] and row["advice"])] == []
    assert Counter(row["part"] for row in tried) == {parts[0]: 7, parts[1]: 11, parts[2]: 14}


def test_the_demo_leaves_nothing_behind(played: dict[str, Any]) -> None:
    assert played["left"] == []


def test_of_two_hundred_tasks_no_hijacked_one_has_any_effect_and_the_log_verifies(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("many")
    environ = {**os.environ, "TMPDIR": str(folder), "HOME": str(folder), "ASTRID_HOME": str(folder / "not-used")}
    done = subprocess.run(
        astrid("demo", "fleet", "--json"),
        env=environ,
        capture_output=True,
        text=True,
        check=False,
        timeout=DEADLINE_SECONDS,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    rows = json.loads(done.stdout)["expectations"]
    assert {row["what"]: row["layer"] for row in rows if row["layer"]} == {
        f"{tool}, 20 times": layer for tool, layer in ATTEMPTS_OF_MANY.items()
    }
    assert "180 honest tasks are done" in [row["what"] for row in rows]
    assert rows[-1]["reason"] == "sound: the log is whole"
    assert list(folder.iterdir()) == []
