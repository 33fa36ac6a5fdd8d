"""A fleet's purse: the block that the holder key sets apart from what the user granted in a workspace.

Never: grants anything; a fleet holds what the workspace's grant does, and at most its purse.

Source: architecture 6; protocol, "Keys and who holds them", N3.
"""

from __future__ import annotations

from astrid.core.grants import Mode
from astrid.runtime.boot import World
from astrid.wire import params as p


def mint_fleet(world: World, wanted: p.CreateFleet) -> bytes:
    """The token from which each session of the fleet is handed its own.

    Raises:
        AstridError: there is no such workspace, or nothing granted in it that may be passed on.
    """
    place = world.catalogue.place(wanted.workspace)
    live = world.shelf.live(world.holder, place.identity, world.facts.time_s(world.clock.now_ns()))
    base, grants = world.shelf.for_mode(live, Mode(wanted.mode), place.root)
    return world.wallet.fleet(base, grants, purse_micros=int(wanted.purse_micros))
