from __future__ import annotations

import errno
import hashlib
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from astrid.adapters.sandbox.cage import bpf, filters
from astrid.adapters.sandbox.cage.numbers import MACHINES, Machine
from tests.adapters.sandbox.cage.interpreter import ERROR, judge

X86, ARM = MACHINES["x86_64"], MACHINES["aarch64"]
EPERM, ENOSYS = ERROR | errno.EPERM, ERROR | errno.ENOSYS
ALLOWED = bpf.ALLOW
BOTH = pytest.mark.parametrize("machine", [X86, ARM], ids=lambda machine: machine.name)
# Program by program: whoever changes a rule sees that here, and shows below what it does.
GOLDEN = {
    ("x86_64", True, False): "179fd0d4c240329f",
    ("x86_64", True, True): "0425cfae62c7a038",
    ("x86_64", False, False): "c5b4b554ddb96d2c",
    ("aarch64", True, False): "f498eeafc06a30fd",
    ("aarch64", True, True): "7f89291066b6ef1d",
    ("aarch64", False, False): "86df2188dbc08524",
}
CLONE_FLAGS = {
    "files of a thread": (0x3D0F00, ALLOWED),
    "a fork": (17, ALLOWED),
    "user namespace": (0x10000011, EPERM),
    "mount namespace": (0x20011, EPERM),
    "time namespace": (0x80, EPERM),
}


def verdict(machine: Machine, name: str, *arguments: int, own_ipc: bool = True, network: bool = False) -> int:
    program = filters.build(machine, own_ipc=own_ipc, network=network)
    return judge(program, machine.audit_arch, machine.calls[name], arguments)


@pytest.mark.parametrize(("machine", "own_ipc", "network"), GOLDEN, ids=str)
def test_the_program_is_the_one_that_was_looked_at(machine: str, own_ipc: bool, network: bool) -> None:
    program = filters.build(MACHINES[machine], own_ipc=own_ipc, network=network)
    assert hashlib.sha256(program).hexdigest()[:16] == GOLDEN[machine, own_ipc, network]


@BOTH
def test_each_denied_call_is_denied_whatever_its_arguments(machine: Machine) -> None:
    names = [name for name in filters.DENIED if name in machine.calls]
    assert {verdict(machine, name, *([2**32 - 1] * 6)) for name in names} == {EPERM}
    assert {verdict(machine, name) for name in names} == {EPERM}


@BOTH
def test_calls_with_flags_behind_a_pointer_do_not_exist(machine: Machine) -> None:
    assert {verdict(machine, name) for name in filters.UNKNOWN} == {ENOSYS}


@BOTH
@pytest.mark.parametrize("name", filters.IPC)
def test_queues_and_shared_memory_are_denied_where_they_are_everybodys(machine: Machine, name: str) -> None:
    assert verdict(machine, name, own_ipc=False) == EPERM
    assert verdict(machine, name, own_ipc=True) == ALLOWED


@BOTH
@pytest.mark.parametrize("what", CLONE_FLAGS)
def test_a_clone_makes_processes_and_threads_but_no_namespace(machine: Machine, what: str) -> None:
    flags, expected = CLONE_FLAGS[what]
    assert verdict(machine, "clone", flags) == expected


@BOTH
def test_no_input_is_pushed_into_a_terminal(machine: Machine) -> None:
    assert verdict(machine, "ioctl", 0, 0x5412) == EPERM
    assert verdict(machine, "ioctl", 0, 0x541C) == EPERM
    assert verdict(machine, "ioctl", 0, 0x5401) == ALLOWED
    # The kernel looks at the lower half only, and so do we.
    assert verdict(machine, "ioctl", 0, 0x1_0000_5412) == EPERM


@BOTH
def test_the_only_sockets_are_local_pairs(machine: Machine) -> None:
    assert {verdict(machine, "socket", family) for family in range(64)} == {EPERM}
    pairs = {family: verdict(machine, "socketpair", family, socket.SOCK_STREAM) for family in range(64)}
    assert [family for family, said in pairs.items() if said == ALLOWED] == [1]


@BOTH
def test_with_a_way_out_the_only_sockets_are_those_of_tcp_over_ipv4(machine: Machine) -> None:
    allowed = {
        (family, kind, protocol)
        for family in range(48)
        for kind in range(16)
        for protocol in (0, 1, 6, 17, 132, 255, 262)
        if verdict(machine, "socket", family, kind | socket.SOCK_CLOEXEC, protocol, network=True) == ALLOWED
    }
    assert allowed == {(socket.AF_INET, socket.SOCK_STREAM, 0), (socket.AF_INET, socket.SOCK_STREAM, 6)}


@BOTH
def test_with_a_way_out_nothing_listens_or_sends_as_it_connects(machine: Machine) -> None:
    assert {verdict(machine, name, network=True) for name in ("bind", "listen")} == {EPERM}
    for name, place in (("sendto", 3), ("sendmsg", 2), ("sendmmsg", 3)):
        flags = [0] * place
        assert verdict(machine, name, *flags, 0x20000040, network=True) == EPERM
        assert verdict(machine, name, *flags, 0x4040, network=True) == ALLOWED


@BOTH
def test_with_a_way_out_no_other_protocol_is_put_on_top(machine: Machine) -> None:
    assert verdict(machine, "setsockopt", 3, socket.IPPROTO_TCP, 31, network=True) == EPERM
    assert verdict(machine, "setsockopt", 3, socket.IPPROTO_TCP, socket.TCP_NODELAY, network=True) == ALLOWED


@BOTH
@pytest.mark.parametrize("flags", [0, socket.SOCK_CLOEXEC, socket.SOCK_NONBLOCK, socket.SOCK_CLOEXEC | 0o4000])
def test_no_pair_sends_datagrams_to_others(machine: Machine, flags: int) -> None:
    """One end of such a pair could send to any socket of datagrams on the machine, by its path."""
    kinds = {kind: verdict(machine, "socketpair", socket.AF_UNIX, kind | flags) for kind in range(16)}
    assert [kind for kind, said in kinds.items() if said == ALLOWED] == [socket.SOCK_STREAM, socket.SOCK_SEQPACKET]


@BOTH
@pytest.mark.parametrize("mode", [0o4755, 0o2755, 0o6000])
def test_no_file_gets_a_set_id_bit(machine: Machine, mode: int) -> None:
    for name, place in (("chmod", 1), ("fchmod", 1), ("fchmodat", 2), ("creat", 1), ("mknod", 1), ("mknodat", 2)):
        if name in machine.calls:
            assert verdict(machine, name, *([0] * place), mode) == EPERM
            assert verdict(machine, name, *([0] * place), mode & 0o1777) == ALLOWED


@BOTH
@pytest.mark.parametrize("flags", [0o100, 0o20200000])
def test_no_file_is_made_with_a_set_id_bit(machine: Machine, flags: int) -> None:
    assert verdict(machine, "openat", 0, 0, flags | 1, 0o4755) == EPERM
    assert verdict(machine, "openat", 0, 0, flags | 1, 0o755) == ALLOWED
    # Without one of these the mode is whatever lies in the register.
    assert verdict(machine, "openat", 0, 0, 0, 0o4755) == ALLOWED


def test_the_old_way_to_open_is_judged_like_the_new() -> None:
    assert verdict(X86, "open", 0, 0o101, 0o4755) == EPERM
    assert verdict(X86, "open", 0, 0, 0o4755) == ALLOWED


@BOTH
@given(number=st.integers(0, 600), own_ipc=st.booleans())
def test_a_call_of_another_architecture_kills(machine: Machine, number: int, own_ipc: bool) -> None:
    program = filters.build(machine, own_ipc=own_ipc)
    assert {judge(program, arch, number) for arch in (0x40000003, 0x40000028, 0, machine.audit_arch ^ 1)} == {bpf.KILL}


@given(number=st.integers(0, 1023))
def test_the_third_kind_of_call_does_not_exist(number: int) -> None:
    assert judge(filters.build(X86, own_ipc=True), X86.audit_arch, filters.X32_BIT | number) == ENOSYS


@BOTH
@given(number=st.integers(0, 600))
def test_what_no_rule_names_is_allowed(machine: Machine, number: int) -> None:
    ruled = set(machine.calls.values())
    program = filters.build(machine, own_ipc=False)
    if number not in ruled:
        assert judge(program, machine.audit_arch, number, [2**64 - 1] * 6) == ALLOWED


def test_a_rule_that_were_missing_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filters, "DENIED", tuple(name for name in filters.DENIED if name != "ptrace"))
    assert verdict(X86, "ptrace") == ALLOWED


def test_a_jump_that_is_too_far_is_not_cut_off() -> None:
    with pytest.raises(ValueError, match="a jump over 256 instructions"):
        bpf.assemble(bpf.when(1, [bpf.allow()] * 256))


def test_a_program_longer_than_the_kernel_takes_is_refused() -> None:
    with pytest.raises(ValueError, match="4097 instructions"):
        bpf.assemble([bpf.allow()] * 4097)
