"""``todo_write``: a model writes down what is to be done.

Nothing is kept here: the list is the call's own arguments, in the conversation and its journal.

Never: changes anything, or says back what it was given.

Source: architecture 6 ("Tool definitions"); users' wants of long sessions.
"""

from __future__ import annotations

from collections.abc import Callable

from astrid.core.call import Call, Need, Preparation
from astrid.core.own_tools import own_tool
from astrid.core.resources import file_resource
from astrid.core.risk import EffectClass
from astrid.core.todos import MAX_TODOS, TODO_TOOL, open_todos, read_todos
from astrid.core.tokens import Permission
from astrid.core.tools import OutputTrust, ToolSpec
from astrid.ports import ToolOutcome

_SCHEMA = (
    b'{"additionalProperties":false,"properties":{"todos":{"items":{"additionalProperties":false,"properties":{'
    b'"content":{"maxLength":300,"minLength":1,"type":"string"},'
    b'"status":{"enum":["pending","in_progress","completed"],"type":"string"}},'
    b'"required":["content","status"],"type":"object"},"maxItems":%d,"type":"array"}},'
    b'"required":["todos"],"type":"object"}' % MAX_TODOS
)


class TodoServer:
    """The ``ToolServer`` port over nothing.  ``root`` is the workspace: whoever may read there may make plans."""

    def __init__(self, root: str) -> None:
        self._need = Need(file_resource(root).text, Permission.READ)

    def specs(self) -> tuple[ToolSpec, ...]:
        """One tool."""
        return (
            own_tool(
                TODO_TOOL,
                "todos",
                b"Write down what is to be done, the whole list each time. It stays as you wrote it when what was said "
                b"before is summed up. For work of several steps.",
                _SCHEMA,
                effect=EffectClass.READ,
                trust=OutputTrust.FIRST_PARTY,
                verbs=("plan", "write"),
                nouns=("list", "plan", "todos"),
            ),
        )

    def glance(self, tool: str, args: bytes) -> Preparation:
        """The right to read in the workspace is all that it takes."""
        read_todos(args)
        return Preparation(needs=(self._need,))

    async def prepare(self, tool: str, args: bytes) -> Preparation:
        """The same: there is nothing to look for."""
        return self.glance(tool, args)

    async def execute(self, call: Call, report: Callable[[bytes], None]) -> ToolOutcome:
        """How many are open."""
        todos = read_todos(call.args)
        said = f"noted: {open_todos(todos)} of {len(todos)} open"
        return ToolOutcome(content=said.encode(), is_error=False, effect="none")
