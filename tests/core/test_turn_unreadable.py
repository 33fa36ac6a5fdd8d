"""A row that a newer version wrote is said to be one; what nobody wrote is not."""

from __future__ import annotations

import pytest

from astrid.core.turn_messages import decode_row
from astrid.errors import CanonError

FRAME = b'{"row":"frame","at_ns":1,"setting":{"model":"p/m","system":"","max_tokens":1%s}}'


@pytest.mark.parametrize(
    "data",
    [b'{"row":"dreamt","at_ns":1}', b'{"row":"restore","at_ns":1,"mood":2}', FRAME % b',"mood":2'],
    ids=["another kind", "one part more", "one part more inside"],
)
def test_what_this_version_does_not_have_a_newer_one_wrote(data: bytes) -> None:
    with pytest.raises(CanonError) as caught:
        decode_row(data)
    assert (caught.value.code, caught.value.advice) == ("canon.newer-row", "update Astrid")


@pytest.mark.parametrize("data", [b"", b"[]", b'{"at_ns":1}', b'{"row":3,"at_ns":1}', b'{"row":"restore"}', b"\xff"])
def test_what_no_version_writes_is_no_row(data: bytes) -> None:
    with pytest.raises(CanonError) as caught:
        decode_row(data)
    assert caught.value.code == "canon.turn-row"


def test_the_row_with_nothing_more_in_it_is_read() -> None:
    assert decode_row(FRAME % b"").at_ns == 1
