"""Which system calls a contained program does not get.  Pure: it yields the program, ``confine`` installs it.

Denied is what reaches other processes, mounts, namespaces, kernel code, clocks, keys and rarely tested parts of the
kernel; any network; files with a set-uid bit.  A list of what is allowed was rejected: it breaks compilers and
interpreters at each release.  Calls whose flags lie behind a pointer cannot be judged and are said not to exist, so
that libraries fall back on those that can.

Never: lets through a call of another architecture, whose numbers mean something else.

Invariants:
  No ``socket`` at all, whatever the family, but with a way out of the network those of TCP over IPv4, which then
  connect and do not listen; ``socketpair`` for local pairs only, since programs talk to themselves, and
  none of datagrams: such a socket sends to every other one whose path it knows.

Source: seccomp(2); the escape corpus; CVE-2017-5226 (TIOCSTI), CVE-2021-41133 (new calls for mounting).
"""

from __future__ import annotations

from astrid.adapters.sandbox.cage import bpf
from astrid.adapters.sandbox.cage.numbers import Machine

X32_BIT = 0x40000000  # the third kind of call of an x86_64 kernel
NEW_NAMESPACES = 0x7E020080  # every CLONE_NEW* that fits the flags of `clone`
SET_ID = 0o6000
CREATES = 0o100 | 0o20000000  # O_CREAT, and the bit of O_TMPFILE that is not O_DIRECTORY
TIOCSTI, TIOCLINUX = 0x5412, 0x541C
AF_UNIX, AF_INET = 1, 2
TCP = 6
MSG_FASTOPEN = 0x20000000  # sends as it connects, which Landlock does not see
TCP_ULP = 31  # has the kernel load a protocol on top, such as TLS; no other level has an option of this number to set
STREAM, PACKETS = 1, 5  # SOCK_STREAM and SOCK_SEQPACKET
_FLAGS = (0, 0o4000, 0o2000000, 0o2004000)  # SOCK_NONBLOCK and SOCK_CLOEXEC, which stand beside the kind of a socket

DENIED = (
    # other processes
    *("ptrace", "process_vm_readv", "process_vm_writev", "kcmp", "pidfd_getfd"),
    # mounts and namespaces
    *("mount", "umount2", "pivot_root", "chroot", "open_tree", "move_mount", "fsopen", "fsconfig", "fsmount"),
    *("fspick", "mount_setattr", "open_tree_attr", "unshare", "setns"),
    # code in the kernel, and its keys
    *("bpf", "perf_event_open", "userfaultfd", "add_key", "request_key", "keyctl", "init_module", "finit_module"),
    *("delete_module", "kexec_load", "kexec_file_load", "io_uring_setup", "io_uring_enter", "io_uring_register"),
    # the machine as a whole
    *("reboot", "swapon", "swapoff", "acct", "quotactl", "quotactl_fd", "sethostname", "setdomainname", "syslog"),
    *("settimeofday", "clock_settime", "adjtimex", "clock_adjtime", "vhangup", "nfsservctl", "iopl", "ioperm"),
    # files past their path
    *("name_to_handle_at", "open_by_handle_at", "fanotify_init", "lookup_dcookie"),
    # what nothing needs and attacks like
    *("personality", "memfd_secret", "mbind", "set_mempolicy", "migrate_pages", "move_pages", "vmsplice"),
    *("modify_ldt", "uselib", "ustat", "sysfs", "_sysctl"),
)
WITHOUT_NETWORK = ("socket",)
WITH_NETWORK = ("bind", "listen")
UNKNOWN = ("clone3", "openat2", "fchmodat2")  # their flags lie behind a pointer
IPC = (
    *("shmget", "shmat", "shmctl", "shmdt", "semget", "semop", "semctl", "semtimedop"),
    *("msgget", "msgsnd", "msgrcv", "msgctl", "mq_open", "mq_unlink"),
)
_MODES = (("chmod", 1), ("fchmod", 1), ("fchmodat", 2), ("creat", 1), ("mknod", 1), ("mknodat", 2))
_SENDS = (("sendto", 3), ("sendmsg", 2), ("sendmmsg", 3))
_OPENS = (("openat", 2, 3), ("open", 1, 2))


def build(machine: Machine, *, own_ipc: bool, network: bool = False) -> bytes:
    """The filter for ``machine``.  Without an IPC namespace (``own_ipc``) shared memory, semaphores and message queues
    would be everybody's, so they are denied.  With ``network`` a program connects to what its own network holds.
    """
    return bpf.assemble(rules(machine, own_ipc=own_ipc, network=network))


def rules(machine: Machine, *, own_ipc: bool, network: bool = False) -> bpf.Body:
    """The filter, step by step."""
    calls = machine.calls
    names = (*DENIED, *(() if own_ipc else IPC), *(WITH_NETWORK if network else WITHOUT_NETWORK))
    denied = [calls[name] for name in names if name in calls]
    program = [
        bpf.Instruction(bpf.LOAD, bpf.ARCH_AT),
        bpf.Instruction(bpf.IF_EQUAL, machine.audit_arch, 1, 0),
        bpf.kill(),
        bpf.Instruction(bpf.LOAD, bpf.NUMBER_AT),
        bpf.Instruction(bpf.IF_AT_LEAST, X32_BIT, 0, 1),
        bpf.fail_with(bpf.ENOSYS),
        *bpf.when_any(denied, bpf.fail_with(bpf.EPERM)),
        *bpf.when_any([calls[name] for name in UNKNOWN], bpf.fail_with(bpf.ENOSYS)),
        *bpf.when(calls["clone"], bpf.unless_bits(0, NEW_NAMESPACES)),
        *bpf.when(calls["ioctl"], bpf.unless_one_of(1, (TIOCSTI, TIOCLINUX))),
        *bpf.when(calls["socketpair"], bpf.only_if((0, (AF_UNIX,)), (1, _kinds(STREAM, PACKETS)))),
    ]
    if network:
        program += bpf.when(calls["socket"], bpf.only_if((0, (AF_INET,)), (1, _kinds(STREAM)), (2, (0, TCP))))
        program += bpf.when(calls["setsockopt"], bpf.unless_one_of(2, (TCP_ULP,)))
        for name, flags in _SENDS:
            program += bpf.when(calls[name], bpf.unless_bits(flags, MSG_FASTOPEN))
    for name, mode in _MODES:
        if name in calls:
            program += bpf.when(calls[name], bpf.unless_bits(mode, SET_ID))
    for name, flags, mode in _OPENS:
        if name in calls:
            program += bpf.when(calls[name], bpf.unless_bits_when(flags, CREATES, mode, SET_ID))
    return [*program, bpf.allow()]


def _kinds(*kinds: int) -> tuple[int, ...]:
    """Sockets of these kinds, with any flags."""
    return tuple(kind | flags for kind in kinds for flags in _FLAGS)
