"""Ctrl-C while nobody can tell what it means comes later, and is not lost."""

from __future__ import annotations

import os
import signal

import pytest

from astrid.frontends.waiting import hold_interrupts, take_interrupts


def test_an_interrupt_that_is_held_back_comes_when_it_is_asked_for() -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        hold_interrupts()
        os.kill(os.getpid(), signal.SIGINT)
        assert signal.sigpending() == {signal.SIGINT}
        with pytest.raises(KeyboardInterrupt):
            take_interrupts()
    finally:
        signal.signal(signal.SIGINT, before)
