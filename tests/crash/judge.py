"""What must hold after a crash and a restart, computed from the records, traces outside, and what people were told.

It knows nothing of the gate; of the product it uses only what reads the log, and the replay that a start makes of it,
which is held against the sums made here.

    a permit without an outcome     after the restart its outcome is unknown, paid in full, and it is never run again
    a permit with an outcome        stays as it was, and what the outcome says was done is there
    an effect                       is there once at most, and only with an earlier durable permit for its bytes
    an open question                is open still, and can be answered, once
    what somebody was told of       an answer, a grant, a revocation, a result: is in the log, and counts
    money and uses                  are what the records add up to
    journal rows                    are those that the records name
    nothing else                    no socket, temporary file or lock

Each function gives complaints; none means that it holds.

Source: architecture 5 (the table of crashes), 10 (I1 to I5, I8); protocol N3.
"""

from __future__ import annotations

import fcntl
import hashlib
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw
import msgspec

from astrid.adapters.store.journal import SqliteReader
from astrid.core.answers import Verdict
from astrid.core.budget import EMPTY
from astrid.core.chain import decode_body, decode_frame
from astrid.core.facts import Facts
from astrid.core.policy import Policy
from astrid.core.records import Kind
from astrid.home import Home
from astrid.runtime.boot import load_identity
from astrid.runtime.log import read_past
from tests.crash.person import Found, Told
from tests.crash.scene import MARKS, Scene

_KEPT = (
    r"keys/(client|holder|runtime|user)\.key|keys/client\.token|keys/holder\.pub|install|config\.toml|log/audit\.db|"
    r"log/ballast|anchor/(daemon|cli)|run/lock|run/daemon\.log|workspaces/[0-9a-f]{64}|kept/[0-9a-f]{64}"
)
_WHOLE = {"a.txt": ("hello\nworld\n", "replaced\n"), "b.txt": ("written\n",)}
_WRITES = {"a.txt": b"replaced", "b.txt": b"written"}


class Entry(msgspec.Struct, frozen=True):
    """One record.  ``call`` are the bytes that a permit of a tool covers."""

    seq: int
    boot: int
    kind: Kind
    session: bytes
    body: Any
    call: bytes


def read_entries(home: Home) -> list[Entry]:
    """The whole log."""
    reader = SqliteReader(home.log)
    try:
        entries: list[Entry] = []
        for data in reader.frames(1, 100_000):
            frame = decode_frame(data)
            beside = reader.payload(frame.seq, 0) if frame.kind == Kind.PERMIT else None
            entries.append(
                Entry(
                    frame.seq,
                    frame.boot,
                    Kind(frame.kind),
                    frame.session,
                    decode_body(frame),
                    b"" if beside is None else beside[1],
                )
            )
        return entries
    finally:
        reader.close()


class Sums:
    """What records add up to."""

    def __init__(self, entries: list[Entry]) -> None:
        self.of: dict[Kind, list[Entry]] = {kind: [] for kind in Kind}
        for entry in entries:
            self.of[entry.kind].append(entry)
        self.used: Counter[bytes] = Counter()
        self.spent: Counter[bytes] = Counter()
        self.outcomes: dict[int, list[Entry]] = {permit.seq: [] for permit in self.of[Kind.PERMIT]}
        for outcome in (*self.of[Kind.OUTCOME], *self.of[Kind.OUTCOME_VOUCHED]):
            self.outcomes.setdefault(outcome.body.permit_seq, []).append(outcome)
        for permit in self.of[Kind.PERMIT]:
            self.used.update(row.block for row in permit.body.charges)
            for purse in _purses(permit):
                self.spent[purse] += sum(outcome.body.spent for outcome in self.outcomes[permit.seq])
        self.asked = {entry.body.qid for entry in self.of[Kind.ASKED]}
        self.settled = {entry.body.qid: entry.body for entry in self.of[Kind.SETTLED]}
        self.granted = {entry.body.block for entry in self.of[Kind.GRANTED]}
        self.revoked = {entry.body.target for entry in self.of[Kind.REVOKED]}
        self.answered = {body.block for body in self.settled.values() if any(body.block)}

    @property
    def known(self) -> list[Entry]:
        """The permits whose outcome is known."""
        return [
            permit
            for permit in self.of[Kind.PERMIT]
            if any(not outcome.body.unknown for outcome in self.outcomes[permit.seq])
        ]


def _purses(permit: Entry) -> list[bytes]:
    blocks = [row.block for row in permit.body.charges]
    return [*blocks, b"session" + permit.session, b"workspace" + permit.body.workspace]


class Case:
    """One crash and what came after it.  ``boot`` is that of the last daemon."""

    def __init__(self, scene: Scene, entries: list[Entry], told: Told, found: Found, marks: dict[str, int]) -> None:
        self.scene = scene
        self.told = told
        self.found = found
        self.marks = marks  # before the restart
        self.entries = entries
        last = max(entry.boot for entry in entries)
        self.all = Sums(entries)
        self.before = Sums([entry for entry in entries if entry.boot < last])
        self.after = Sums([entry for entry in entries if entry.boot == last])

    def complaints(self) -> list[str]:
        """All that does not hold."""
        return [
            *self.permits(),
            *self.effects(),
            *self.questions(),
            *self.promises(),
            *self.money(),
            *self.rows(),
        ]

    def permits(self) -> Iterator[str]:
        """Each ends exactly once; one of a daemon that died as unknown, in full."""
        refs = Counter(permit.body.ref for permit in self.all.of[Kind.PERMIT])
        yield from (f"call {ref} was permitted {count} times" for ref, count in refs.items() if count > 1)
        permits = {permit.seq: permit for permit in self.all.of[Kind.PERMIT]}
        for seq, outcomes in self.all.outcomes.items():
            if seq not in permits:
                yield f"record {outcomes[0].seq} is the outcome of no permit"
            elif len(outcomes) != 1:
                yield f"the permit of record {seq} has {len(outcomes)} outcomes"
            else:
                yield from _ended(permits[seq], outcomes[0])

    def effects(self) -> Iterator[str]:
        """Once at most, by an earlier permit; and there where an outcome says so."""
        now = self.scene.marks()
        for mark, count in now.items():
            if mark not in MARKS:
                yield f"something left the mark `{mark}`"
            if count != self.marks.get(mark, 0):
                yield f"`{mark}` was run after the restart"
            if count > 1:
                yield f"`{mark}` was run {count} times"
        for mark in MARKS:
            permits = [permit for permit in self.all.of[Kind.PERMIT] if f"echo {mark} >>".encode() in permit.call]
            if any(permit in self.after.of[Kind.PERMIT] for permit in permits):
                yield f"`{mark}` was permitted after the restart"
            if now.get(mark, 0) > len(permits):
                yield f"`{mark}` was run {now[mark]} times, on {len(permits)} permits"
            if now.get(mark, 0) < sum(_is_done(self.all, permit) for permit in permits):
                yield f"`{mark}` was not run, and the log says so"
        written = self.scene.written()
        for name, text in written.items():
            if text not in _WHOLE.get(name, ()):
                yield f"left in the workspace: {name}" if name not in _WHOLE else f"{name} holds {text!r}"
        for name, part in _WRITES.items():
            permits = [permit for permit in self.all.of[Kind.PERMIT] if part in permit.call]
            is_new = written.get(name) == _WHOLE[name][-1]
            if is_new and not permits:
                yield f"{name} was written without a permit"
            if not is_new and any(_is_done(self.all, permit) for permit in permits):
                yield f"{name} was not written, and the log says so"

    def questions(self) -> Iterator[str]:
        """Open is what was asked and not settled; each can be answered, once."""
        waiting = self.before.asked - set(self.before.settled)
        if self.found.open != waiting:
            yield f"{len(waiting)} questions should be open, and {len(self.found.open)} are"
        if self.found.answered != self.found.open:
            yield "an open question could not be answered"
        answered = set(self.told.verdicts) | self.found.answered
        if self.found.refused != answered:
            yield f"of {len(answered)} answered questions {len(answered - self.found.refused)} could be answered again"
        decided = Counter(entry.body.qid for entry in self.all.of[Kind.SETTLED])
        yield from (f"question {qid.hex()} was settled {count} times" for qid, count in decided.items() if count > 1)

    def promises(self) -> Iterator[str]:
        """Whatever a person was told is in what the daemon that told it left behind."""
        log, told = self.before, self.told
        if self.found.sessions:  # so that one has ended, of which a person is told at once, is true after any crash
            yield f"{self.found.sessions} sessions outlived their daemon"
        started = {entry.session for entry in log.of[Kind.SESSION_STARTED]}
        deferred = {entry.body.qid for entry in log.of[Kind.DEFERRED]}
        for what, said, recorded in (
            ("a session was opened", told.sessions, started),
            ("a grant was taken in", told.granted, log.granted),
            ("a grant was revoked", told.revoked, log.revoked),
            ("a question was asked", told.asked, log.asked),
            ("a question was settled", told.settled | set(told.verdicts), set(log.settled)),
            ("a call was deferred", told.deferred, deferred),
        ):
            if said - recorded:
                yield f"a person was told that {what}, and the log does not say so"
        for qid, verdict in told.verdicts.items():
            body = log.settled.get(qid)
            if body is not None and (body.decision != verdict or any(body.block) != (verdict is not Verdict.DENY)):
                yield f"an answer of {verdict.name} was recorded as {body.decision}"
        models = sum(permit.body.host_kind == "model" for permit in log.known)
        if told.messages > models:
            yield f"a person saw {told.messages} messages of the model, and {models} calls of it ended"
        tools = len(log.known) - models + len(log.of[Kind.DENIED]) + len(log.of[Kind.DEFERRED])
        if told.results + told.denied > tools + len(log.of[Kind.COALESCED]):
            yield f"a person saw {told.results} results and {told.denied} denials of {tools} recorded calls"

    def money(self) -> Iterator[str]:
        """Every purse and every count of uses is the sum of the records."""
        found = self.found
        if set(found.used) != self.before.granted | self.before.answered:
            yield "the tokens are not those that the log names"
        restart = {seq for seq, ends in self.all.outcomes.items() if ends and ends[0].body.unknown}
        spent: Counter[bytes] = Counter()
        for permit in self.before.of[Kind.PERMIT]:
            ends = self.before.outcomes[permit.seq] or (self.all.outcomes[permit.seq] if permit.seq in restart else [])
            for purse in _purses(permit):
                spent[purse] += sum(end.body.spent for end in ends)
        for block, used in found.used.items():
            if used != self.before.used[block]:
                yield f"a token was used {self.before.used[block]} times, and the daemon counts {used}"
            if used > found.uses[block]:
                yield f"a token for {found.uses[block]} uses was used {used} times"
            if found.spent[block] != spent[block]:
                yield f"{spent[block]} micro-dollars were spent of a token, and the daemon counts {found.spent[block]}"
        if found.revoked != self.before.revoked & set(found.used):
            yield "the revoked tokens are not those that the log names"
        standing = self.before.granted - self.before.revoked
        if found.reopened != bool(standing):
            yield f"a session was {'given' if found.reopened else 'refused'} on {len(standing)} standing grants"
        yield from self._replayed()

    def _replayed(self) -> Iterator[str]:
        identity = load_identity(self.scene.home)
        facts = Facts(aud=identity.keys.install, roots=identity.roots, policy=Policy(home="/"))
        read_past(self.scene.home, identity.keys, facts)
        if facts.open_permits:
            yield f"{len(facts.open_permits)} permits are open at the end"
        if any(purse.reserved for purse in facts.ledger.purses.values()):
            yield "money is still reserved"
        for purse, spent in self.all.spent.items():
            if facts.ledger.purses.get(purse, EMPTY).spent != spent:
                yield f"the replay finds another sum in the purse {purse[:16]!r} than the records"
        if {block: facts.ledger.used.get(block, 0) for block in self.all.used} != dict(self.all.used):
            yield "the replay counts other uses than the records"

    def rows(self) -> Iterator[str]:
        """As many as the records name, for each session from 1 without a gap."""
        named: Counter[bytes] = Counter()
        for entry in self.all.of[Kind.JOURNAL]:
            if entry.body.first != named[entry.session] + 1:
                yield f"the journal of a session goes on at row {entry.body.first} after {named[entry.session]}"
            named[entry.session] += entry.body.count
        connection = apsw.Connection(str(self.scene.home.log), flags=apsw.SQLITE_OPEN_READONLY)
        try:
            stored = Counter(bytes(row[0]) for row in connection.execute("SELECT substr(key, 1, 16) FROM journal"))
        finally:
            connection.close()
        if stored != named:
            yield f"{sum(stored.values())} journal rows are stored, and {sum(named.values())} are named by records"


def leftovers(home: Home) -> Iterator[str]:
    """Nothing lies about that a stopped daemon has no use for.

    To be looked at before the log is read: whoever may only read it cannot take away what SQLite lays beside it.
    """
    for path in sorted(home.root.rglob("*")):
        name = str(path.relative_to(home.root))
        if not path.is_dir() and not re.fullmatch(_KEPT, name):
            yield f"left in the home: {name}"
        elif path.parent == home.kept and hashlib.sha256(path.read_bytes()).hexdigest() != path.name:
            yield f"what is kept is not what it is called: {name}"
    if not is_free(home.lock):
        yield "the lock is held"


def _ended(permit: Entry, outcome: Entry) -> Iterator[str]:
    body = outcome.body
    if outcome.seq <= permit.seq or body.ref != permit.body.ref:
        yield f"record {outcome.seq} is no outcome of the permit of record {permit.seq}"
    if outcome.boot > permit.boot and (body.unknown, body.effect, body.spent) != (True, "maybe", permit.body.micros):
        yield f"the permit of record {permit.seq} was settled by another daemon, and not as unknown in full"


def _is_done(log: Sums, permit: Entry) -> bool:
    """Whether the log says that what was permitted was done."""
    return any(
        outcome.body.effect == "done" and not outcome.body.unknown and not outcome.body.is_error
        for outcome in log.outcomes[permit.seq]
    )


def is_free(lock: Path) -> bool:
    """Whether nobody holds the lock."""
    with lock.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True
