"""What runs the targets: it finds all of them, keeps what is new, makes each kind of crash known once, and as small."""

from __future__ import annotations

import argparse
import ast
import json
import os
import random
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from astrid.core.money import parse_usd
from fuzz.__main__ import jobs, main, seconds
from fuzz.engine import corpus, drivers, keeping, vectors
from fuzz.engine.attack import Attack, HungError, Order, alarm
from fuzz.engine.board import MAX_INPUT_BYTES, Board
from fuzz.engine.corpus import name_of, read_inputs, write_whole
from fuzz.engine.drivers import mutate
from fuzz.engine.keeping import lines_of, smallest_cover
from fuzz.engine.targets import FOLDER, PROJECT, Target, find_targets, from_text


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nothing here touches what the developer has found."""
    monkeypatch.setattr(corpus, "CACHE", tmp_path / "cache")
    monkeypatch.setattr(corpus, "FOLDER", tmp_path / "project")
    return tmp_path / "cache"


# --- finding


def test_every_test_and_every_machine_in_the_folder_is_a_target() -> None:
    found = {target.name for target in find_targets()}
    looked = 0
    for path in FOLDER.glob("*.py"):
        for node in ast.parse(path.read_text("utf-8")).body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                looked += 1
                assert f"{path.stem}.{node.name}" in found
    assert looked > 30


def test_targets_are_named_by_file_or_by_name() -> None:
    whole = find_targets(["json_text"])
    assert {target.file for target in whole} == {"json_text"}
    assert find_targets([whole[0].name]) == [whole[0]]
    assert find_targets(["no such file"]) == []


def test_each_target_states_its_invariant_on_the_first_line() -> None:
    files = {target.file for target in find_targets()}
    firsts = {file: (FOLDER / f"{file}.py").read_text("utf-8").splitlines()[0] for file in files}
    assert {file: first for file, first in firsts.items() if not first.startswith('"""INVARIANT: ')} == {}


# --- attacking


@pytest.fixture
def attack(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Attack:
    """On a target with two bugs, neither of which is in a project's file."""
    module = ModuleType("fuzz.planted")

    @given(st.integers(0, 255), st.integers(0, 255))
    def test_pairs(first: int, second: int) -> None:
        if first > 100:
            raise ValueError("the first bug")
        if second > 100:
            raise LookupError("the second bug")

    monkeypatch.setattr(module, "test_pairs", test_pairs, raising=False)
    monkeypatch.setitem(sys.modules, "fuzz.planted", module)
    board = tmp_path / "board"
    Board(board, fresh=True).close()
    return Attack(Order(file="planted", item="test_pairs", driver="hypothesis", until=1e12, seed=1, board=str(board)))


def crashes(cache: Path) -> list[vectors.Vector]:
    return [vectors.read(path) for path in sorted((cache / "crashes" / "planted.test_pairs").iterdir())]


def test_each_kind_of_crash_is_made_known_once_and_as_small_as_it_can_be(attack: Attack, cache: Path) -> None:
    for data in (b"\xf0\xf0", b"\xe0\x01", b"\x02\xdd", b"\x03\xcc", b"\1\1"):
        attack.execute(data)
    found = {vector.error.partition(" at ")[0]: vector for vector in crashes(cache)}
    assert set(found) == {"ValueError", "LookupError"}
    assert "first=101" in found["ValueError"].drawn
    assert "second=101" in found["LookupError"].drawn
    for vector in found.values():
        with pytest.raises((ValueError, LookupError)):
            vectors.replay(vector)


def test_what_hypothesis_draws_itself_crashes_alike(attack: Attack, cache: Path) -> None:
    for number in range(1, 20):
        attack.draw(number)
    assert {from_text(vector.choices) for vector in crashes(cache)} == {b"A\x65A\x00", b"A\x00A\x65"}


def test_an_input_that_holds_is_counted_and_makes_nothing_known(attack: Attack, cache: Path, tmp_path: Path) -> None:
    attack.execute(b"\1\2")
    attack.execute(b"")
    seen = Board(tmp_path / "board", fresh=False)
    assert (seen.executions, seen.repeated, seen.input) == (2, 0, b"")
    assert not (cache / "crashes").exists()


def test_what_lasts_too_long_is_ended() -> None:
    with pytest.raises(HungError), alarm(0.01, HungError("it hangs")):  # noqa: PT012 - a loop is what hangs
        while True:
            pass


# --- boards, corpora, mutation


def test_a_board_tells_another_process_what_was_run_last(tmp_path: Path) -> None:
    mine = Board(tmp_path / "board", fresh=True)
    theirs = Board(tmp_path / "board", fresh=False)
    mine.begin(b"an input")
    assert (theirs.executions, theirs.input, theirs.seed) == (1, b"an input", 0)
    mine.begin(b"", 77)
    assert (theirs.executions, theirs.input, theirs.seed) == (2, b"", 77)


def test_an_input_has_the_name_of_its_digest_and_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    write_whole(tmp_path / name_of(b"abc"), b"abc")
    (tmp_path / ".half.1").write_bytes(b"ab")  # what a process that was killed leaves
    write_whole(tmp_path / name_of(b"b\0\0"), b"b\0\0")
    assert read_inputs(tmp_path, tmp_path / "missing") == [b"b", b"abc"]


def test_the_corpus_of_the_project_is_small_and_each_file_has_the_name_of_its_digest() -> None:
    files = [path for path in (FOLDER / "corpus").glob("*/*") if path.is_file()]
    assert {path for path in files if path.name != name_of(path.read_bytes())} == set()
    for folder in {path.parent for path in files}:
        sizes = [path.stat().st_size for path in folder.iterdir()]
        assert len(sizes) <= keeping.MAX_FILES
        assert sum(sizes) <= keeping.MAX_BYTES


def test_every_folder_of_the_corpus_belongs_to_a_target() -> None:
    there = {path.name for path in (FOLDER / "corpus").iterdir()}
    assert there <= {target.name for target in find_targets()}


def test_the_smallest_inputs_that_reach_everything_are_kept() -> None:
    reached = {
        b"long long long": {("f", 1), ("f", 2)},
        b"a": {("f", 1)},
        b"b": {("f", 2), ("f", 3)},
        b"c": {("f", 3)},
    }
    assert smallest_cover(reached) == [b"b", b"a"]
    assert smallest_cover(dict(reversed(reached.items()))) == [b"b", b"a"]
    assert smallest_cover({}) == []


def test_no_more_is_kept_than_may_be() -> None:
    many = {bytes([n]) * 200: {("f", n)} for n in range(1, 100)}
    kept = smallest_cover(many)
    assert len(kept) == keeping.MAX_BYTES // 200
    few = {bytes([n]): {("f", n)} for n in range(1, 100)}
    assert len(smallest_cover(few)) == keeping.MAX_FILES


def test_only_the_lines_of_what_is_attacked_are_followed() -> None:
    reached = lines_of(lambda: parse_usd("1.5"))
    assert reached
    assert {Path(file).name for file, _ in reached} <= {path.name for path in (PROJECT / "src/astrid").rglob("*.py")}
    assert lines_of(lambda: json.dumps([1])) == set()


def test_a_mutant_is_near_what_is_known_and_never_too_long() -> None:
    rng = random.Random(3)  # noqa: S311 - inputs, not secrets
    known = [b"abcdefgh" * 20, b"Z" * MAX_INPUT_BYTES, b""]
    mutants = [mutate(known, rng) for _ in range(2000)]
    assert max(map(len, mutants)) <= MAX_INPUT_BYTES
    assert len(set(mutants)) > 1500
    assert any(b"abcdefghabcdefgh" in mutant and mutant not in known for mutant in mutants)


# --- the command


@pytest.mark.parametrize(("text", "wanted"), [("90", 90), ("90s", 90), ("10m", 600), ("1h", 3600), ("1.5m", 90)])
def test_a_time_is_seconds_minutes_or_hours(text: str, wanted: float) -> None:
    assert seconds(text) == wanted


@pytest.mark.parametrize("text", ["", "-1", "1d", "h", "1 h", "1e3"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        seconds(text)


@pytest.mark.parametrize("text", ["0", "3", "many"])
def test_no_more_than_two_run_at_once(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        jobs(text)


def test_an_unknown_target_is_said_to_be_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--target", "nothing_like_it"]) == 2
    assert "no target is called nothing_like_it" in capsys.readouterr().err


def test_without_the_coverage_guided_driver_it_is_said_and_the_other_one_runs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("fuzz.__main__.has_atheris", lambda: False)
    assert main(["--target", "json_text", "--driver", "atheris"]) == 2
    assert "`--driver hypothesis` needs nothing more" in capsys.readouterr().err


def test_a_run_in_processes_of_its_own_ends_with_its_figures(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "fuzz", "--time", "1s", "--target", "json_text", "--driver", "hypothesis", "--json"],
        cwd=PROJECT,
        env={**os.environ, "FUZZ_CACHE": str(tmp_path / "own"), "PYTHONPATH": os.pathsep.join(("src", "."))},
        capture_output=True,
        check=False,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["executions"] > 0
    assert said["crashes"] == 0
    assert [outcome["name"] for outcome in said["targets"]] == [target.name for target in find_targets(["json_text"])]
    assert "json_text" in done.stderr
    assert json.loads((tmp_path / "own" / "ledger.json").read_text()).keys() == {said["targets"][0]["name"]}


def test_the_driver_without_coverage_keeps_what_reaches_a_new_line(
    monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    class EnoughError(Exception):
        pass

    rounds = iter(range(200))

    def draw(_seed: int) -> None:
        if next(rounds) > 20:
            raise EnoughError

    target = Target("json_text", "nothing")
    reached = iter([{("f", 1)}, {("f", 1)}, {("f", 2)}])
    monkeypatch.setattr(drivers, "lines_of", lambda run: next(reached, {("f", 2)}))
    with pytest.raises(EnoughError):
        drivers.run_hypothesis(target, lambda data: None, draw, random.Random(5))  # noqa: S311 - inputs
    assert len(list((cache / "corpus" / target.name).iterdir())) == 2
