"""What a running call says before its end: provisional output, and the connections that it wants to make.

Never: lets a connection begin before the gate has said that its record is durable.

Source: architecture 6; threats 24, 32.
"""

from __future__ import annotations

from collections.abc import Callable

import trio

from astrid.core.egress_connection import Attempt, Traffic
from astrid.core.gate_connections import Connect, Disconnected
from astrid.core.gate_messages import Connecting
from astrid.errors import EdgeError

RECORD_SECONDS = 30.0  # that a record may take to be durable


class CallReport:
    """The ``Report`` of one call.  ``say`` takes its word to the front of the host."""

    def __init__(
        self, ref: int, permit_seq: int, piece: Callable[[bytes], None], say: Callable[[Connect | Disconnected], object]
    ) -> None:
        self._ref = ref
        self._permit_seq = permit_seq
        self._piece = piece
        self._say = say
        self._last = 0
        self._waiting: dict[int, trio.Event] = {}
        self._told: dict[int, str] = {}  # what the gate said of those that wait
        self._open: dict[int, tuple[str, ...]] = {}  # the addresses of each connection that may be made

    def __call__(self, piece: bytes, /) -> None:
        """Pass on provisional output."""
        self._piece(piece)

    async def begin(self, attempt: Attempt) -> int:
        """Have the connection recorded; its number.

        Raises:
            EdgeError: it is not recorded, or the gate does not let it begin.
        """
        self._last = number = self._last + 1
        recorded = self._waiting[number] = trio.Event()
        self._say(
            Connect(
                ref=self._ref,
                permit_seq=self._permit_seq,
                number=number,
                host=attempt.host,
                port=attempt.port,
                addresses=attempt.addresses,
                code=attempt.refused,
            )
        )
        try:
            with trio.move_on_after(RECORD_SECONDS):
                await recorded.wait()
        finally:
            del self._waiting[number]
        code = self._told.pop(number, "egress.unrecorded")
        if code != attempt.refused:
            raise EdgeError(
                "egress.refused",
                f"the connection may not be made: {code}",
                effect="none",
                advice="see the log of the session",
            )
        if not code:
            self._open[number] = attempt.addresses
        return number

    def recorded(self, message: Connecting) -> None:
        """The gate answers."""
        waiting = self._waiting.get(message.number)
        if waiting is not None:
            self._told[message.number] = message.code
            waiting.set()
        elif not message.code:  # whoever wanted it has left, and nothing was dialled
            self._tell_end(message.number, 0, Traffic(address="", sent_bytes=0, received_bytes=0, cut="egress.stopped"))

    def end(self, number: int, traffic: Traffic) -> None:
        """Have it recorded how a connection ended; nothing, if it was refused."""
        addresses = self._open.pop(number, None)
        if addresses is not None:
            dialled = addresses.index(traffic.address) + 1 if traffic.address in addresses else 0
            self._tell_end(number, dialled, traffic)

    def _tell_end(self, number: int, dialled: int, traffic: Traffic) -> None:
        self._say(
            Disconnected(
                ref=self._ref,
                permit_seq=self._permit_seq,
                number=number,
                dialled=dialled,
                sent_bytes=traffic.sent_bytes,
                received_bytes=traffic.received_bytes,
                code=traffic.cut,
            )
        )
