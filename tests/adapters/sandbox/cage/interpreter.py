"""A naive interpreter of the packet filter's instructions: what the kernel would say to one system call."""

from __future__ import annotations

from collections.abc import Sequence

ERROR = 0x50000


def judge(program: bytes, arch: int, number: int, arguments: Sequence[int] = ()) -> int:
    """The verdict on a call; it raises where the kernel would refuse to load the program."""
    data = number.to_bytes(4, "little") + arch.to_bytes(4, "little") + bytes(8)
    data += b"".join((one % 2**64).to_bytes(8, "little") for one in (*arguments, 0, 0, 0, 0, 0, 0)[:6])
    steps = [program[at : at + 8] for at in range(0, len(program), 8)]
    register, at = 0, 0
    while True:
        code = int.from_bytes(steps[at][:2], "little")
        if_true, if_false = steps[at][2], steps[at][3]
        k = int.from_bytes(steps[at][4:], "little")
        at += 1
        match code:
            case 0x20:
                assert k % 4 == 0
                assert k <= 60
                register = int.from_bytes(data[k : k + 4], "little")
            case 0x05:
                at += k
            case 0x15:
                at += if_true if register == k else if_false
            case 0x35:
                at += if_true if register >= k else if_false
            case 0x45:
                at += if_true if register & k else if_false
            case 0x06:
                return k
            case _:
                raise AssertionError(f"no instruction {code:#x}")
