"""A few points of the sweep, one of each kind, chosen by a fixed seed; and that each thing it looks for is seen."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from astrid.core.answers import Verdict as Said
from astrid.core.records import Kind as Record
from tests.crash.family import Course, differences
from tests.crash.faults import Fault, Play, Point
from tests.crash.judge import Case, leftovers
from tests.crash.plan import Options, Stops, plan
from tests.crash.sweep import Verdict, run_case, run_client, run_family, run_sleeper
from tests.crash.trap import Kind, works
from tests.crash.vendor import WHY_NOT as NO_VENDOR

SEED = 20260101
LONGER = {Fault.LATE, Fault.CLI_TERM}  # each is like another one here; the whole sweep has them too
WHY_NOT = works()
needs_vendor = pytest.mark.skipif(bool(NO_VENDOR), reason=NO_VENDOR)
pytestmark = [pytest.mark.e2e, pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("crash")


@pytest.fixture(scope="module")
def calm(folder: Path) -> Verdict:
    """A session without a fault, and everything that was found after it."""
    return run_case(None, folder, keep=True)


@pytest.fixture(scope="module")
def client(folder: Path) -> Verdict:
    return run_client(folder)


@pytest.fixture(scope="module")
def asleep(folder: Path) -> Verdict:
    return run_sleeper(folder)


@pytest.fixture(scope="module")
def family(folder: Path) -> Verdict:
    return run_family(folder)


def test_without_a_fault_everything_holds_and_the_session_comes_to_every_kind_of_stop(calm: Verdict) -> None:
    assert calm.complaints == []
    assert calm.told.through
    assert all(calm.counts[kind] > 0 for kind in Kind), calm.counts


def test_without_a_fault_a_command_line_does_its_task(client: Verdict) -> None:
    assert client.complaints == []
    assert client.counts[Kind.SEND] > 0


def holds_after(point: Point, folder: Path) -> None:
    verdict = run_case(point, folder)
    assert verdict.complaints == [], f"python -m tests.crash --point {point} ({verdict.where})"


@pytest.mark.parametrize("fault", [fault for fault in Fault if fault not in LONGER])
def test_what_must_hold_holds_after(fault: Fault, calm: Verdict, client: Verdict, folder: Path) -> None:
    holds_after(plan(Stops(calm.counts, client.counts), Options(seed=SEED, faults=(fault,)))[0], folder)


@needs_vendor
def test_without_a_fault_a_session_falls_asleep_is_answered_and_wakes(asleep: Verdict) -> None:
    assert asleep.complaints == []
    assert asleep.told.through
    assert all(asleep.counts[kind] > asleep.begun[kind] for kind in Kind), (asleep.counts, asleep.begun)


@needs_vendor
@pytest.mark.parametrize("fault", [Fault.KILL, Fault.POWER, Fault.FULL])
def test_what_must_hold_holds_after_a_session_was_struck_on_its_way_to_sleep_or_back(
    fault: Fault, asleep: Verdict, folder: Path
) -> None:
    stops = Stops(sleep=asleep.counts, before=asleep.begun)
    holds_after(plan(stops, Options(seed=SEED, faults=(fault,)))[0], folder)


@needs_vendor
def test_without_a_fault_a_session_has_two_sub_agents_do_what_they_are_told(family: Verdict) -> None:
    assert family.complaints == []
    assert family.course is not None
    assert (family.course.marks, family.course.unknown) == (
        {"trace-top": ["before", "after"], "trace-worker": ["worked"]},
        {},
    )


@needs_vendor
@pytest.mark.parametrize(("fault", "place"), [(Fault.KILL, 0.5), (Fault.KILL, 0.7), (Fault.POWER, 0.6)])
def test_what_must_hold_holds_after_a_session_with_sub_agents_was_struck_and_resumed(
    fault: Fault, place: float, family: Verdict, folder: Path
) -> None:
    kind = Kind.SYNC if fault is Fault.POWER else Kind.WRITE
    holds_after(Point(fault, kind, int(family.counts[kind] * place), Play.FAMILY), folder)


def _done_twice(course: Course) -> None:
    course.marks["trace-top"].insert(0, "before")


def _not_done(course: Course) -> None:
    course.marks["trace-worker"].clear()


def _not_written(course: Course) -> None:
    del course.files["b.txt"]


def _said_otherwise(course: Course) -> None:
    course.said.pop()


def _heard_otherwise(course: Course) -> None:
    course.results["toolu_go_0_0"] = ("", 0)


def _labelled_otherwise(course: Course) -> None:
    course.labels.reverse()


def _never_heard(course: Course) -> None:
    del course.results["toolu_go_0_0"]


def _unknown_though_it_ended(course: Course) -> None:
    course.unknown["toolu_go_0_0"] = '{"file_path": "a.txt"}'
    del course.results["toolu_go_0_0"]


@needs_vendor
@pytest.mark.parametrize(
    "falsify",
    [
        _done_twice,
        _not_done,
        _not_written,
        _said_otherwise,
        _labelled_otherwise,
        _heard_otherwise,
        _never_heard,
        _unknown_though_it_ended,
    ],
    ids=lambda falsify: falsify.__name__.strip("_").replace("_", " "),
)
def test_another_course_is_seen(family: Verdict, falsify: Callable[[Course], None]) -> None:
    assert family.course is not None
    assert family.case is not None
    course, entries = copy.deepcopy(family.course), family.case.entries
    assert list(differences(course, entries, family.course)) == []
    falsify(course)
    assert list(differences(course, entries, family.course)) != []


@needs_vendor
def test_a_sub_agent_that_never_ended_is_seen(family: Verdict) -> None:
    assert family.course is not None
    assert family.case is not None
    entries = [one for one in family.case.entries if one.kind is not Record.SESSION_ENDED]
    assert len(list(differences(family.course, entries, family.course))) == 2


# ---- each thing that is looked for is seen


@pytest.fixture
def case(calm: Verdict) -> Iterator[Case]:
    """The calm one, to be falsified; what a test changes on the disk it takes back."""
    assert calm.case is not None
    falsified = copy.copy(calm.case)
    falsified.told, falsified.found = copy.deepcopy(calm.case.told), copy.deepcopy(calm.case.found)
    falsified.all, falsified.before = copy.deepcopy(calm.case.all), copy.deepcopy(calm.case.before)
    assert falsified.complaints() == []
    trace = falsified.scene.workspace / "trace"
    was = trace.read_bytes()
    yield falsified
    trace.write_bytes(was)


NOBODYS = b"\x00" * 15 + b"\x01"


def _run_twice(case: Case) -> None:
    with (case.scene.workspace / "trace").open("a") as trace:
        trace.write("once\n")


def _never_run(case: Case) -> None:
    (case.scene.workspace / "trace").write_text("alone\n")
    case.marks = case.scene.marks()


def _not_permitted(case: Case) -> None:
    permits = case.all.of[Record.PERMIT]
    case.all.of[Record.PERMIT] = [permit for permit in permits if b"echo once" not in permit.call]


def _no_outcome(case: Case) -> None:
    case.all.outcomes[next(iter(case.all.outcomes))].clear()


def _two_outcomes(case: Case) -> None:
    outcomes = case.all.outcomes[next(iter(case.all.outcomes))]
    outcomes.append(outcomes[0])


def _lost_question(case: Case) -> None:
    case.found.open.pop()


def _answered_again(case: Case) -> None:
    case.found.refused.clear()


def _one_use_more(case: Case) -> None:
    case.found.used[next(iter(case.found.used))] += 1


def _one_dollar_more(case: Case) -> None:
    case.found.spent[next(iter(case.found.spent))] += 1


def _lost_token(case: Case) -> None:
    case.found.used.popitem()


def _not_revoked(case: Case) -> None:
    case.found.revoked.clear()


def _reopened(case: Case) -> None:
    case.found.reopened = True


def _other_answer(case: Case) -> None:
    case.told.verdicts = dict.fromkeys(case.told.verdicts, Said.ALWAYS)


def _rows_gone(case: Case) -> None:
    case.all.of[Record.JOURNAL].pop()


def _outlived(case: Case) -> None:
    case.found.sessions += 1


def _more_messages(case: Case) -> None:
    case.told.messages += 100


def _more_results(case: Case) -> None:
    case.told.results += 100


def _promise(name: str) -> Callable[[Case], None]:
    def falsify(case: Case) -> None:
        getattr(case.told, name).add(NOBODYS)

    falsify.__name__ = f"told of {name}"
    return falsify


PROMISES = [_promise(name) for name in ("sessions", "granted", "revoked", "asked", "settled", "deferred")]


@pytest.mark.parametrize(
    "falsify",
    [
        *(_run_twice, _never_run, _not_permitted, _no_outcome, _two_outcomes, _lost_question, _answered_again),
        *(_one_use_more, _one_dollar_more, _lost_token, _not_revoked, _reopened, _other_answer, _rows_gone),
        *(_more_messages, _more_results, _outlived, *PROMISES),
    ],
    ids=lambda falsify: falsify.__name__.strip("_").replace("_", " "),
)
def test_what_does_not_hold_is_seen(case: Case, falsify: Callable[[Case], None]) -> None:
    falsify(case)
    assert case.complaints() != []


@pytest.mark.parametrize(
    "name", ["run/astridd.sock", "anchor/.daemon.0123456789abcdef", "log/audit.db.new", "kept/.a.0123456789abcdef", "x"]
)
def test_what_lies_about_is_seen(case: Case, name: str) -> None:
    path = case.scene.home.root / name
    assert lying_about(case) == []
    path.touch()
    try:
        assert list(leftovers(case.scene.home)) == [f"left in the home: {name}"]
    finally:
        path.unlink()


def lying_about(case: Case) -> list[str]:
    for beside in ("-wal", "-shm"):  # of those who read the log meanwhile
        case.scene.home.log.with_name(f"audit.db{beside}").unlink(missing_ok=True)
    return list(leftovers(case.scene.home))


def test_kept_content_under_a_wrong_name_is_seen(case: Case) -> None:
    path = case.scene.home.kept / hashlib.sha256(b"whole").hexdigest()
    path.write_bytes(b"who")
    try:
        assert lying_about(case) == [f"what is kept is not what it is called: kept/{path.name}"]
    finally:
        path.unlink()
