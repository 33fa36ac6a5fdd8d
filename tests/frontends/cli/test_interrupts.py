"""No Ctrl-C is lost, wherever it comes; the second one leaves."""

from __future__ import annotations

import os
import signal

import trio
import trio.testing

from astrid.frontends.cli.interrupts import Interrupts


async def press() -> None:
    os.kill(os.getpid(), signal.SIGINT)
    await trio.testing.wait_all_tasks_blocked()


async def test_an_interrupt_ends_what_is_being_waited_for() -> None:
    with Interrupts() as interrupts:
        async with trio.open_nursery() as nursery:
            with interrupts.next() as scope:
                nursery.start_soon(press)
                await trio.sleep_forever()
        assert scope.cancelled_caught
        assert (interrupts.take(), interrupts.take()) == (True, False)
        assert not interrupts.leaving.cancel_called


async def test_an_interrupt_between_two_waits_ends_the_next_one() -> None:
    with Interrupts() as interrupts:
        with interrupts.next():
            await trio.lowlevel.checkpoint()
        await press()
        with interrupts.next() as scope:
            await trio.sleep_forever()
        assert scope.cancelled_caught
        assert interrupts.take()
        with interrupts.next() as scope:
            await trio.lowlevel.checkpoint()
        assert not scope.cancel_called


async def test_the_second_one_leaves() -> None:
    with Interrupts() as interrupts:
        await press()
        await press()
        with interrupts.leaving:
            await trio.sleep_forever()
        assert (interrupts.count, interrupts.leaving.cancelled_caught) == (2, True)


async def test_afterwards_an_interrupt_is_what_it_was() -> None:
    before = signal.getsignal(signal.SIGINT)
    with Interrupts():
        assert signal.getsignal(signal.SIGINT) != before
    assert signal.getsignal(signal.SIGINT) == before
