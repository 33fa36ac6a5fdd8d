"""What is looked at while it happens: each batch that becomes durable, each message to a host, each call that runs.

``Watch`` is told of everything by the fakes, and by a codec that all messages pass.  It asks nothing of the product.

Source: architecture 10 (I1, I2, I5); protocol N4.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from blake3 import blake3

from astrid.core.call import Call
from astrid.core.conversation import AnyPart, Text, ToolResult, decode_request
from astrid.core.gate_messages import Execute, Propose
from astrid.core.records import Kind
from astrid.errors import InputError
from astrid.kernel import Codec, Sender
from astrid.messages.approvals import OpenQuestion
from astrid.messages.gate import Register
from astrid.ports import Batch
from tests.simulation.records import Permitted, Records


class Violation(msgspec.Struct, frozen=True):
    """Something that must never be."""

    invariant: str
    what: str


class Watch:
    """See the module.  ``dead``: the machine has stopped, and what its processes still do happens nowhere."""

    def __init__(self, note: Callable[[str], None], say: Callable[[str], None]) -> None:
        self.dead = False
        self.forging = False  # what is sent now is a lie from outside
        self.violations: list[Violation] = []
        self.asked: Callable[[OpenQuestion], None] = lambda message: None
        self.stolen: list[bytes] = []  # tokens of honest sessions, for thieves
        self.kinds: dict[Kind, int] = {}
        self.executed: list[Execute] = []  # for who would have it done again
        self.effects = 0
        self._records: Records | None = None
        self._note = note
        self._say = say
        self._keys: dict[int, bytes] = {}  # of principals, by the number of their ref
        self._tainted: set[bytes] = set()  # sessions that have seen untrusted text
        self._said: dict[bytes, list[str]] = {}  # what people said to each session, as its model was last shown it

    @property
    def records(self) -> Records:
        assert self._records is not None
        return self._records

    def begin(self, records: Records) -> None:
        """From now on, hold everything against these records."""
        self._records = records

    def start(self) -> None:
        """The machine starts: whoever was there is not any more."""
        self.dead = False
        self._keys.clear()
        self._tainted.clear()
        self._said.clear()
        self.executed.clear()

    def wrong(self, invariant: str, what: str) -> None:
        """Note a violation."""
        self.violations.append(Violation(invariant, what))
        self._say(f"VIOLATION {invariant}: {what}")

    # --- the disk

    def written(self, batch: Batch) -> None:
        """A batch is durable."""
        beside = {(seq, slot): (salt, data) for seq, slot, salt, data in batch.payloads}
        for seq, data in enumerate(batch.frames, batch.first):
            kind = self.records.read(data, lambda slot, seq=seq: beside.get((seq, slot)))
            self.kinds[kind] = self.kinds.get(kind, 0) + 1
            self._say(f"durable {seq} {kind.name.lower()}")

    # --- messages

    def message(self, message: object) -> None:
        """Somebody sends something."""
        if self.dead or self.forging:
            return
        match message:
            case Execute():
                self._execute(message)
            case OpenQuestion():
                if message.qid not in self.records.questions:
                    self.wrong("I5", "somebody was asked what is not in the log")
                self.asked(message)
            case Register():
                self._register(message)
            case _:
                pass

    def _register(self, message: Register) -> None:
        """Somebody is made a principal; one that wakes is who it was, and no richer."""
        caps = (message.limits.per_action_micros, message.limits.session_micros)
        if message.wakes:
            self._note("woke")
            if self.records.keys.get(message.key) != message.session or self.records.caps[message.session] != caps:
                self.wrong("I7", "a session wakes as somebody else")
        self.records.keys[message.key] = message.session
        self._keys[message.ref] = message.key
        self.records.caps[message.session] = caps

    def _execute(self, message: Execute) -> None:
        """A host is told to run a call: there is a durable permit for these very bytes, and it was not used."""
        self._say(f"execute {message.ref} under {message.permit_seq}")
        permitted = self.records.permits.get(message.permit_seq)
        if permitted is None or permitted.body.ref != message.ref:
            self.wrong("I1", f"call {message.ref} is executed without a durable permit")
            return
        if not _is_of(permitted, message.call):
            self.wrong("I1", f"call {message.ref} is executed with other bytes than its permit names")
        if permitted.sent or permitted.ended:
            self.wrong("I5", f"call {message.ref} is executed after it was, or has ended")
        if self.records.ends.get(message.ref) == "denied":
            self.wrong("I2", f"call {message.ref} is executed and was denied")
        chain = self.records.authority.chain(permitted.body.token)
        if any(self.records.moment.revoked & {one, block.issuer, block.holder} for one, block in chain):
            self.wrong("I2", f"call {message.ref} is executed although what it rests on was revoked before")
        permitted.sent = True
        self.executed.append(message)

    def proposed(self, message: Propose, sender: Sender, *, honest: bool) -> None:
        """The gate is handed a proposal.  An honest session says when untrusted text is in view."""
        for token in message.tokens:
            self.records.authority.learn(token)
        if sender.id in self._keys:
            self.records.proposed.add((self._keys[sender.id], message.tool, message.args))
        if not honest:
            return
        self.stolen += [token for token in message.tokens if token not in self.stolen]
        whose = sender.path.encode()
        if message.tool == "model":
            self._remembers(whose, message.args)
        if whose in self._tainted and not message.tainted:
            self.wrong("I6", f"`{message.tool}` is proposed as if no untrusted text were in view")

    def _remembers(self, whose: bytes, request: bytes) -> None:
        """A session's conversation only grows, also while it sleeps."""
        try:
            parts = [part for message in decode_request(request).messages for part in message.parts]
        except InputError:  # a model called the tool that it is itself
            return
        if _shows_untrusted(parts):
            self._tainted.add(whose)
        said = [part.text for part in parts if isinstance(part, Text) and part.text.startswith("talk ")]
        before = self._said.get(whose, [])
        if said[: len(before)] != before:
            self.wrong("I4", f"a session was told {before}, and goes on from {said}")
        self._said[whose] = said

    # --- the world

    def ran(self, call: Call) -> None:
        """A tool acts."""
        if self.dead:
            return
        self.effects += 1
        raw = msgspec.msgpack.encode(call)
        ready = (one for one in self.records.open_permits() if not one.ran and one.sent and _is_of(one, raw))
        permitted = next(ready, None)
        if permitted is None:
            self.wrong("I1", f"`{call.tool}` ran without a permit that names these bytes, or twice under one")
        else:
            permitted.ran = True


def _is_of(permitted: Permitted, raw: bytes) -> bool:
    """Whether these are the bytes of the call.  Those of a model call are not kept, only how many there were."""
    if permitted.raw:
        return permitted.raw == raw
    return permitted.body.host_kind == "model" and permitted.body.bytes_.length == len(raw)


def _shows_untrusted(parts: Sequence[AnyPart]) -> bool:
    """Whether a model is shown what a third party's tool said, or what somebody unknown said."""
    said = any(isinstance(part, Text) and " unsigned" in part.text for part in parts)
    return said or any(isinstance(part, ToolResult) and "UNTRUSTED" in part.content for part in parts)


class Spy:
    """A codec that shows every message to ``seen`` and hands it on, through ``inner`` if there is one."""

    def __init__(self, seen: Callable[[object], None], inner: Codec | None) -> None:
        self._seen = seen
        self._inner = inner
        self._held: Any = None

    def encode(self, message: object, /) -> bytes:
        self._seen(message)
        if self._inner is not None:
            return self._inner.encode(message)
        self._held = message
        return b""

    def decode(self, data: bytes, /) -> object:
        return self._held if self._inner is None else self._inner.decode(data)


def digest_of(*parts: bytes) -> str:
    """What two runs are compared by."""
    state = blake3()
    for part in parts:
        state.update(len(part).to_bytes(8, "big"))
        state.update(part)
    return state.hexdigest()
