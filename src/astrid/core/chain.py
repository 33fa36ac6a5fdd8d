"""The log as a machine: frames that hold the digest of their predecessor, and the tree over them.  Pure.

``ChainState`` appends; ``ChainVerifier`` reads.  The stored bytes are what is hashed, chained and proved; nothing
is re-encoded to verify.

Never: judges what a record says.  A body is decoded by whoever wants to know (``decode_body``).

Invariants:
  seq is gapless from 1; boot is 0 in the first record and rises by one per start; time never falls.
  A checkpoint covers only records that are already durable.

Source: protocol N9, N10; RFC 6962 (tree); threats 11, 12, 31, 33.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

import msgspec

from astrid.core.canon import U16, U32, U64, Bytes32, Digest, Domain, Signed, decode, digest, digester, encode
from astrid.core.checkpoint import Checkpoint
from astrid.core.merkle import Hash, leaf_hash, leaf_hashes
from astrid.core.records import BODIES, MAX_BODY_BYTES, Entry, Kind
from astrid.core.tiles import TILE_WIDTH, Tile, TileBuilder
from astrid.core.tokens import Bytes0or16
from astrid.errors import CanonError, ChainError, InternalError

MAX_FRAME_BYTES = MAX_BODY_BYTES + 256
CHECKPOINT_RECORDS = 1000
CHECKPOINT_NS = 60 * 10**9

_GENESIS, _BOOT = int(Kind.GENESIS), int(Kind.BOOT)  # plain numbers: comparing with a member costs more than the rest
_SHAPES = {int(kind): shape for kind, shape in BODIES.items()}
_link = digester(Domain.AUDIT)


class Frame(Signed, frozen=True, array_like=True):
    """One record as stored (N9).  ``prev`` is first and of fixed width, so that a link is checked without decoding."""

    prev: Bytes32
    seq: U64
    boot: U32
    time_ns: U64
    kind: U16
    session: Bytes0or16
    body: bytes


def genesis_tip(install: bytes) -> Digest:
    """``prev`` of the first record: H(genesis, I)."""
    return digest(Domain.GENESIS, install)


def frame_digest(frame: bytes) -> Digest:
    """``prev`` of the record after ``frame``."""
    return _link(frame)


def decode_frame(data: bytes) -> Frame:
    """The record that ``data`` spells.

    Raises:
        ChainError: not the canonical bytes of a record.
    """
    try:
        frame = decode(data, Frame, max_bytes=MAX_FRAME_BYTES, what="a record")
    except CanonError as error:
        raise ChainError("chain.malformed", error.message) from error
    if len(frame.session) not in (0, 16):
        raise ChainError("chain.malformed", "a record names a session of 16 bytes, or none")
    return frame


def decode_body(frame: Frame) -> Signed:
    """The body of a record of a known kind.

    Raises:
        ChainError: an unknown kind, or not a body of that kind.
    """
    shape = _SHAPES.get(frame.kind)
    if shape is None:
        raise ChainError(
            "chain.kind",
            f"record {frame.seq} is of kind {frame.kind}, which this version does not know: a newer Astrid wrote it",
            advice="update Astrid; if it is the newest, run `astrid audit verify`",
        )
    try:
        return decode(frame.body, shape, max_bytes=MAX_BODY_BYTES, what="its body")
    except CanonError as error:
        raise ChainError("chain.malformed", f"record {frame.seq} says nothing: {error.message}") from error


class Tip(msgspec.Struct, frozen=True):
    """Where a log ends."""

    size: int
    prev: bytes
    boot: int
    time_ns: int


class ChainState:
    """The writing end.  ``append`` advances at once; what is durable is told by ``durable``."""

    __slots__ = ("_appended", "_checkpoint_ns", "_checkpoint_size", "durable_tip", "tip", "tree")

    def __init__(self, tip: Tip, tree: TileBuilder) -> None:
        self.tip = tip
        self.durable_tip = tip
        self.tree = tree
        self._appended: deque[tuple[Tip, Hash]] = deque()  # not yet durable
        self._checkpoint_size = 0
        self._checkpoint_ns = 0

    def append(self, entry: Entry, now_ns: int) -> bytes:
        """The bytes of the next record.  A wall clock that stepped back does not move the log's time back."""
        time_ns = max(now_ns, self.tip.time_ns)
        boot = self.tip.boot + (entry.kind == _BOOT)
        frame = Frame(self.tip.prev, self.tip.size + 1, boot, time_ns, entry.kind, entry.session, entry.body)
        data = encode(frame)
        self.tip = Tip(frame.seq, _link(data), boot, time_ns)
        self._appended.append((self.tip, leaf_hash(data)))
        return data

    def durable(self, size: int) -> list[Tile]:
        """Everything up to record ``size`` is on disk; the tiles of the tree that are full now, to be stored with
        what comes next.

        Raises:
            InternalError: more than was appended.
        """
        count = size - self.durable_tip.size
        if not 0 <= count <= len(self._appended):
            raise InternalError("chain.watermark", "more records became durable than were appended")
        tiles: list[Tile] = []
        for _ in range(count):
            self.durable_tip, leaf = self._appended.popleft()
            tiles += self.tree.append(leaf)
        return tiles

    def stated(self, log_id: bytes) -> Checkpoint:
        """What there is to sign: the durable records."""
        tip = self.durable_tip
        return Checkpoint(log_id=log_id, size=tip.size, root=self.tree.root(), tip=tip.prev, boot=tip.boot)

    def checkpoint_due(self, now_ns: int) -> bool:
        """Whether the last checkpoint is 1,000 durable records or 60 s old, and there is something new to sign."""
        new = self.durable_tip.size - self._checkpoint_size
        return new > 0 and (new >= CHECKPOINT_RECORDS or now_ns - self._checkpoint_ns >= CHECKPOINT_NS)

    def checkpointed(self, size: int, now_ns: int) -> None:
        """A checkpoint over ``size`` records was signed and stored."""
        self._checkpoint_size = size
        self._checkpoint_ns = now_ns


class ChainVerifier:
    """The reading end: feed it every record in order; it raises at the first that does not follow."""

    __slots__ = ("_behind", "_tree", "boot", "prev", "size", "time_ns")

    def __init__(self, install: bytes) -> None:
        self.prev: bytes = genesis_tip(install)
        self.size: int = 0
        self.boot: int = 0
        self.time_ns: int = 0
        self._tree = TileBuilder()
        self._behind: list[bytes] = []  # records that the tree does not hold yet: many are hashed at once for less

    @property
    def tree(self) -> TileBuilder:
        """The tree over every record so far."""
        self._tree.extend(leaf_hashes(self._behind))
        self._behind.clear()
        return self._tree

    def feed(self, data: bytes) -> Frame:
        """The next record, if it follows.

        Raises:
            ChainError: says at which record and why.
        """
        seq = self.size + 1
        try:
            frame = decode_frame(data)
            if (
                frame.seq != seq
                or frame.prev != self.prev
                or frame.time_ns < self.time_ns
                or frame.boot != self.boot + (frame.kind == _BOOT)
                or (frame.kind == _GENESIS) != (seq == 1)
            ):
                raise self._unfit(frame, seq)
        except ChainError as error:
            error.where = f"record {seq}"
            raise
        self._behind.append(data)
        if len(self._behind) == TILE_WIDTH:
            _ = self.tree
        self.prev, self.size, self.boot, self.time_ns = _link(data), seq, frame.boot, frame.time_ns
        return frame

    def _unfit(self, frame: Frame, seq: int) -> ChainError:
        """What is wrong with a record that does not follow."""
        if frame.seq != seq:
            return ChainError("chain.gap", f"expected record {seq} and found {frame.seq}")
        if frame.prev != self.prev:
            return ChainError("chain.link", "the record does not follow the one before it")
        if frame.time_ns < self.time_ns:
            return ChainError("chain.time", "the record is older than the one before it")
        if frame.boot != self.boot + (frame.kind == _BOOT):
            return ChainError("chain.boot", "the record names another start of the daemon than the log does")
        return ChainError("chain.genesis", "a log has one genesis record, its first")

    @property
    def tip(self) -> Tip:
        """Where the log read so far ends."""
        return Tip(self.size, self.prev, self.boot, self.time_ns)


def verify_frames(install: bytes, frames: Iterable[bytes]) -> ChainVerifier:
    """Read a whole log.  An empty one is sound and has size 0.

    Raises:
        ChainError: at the first record that does not follow.
    """
    verifier = ChainVerifier(install)
    for data in frames:
        verifier.feed(data)
    return verifier
