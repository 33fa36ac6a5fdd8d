"""What happens in one simulated life of a home, as plain data, and how such plans are drawn.

A plan is drawn from anything that picks numbers: a seeded generator for the bulk of the runs, Hypothesis where a plan
is to be made smaller.  Every list of faults begins with "nothing special", so that what is made smaller becomes tamer.

Lists of behaviour (of the disk, the tools, the people, the models) are walked round and round by whoever behaves.

Never: looks at a clock or at entropy.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Protocol, TypeVar

import msgspec

T = TypeVar("T")

TOOLS = ("look", "note", "pay", "run", "send", "wipe", "trusted", "fresh", "secret", "model", "nothing")
"""What a call may name: the tools of ``edges``, the model itself, and one that nobody has."""

VARIANTS = ("plain", "other", "dear", "too-dear", "malformed", "twice", "huge", "deep", "outside", "surrogate")
"""How the arguments of a call are spelt."""

MODEL_FAULTS = ("", "slow", "none", "maybe", "done", "cut", "hang", "bug", "overrun", "negative", "surrogate", "many")
LOOK_FAULTS = ("", "slow", "refuse", "workspace", "bug", "hang", "unsorted", "wrong")
RUN_FAULTS = (
    *("", "slow", "none", "maybe", "done", "input", "bug", "hang", "long"),
    *("overspend", "negative", "lie", "text"),
)
DISK_FAULTS = ("", "slow", "late", "retry", "full", "short", "broken", "kept", "hang")
PEOPLE = (
    *("deny", "once", "session", "workspace", "always", "sleep", "late", "twice", "yes-no", "no-yes"),
    *("forged", "other", "shown", "wider", "relabelled", "replay", "expired"),
)
KILLED = ("audit", "approvals", "interceptor", "gateway", "host", "model", "session", "archive")
JUMPS_S = (30, -30, 3_600, -3_600, 90_000, -90_000, 700_000, -700_000)
ACTS = (
    *("open", "rogue", "say", "wait", "cancel", "attend", "end", "family", "grant", "revoke", "checkpoint"),
    *("clock", "kill", "forge", "again", "stop"),
)
IDLE_S = (300, 15, 4)  # how long a session does nothing before it goes to sleep
ASLEEP = ("", "revoke", "grant", "clock", "kill", "end", "again", "cancel", "attend", "family", "checkpoint")
ON_THE_WAY = ("", "archive", "gateway", "interceptor", "audit", "crash", "cancel", "end", "revoke", "rouse", "host")
"""What happens to one that sleeps, and while it is being woken; some of it are actors that are killed."""
MODES = ("autonomous", "guided", "safe")
GRANTS = ("plain", "clean", "uses", "purse", "short", "none")
POLICIES = ("", "asks", "blocks")
ENDS = ("stop", "crash", "halt")  # in order; on the spot; in order, in the midst of it all


class Picker(Protocol):
    """Where the choices come from."""

    def below(self, number: int) -> int:
        """A whole number from 0 on, less than ``number``."""
        ...


class Seeded:
    """The picker of the bulk runs: the same seed, the same plan, on every machine."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)  # noqa: S311 - a plan keeps no secret

    def below(self, number: int) -> int:
        return self._random.randrange(number)


class Plain(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base of the parts of a plan."""


class Call(Plain, frozen=True):
    """One call that a model makes."""

    tool: str
    variant: str


class Answer(Plain, frozen=True):
    """What a model says when it is asked."""

    fault: str
    calls: tuple[Call, ...]


class Talk(Plain, frozen=True):
    """A session: how it is opened, and what its model says."""

    mode: str
    scripted: bool
    attended: bool
    interactive: bool
    signed: bool  # whether what is said to it is signed by the user
    budget_micros: int
    answers: tuple[Answer, ...]


class Act(Plain, frozen=True):
    """Something that happens from outside, so long after the one before it.  ``a`` and ``b`` say which and how."""

    after_ms: int
    what: str
    a: int
    b: int


class Boot(Plain, frozen=True):
    """One start of the daemon: what happens, and how it ends.

    ``at_step`` is the scheduler's step at which a crash comes (0: after the last act); ``kept`` whether the batch that
    is being written then survives; ``down_s`` how long nothing runs afterwards.
    """

    acts: tuple[Act, ...]
    end: str
    at_step: int
    kept: bool
    down_s: int


class Plan(Plain, frozen=True):
    """One life."""

    seed: int
    session_micros: int
    action_micros: int
    workspace_micros: int
    policy: str
    wait_s: int  # how long a session waits for a person
    idle_s: int  # how long a session does nothing before it goes to sleep
    strict: bool  # whether each message travels as bytes
    grant: str
    talks: tuple[Talk, ...]
    people: tuple[str, ...]
    looks: tuple[str, ...]
    runs: tuple[str, ...]
    disk: tuple[str, ...]
    boots: tuple[Boot, ...]


def plan_of(seed: int) -> Plan:
    """The plan of a seed."""
    return draw_plan(Seeded(seed), seed)


def draw_plan(pick: Picker, seed: int) -> Plan:
    """A plan of what ``pick`` picks; ``seed`` is for the scheduler and for entropy."""
    talks = tuple(_talk(pick) for _ in range(1 + pick.below(3)))
    boots = 1 + pick.below(3)
    plan = Plan(
        seed=seed,
        session_micros=_of(pick, (200_000, 60_000, 20_000)),
        action_micros=_of(pick, (50_000, 9_000)),
        workspace_micros=_of(pick, (10**9, 120_000, 30_000)),
        policy=_of(pick, POLICIES),
        wait_s=_of(pick, (20, 60)),
        idle_s=_of(pick, IDLE_S),
        strict=_one_in(pick, 6),
        grant=_of(pick, GRANTS) if _one_in(pick, 2) else "plain",
        talks=talks,
        people=_some(pick, PEOPLE, 1, 4),
        looks=_faults(pick, LOOK_FAULTS),
        runs=_faults(pick, RUN_FAULTS),
        disk=_faults(pick, DISK_FAULTS, rare=pick.below(3) > 0),
        boots=tuple(_boot(pick, len(talks), last=number == boots - 1) for number in range(boots)),
    )
    return _sleepy(pick, plan) if _one_in(pick, 2) else plan


def _sleepy(pick: Picker, plan: Plan) -> Plan:
    """The same life, but that whoever is idle sleeps soon, and is woken again and again."""
    return msgspec.structs.replace(
        plan,
        idle_s=_of(pick, IDLE_S[1:]),
        talks=tuple(msgspec.structs.replace(talk, scripted=False) for talk in plan.talks),
        boots=tuple(
            msgspec.structs.replace(
                boot,
                acts=(*boot.acts, *(act for _ in range(1 + pick.below(4)) for act in _nap(pick))),
                at_step=boot.at_step if _one_in(pick, 3) else 0,
            )
            for boot in plan.boots
        ),
    )


def _nap(pick: Picker) -> list[Act]:
    """Time to fall asleep, something meanwhile, a word to one that sleeps, and something on its way back."""
    acts = [Act(_of(pick, (7_000, 25_000, 90_000)), "rouse", 0, 0)]
    meanwhile, then = _of(pick, ASLEEP), _of(pick, ON_THE_WAY)
    if meanwhile:
        acts = [Act(acts[0].after_ms, meanwhile, pick.below(64), pick.below(64)), Act(200, "rouse", pick.below(64), 0)]
    if then:
        # A waking takes a few milliseconds.
        soon = _of(pick, (0, 1, 2, 3, 4, 6, 9))
        what = "kill" if then in KILLED else then
        acts.append(Act(soon, what, KILLED.index(then) if what == "kill" else pick.below(64), pick.below(64)))
    return acts


def _talk(pick: Picker) -> Talk:
    return Talk(
        mode=_of(pick, MODES),
        scripted=_one_in(pick, 3),
        attended=not _one_in(pick, 4),
        interactive=not _one_in(pick, 6),
        signed=_one_in(pick, 2),
        budget_micros=_of(pick, (0, 0, 15_000, 40_000)),
        answers=tuple(_answer(pick) for _ in range(1 + pick.below(4))),
    )


def _answer(pick: Picker) -> Answer:
    fault = _of(pick, MODEL_FAULTS) if _one_in(pick, 4) else ""
    return Answer(fault, tuple(_call(pick) for _ in range(pick.below(4))))


def _call(pick: Picker) -> Call:
    variant = _of(pick, VARIANTS) if _one_in(pick, 3) else _of(pick, VARIANTS[:3])
    return Call(_of(pick, TOOLS) if _one_in(pick, 2) else _of(pick, TOOLS[:5]), variant)


def _boot(pick: Picker, talks: int, *, last: bool) -> Boot:
    end = _of(pick, ENDS)
    acts = [Act(pick.below(3), "open", number, 0) for number in range(talks)]
    if _one_in(pick, 5):  # a part of the guard breaks while calls are on their way
        acts.append(Act(_of(pick, (5, 12, 40)), "kill", pick.below(3), 0))
    if _one_in(pick, 5):
        acts.append(Act(_of(pick, (5, 12, 40)), "revoke", pick.below(64), pick.below(64)))
    acts += [_act(pick) for _ in range(pick.below(10))]
    early = _of(pick, (40, 150, 400, 1000, 2500)) if end == "crash" and not last else 0
    return Boot(
        acts=tuple(acts),
        end=end,
        at_step=1 + pick.below(early) if early else 0,
        kept=bool(pick.below(2)),
        down_s=_of(pick, (1, 100, 100_000, 800_000) if _one_in(pick, 4) else (1, 100)),
    )


def _act(pick: Picker) -> Act:
    what = _of(pick, ACTS) if _one_in(pick, 2) else _of(pick, ACTS[:5])
    return Act(_of(pick, (0, 1, 7, 40, 200, 3_000)), what, pick.below(64), pick.below(64))


def _faults(pick: Picker, faults: Sequence[str], *, rare: bool = False) -> tuple[str, ...]:
    odds = 12 if rare else 4
    return tuple(_of(pick, faults) if _one_in(pick, odds) else "" for _ in range(1 + pick.below(12)))


def _some(pick: Picker, choices: Sequence[str], least: int, most: int) -> tuple[str, ...]:
    return tuple(_of(pick, choices) for _ in range(least + pick.below(most - least + 1)))


def _of(pick: Picker, choices: Sequence[T]) -> T:
    return choices[pick.below(len(choices))]


def _one_in(pick: Picker, number: int) -> bool:
    return pick.below(number) == number - 1
