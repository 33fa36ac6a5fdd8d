"""INVARIANT: a supervisor keeps its word in any order of events: who starts, who stops, when, and when it gives up.

Three attacks.  The pure machine against a naive description, event by event.  A real tree in virtual time whose
children break, dawdle, fail to start and are added and removed by a drawn script; what must hold is computed from their
diary alone.  And the same tree, cancelled from outside at every single step of a short life.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import trio
from hypothesis import given
from hypothesis import strategies as st

from astrid.kernel import Actor, ChildSpec, Exit, Reason, Sender, SupervisorSpec, TooManyRestarts, open_system
from astrid.kernel.signals import Restart, Strategy
from astrid.kernel.testing import cancel_at_every_step, run_seeded
from tests.kernel.test_restart import Play

PERIOD = 5.0
LATE = 7.0  # longer than stopping may take
LONG = 1000.0  # until nothing that is under way can still be so


@given(st.data(), st.integers(1, 60))
def test_the_machine_does_what_the_description_allows_and_nothing_else(data: st.DataObject, steps: int) -> None:
    play = Play(lambda among: data.draw(st.sampled_from(list(among))))
    for _ in range(steps):
        play.act()


# ---- a real tree ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Trait:
    """What one child is like."""

    restart: Restart
    start_seconds: float
    stop_seconds: float
    fails_to_start: int  # so many times at first
    breaks_stopping: bool


@dataclass
class Entry:
    """One line of the diary."""

    when: float
    what: str  # begins, up, breaks, ending, ended
    who: str
    reason: Reason | None = None


@dataclass
class Diary:
    """What the children wrote down, and what was done to them."""

    lines: list[Entry] = field(default_factory=list[Entry])
    removed: dict[str, float] = field(default_factory=dict[str, float])
    left: float = float("inf")  # when everything was told to end
    gave_up: bool = False
    strict: bool = True  # nothing was cancelled from outside

    def write(self, what: str, who: str, reason: Reason | None = None) -> None:
        self.lines.append(Entry(trio.current_time(), what, who, reason))

    def of_any(self, names: list[str]) -> list[Entry]:
        return [line for line in self.lines if line.who in names]

    def of(self, what: str, *who: str) -> list[Entry]:
        return [line for line in self.lines if line.what == what and (not who or line.who in who)]


class Child(Actor):
    """Lives as its trait says, and writes it down."""

    def __init__(self, name: str, trait: Trait, diary: Diary) -> None:
        self.name = name
        self.trait = trait
        self.diary = diary
        self.born = len(diary.of("begins", name))

    async def started(self) -> None:
        self.diary.write("begins", self.name)
        await trio.sleep(self.trait.start_seconds)
        if self.born < self.trait.fails_to_start:
            raise ValueError(self.name)
        self.diary.write("up", self.name)

    async def receive(self, message: object, sender: Sender) -> object:
        if message == "break":
            raise ValueError(self.name)
        if message == "stop":
            self.ctx.stop()
        else:
            await trio.sleep(LATE)  # told to stop meanwhile, it is cancelled
        return self.name

    async def stopping(self, reason: Reason) -> None:
        self.diary.write("ending", self.name, reason)
        try:
            await trio.sleep(self.trait.stop_seconds)
        finally:
            self.diary.write("ended", self.name, reason)
        if self.trait.breaks_stopping:
            raise ValueError(self.name)


traits = st.builds(
    Trait,
    st.sampled_from(("permanent", "permanent", "transient", "temporary")),
    st.sampled_from((0.0, 0.0, 1.0)),
    st.sampled_from((0.0, 0.0, 1.0, LATE)),
    st.sampled_from((0, 0, 0, 1, 2)),
    st.sampled_from((False, False, False, True)),
)


@dataclass(frozen=True)
class Rules:
    strategy: Strategy
    intensity: int
    delay: float
    together: bool
    traits: tuple[Trait, ...]

    @property
    def tied(self) -> bool:
        return self.strategy != "one_for_one"

    def names(self) -> list[str]:
        return [f"c{n}" for n in range(len(self.traits))]

    def spec(self, diary: Diary) -> SupervisorSpec:
        return SupervisorSpec(
            "root",
            self.strategy,
            tuple(child(name, trait, diary) for name, trait in zip(self.names(), self.traits, strict=True)),
            intensity=self.intensity,
            period=PERIOD,
            delay=(self.delay, self.delay),
            stop="together" if self.together else "in_order",
        )


def child(name: str, trait: Trait, diary: Diary) -> ChildSpec:
    return ChildSpec(name, lambda: Child(name, trait, diary), restart=trait.restart)


rules = st.builds(
    Rules,
    st.sampled_from(("one_for_one", "one_for_all", "rest_for_one")),
    st.integers(0, 4),
    st.sampled_from((0.0, 0.0, 2.0)),
    st.booleans(),
    st.lists(traits, min_size=1, max_size=4).map(tuple),
)
WHAT = ("break", "break", "break", "stop", "add", "remove", "work")
script = st.lists(
    st.tuples(st.sampled_from((0.0, 0.0, 0.5, 2.0, 6.0)), st.sampled_from(WHAT), st.integers(0, 4), traits), max_size=12
)


async def live(drawn: Rules, what: list[Any], diary: Diary, settle: bool) -> None:
    """The life of a tree, as the script says."""
    known = dict(zip(drawn.names(), drawn.traits, strict=True))
    try:
        async with open_system(drawn.spec(diary)) as system:
            root = system.supervisor("root")
            there = {node.path for node in system.snapshot().root.children}
            refs = {name: system.ref(f"root/{name}") for name in known if f"root/{name}" in there}
            for pause, act, which, trait in what:
                await trio.sleep(pause)
                name = sorted(known)[which % len(known)]
                if not root.alive:
                    break
                if act == "add":
                    new = f"d{len(known)}"
                    known[new] = trait
                    refs[new] = root.start_child(child(new, trait, diary))
                elif act == "remove":
                    if root.stop_child(name):
                        diary.removed[name] = trio.current_time()
                elif name in refs:
                    system.post(refs[name], act)
            if settle:
                await trio.sleep(LONG)
            diary.left = trio.current_time()
    except TooManyRestarts:
        diary.gave_up = True
    except trio.Cancelled:
        check(drawn, known, diary, settled=False)
        raise
    check(drawn, known, diary, settled=settle)


def check(drawn: Rules, known: dict[str, Trait], diary: Diary, *, settled: bool) -> None:
    """Everything that must hold of a diary, whatever happened."""
    for name, trait in known.items():
        check_lives(name, trait, diary)
    check_order_of_start(drawn, diary)
    if drawn.tied:
        check_groups(drawn, diary)
    elif drawn.delay == 0 and diary.strict:
        check_intensity(drawn, known, diary)
    if settled and not diary.gave_up and diary.strict:
        up = {line.who for line in diary.of("up")} - {line.who for line in diary.of("ended") if line.when < diary.left}
        for name, trait in known.items():
            last = [line.what for line in diary.lines if line.who == name and line.when < diary.left]
            if trait.restart == "permanent" and name not in diary.removed:
                assert last[-1:] == ["up"], f"{name} is wanted and is not there"
        assert not up & {name for name, when in diary.removed.items() if when + LONG / 2 < diary.left}
    if not diary.gave_up and diary.strict and not drawn.together and settled:
        ends = [line.who for line in diary.of("ending") if line.when >= diary.left]
        assert ends == sorted(ends, key=lambda name: -position(name, known)), "it did not end right to left"


def position(name: str, known: dict[str, Trait]) -> int:
    return list(known).index(name)


def check_lives(name: str, trait: Trait, diary: Diary) -> None:
    """One at a time; and there is another one only for a reason."""
    mine = [line for line in diary.lines if line.who == name and line.what in ("begins", "ending", "ended")]
    words = [line.what for line in mine]
    one_by_one = ["begins", "ending", "ended"] * (len(words) // 3)
    assert words == one_by_one, f"two lives of {name} at once, or one left behind"
    lives = len(diary.of("begins", name))
    if trait.restart == "temporary":
        assert lives <= 1, f"{name} is temporary and came back"
    for before, after in zip(mine[2::3], mine[3::3], strict=False):
        assert after.when >= before.when
        assert diary.removed.get(name, after.when) >= before.when, f"{name} was removed and came back"


def check_order_of_start(drawn: Rules, diary: Diary) -> None:
    first: dict[str, int] = {}
    for line in diary.of("begins", *drawn.names()):
        first.setdefault(line.who, len(first))
    there = [name for name in drawn.names() if name in first]
    assert [first[name] for name in there] == sorted(first[name] for name in there), "not left to right at first"


def check_groups(drawn: Rules, diary: Diary) -> None:
    """Tied children: one begins only when all on its left are up, and what goes down is down before any comes up.

    Nobody waits for one that was removed.  Who is told to begin may find, at that very moment, that somebody has broken
    meanwhile; it then ends again.  And one that broke counts as up until it has cleaned up: only then does its
    supervisor hear of it.
    """
    last: dict[str, Entry] = {}
    for line in diary.of_any(drawn.names()):
        if line.what == "begins":
            for left, trait in zip(drawn.names(), drawn.traits, strict=True):
                if left == line.who:
                    break
                seen = last.get(left)
                retired = trait.restart != "permanent" and (seen is None or seen.what == "ended")
                fine = stands(seen, line.when) or retired or left in diary.removed
                assert fine, f"{line.who} began while {left} was not up"
            told = {who: seen for who, seen in last.items() if seen.what == "ending" and who not in diary.removed}
            going = [who for who, seen in told.items() if not stands(seen, line.when)]
            assert not going or drawn.strategy == "rest_for_one", f"{line.who} began while {going} were going down"
        last[line.who] = line


def stands(seen: Entry | None, now: float) -> bool:
    """Whether a supervisor took for up, at ``now``, whoever wrote this last."""
    if seen is None or seen.what == "begins":
        return False
    by_itself = seen.reason is not None and seen.reason.exit is not Exit.SHUTDOWN
    return seen.what == "up" or seen.when == now or (seen.what == "ending" and by_itself)


def check_intensity(drawn: Rules, known: dict[str, Trait], diary: Diary) -> None:
    """One for one, at once: each failure counts one, and more than so many within a period are the end.

    Who failed and was removed at one and the same moment may have been counted or not: both may have come first.
    """
    ended = [line for line in diary.of("ended") if line.when < diary.left]
    failures = [line for line in ended if counts(line, known[line.who], diary)]
    surely = [line.when for line in failures if diary.removed.get(line.who) != line.when]
    perhaps = [line.when for line in failures]
    if diary.gave_up:
        assert too_many(perhaps, drawn.intensity), f"gave up: failures at {perhaps}, {drawn.intensity} allowed"
    else:
        assert not too_many(surely, drawn.intensity), (
            f"did not give up: failures at {surely}, {drawn.intensity} allowed"
        )


def too_many(failures: list[float], most: int) -> bool:
    """Whether more than so many came within a period."""
    ordered = sorted(failures)
    return any(later - first <= PERIOD for first, later in zip(ordered, ordered[most:], strict=False))


def counts(line: Entry, trait: Trait, diary: Diary) -> bool:
    """Whether this end made its supervisor start the child again, or give up."""
    assert line.reason is not None
    if line.who in diary.removed and diary.removed[line.who] < line.when:
        return False
    if line.reason.exit is Exit.SHUTDOWN or trait.restart == "temporary":
        return False
    late = trait.stop_seconds == LATE or trait.breaks_stopping  # a clean-up that fails is a failure too
    return line.reason.exit is not Exit.NORMAL or trait.restart == "permanent" or late


@given(st.integers(0, 10**6), rules, script)
def test_the_diary_of_a_tree_says_that_the_rules_were_kept(seed: int, drawn: Rules, what: list[Any]) -> None:
    diary = Diary()
    run_seeded(seed, lambda: live(drawn, what, diary, True))


@given(st.integers(0, 10**6), rules, script.filter(lambda steps: len(steps) <= 4))
def test_no_life_is_left_behind_wherever_a_tree_is_cancelled(seed: int, drawn: Rules, what: list[Any]) -> None:
    async def scenario() -> None:
        await live(drawn, what, Diary(strict=False), False)

    assert cancel_at_every_step(scenario, seed) > 0
