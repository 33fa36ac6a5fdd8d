"""Every session of a log that a model spoke in, lived through again: what a test says of all of them."""

from __future__ import annotations

from collections.abc import Iterable

from astrid.core.chain import decode_body, decode_frame
from astrid.core.policy_rules import Layers
from astrid.core.records import SessionStarted
from astrid.core.tokens import Roots
from astrid.core.tools import ToolSpec
from astrid.core.verify import LogKeys
from astrid.ports import LogReader
from astrid.runtime.log import read_frames
from astrid.runtime.replaying import Replayed, Told

NO_MODEL = "none"
"""The model of principals that are no turn machine, and write what they like."""


def replayed(
    reader: LogReader, keys: LogKeys, roots: Roots, layers: Layers, specs: Iterable[ToolSpec]
) -> list[Replayed]:
    """What comes of each session that the log of ``reader`` tells of, but for those of ``NO_MODEL``."""
    frames = [decode_frame(raw) for raw in read_frames(reader)]
    specs = tuple(specs)
    begun = {
        frame.session
        for frame in frames
        if isinstance(body := decode_body(frame), SessionStarted) and body.model != NO_MODEL
    }
    found: list[Replayed] = []
    for session in sorted(begun):
        told = Told(reader, keys, roots, session, layers, specs)
        for frame in frames:
            told.take(frame)
        found.append(told.replayed())
    return found
