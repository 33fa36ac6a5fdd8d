"""``read_skill``: the text of a skill that somebody stands behind.

Its results count as trusted, so it gives nothing but what is part of Astrid, what the user wrote into their home, and
what they trust in the workspace, looked up anew at each call.  Any other skill is a file like others, and is read as
one.

Never: takes a path, or says more of a skill that nobody vouches for than of one that does not exist.

Source: architecture 6 ("Labels", "Tool definitions"); threats 27, 40, 44.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated

import msgspec
import trio
from msgspec import Meta

from astrid.core.call import Call, Need, Preparation
from astrid.core.json_scan import scan_json
from astrid.core.resources import file_resource
from astrid.core.risk import EffectClass
from astrid.core.tokens import Permission
from astrid.core.tools import ControlKind, OutputTrust, ToolSpec
from astrid.core.visible import visible
from astrid.errors import InputError
from astrid.ports import ToolOutcome

TOOL = "read_skill"
MAX_ARGUMENT_BYTES = 4096
UNKNOWN = b"There is no skill of this name among those that somebody vouches for. See the list at the beginning."
_ZEROS = b"\0" * 32


class ReadSkill(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The arguments."""

    name: Annotated[str, Meta(max_length=64)]


class SkillServer:
    """The ``ToolServer`` port over what ``read`` finds: the texts of vouched skills by their names.

    ``root`` is the workspace.  Whoever may read there may read its skills, and those of Astrid and the user, which are
    written to be read.
    """

    def __init__(self, root: str, read: Callable[[], Mapping[str, str]]) -> None:
        self._need = Need(file_resource(root).text, Permission.READ)
        self._read = read

    def specs(self) -> tuple[ToolSpec, ...]:
        """One tool."""
        return (
            ToolSpec(
                name=TOOL,
                host_kind="skills",
                host_id="main",
                description=b"Read a skill: a text that says how something is done.",
                schema=_SCHEMA,
                effect=EffectClass.READ.value,
                control=(("name", ControlKind.OBJECT.value),),
                verbs=("open", "read", "use"),
                nouns=("skill",),
                output_trust=OutputTrust.FIRST_PARTY,
                endorsed_fields=(),
                creates_id="",
                code=_ZEROS,
                profile=_ZEROS,
                fresh=False,
            ),
        )

    def glance(self, tool: str, args: bytes) -> Preparation:
        """The right to read in the workspace is all that it takes."""
        asked = _decode(args)
        return Preparation(needs=(self._need,), controls=(("name", asked.name),))

    async def prepare(self, tool: str, args: bytes) -> Preparation:
        """The same: there is nothing to look for."""
        return self.glance(tool, args)

    async def execute(self, call: Call, report: Callable[[bytes], None]) -> ToolOutcome:
        """The text."""
        asked = _decode(call.args)
        found = (await trio.to_thread.run_sync(self._read)).get(asked.name)
        if found is None:
            return ToolOutcome(content=UNKNOWN, is_error=True, effect="none")
        return ToolOutcome(content=visible(found).encode(), is_error=False, effect="none")


def _decode(args: bytes) -> ReadSkill:
    scan_json(args, max_bytes=MAX_ARGUMENT_BYTES, max_depth=2)
    try:
        return msgspec.json.decode(args, type=ReadSkill)
    except msgspec.MsgspecError as error:
        raise InputError(
            "skill.arguments", "the arguments are not those of `read_skill`", advice="name a skill"
        ) from error


_SCHEMA = (
    b'{"additionalProperties":false,"properties":{"name":{"description":"Name of the skill, as it is listed.",'
    b'"maxLength":64,"type":"string"}},"required":["name"],"type":"object"}'
)
