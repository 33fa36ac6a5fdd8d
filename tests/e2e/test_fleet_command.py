"""``astrid fleet run`` with real processes: killed or interrupted in the middle and gone on with, its log verified."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from tests.fakes.processes import ASTRID, Place, events_of, wait_until
from tests.fakes.terminal import installed

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(not installed(), reason="the product is not installed where an isolated Python finds it"),
]


def fleet_of(place: Place, count: int) -> list[str]:
    """The words that have so many tasks done; the grant is handed over."""
    place.exec("hello", "--model", place.script({"text": "hello"}, name="hello.jsonl"))
    tasks = place.root / "tasks.jsonl"
    tasks.write_text("".join(f'{{"id": "t{number}", "prompt": "go"}}\n' for number in range(count)))
    model = place.script({"text": "the answer"})
    return ["fleet", "run", str(tasks), "--model", model, "--mode", "guided", "--out", str(place.root / "out")]


def ended(place: Place) -> list[str]:
    path = place.root / "out" / "results.jsonl"
    *whole, _ = path.read_text().split("\n") if path.exists() else [""]  # one may be being written
    return [json.loads(line)["id"] for line in whole]


def test_tasks_are_done_and_told_a_line_each_and_the_log_of_all_of_them_verifies(place: Place) -> None:
    done = place.astrid(*fleet_of(place, 12), "--max-usd", "1.00")
    *tasks, summary = events_of(done.stdout)
    assert (done.returncode, len(tasks), summary["done"]) == (0, 12, 12), done.stderr
    assert (place.root / "out" / "text" / "t7.txt").read_text() == "the answer"
    assert place.astrid("audit", "verify").returncode == 0


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_run_that_was_stopped_in_the_middle_goes_on_and_does_nothing_twice(place: Place, how: signal.Signals) -> None:
    words = [*fleet_of(place, 60), "--concurrency", "2"]
    process = place.start([*ASTRID, *words])
    wait_until(lambda: len(ended(place)) >= 3, "three tasks have ended")
    process.send_signal(how)
    process.wait()
    before = ended(place)
    assert 3 <= len(before) < 60
    open_ends = 60 - events_of(place.astrid(*words).stdout)[-1]["done"]
    assert open_ends <= (2 if how == signal.SIGKILL else 0)
    assert place.astrid(*words, "--retry-unknown").returncode == 0
    after = ended(place)
    assert after[: len(before)] == before
    assert sorted(after) == sorted(f"t{number}" for number in range(60))
    assert place.astrid("audit", "verify").returncode == 0


def test_one_bad_line_is_named_and_nothing_is_run(place: Place) -> None:
    words = fleet_of(place, 3)
    path = Path(words[2])
    path.write_text(path.read_text() + '{"id": "t1", "prompt": "again"}\n')
    refused = place.astrid(*words)
    assert refused.returncode == 1
    assert "line 4: the id `t1` stands in line 2 already" in refused.stderr
    assert not (place.root / "out").exists()
