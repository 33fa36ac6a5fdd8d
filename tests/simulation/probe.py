"""When everything is idle: exactly what the records leave of the workspace's purse can be had, and no more.

A reservation that was not given back shows here, whoever forgot it.

Source: protocol N3; I3.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from astrid.core.decide import Limits
from astrid.core.gate_messages import Outcome, Refused
from astrid.core.ids import session_id
from astrid.core.tokens import verify_chain
from astrid.errors import AstridError
from astrid.kernel import KernelError
from astrid.messages.gateway import OpenSession
from tests.simulation.people import ROOT_PATH, WORKSPACE
from tests.simulation.rogues import Rogue, family

if TYPE_CHECKING:
    from tests.simulation.acts import Acts
    from tests.simulation.start import Start

TRIES = 6
WITHIN_S = 40
_MUCH = 10**12


async def probe(start: Start, acts: Acts) -> None:
    """Ask for one micro-dollar too much, then for all that is left."""
    life = start.life
    life.clock.set_right()
    if not acts.base() or not acts.trusted:
        return
    life.tools.calm = life.disk.calm = True
    prober = await _prober(start, acts)
    if prober is None:
        return
    left = life.plan.workspace_micros - life.records.spent[b"workspace" + WORKSPACE]
    for micros, wanted in ((left + 1, False), (left, True)) if left >= 0 else ((0, False),):
        got = await _is_given(acts, prober, micros)
        life.say(f"of {left} micro-dollars {micros} are asked for: {got}")
        if got is not None and got is not wanted:
            life.watch.wrong("I3", f"of {left} micro-dollars that are left {micros} are {'' if got else 'not '}given")


async def _prober(start: Start, acts: Acts) -> Rogue | None:
    """A principal with a purse of its own that is large enough, and the tools at hand."""
    life, world = start.life, start.world
    await acts.grant("plain")
    await acts.wait_request(  # so that the hosts are up
        lambda ticket: OpenSession(
            ticket=ticket,
            workspace=ROOT_PATH,
            mode="safe",
            model="",
            budget_micros=0,
            max_turns=0,
            interactive=False,
        )
    )
    base = acts.base()
    if not base or verify_chain(base, world.identity.roots).leaf.purse < _MUCH:
        return None  # the newest grant could not be had, and what is left of this one says nothing of the workspace
    session = session_id(life.entropy.random_bytes(16), scripted=False)
    limits = Limits(_MUCH, _MUCH, life.plan.workspace_micros)
    try:
        made = family(base, world.identity.roots, world.wallet.narrow, session, life.entropy, 0)
        key = made.parent.public
        token = world.wallet.narrow(base, holder=key, session=session, purse_micros=_MUCH)
        rogue = acts.rogue("prober", (token,))
        registered = acts.register(rogue, key, session, limits, asks=False)
    except (AstridError, KernelError) as error:
        life.say(f"no probe: {error!r}")
        return None
    await trio.sleep(1)
    return rogue if registered else None


async def _is_given(acts: Acts, rogue: Rogue, micros: int) -> bool | None:
    """Whether a call for so much is permitted; nothing if something else is in the way."""
    args = f'{{"n":1,"micros":{micros}}}'.encode()
    for _ in range(TRIES):
        if not acts.lives(rogue):
            return None
        number = rogue.propose("pay", args, rogue.tokens, tainted=False)
        with trio.move_on_after(WITHIN_S):
            while number in rogue.owed:  # noqa: ASYNC110 - a poll of virtual time costs nothing
                await trio.sleep(1)
        last = rogue.heard[-1] if rogue.heard else None
        if isinstance(last, Outcome):
            return True
        if isinstance(last, Refused) and last.layer == "budget":
            return False
    return None
