"""pydantic-ai: ``Agent`` with a ``FunctionModel`` that answers at once."""

from __future__ import annotations

from pathlib import Path

from pydantic_ai import Agent
from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart, ToolCallPart
from pydantic_ai.models.function import AgentInfo, FunctionModel
from pydantic_ai.usage import UsageLimits

from bench.peers.measuring import main


async def run(file: Path, calls: int) -> int:
    """One agent that makes so many calls; how many results it saw."""
    made = 0

    def answer(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        nonlocal made
        made += 1
        part = ToolCallPart("read_file", {"limit": made}, f"c{made}") if made <= calls else TextPart("done")
        return ModelResponse(parts=[part])

    agent = Agent(FunctionModel(answer))

    @agent.tool_plain
    def read_file(limit: int) -> str:
        """Read the first lines of the file."""
        with file.open() as lines:
            return "".join(line for _, line in zip(range(limit), lines, strict=False))

    ended = await agent.run("go", usage_limits=UsageLimits(request_limit=None))
    return sum(part.part_kind == "tool-return" for message in ended.all_messages() for part in message.parts)


if __name__ == "__main__":
    main(run)
