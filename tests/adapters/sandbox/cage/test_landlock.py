from __future__ import annotations

import pytest

from astrid.adapters.sandbox.cage import landlock

WORDS = {
    1: [0x1FFF],
    2: [0x3FFF],
    3: [0x7FFF],
    4: [0x7FFF, 3],
    5: [0xFFFF, 3],
    6: [0xFFFF, 3, 3],
    7: [0xFFFF, 3, 3],
    9: [0xFFFF, 3, 3],
}


@pytest.mark.parametrize("version", WORDS)
def test_all_that_the_kernel_can_refuse_is_refused(version: int) -> None:
    raw = landlock.attributes(version)
    assert [int.from_bytes(raw[at : at + 8], "little") for at in range(0, len(raw), 8)] == WORDS[version]


def test_no_right_makes_a_device() -> None:
    assert not landlock.ALL & (landlock.MAKE_CHAR | landlock.MAKE_BLOCK)


def test_to_read_is_not_to_write_or_run() -> None:
    assert not landlock.READ & (landlock.WRITE | landlock.EXECUTE)
    assert not landlock.RUN & landlock.WRITE
