"""The command line of the daemon, before there is one."""

from __future__ import annotations

import pytest

from astrid.daemon import __main__ as command
from astrid.daemon import process


@pytest.mark.parametrize("words", [[], ["verify"]])
def test_an_interrupt_before_anything_has_begun_ends_it_without_a_traceback(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(process, "harden", interrupted)
    assert command.main(words) == command.INTERRUPTED_EXIT
    assert capsys.readouterr() == ("", "")
