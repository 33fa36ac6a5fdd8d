"""What ``astrid audit accept-loss`` says when it is done."""

from __future__ import annotations

import pytest

from astrid.frontends.cli.loss import _say
from astrid.frontends.signing import LossAccepted


@pytest.mark.parametrize("resumed", [False, True])
def test_it_says_what_was_given_up_where_it_is_kept_and_what_to_do_next(
    capsys: pytest.CaptureFixture[str], *, resumed: bool
) -> None:
    accepted = LossAccepted(
        b"i" * 32, b"n" * 32, b"o" * 32, 7, b"t" * 32, b"/home/me/.astrid/lost/\x1b[2Jx", resumed=resumed
    )
    _say(accepted, b"k" * 32)
    said = capsys.readouterr().out
    assert f"log.astrid/{(b'o' * 32).hex()}, of which 7 records had been seen" in said
    assert f"new log   log.astrid/{(b'n' * 32).hex()}" in said
    assert said.count('"/home/me/.astrid/lost/\\u{1b}[2Jx"') == 2
    assert f"--key {(b'k' * 32).hex()}" in said
    assert "astrid tokens grant" in said
    assert ("finished now" in said) == resumed
