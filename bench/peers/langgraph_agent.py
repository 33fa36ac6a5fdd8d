"""LangGraph: ``langchain.agents.create_agent`` with a model that answers at once.  See the folder's ``README.md``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from langchain.agents import create_agent
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.tools import tool

from bench.peers.measuring import main


class Quick(BaseChatModel):
    """Calls the tool so many times, and then says that it is done."""

    calls: int
    made: int = 0

    @property
    def _llm_type(self) -> str:
        return "quick"

    def bind_tools(self, tools: Any, **kwargs: Any) -> Quick:
        return self

    def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        self.made += 1
        wanted = {"name": "read_file", "args": {"limit": self.made}, "id": f"c{self.made}"}
        message = AIMessage("", tool_calls=[wanted]) if self.made <= self.calls else AIMessage("done")
        return ChatResult(generations=[ChatGeneration(message=message)])


async def run(file: Path, calls: int) -> int:
    """One agent that makes so many calls; how many results it saw."""

    @tool
    def read_file(limit: int) -> str:
        """Read the first lines of the file."""
        with file.open() as lines:
            return "".join(line for _, line in zip(range(limit), lines, strict=False))

    agent = create_agent(Quick(calls=calls), [read_file])
    ended = await agent.ainvoke({"messages": [("user", "go")]}, {"recursion_limit": 10 * calls + 10})
    return sum(message.type == "tool" for message in ended["messages"])


if __name__ == "__main__":
    main(run)
