"""Ctrl-C while nobody can tell what it means comes later, and is not lost."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from astrid.frontends.waiting import hold_interrupts, interrupts_held, take_interrupts


def test_an_interrupt_that_is_held_back_comes_when_it_is_asked_for() -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        hold_interrupts()
        signal.raise_signal(signal.SIGINT)  # to this thread
        assert signal.sigpending() == {signal.SIGINT}
        with pytest.raises(KeyboardInterrupt):
            take_interrupts()
    finally:
        signal.signal(signal.SIGINT, before)


def test_an_interrupt_is_held_back_where_there_are_other_threads_too() -> None:
    done: list[bool] = []

    def work() -> None:
        with interrupts_held():
            os.kill(os.getpid(), signal.SIGINT)
            done.append(True)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    over = threading.Event()
    other = threading.Thread(target=over.wait)
    other.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            work()
        assert done
        with interrupts_held():
            pass  # nothing came, and nothing comes
    finally:
        over.set()
        other.join()
        signal.signal(signal.SIGINT, before)
