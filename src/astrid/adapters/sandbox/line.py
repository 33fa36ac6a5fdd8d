"""The line to one zygote: requests go out, reports come in, each child hears of its own.

Never: outlives its zygote: when that dies every child on the line has died with it, and is told so.

Source: threat 45.
"""

from __future__ import annotations

import json
import os
import socket
import struct
from collections.abc import Sequence
from errno import ETOOMANYREFS
from typing import Any

import msgspec
import trio

from astrid.adapters.sandbox.cage.packets import PAUSE_SECONDS, SENDS
from astrid.adapters.sandbox.cage.requests import MAX_PACKET_BYTES
from astrid.adapters.sandbox.child import Child
from astrid.adapters.sandbox.starting import Process, no_zygote
from astrid.box_ports import Ended
from astrid.errors import LaunchError

_REPORT_BYTES = 64 * 1024
END_SECONDS = 5.0


class Tiers(msgspec.Struct, frozen=True, kw_only=True):
    """What a zygote has shown to work, the best first; why the others do not; the version of Landlock; why programs
    have no control group each, empty where they have.
    """

    works: tuple[str, ...]
    why: dict[str, str]
    landlock: int
    groups: str = "nothing was started"


def lost() -> LaunchError:
    """What is told of a program whose zygote died."""
    return LaunchError(
        "sandbox.lost",
        "the process that starts contained programs died, and the program with it",
        effect="maybe",
        advice="look at what it left behind, and run it again",
    )


class Line:
    """See the module."""

    def __init__(self, process: Process, ours: socket.socket) -> None:
        self.process = process
        self._socket = trio.socket.from_stdlib_socket(ours)
        self._children: dict[int, Child] = {}
        self._next = 1
        self._turn = trio.Lock()
        self.dead = False

    async def greet(self, floor: dict[str, object]) -> Tiers:
        """Give the zygote its floor, and hear what works.

        Raises:
            LaunchError: it says nothing of the kind.
        """
        try:
            await self._socket.send(json.dumps(floor).encode())
            hello = json.loads((await self._receive())[0] or b"{}")
            return msgspec.convert({**hello, "works": hello["tiers"]}, Tiers)
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise no_zygote("it ended before it said what works") from error

    async def ask(self, request: dict[str, object], descriptors: Sequence[int], child: Child) -> None:
        """Send one request; ``child`` hears what comes of it, also if it cannot be sent."""
        async with self._turn:  # ids rise in the order in which they arrive
            id_, self._next = self._next, self._next + 1
            packet = json.dumps({"id": id_, **request}).encode()
            if len(packet) > MAX_PACKET_BYTES:
                child.has_failed(_too_long())
                return
            self._children[id_] = child
            try:
                await self._send(packet, struct.pack(f"{len(descriptors)}i", *descriptors))
            except OSError:
                self._drop(id_)
            except trio.Cancelled:
                self._drop(id_)
                raise

    async def _send(self, packet: bytes, descriptors: bytes) -> None:
        """As ``packets.send``, without keeping anybody waiting but who asked."""
        for left in reversed(range(SENDS)):
            try:
                await self._socket.sendmsg([packet], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, descriptors)])
                return
            except OSError as error:
                if error.errno != ETOOMANYREFS or not left:
                    raise
            await trio.sleep(PAUSE_SECONDS)

    def _drop(self, id_: int) -> None:
        child = self._children.pop(id_, None)
        if child is not None:
            child.has_failed(lost())

    async def listen(self) -> None:
        """Hand on what the zygote reports, until it is gone; then tell every child."""
        try:
            while True:
                data, descriptors = await self._receive()
                if not data:
                    return
                self._hand_on(json.loads(data), descriptors)
        except OSError:
            return
        finally:
            self.dead = True
            for child in self._children.values():
                child.has_failed(lost())
            self._children.clear()

    def _hand_on(self, report: dict[str, Any], descriptors: list[int]) -> None:
        child = self._children.get(report["id"])
        match report["ev"]:
            case "started" if child is not None and len(descriptors) in (2, 3):
                child.has_started(report["pid"], *descriptors)
                return
            case "exit" if child is not None:
                user, system, rss_kb = report["used"]
                code = os.waitstatus_to_exitcode(report["status"])
                child.has_ended(
                    Ended(
                        returncode=code,
                        cpu_seconds=user + system,
                        max_rss_kb=int(rss_kb),
                        stopped=report.get("limit", ""),
                    )
                )
                del self._children[report["id"]]
            case "error" if child is not None:
                child.has_failed(refusal(report["errno"], report["why"]))
                del self._children[report["id"]]
            case _:
                pass
        for descriptor in descriptors:
            os.close(descriptor)

    async def _receive(self) -> tuple[bytes, list[int]]:
        space = socket.CMSG_SPACE(struct.calcsize("3i"))
        data, ancillary, _, _ = await self._socket.recvmsg(_REPORT_BYTES, space, socket.MSG_CMSG_CLOEXEC)
        descriptors: list[int] = []
        for level, kind, packed in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                descriptors += struct.unpack(f"{len(packed) // 4}i", packed[: len(packed) // 4 * 4])
        return data, descriptors

    async def end(self) -> None:
        """Close the line: the zygote then kills what is left, and ends."""
        self._socket.close()
        with trio.CancelScope(shield=True):
            with trio.move_on_after(END_SECONDS):
                await trio.to_thread.run_sync(self.process.wait, abandon_on_cancel=True)
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait()


def undead() -> LaunchError:
    """What is told of a program that was killed and goes on."""
    return LaunchError(
        "process.undead", "a killed program does not end", effect="done", advice="look for a hanging disk or mount"
    )


def _too_long() -> LaunchError:
    return LaunchError(
        "sandbox.too-long",
        f"the command and its environment are longer than {MAX_PACKET_BYTES} bytes",
        effect="none",
        advice="put the command into a script file and run that",
    )


def refusal(number: int, why: str) -> LaunchError:
    """What is told of a program that could not be started: the error's ``number``, and ``why``."""
    return LaunchError(
        "sandbox.not-started",
        f"the program could not be started in its box: {why}",
        # SAFETY: what cannot be sent on its way is, at times, that it has begun.
        effect="maybe" if number == ETOOMANYREFS else "none",
        advice="check that the program and its folder exist; `astrid doctor` tells what this machine offers",
        errno=number,
    )
