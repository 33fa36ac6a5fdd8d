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
from astrid.core.own_tools import own_tool, read_arguments
from astrid.core.resources import file_resource
from astrid.core.risk import EffectClass
from astrid.core.tokens import Permission
from astrid.core.tools import ControlKind, OutputTrust, ToolSpec
from astrid.core.visible import visible
from astrid.ports import ToolOutcome

TOOL = "read_skill"
UNKNOWN = b"There is no skill of this name among those that somebody vouches for. See the list at the beginning."


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
            own_tool(
                TOOL,
                "skills",
                b"Read a skill: a text that says how something is done.",
                _SCHEMA,
                effect=EffectClass.READ,
                trust=OutputTrust.FIRST_PARTY,
                control=(("name", ControlKind.OBJECT.value),),
                verbs=("open", "read", "use"),
                nouns=("skill",),
            ),
        )

    def glance(self, tool: str, args: bytes) -> Preparation:
        """The right to read in the workspace is all that it takes."""
        asked = read_arguments(args, ReadSkill, TOOL)
        return Preparation(needs=(self._need,), controls=(("name", asked.name),))

    async def prepare(self, tool: str, args: bytes) -> Preparation:
        """The same: there is nothing to look for."""
        return self.glance(tool, args)

    async def execute(self, call: Call, report: Callable[[bytes], None]) -> ToolOutcome:
        """The text."""
        asked = read_arguments(call.args, ReadSkill, TOOL)
        found = (await trio.to_thread.run_sync(self._read)).get(asked.name)
        if found is None:
            return ToolOutcome(content=UNKNOWN, is_error=True, effect="none")
        return ToolOutcome(content=visible(found).encode(), is_error=False, effect="none")


_SCHEMA = (
    b'{"additionalProperties":false,"properties":{"name":{"description":"Name of the skill, as it is listed.",'
    b'"maxLength":64,"type":"string"}},"required":["name"],"type":"object"}'
)
