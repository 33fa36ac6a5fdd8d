"""Packets between the daemon, the zygote and its supervisors: one JSON object each, with descriptors.

Never: leaves a received descriptor open that nobody owns, or lets one be inherited.

Source: unix(7), SCM_RIGHTS.
"""

from __future__ import annotations

import json
import os
import select
import socket
import sys
from collections.abc import Mapping, Sequence
from errno import ETOOMANYREFS
from typing import NamedTuple

_INT_BYTES = 4
SENDS, PAUSE_SECONDS = 500, 0.01
_SPACE = 16  # of the header of a control message


class Packet(NamedTuple):
    """What was received.  ``whole`` is false if something did not fit."""

    data: bytes
    descriptors: list[int]
    whole: bool


def send(to: socket.socket, message: Mapping[str, object], descriptors: Sequence[int] = ()) -> None:
    """Send one packet; whoever is gone is told nothing.

    The system counts the descriptors that all processes of a user have on their way, and takes no more for a while.

    Raises:
        OSError: it cannot be sent, also not after a few seconds.
    """
    packed = b"".join(one.to_bytes(_INT_BYTES, sys.byteorder) for one in descriptors)
    ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, packed)] if descriptors else []
    data = json.dumps(message).encode()
    for left in reversed(range(SENDS)):
        try:
            to.sendmsg([data], ancillary, socket.MSG_NOSIGNAL)
            return
        except OSError as error:
            if error.errno != ETOOMANYREFS or not left:
                raise
        select.select([], [], [], PAUSE_SECONDS)


def receive(at: socket.socket, max_bytes: int, max_descriptors: int) -> Packet:
    """The next packet; one without data and descriptors is the end."""
    space = _SPACE + _INT_BYTES * max_descriptors
    data, ancillary, flags, _ = at.recvmsg(max_bytes, space, socket.MSG_CMSG_CLOEXEC)
    descriptors = [
        int.from_bytes(packed[at : at + _INT_BYTES], sys.byteorder)
        for level, kind, packed in ancillary
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS)
        for at in range(0, len(packed) - _INT_BYTES + 1, _INT_BYTES)
    ]
    return Packet(data, descriptors, not flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC))


def close_all(descriptors: Sequence[int]) -> None:
    """Close each of them."""
    for one in descriptors:
        os.close(one)
