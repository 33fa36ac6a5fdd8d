"""What the trusted core and its shells need from the world, as Protocols.  Adapters implement them; tests fake them.

Never: imports an adapter or a vendor.  Every port has one contract suite that the real adapter and the fake both pass.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Protocol

import msgspec

from astrid.core.call import Call, Preparation
from astrid.core.conversation import AnyStreamEvent, ModelRequest
from astrid.core.egress_connection import Attempt, Traffic
from astrid.core.money import Price
from astrid.core.records import Erasure
from astrid.core.tiles import Tile
from astrid.core.tools import ToolSpec
from astrid.errors import Effect, JournalError


class Clock(Protocol):
    """Wall-clock time, in nanoseconds since the epoch.  It may step in either direction; the log's time never does."""

    def now_ns(self) -> int:
        """The wall clock."""
        ...

    def running_ns(self) -> int:
        """A clock that nobody can set and that only runs on, also while the machine sleeps; its origin means
        nothing.
        """
        ...


class Entropy(Protocol):
    """Randomness that nobody can guess."""

    def random_bytes(self, count: int) -> bytes:
        """``count`` fresh bytes."""
        ...


class Wallet(Protocol):
    """Hands a token that the daemon's holder key keeps on to one session.  It can only narrow."""

    def narrow(self, raw: bytes, *, holder: bytes, session: bytes, purse_micros: int) -> bytes:
        """``raw`` with one more block: for ``holder`` alone, in ``session`` alone, at most ``purse_micros``.  A
        token that is held by another key
        comes back as it is.

        Raises:
            TokenError: the token cannot be passed on.
        """
        ...


class ToolOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """How a call ended.  ``effect`` is what may have happened in the world; ``spent_micros`` the true cost;
    ``untrusted``: the text may be somebody else's, although the tool's definition vouches for what it gives; ``chosen``
    is as in ``labels.Label``.
    """

    content: bytes  # UTF-8 text for the model, or an image (``core.images``)
    is_error: bool
    effect: Effect
    spent_micros: int = 0
    untrusted: bool = False
    chosen: bool = False


class ToolServer(Protocol):
    """Something that runs tools: the workspace, a model, later MCP servers and plugins.

    ``glance`` and ``prepare`` only look (they change nothing, and what they see reaches no model); ``execute`` acts,
    once, on bytes a permit names.
    All raise ``EdgeError`` or ``InputError`` for what a model should be told; the last two let cancellation through
    after cleaning up.
    """

    def specs(self) -> tuple[ToolSpec, ...]:
        """The tools, in the order a model sees them."""
        ...

    def glance(self, tool: str, args: bytes) -> Preparation | None:
        """What a call of ``tool`` with JSON text ``args`` would touch, if that follows from these alone; ``None`` where
        it has to be looked for, on a disk say: then ``prepare`` is asked.
        """
        ...

    async def prepare(self, tool: str, args: bytes) -> Preparation:
        """What a call of ``tool`` with JSON text ``args`` would touch."""
        ...

    async def execute(self, call: Call, report: Report) -> ToolOutcome:
        """Run ``call``.  It re-checks ``call.pre`` on the descriptors it opened and answers ``effect: none`` when
        they differ.
        What it reaches of the network it begins and ends by ``report``."""
        ...


class Model(Protocol):
    """A language model, ready to be called.  Contract: tests/adapters/llm/test_contract.py."""

    @property
    def name(self) -> str:
        """``provider/model``."""
        ...

    @property
    def price(self) -> Price:
        """What tokens cost."""
        ...

    @property
    def scripted(self) -> bool:
        """Whether answers come from a script; marked in every record."""
        ...

    def stream(self, request: ModelRequest) -> AbstractAsyncContextManager[AsyncIterator[AnyStreamEvent]]:
        """Send ``request``; iterate over the answer as it comes.  Leaving the context closes the connection.

        Raises:
            ModelError: with ``effect`` none (never sent), maybe (sent, no usage known) or done (a bill is certain).
        """
        ...


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """What one commit writes: records ``first .. first + len(frames) - 1`` and everything that must be durable with
    them.

    ``payloads`` are (seq, slot, salt, bytes); ``rows`` are (session, number, bytes); ``checkpoint`` is (size, note).
    ``erases`` is taken away in the same commit.
    """

    first: int
    frames: tuple[bytes, ...]
    payloads: tuple[tuple[int, int, bytes, bytes], ...] = ()
    rows: tuple[tuple[bytes, int, bytes], ...] = ()
    tiles: tuple[Tile, ...] = ()
    checkpoint: tuple[int, bytes] | None = None
    erases: tuple[Erasure, ...] = ()


class Journal(Protocol):
    """The one writer of the log's database.  Contract: tests/adapters/store/test_contract.py."""

    @property
    def short_of_room(self) -> bool:
        """Whether the disk is so full that the room kept for last words is in use: what was submitted is written, but
        nothing new should begin.  Looked at anew with each batch, also an empty one."""
        ...

    @property
    def anchor_trouble(self) -> str:
        """Why the last checkpoint could not be kept elsewhere; empty if it was.  What was committed stands."""
        ...

    def submit(self, batch: Batch, done: Callable[[JournalError | None], None]) -> None:
        """Commit ``batch`` durably, in the order of submission; then ``done`` is called once, on the caller's event
        loop: with ``None``, or with
        the error that kept all of it from being written (``fields["retry"]`` says whether trying again can help)."""
        ...

    async def aclose(self) -> None:
        """Finish what was submitted and let go of the database.  What is submitted later fails.  Cancelled, all that
        still happens, and nobody waits for it."""
        ...


class LogReader(Protocol):
    """Reading the log beside its writer.  Calls block on the disk."""

    def size(self) -> int:
        """The number of records."""
        ...

    def frames(self, first: int, count: int) -> list[bytes]:
        """Up to ``count`` records from number ``first`` on."""
        ...

    def frames_of(self, session: bytes, first: int, count: int) -> list[bytes]:
        """Up to ``count`` records from number ``first`` on that hold the id ``session`` anywhere; no record of that
        session is left out.
        """
        ...

    def payload(self, seq: int, slot: int) -> tuple[bytes, bytes] | None:
        """Salt and bytes beside record ``seq``, unless erased or never kept."""
        ...

    def rows(self, session: bytes, first: int, count: int) -> list[bytes]:
        """Up to ``count`` rows of a session's journal from number ``first`` on."""
        ...

    def tile(self, level: int, index: int) -> bytes:
        """A stored tile of the Merkle tree, empty if there is none."""
        ...

    def checkpoint(self) -> bytes | None:
        """The last signed checkpoint, or ``None``."""
        ...

    def checkpoints(self) -> list[tuple[int, bytes]]:
        """Every signed checkpoint with its size, in order."""
        ...

    def close(self) -> None:
        """Let go of the log."""
        ...


class LogStore(Protocol):
    """Where the log is kept: how to get at it."""

    def exists(self) -> bool:
        """Whether there is a log, whole or not."""
        ...

    def reader(self) -> LogReader:
        """A reader, to be closed.

        Raises:
            JournalError: what is there is no log, or cannot be read.
        """
        ...

    def writer(self, keep: Callable[[bytes], None]) -> Journal:
        """The writer; makes the log if there is none.  ``keep`` is called with each checkpoint once it is durable,
        and keeps it elsewhere.

        Raises:
            JournalError: what is there is no log, or cannot be written.
        """
        ...


class SecretValues(Protocol):
    """The values of the user's secrets, for the edge alone: whoever sends one off asks for it by its name, then."""

    def value(self, name: str) -> bytes:
        """The value behind ``name``.

        Raises:
            InputError: this is no name, there is none of it, or others can read its value.
        """
        ...


class EgressLog(Protocol):
    """Where the connections of one command are recorded, under its permit."""

    async def begin(self, attempt: Attempt) -> int:
        """Record ``attempt``; its number, once that is durable.

        Raises:
            EdgeError: it cannot be recorded, so nothing may be dialled.
        """
        ...

    def end(self, number: int, traffic: Traffic) -> None:
        """Record how the connection with this number ended."""
        ...


class Report(EgressLog, Protocol):
    """What a running call says before its end: its connections, and as a function provisional output."""

    def __call__(self, piece: bytes, /) -> None:
        """Pass on a piece of output (stream events).  It never blocks and may drop."""
        ...
