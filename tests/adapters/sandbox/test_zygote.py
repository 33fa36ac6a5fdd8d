"""What a daemon that was taken over can get out of the zygote: its packets, written by hand."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from astrid.adapters.sandbox.cage import packets
from astrid.adapters.sandbox.cage.requests import MAX_PACKET_BYTES
from astrid.adapters.sandbox.cage.selftest import SYSTEM
from astrid.adapters.sandbox.starting import start_zygote
from tests.adapters.sandbox.conftest import descriptors_of, tiers

pytestmark = pytest.mark.e2e
PLENTY = 30.0


class Daemon:
    """One that asks for whatever it wants."""

    def __init__(self, line: socket.socket, pid: int, workspace: Path) -> None:
        self.pid = pid
        self.line = line
        self.workspace = workspace
        self.null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        self.folder = os.open(workspace, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)

    def hear(self) -> dict[str, Any]:
        packet = packets.receive(self.line, 65536, 2)
        packets.close_all(packet.descriptors)
        return json.loads(packet.data)

    def ask(self, id_: object, descriptors: list[int] | None = None, **changes: Any) -> dict[str, Any]:
        """The first answer to a request; for one that was started, the last."""
        request = {"tier": "l0", "argv": ["/bin/sh", "-c", "exit 7"], "env": {}, "workspace": str(self.workspace)}
        whole = {**request, "rx": list(SYSTEM), **changes, "id": id_}
        packets.send(self.line, whole, descriptors or [self.null, self.null, self.null, self.folder])
        answer = self.hear()
        return self.hear() if answer["ev"] == "started" else answer


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    folder = tmp_path.resolve() / "secret"
    folder.mkdir()
    return folder


@pytest.fixture
def daemon(workspace: Path, secret: Path) -> Iterator[Daemon]:
    if why := tiers()["l0"]:
        pytest.skip(f"no tier l0 here: {why}")
    process, line = start_zygote()
    line.settimeout(PLENTY)
    one = Daemon(line, process.pid, workspace)
    packets.send(line, {"least": "l0", "never": [str(secret)]})
    assert one.hear()["ev"] == "hello"
    yield one
    assert one.ask(2**52)["status"] == 7 << 8  # whatever came, it still works
    line.close()
    os.close(one.null)
    os.close(one.folder)
    assert process.wait(PLENTY) == 0


def test_an_id_is_used_once_and_only_rises(daemon: Daemon) -> None:
    assert daemon.ask(5)["ev"] == "exit"
    assert [daemon.ask(id_)["ev"] for id_ in (5, 4, 0, -1, "6", None)] == ["error"] * 6


def test_an_id_of_a_refused_request_is_used_as_well(daemon: Daemon) -> None:
    assert daemon.ask(5, tier="none")["ev"] == "error"
    assert daemon.ask(5)["ev"] == "error"


def test_no_request_gets_the_whole_disk_or_what_is_never_exposed(daemon: Daemon, secret: Path) -> None:
    for id_, path in enumerate(("/", str(secret), str(secret.parent), str(secret / "x")), 1):
        assert daemon.ask(id_, rw=[path])["ev"] == "error"


def test_a_link_to_what_is_never_exposed_is_refused(daemon: Daemon, secret: Path, workspace: Path) -> None:
    (workspace / "link").symlink_to(secret)
    assert "never exposed" in daemon.ask(1, ro=[str(workspace / "link")])["why"]


def test_a_request_below_the_least_tier_is_refused(daemon: Daemon) -> None:
    assert daemon.ask(1, tier="none")["ev"] == "error"


def test_the_floor_is_not_taken_twice(daemon: Daemon) -> None:
    packets.send(daemon.line, {"least": "none", "never": []})
    assert daemon.hear()["ev"] == "error"


def test_descriptors_of_another_kind_are_refused(daemon: Daemon, workspace: Path) -> None:
    file = os.open(workspace / "file", os.O_RDWR | os.O_CREAT)
    readable = os.open(workspace, os.O_RDONLY | os.O_DIRECTORY)
    ours, theirs = socket.socketpair()
    null, folder = daemon.null, daemon.folder
    wrong = [
        [null, null, folder, null],
        [null, null, null, null],
        [null, null, null, file],
        [null, null, null, readable],
        [file, null, null, folder],
        [null, folder, null, folder],
        [null, ours.fileno(), null, folder],
        [null, null, null],
        [null, null, null, folder, folder],
    ]
    try:
        answers = [daemon.ask(id_, descriptors)["ev"] for id_, descriptors in enumerate(wrong, 1)]
    finally:
        os.close(file)
        os.close(readable)
        ours.close()
        theirs.close()
    assert answers == ["error"] * len(wrong)


def test_a_workspace_that_is_not_the_folder_that_came_along_is_refused(daemon: Daemon, tmp_path: Path) -> None:
    other = tmp_path.resolve() / "other"
    other.mkdir()
    assert daemon.ask(1, workspace=str(other))["ev"] == "error"


def test_packets_that_are_no_requests_are_answered_and_leave_nothing_open(daemon: Daemon) -> None:
    before = descriptors_of(daemon.pid)
    for raw in (b"x", b"[]", b"{}", b"\xff" * 100, b"x" * (MAX_PACKET_BYTES + 1), b"[" * 60_000):
        packed = (daemon.null).to_bytes(4, "little") * 9
        daemon.line.sendmsg([raw], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, packed)])
        assert daemon.hear()["ev"] == "error"
    assert descriptors_of(daemon.pid) == before


def test_without_a_floor_it_does_not_serve(workspace: Path) -> None:
    process, line = start_zygote()
    line.settimeout(PLENTY)
    one = Daemon(line, process.pid, workspace)
    assert one.ask(1)["ev"] == "error"
    assert process.wait(PLENTY) == 0
    line.close()
    os.close(one.null)
    os.close(one.folder)


def test_who_is_told_to_end_again_and_again_ends_once_and_tidies_up(workspace: Path) -> None:
    if why := tiers()["l1"]:
        pytest.skip(f"no tier l1 here: {why}")
    process, line = start_zygote()
    line.settimeout(PLENTY)
    one = Daemon(line, process.pid, workspace)
    packets.send(line, {"least": "l1", "never": []})
    assert one.hear()["ev"] == "hello"
    sleeps = {"tier": "l1", "argv": ["/bin/sleep", "1000"], "protect": [".vscode", ".git/hooks", ".idea"]}
    for id_ in range(1, 9):
        request = {"env": {}, "workspace": str(workspace), "rx": list(SYSTEM), **sleeps, "id": id_}
        packets.send(line, request, [one.null, one.null, one.null, one.folder])
        assert one.hear()["ev"] == "started"
    while process.poll() is None:
        process.terminate()
    line.close()
    os.close(one.null)
    os.close(one.folder)
    assert process.returncode == 0
    assert list(workspace.iterdir()) == []


@pytest.mark.parametrize("floor", [None, b'{"least": "l0", "never": []}', b"no floor"])
def test_who_is_left_before_it_has_said_what_works_ends_in_silence(
    floor: bytes | None, capfd: pytest.CaptureFixture[str]
) -> None:
    process, line = start_zygote()
    if floor is not None:
        line.send(floor)
    line.close()
    assert process.wait(PLENTY) == 0
    assert capfd.readouterr().err == ""
