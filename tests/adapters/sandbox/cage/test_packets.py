"""What a packet meets on its way: descriptors of others that fill the system, and ends that are gone."""

from __future__ import annotations

import os
import socket
from errno import EPERM, EPIPE, ETOOMANYREFS
from typing import cast

import pytest
import trio
import trio.testing

from astrid.adapters.sandbox.cage import packets
from astrid.adapters.sandbox.child import Child
from astrid.adapters.sandbox.line import Line, refusal
from astrid.adapters.sandbox.starting import Process
from astrid.errors import LaunchError


class Busy:
    """A socket that cannot send while ``errors`` last."""

    def __init__(self, *errors: int) -> None:
        self.errors = list(errors)
        self.sent = 0

    def sendmsg(self, *_: object) -> int:
        if self.errors:
            number = self.errors.pop(0)
            raise OSError(number, os.strerror(number))
        self.sent += 1
        return 1


def test_a_packet_waits_while_others_have_too_much_on_its_way() -> None:
    line = Busy(*[ETOOMANYREFS] * 5)
    packets.send(line, {"ev": "x"}, [0])  # type: ignore[arg-type]
    assert line.sent == 1


@pytest.mark.parametrize("errors", [[EPIPE], [ETOOMANYREFS] * packets.SENDS])
def test_it_does_not_wait_for_what_does_not_pass(errors: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packets, "PAUSE_SECONDS", 0.0)
    line = Busy(*errors)
    with pytest.raises(OSError, match=os.strerror(errors[-1])):
        packets.send(line, {"ev": "x"}, [0])  # type: ignore[arg-type]
    assert line.sent == 0


class BusyForTrio(Busy):
    """The same for who waits by the event loop."""

    async def sendmsg(self, *_: object) -> int:  # type: ignore[override]
        await trio.lowlevel.checkpoint()
        return Busy.sendmsg(self)


@pytest.mark.parametrize(
    ("errors", "sent"), [([ETOOMANYREFS] * 5, 1), ([EPIPE], 0), ([ETOOMANYREFS] * packets.SENDS, 0)]
)
async def test_a_request_waits_as_well(errors: list[int], sent: int, autojump_clock: trio.testing.MockClock) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    pipes = [os.pipe(), os.pipe()]
    child = Child(None, pipes[0][0], pipes[1][0])
    try:
        line = Line(cast("Process", None), ours)
        busy = BusyForTrio(*errors)
        line._socket.close()
        line._socket = busy  # type: ignore[assignment]
        await line.ask({"ev": "x"}, [0], child)
        assert busy.sent == sent
        if not sent:
            with pytest.raises(LaunchError, match=r"sandbox\.lost"):
                await child.wait_started()
    finally:
        theirs.close()
        for _, end in pipes:
            os.close(end)
        await child.stdout.aclose()
        await child.stderr.aclose()


@pytest.mark.parametrize(("number", "effect"), [(EPERM, "none"), (ETOOMANYREFS, "maybe")])
def test_a_start_that_may_have_begun_is_not_told_as_none(number: int, effect: str) -> None:
    assert refusal(number, "why").effect == effect
