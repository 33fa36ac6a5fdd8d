"""What the tools that are part of Astrid itself have in common: their definition, and how arguments are read.  Pure.

Source: architecture 6 ("Tool definitions"); protocol N4 (tooldef).
"""

from __future__ import annotations

from typing import TypeVar

import msgspec

from astrid.core.complaint import complaint
from astrid.core.json_scan import scan_json
from astrid.core.risk import EffectClass
from astrid.core.tools import OutputTrust, ToolSpec
from astrid.errors import InputError

_ZEROS = b"\0" * 32
_T = TypeVar("_T")


def own_tool(
    name: str,
    kind: str,
    description: bytes,
    schema: bytes,
    *,
    effect: EffectClass,
    trust: OutputTrust,
    verbs: tuple[str, ...],
    nouns: tuple[str, ...],
    control: tuple[tuple[str, str], ...] = (),
    host_id: str = "main",
) -> ToolSpec:
    """The definition of a tool whose code is Astrid's own and runs in the daemon."""
    return ToolSpec(
        name=name,
        host_kind=kind,
        host_id=host_id,
        description=description,
        schema=schema,
        effect=effect.value,
        control=control,
        verbs=verbs,
        nouns=nouns,
        output_trust=trust,
        endorsed_fields=(),
        creates_id="",
        code=_ZEROS,
        profile=_ZEROS,
        fresh=False,
    )


def read_arguments(args: bytes, shape: type[_T], tool: str, *, max_bytes: int = 4096, max_depth: int = 2) -> _T:
    """What the JSON text ``args`` says.

    Raises:
        CanonError: it is no JSON with one meaning.
        InputError: it is not what ``tool`` takes.
    """
    scan_json(args, max_bytes=max_bytes, max_depth=max_depth)
    try:
        return msgspec.json.decode(args, type=shape)
    except msgspec.ValidationError as error:
        raise InputError(
            "tool.arguments",
            f"the arguments are not those of `{tool}`: {complaint(error)}",
            advice="see the tool's description",
        ) from error
