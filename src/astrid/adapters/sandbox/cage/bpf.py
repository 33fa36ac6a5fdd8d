"""A filter for system calls as a program of the kernel's packet filter: an assembler of its few instructions.  Pure.

Never: knows a rule.  What is denied stands in ``filters``.

A *body* is a list of instructions that ends in a verdict on every way through it; a program is bodies behind tests of
the call's number, and the last verdict.  Only the lower half of an argument is looked at: every argument that is
tested is an ``int`` or a set of flags below 2**32 to the kernel, which drops the rest itself.

Source: seccomp(2), linux/filter.h.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

LOAD, JUMP, IF_EQUAL, IF_AT_LEAST, IF_ANY_BIT, RETURN = 0x20, 0x05, 0x15, 0x35, 0x45, 0x06
ALLOW, KILL = 0x7FFF0000, 0x80000000
EPERM, ENOSYS = 1, 38
NUMBER_AT, ARCH_AT, ARGUMENTS_AT = 0, 4, 16
MAX_SKIP = 255
MAX_INSTRUCTIONS = 4096


class Instruction(NamedTuple):
    """One step: ``k`` is its operand, and ``if_true``/``if_false`` say how many steps are skipped."""

    code: int
    k: int
    if_true: int = 0
    if_false: int = 0


Body = list[Instruction]


def fail_with(error: int) -> Instruction:
    """The verdict that the call fails with ``error``."""
    return Instruction(RETURN, 0x50000 | error)


def allow() -> Instruction:
    """The verdict that the call is made."""
    return Instruction(RETURN, ALLOW)


def kill() -> Instruction:
    """The verdict that the whole process is killed."""
    return Instruction(RETURN, KILL)


def load_argument(index: int) -> Instruction:
    """Take the lower half of argument ``index`` (little-endian machines only)."""
    return Instruction(LOAD, ARGUMENTS_AT + 8 * index)


def when(number: int, body: Body) -> Body:
    """``body`` for the call ``number``; every other one goes on behind it."""
    return [Instruction(IF_EQUAL, number, 0, len(body)), *body]


def when_any(numbers: Sequence[int], verdict: Instruction) -> Body:
    """``verdict`` for each of the calls, whatever their arguments; every other one goes on behind it."""
    count = len(numbers)
    tests = [Instruction(IF_EQUAL, number, count - place) for place, number in enumerate(numbers)]
    return [*tests, Instruction(JUMP, 1), verdict]


def unless_bits(argument: int, bits: int) -> Body:
    """Allowed, unless one of ``bits`` is set in the argument."""
    return [load_argument(argument), Instruction(IF_ANY_BIT, bits, 0, 1), fail_with(EPERM), allow()]


def unless_bits_when(flags: int, when_bits: int, argument: int, bits: int) -> Body:
    """Allowed, unless argument ``flags`` has one of ``when_bits`` and ``argument`` one of ``bits``."""
    inner = unless_bits(argument, bits)
    return [load_argument(flags), Instruction(IF_ANY_BIT, when_bits, 1, 0), allow(), *inner]


def unless_one_of(argument: int, values: Sequence[int]) -> Body:
    """Allowed, unless the argument is one of ``values``."""
    return [load_argument(argument), *when_any(values, fail_with(EPERM)), allow()]


def only_if(*wanted: tuple[int, Sequence[int]]) -> Body:
    """Denied, unless each of the arguments is one of its values."""
    body: Body = []
    for argument, values in wanted:
        count = len(values)
        tests = [Instruction(IF_EQUAL, value, count - place) for place, value in enumerate(values)]
        body += [load_argument(argument), *tests, fail_with(EPERM)]
    return [*body, allow()]


def assemble(program: Body) -> bytes:
    """The bytes that the kernel takes.

    Raises:
        ValueError: a jump is too far, or the program too long.
    """
    if len(program) > MAX_INSTRUCTIONS:
        raise ValueError(f"{len(program)} instructions")
    out = bytearray()
    for code, k, if_true, if_false in program:
        if max(if_true, if_false) > MAX_SKIP:
            raise ValueError(f"a jump over {max(if_true, if_false)} instructions")
        out += code.to_bytes(2, "little") + bytes((if_true, if_false)) + k.to_bytes(4, "little")
    return bytes(out)
