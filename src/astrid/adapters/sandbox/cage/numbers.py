"""The numbers of the system calls that the cage makes or denies, for each kind of machine.  Pure.

Never: makes a call.

A name without a number on a machine (``-``) does not exist there: what it did, another call does.

Source: the kernel's ``unistd`` headers (a test compares them where they are installed).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

# name, x86_64, aarch64
_TABLE = """
ioctl 16 29                 open 2 -                     openat 257 56               openat2 437 437
creat 85 -                  mknod 133 -                  mknodat 259 33              chmod 90 -
fchmod 91 52                fchmodat 268 53              fchmodat2 452 452           close_range 436 436
clone 56 220                clone3 435 435               unshare 272 97              setns 308 268
mount 165 40                umount2 166 39               pivot_root 155 41           chroot 161 51
open_tree 428 428           move_mount 429 429           fsopen 430 430              fsconfig 431 431
fsmount 432 432             fspick 433 433               mount_setattr 442 442       open_tree_attr 467 467
capset 126 91               landlock_create_ruleset 444 444                          landlock_add_rule 445 445
landlock_restrict_self 446 446                           ptrace 101 117              process_vm_readv 310 270
process_vm_writev 311 271   kcmp 312 272                 pidfd_getfd 438 438         bpf 321 280
perf_event_open 298 241     userfaultfd 323 282          add_key 248 217             request_key 249 218
keyctl 250 219              io_uring_setup 425 425       io_uring_enter 426 426      io_uring_register 427 427
init_module 175 105         finit_module 313 273         delete_module 176 106       kexec_load 246 104
kexec_file_load 320 294     reboot 169 142               swapon 167 224              swapoff 168 225
acct 163 89                 quotactl 179 60              quotactl_fd 443 443         sethostname 170 161
setdomainname 171 162       settimeofday 164 170         clock_settime 227 112       adjtimex 159 171
clock_adjtime 305 266       name_to_handle_at 303 264    open_by_handle_at 304 265   fanotify_init 300 262
lookup_dcookie 212 18       syslog 103 116               vhangup 153 58              personality 135 92
memfd_secret 447 447        mbind 237 235                set_mempolicy 238 237       migrate_pages 256 238
move_pages 279 239          nfsservctl 180 42            vmsplice 278 75             iopl 172 -
ioperm 173 -                modify_ldt 154 -             uselib 134 -                ustat 136 -
sysfs 139 -                 _sysctl 156 -                socket 41 198               socketpair 53 199
shmget 29 194               shmat 30 196                 shmctl 31 195               shmdt 67 197
semget 64 190               semop 65 193                 semctl 66 191               semtimedop 220 192
msgget 68 186               msgsnd 69 189                msgrcv 70 188               msgctl 71 187
mq_open 240 180             mq_unlink 241 181            bind 49 200                 listen 50 201
sendto 44 206               sendmsg 46 211               sendmmsg 307 269            setsockopt 54 208
"""


class Machine(NamedTuple):
    """One kind of machine: the mark that the kernel gives its calls in a filter, and their numbers."""

    name: str
    audit_arch: int
    calls: Mapping[str, int]


def _column(place: int) -> dict[str, int]:
    words = _TABLE.split()
    rows = zip(words[::3], words[place::3], strict=True)
    return {name: int(number) for name, number in rows if number != "-"}


MACHINES = {
    "x86_64": Machine("x86_64", 0xC000003E, _column(1)),
    "aarch64": Machine("aarch64", 0xC00000B7, _column(2)),
}
