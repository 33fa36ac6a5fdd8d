"""A bug counts as found only if a test failed of it, and nothing of the hunt stays behind."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from tests.planted import hunt
from tests.planted.catalogue import Bug
from tests.planted.hunt import Ground, NotCleanError, copied, judged, key_of, state_of

SOURCE = "LIMIT = 3\n\n\ndef fits(count: int) -> bool:\n    return count <= LIMIT\n"
TESTS = {
    "test_limit.py": "from x import fits\n\ndef test_the_limit_fits() -> None:\n    assert fits(3)\n",
    "test_kind.py": "from x import fits\n\ndef test_it_is_a_bool() -> None:\n    assert fits(1) in (True, False)\n",
    "test_raises.py": "from x import fits\n\ndef test_it_does_not_raise() -> None:\n    {3: 1, True: 2}[fits(3)]\n",
    "test_both.py": "from tests.test_raises import *\nfrom tests.test_limit import *\n",
    "test_wrong.py": "from x import fits\n\ndef test_four_fits() -> None:\n    assert fits(4)\n",
}
BUG = Bug(
    number=1,
    name="01-limit",
    title="the limit is left out",
    file="src/x.py",
    old="count <= LIMIT",
    new="count < LIMIT",
    because="",
    breaks="",
    finders=("tests/test_limit.py",),
)


def found(bug: Bug, ground: Ground) -> list[bool]:
    return [one.found for one in ground.hunt(bug)]


def planted(**changes: object) -> Bug:
    fields = {name: getattr(BUG, name) for name in Bug.__slots__} | changes
    return Bug(**fields)  # type: ignore[arg-type]


@pytest.fixture
def ground(tmp_path: Path) -> Ground:
    """A copy of a checkout of one module, and the plugin."""
    root = tmp_path / "checkout"
    for folder in ("src", "tests/planted", ".git"):
        (root / folder).mkdir(parents=True)
    (root / "src" / "x.py").write_text(SOURCE, "utf-8")
    for name, text in TESTS.items():
        (root / "tests" / name).write_text(text, "utf-8")
    witness = Path(hunt.__file__).with_name("witness.py").read_text("utf-8")
    (root / "tests" / "planted" / "witness.py").write_text(witness, "utf-8")
    return Ground(copied(root, tmp_path / "copy"))


def test_a_bug_is_found_by_the_test_that_fails_of_it(ground: Ground) -> None:
    (finding,) = ground.hunt(BUG)
    assert finding.found
    assert finding.test == "tests/test_limit.py::test_the_limit_fits"
    assert "AssertionError" in finding.said


def test_each_finder_has_to_find_it_by_itself_and_nothing_stays_planted(ground: Ground, tmp_path: Path) -> None:
    assert found(planted(finders=("tests/test_kind.py", "tests/test_limit.py")), ground) == [False, True]
    assert (tmp_path / "copy" / "src" / "x.py").read_text("utf-8") == SOURCE
    assert (tmp_path / "checkout" / "src" / "x.py").read_text("utf-8") == SOURCE
    ground.check_clean(["tests/test_limit.py", "tests/test_kind.py"])


def test_an_exception_counts_only_if_the_bug_names_it(ground: Ground) -> None:
    raising = planted(finders=("tests/test_raises.py",))
    assert found(raising, ground) == [False]
    assert found(planted(finders=("tests/test_raises.py",), raises=("KeyError",)), ground) == [True]


def test_a_failure_that_shows_nothing_does_not_hide_one_that_does(ground: Ground) -> None:
    (finding,) = ground.hunt(planted(finders=("tests/test_both.py",)))
    assert finding.found
    assert finding.test.endswith("::test_the_limit_fits")


@pytest.mark.parametrize(
    ("old", "new"),
    [("return count", "raise SystemExit  # "), ("LIMIT = 3", "raise ImportError"), ("def fits", "def fit")],
)
def test_a_finder_that_cannot_run_finds_nothing(ground: Ground, old: str, new: str) -> None:
    assert found(planted(old=old, new=new, raises=("KeyError",)), ground) == [False]


def test_a_finder_without_end_finds_nothing(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hunt, "LIMIT_SECONDS", 2.0)
    (finding,) = ground.hunt(planted(old="return count", new="while True: pass\n    return count"))
    assert not finding.found
    assert "no end" in finding.said


def test_finders_that_fail_without_a_bug_are_said(ground: Ground) -> None:
    with pytest.raises(NotCleanError, match=r"test_four_fits.*AssertionError"):
        ground.check_clean(["tests/test_limit.py", "tests/test_wrong.py"])


def test_what_is_stopped_ends_at_once_and_starts_nothing_more(ground: Ground) -> None:
    stopping = threading.Timer(0.0, ground.stop)
    stopping.start()
    stopping.join()
    with pytest.raises(KeyboardInterrupt):
        ground.hunt(BUG)


def test_a_copy_leaves_out_what_is_no_part_of_the_checkout(ground: Ground, tmp_path: Path) -> None:
    assert not (tmp_path / "copy" / ".git").exists()


def test_what_was_found_is_known_only_of_the_same_source_and_the_same_bug(ground: Ground, tmp_path: Path) -> None:
    root = tmp_path / "checkout"
    before = key_of(state_of(root), BUG)
    assert key_of(state_of(root), BUG) == before
    assert key_of(state_of(root), planted(new="count < 3")) != before
    (root / "tests" / "test_kind.py").write_text("", "utf-8")
    assert key_of(state_of(root), BUG) != before


@pytest.mark.parametrize(
    ("code", "shows", "counts"),
    [
        *((0, None, False), (1, None, False), (2, None, False), (1, True, True), (2, True, True), (1, False, False)),
        *((3, True, False), (4, True, False), (5, True, False), (-9, True, False)),
    ],
)
def test_a_run_counts_if_a_failure_in_it_shows_the_bug(
    tmp_path: Path, code: int, shows: bool | None, counts: bool
) -> None:
    place = tmp_path / "report"
    if shows is not None:
        place.write_text(json.dumps({"test": "t", "raised": ["X"], "message": "", "shows": shows}), "utf-8")
    assert judged("tests/x", code, place, "out\n").found is counts


BROKEN = "10 sessions\nseed 7 breaks I3: more was spent than was there\n"


@pytest.mark.parametrize(
    ("code", "output", "counts"),
    [(0, "fine", False), (1, BROKEN, True), (1, "ImportError: seed", False), (2, BROKEN, False), (-9, BROKEN, False)],
)
def test_a_simulation_counts_if_it_tells_of_a_broken_promise(
    tmp_path: Path, code: int, output: str, counts: bool
) -> None:
    finding = judged("simulation --seed 1", code, tmp_path / "none", output)
    assert finding.found is counts
    assert not counts or finding.test == "seed 7 breaks I3"
