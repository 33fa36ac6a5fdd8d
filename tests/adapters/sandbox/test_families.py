from __future__ import annotations

import os
import select
import signal
import subprocess

import pytest

from astrid.adapters.sandbox.families import Running, family_of, has_ended, kill_family, parse_processes
from astrid.adapters.sandbox.starting import list_processes

OLD, NEW = "Mon Nov 23 08:00:00 2026", "Mon Nov 23 09:00:00 2026"


def one(pid: int, parent: int, group: int, *, ended: bool = False, born: str = OLD) -> Running:
    return Running(pid, parent, group, ended, born)


def test_a_table_is_read() -> None:
    table = b"    1     0     1 Ss   Mon Nov 23 08:00:00 2026\n   42     1    40 Z    Mon Nov 23 09:00:00 2026\n"
    assert parse_processes(table) == [one(1, 0, 1), one(42, 1, 40, ended=True, born=NEW)]


def test_the_machine_lists_us() -> None:
    found = [running for running in parse_processes(list_processes()) if running.pid == os.getpid()]
    assert [(running.parent, running.group, running.ended) for running in found] == [
        (os.getppid(), os.getpgrp(), False)
    ]


def test_a_family_is_the_group_and_all_descendants_and_who_was_known() -> None:
    processes = [
        one(1, 0, 1),
        one(10, 2, 10),
        one(11, 10, 10),
        one(12, 11, 12),  # left the group
        one(13, 1, 10),  # its parent is gone
        one(14, 1, 14),  # left the group, its parent is gone, was seen
        one(15, 14, 14),
        one(16, 1, 16),
        one(2, 1, 2),
    ]
    assert {pid for pid, _ in family_of(10, {(14, OLD)}, processes)} == {10, 11, 12, 13, 14, 15}


def test_a_number_that_changed_hands_is_nobody_of_the_family() -> None:
    assert family_of(10, {(14, OLD)}, [one(10, 2, 10), one(14, 1, 14, born=NEW)]) == {(10, OLD)}


def test_who_has_ended_is_not_killed_again() -> None:
    processes = [one(10, 2, 10, ended=True), one(11, 10, 11)]
    assert family_of(10, (), processes) == {(11, OLD)}
    assert has_ended(10, processes)
    assert has_ended(12, processes)
    assert not has_ended(11, processes)


@pytest.mark.e2e
def test_a_family_is_killed_whoever_left_the_group() -> None:
    script = "(setsid sh -c 'echo $$; sleep 1000') & setsid sleep 1000 & sleep 1000"
    leader = subprocess.Popen(["/bin/sh", "-c", script], stdout=subprocess.PIPE, start_new_session=True)
    assert leader.stdout is not None
    watched = os.pidfd_open(int(leader.stdout.readline()))
    kill_family(leader.pid, (), lambda: parse_processes(list_processes()))
    assert leader.wait(10) == -signal.SIGKILL
    poller = select.poll()
    poller.register(watched, select.POLLIN)
    assert poller.poll(10_000)
    os.close(watched)
    leader.stdout.close()


@pytest.mark.e2e
def test_where_nobody_can_be_listed_the_group_is_killed() -> None:
    def fail() -> list[Running]:
        raise OSError(5, "no list")

    leader = subprocess.Popen(["/bin/sleep", "1000"], start_new_session=True)
    kill_family(leader.pid, (), fail)
    assert leader.wait(10) == -signal.SIGKILL
