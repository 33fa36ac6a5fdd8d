"""One case from start to end: play, strike, wait until nothing is left, start again, look, stop, judge.

Source: architecture 5; the modules beside this one.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import trio

from astrid.core.records import Kind as Record
from astrid.errors import AstridError
from astrid.frontends.cli import DENIED, INTERRUPTED
from astrid.runtime.verify import Result, Trust, verify_home
from tests.crash.family import Course, answer, differences, furnish, go_on, have_work_done, read_course
from tests.crash.faults import DEADLY, OF_CLIENT, SIGNALS, Fault, Play, Point, Striker
from tests.crash.judge import Case, leftovers, read_entries
from tests.crash.person import Found, Person, Told, meet
from tests.crash.plan import Stops
from tests.crash.scene import MARKS, Scene
from tests.crash.sleeper import SAID, sleep_and_wake
from tests.crash.trap import GONE_SECONDS, Kind, Pass, Trap, Watch
from tests.crash.vendor import WHY_NOT, vendor

_VENDORS: dict[Play, Callable[[], AbstractContextManager[str | None]]] = {
    Play.LIFE: nullcontext,
    Play.SLEEP: lambda: vendor(SAID),
    Play.FAMILY: lambda: vendor(answer=answer),
}
STOP_SECONDS = 60.0
# What is broken may be noticed only by the next who comes, and then all parts are put up again.
UNSETTLED = frozenset({"daemon.gone", "daemon.busy", "daemon.restarted", "session.gone"})
TRIES = 3
RIVALS = 16  # in every so manieth case another daemon tries to serve the same home
_CALM: list[Course] = []  # of the play with sub-agents, once it is known
_CALM_LOCK = threading.Lock()
BAD_DISK = (Fault.FULL, Fault.BROKEN)  # the daemon lives on
# What is there when nothing was struck: how often each command was run, and the files.
COVERED = {
    Play.LIFE: ({"once": 1, "alone": 1}, {"a.txt": "replaced\n", "b.txt": "written\n"}),
    Play.SLEEP: ({"nap": 1}, {"a.txt": "hello\nworld\n"}),
    Play.FAMILY: ({}, {"a.txt": "hello\nworld\n", "b.txt": "written\n"}),
}
# No session comes to these by itself, or none that plays this.
_NEVER = frozenset(
    {
        *(Record.COALESCED, Record.CLOCK, Record.SESSION_ERASED, Record.ATTACHED, Record.OUTCOME_VOUCHED),
        *(Record.CONNECTION, Record.CONNECTION_ENDED),
        *(Record.FILES_REWINDING, Record.FILES_REWOUND),
    }
)
RARE = {
    Play.LIFE: _NEVER | {Record.DEFERRED, Record.SUBAGENT_STARTED},
    Play.SLEEP: _NEVER | {Record.DENIED, Record.REVOKED, Record.SUBAGENT_STARTED},
    Play.FAMILY: _NEVER | {Record.DENIED, Record.REVOKED, Record.DEFERRED, Record.ASKED, Record.SETTLED},
}
# It may be through before it looks, and before it has begun it is as any Python program.
_CODES = {
    Fault.CLI_KILL: {-signal.SIGKILL},
    Fault.CLI_TERM: {-signal.SIGTERM, INTERRUPTED, DENIED},
    Fault.CLI_INT: {-signal.SIGINT, INTERRUPTED, DENIED},
}


@dataclass
class Verdict:
    """What came of a case.  ``reached`` is false where the session had fewer stops than the point's number."""

    point: Point | None
    play: Play = Play.LIFE
    reached: bool = False
    complaints: list[str] = field(default_factory=list)
    counts: dict[Kind, int] = field(default_factory=dict)
    begun: dict[Kind, int] = field(default_factory=dict)  # how many stops there were before the session was to sleep
    restarts: int = 0
    told: Told = field(default_factory=Told)
    where: str = ""  # the call that was struck
    case: Case | None = None
    course: Course | None = None  # of a session with sub-agents


def run_case(point: Point | None, folder: Path, *, keep: bool = False) -> Verdict:
    """Play one case in a fresh folder below ``folder``, which is taken away unless something is wrong with it."""
    play = _client if point is not None and point.fault in OF_CLIENT else _play
    return _played(play, Verdict(point, play=Play.LIFE if point is None else point.play), folder, keep=keep)


def run_sleeper(folder: Path) -> Verdict:
    """A session that sleeps, without a fault."""
    return _played(_play, Verdict(None, play=Play.SLEEP), folder)


def run_family(folder: Path) -> Verdict:
    """A session with sub-agents, without a fault."""
    return _played(_play, Verdict(None, play=Play.FAMILY), folder)


def run_client(folder: Path) -> Verdict:
    """A command line without a fault."""
    return _played(_client, Verdict(None), folder)


def count_stops(folder: Path) -> tuple[Stops, list[str]]:
    """How many stops each play has without a fault, and whatever is wrong even so."""
    run_case(None, folder)  # it may have to write what Python compiles, which the others find
    daemon, client = run_case(None, folder), run_client(folder)
    complaints = [*daemon.complaints, *client.complaints]
    if WHY_NOT:
        return Stops(daemon.counts, client.counts), complaints
    run_sleeper(folder)
    asleep, family = run_sleeper(folder), run_family(folder)
    stops = Stops(daemon.counts, client.counts, asleep.counts, asleep.begun, family.counts)
    return stops, [*complaints, *asleep.complaints, *family.complaints]


def _played(play: Callable[[Scene, Verdict], None], verdict: Verdict, folder: Path, *, keep: bool = False) -> Verdict:
    root = Path(tempfile.mkdtemp(prefix="c", dir=folder))
    play(Scene(root), verdict)
    if keep:
        return verdict
    if not verdict.complaints:
        shutil.rmtree(root)
    else:
        verdict.complaints.append(f"kept: {root}")
    return verdict


def _play(scene: Scene, verdict: Verdict) -> None:
    """Fill in ``verdict``."""
    if verdict.play is Play.FAMILY:
        furnish(scene)
    with _VENDORS[verdict.play]() as address:
        if address is not None:
            scene.talks_to(address)
        _struck(scene, verdict)


def _struck(scene: Scene, verdict: Verdict) -> None:
    point = verdict.point
    striker = Striker(point, scene.place.root, scene.home.root)
    with served(scene.daemon(stops=True), striker) as trap:
        code = _live(scene, trap, striker, verdict)
        if not trap.gone.wait(GONE_SECONDS):
            verdict.complaints.append("a process of the daemon is left")
        verdict.counts = dict(trap.counts)
    verdict.reached = point is None or striker.struck is not None
    if striker.struck is not None:
        verdict.where = f"{striker.struck.call} {striker.struck.target.removeprefix(str(scene.place.root))}".strip()
    verdict.complaints += _how_it_ended(point, code, verdict)
    if striker.platter is not None:
        striker.platter.cut()
    if point is not None and point.number % 2:  # the other half is met by the daemon as it was left
        verdict.complaints += _verified(scene, stopped=False)
    _afterwards(scene, verdict)


def _client(scene: Scene, verdict: Verdict) -> None:
    """The same for a command line: the daemon goes on and serves the next one."""
    point = verdict.point
    striker = Striker(point, scene.place.root, scene.home.root)
    grants = scene.place.root / "grants"
    grants.write_bytes(scene.grant())
    grants.chmod(0o600)
    words = ("exec", "go", "--mode", "safe", "--approve", str(grants), "--model", scene.again)
    with served(scene.daemon(stops=False), Pass()) as trap:
        _until_up(scene, trap)
        with served(scene.start("command line", *words, stops=True), striker) as client:
            code = _ended(client, verdict)
            if not client.gone.wait(GONE_SECONDS):
                verdict.complaints.append("a process of the command line is left")
            verdict.counts = dict(client.counts)
        verdict.reached = point is None or striker.struck is not None
        if not verdict.reached or point is None:
            verdict.complaints += [] if code == DENIED else [f"the command line exited with {code}"]
        elif code not in _CODES[point.fault]:
            verdict.complaints.append(f"struck, the command line exited with {code}")
        if striker.struck is not None:
            verdict.where = f"{striker.struck.call} {striker.struck.target.removeprefix(str(scene.place.root))}".strip()
        verdict.complaints += _goes_on(scene, trap, verdict)
        code = _stop(trap, verdict)
        verdict.complaints += [] if code == 0 else [f"the daemon exited with {code}"]
    _afterwards(scene, verdict)


def _afterwards(scene: Scene, verdict: Verdict) -> None:
    """Start again, look at everything, stop, judge."""
    if verdict.play is Play.FAMILY and verdict.point is not None:
        _resume(scene, verdict)
    marks, found = scene.marks(), Found()
    if _restart(scene, verdict, found):
        verdict.complaints += leftovers(scene.home)
        verdict.complaints += _verified(scene, stopped=True)
        entries = read_entries(scene.home)
        verdict.case = Case(scene, entries, verdict.told, found, marks)
        verdict.complaints += verdict.case.complaints()
        if verdict.play is Play.FAMILY:
            verdict.course = read_course(scene, entries)
            verdict.complaints += differences(verdict.course, entries, _calm(scene, verdict))
        if verdict.point is None and verdict.told.through:
            missing = set(Record) - {entry.kind for entry in entries} - RARE[verdict.play]
            verdict.complaints += [f"the play has no {kind.name}" for kind in missing]
            ran, written = COVERED[verdict.play]
            if marks != {**dict.fromkeys(MARKS, 0), **ran} or scene.written() != written:
                verdict.complaints.append(f"the play did not do what it is for: {marks}, {scene.written()}")
    if "Traceback" in scene.said:
        verdict.complaints.append(f"it printed: {scene.said}")


@contextmanager
def served(trap: Trap, watch: Watch) -> Iterator[Trap]:
    """``trap`` with somebody who decides about its stops; on the way out it is killed."""
    with trap:
        serving = threading.Thread(target=trap.serve, args=(watch,), name="stops")
        serving.start()
        try:
            yield trap
        finally:
            trap.kill()
            serving.join(GONE_SECONDS)


def _live(scene: Scene, trap: Trap, striker: Striker, verdict: Verdict) -> int:
    """The play, up to the end of the daemon; what that exited with."""
    alive = _alive(trap)
    told = verdict.told

    async def play(person: Person) -> None:
        if verdict.play is Play.SLEEP:
            await sleep_and_wake(person, told, lambda: verdict.begun.update(trap.counts))
        elif verdict.play is Play.FAMILY:
            await have_work_done(person, told)
        else:
            await person.live(told)

    try:
        trio.run(meet, scene, alive, told, play)
    except trio.TooSlowError:
        verdict.complaints.append("the play hangs")
    if striker.struck is not None and verdict.point is not None and verdict.point.fault in BAD_DISK and alive():
        striker.make_room()
        verdict.complaints += _goes_on(scene, trap, verdict)
    return _stop(trap, verdict)


def _goes_on(scene: Scene, trap: Trap, verdict: Verdict) -> list[str]:
    """Whether the daemon does another task."""
    why = ""
    for _ in range(TRIES):
        again = Told()
        try:
            why = trio.run(meet, scene, _alive(trap), again, lambda person: person.work())
        except trio.TooSlowError:
            why = "it hangs"
        verdict.told.add(again)
        if why not in UNSETTLED:
            break
    return [f"the daemon does not go on: {why}"] if why and _alive(trap)() else []


def _rival(scene: Scene, verdict: Verdict) -> list[str]:
    """Whether another daemon starts beside the one that runs."""
    with served(scene.daemon(stops=False), Pass()) as trap:
        code = _ended(trap, verdict)
    return [] if code == 1 else ["another daemon started beside the one that runs"]


def _until_up(scene: Scene, trap: Trap) -> None:
    async def nothing(_person: Person) -> None:
        return

    trio.run(meet, scene, _alive(trap), Told(), nothing)


def _stop(trap: Trap, verdict: Verdict) -> int:
    if trap.process.poll() is None:
        trap.process.send_signal(signal.SIGTERM)
    return _ended(trap, verdict)


def _ended(trap: Trap, verdict: Verdict) -> int:
    try:
        return trap.process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        verdict.complaints.append("a process does not end")
        return 0


def _alive(trap: Trap) -> Callable[[], bool]:
    return lambda: trap.process.poll() is None


def _how_it_ended(point: Point | None, code: int, verdict: Verdict) -> list[str]:
    """The exit code is what the fault explains."""
    if not verdict.reached or point is None:
        if not verdict.told.through:
            return [f"the play broke off without a fault; the daemon exited with {code}"]
        return [] if code == 0 else [f"the daemon exited with {code}"]
    if point.fault in DEADLY:
        late = {0} if point.fault is Fault.LATE else set[int]()
        return [] if code in {-signal.SIGKILL} | late else [f"the daemon was killed and exited with {code}"]
    if point.fault in SIGNALS:
        early = {-SIGNALS[point.fault], 130} if not verdict.told.sessions else set[int]()
        return [] if code in {0} | early else [f"told to stop, the daemon exited with {code}"]
    return [] if code in (0, 1) else [f"with a bad disk the daemon exited with {code}"]


def _verified(scene: Scene, *, stopped: bool) -> list[str]:
    """What ``astrid audit verify`` says."""
    found = verify_home(scene.home.root, Trust(), is_own=True)
    if found.result is Result.TAMPERED or (stopped and found.result is not Result.SOUND):
        return [f"the log is {found.result.name.lower()}: {found.says} ({found.code} {found.where})"]
    if stopped and found.signed != found.records:
        return [f"the daemon stopped, and only {found.signed} of {found.records} records are signed"]
    return []


def _resume(scene: Scene, verdict: Verdict) -> None:
    """Have a daemon finish what was cut off, and stop."""
    verdict.restarts += 1
    again = Told()
    with served(scene.daemon(stops=False), Pass()) as trap:
        try:
            why = trio.run(meet, scene, _alive(trap), again, lambda person: go_on(person, verdict.told.sessions))
        except trio.TooSlowError:
            why = "it hangs"
        code = _stop(trap, verdict)
    verdict.told.add(again)
    if why or code:
        verdict.complaints.append(f"it was not resumed: {why or 'ended'}, exit code {code}")


def _calm(scene: Scene, verdict: Verdict) -> Course:
    """The course of the play without a fault, which is played when it is first needed."""
    if verdict.point is None:
        assert verdict.course is not None
        return verdict.course
    with _CALM_LOCK:
        if not _CALM:
            calm = run_family(scene.place.root.parent)
            assert calm.course is not None
            assert calm.complaints == [], calm.complaints
            _CALM.append(calm.course)
    return _CALM[0]


def _restart(scene: Scene, verdict: Verdict, found: Found) -> bool:
    """Start again, look at everything, stop; whether that worked."""
    before, point = verdict.told, verdict.point
    seen = Told(verdicts=dict(before.verdicts))
    verdict.restarts += 1
    with served(scene.daemon(stops=False), Pass()) as trap:
        if point is None or point.number % RIVALS == 0:
            _until_up(scene, trap)
            verdict.complaints += _rival(scene, verdict)
        try:
            why = trio.run(meet, scene, _alive(trap), seen, lambda person: person.look(found))
        except trio.TooSlowError:
            why = "it hangs"
        except AstridError as error:
            why = error.render()
        code = _stop(trap, verdict)
        if not trap.gone.wait(GONE_SECONDS):
            verdict.complaints.append("a process of the second daemon is left")
    if why or code:
        verdict.complaints.append(f"the second daemon: {why or 'ended'}, exit code {code}; it said: {scene.said}")
        return False
    if found.turn != "end_turn":
        verdict.complaints.append(f"a turn after the restart ended with `{found.turn}`")
    return True
