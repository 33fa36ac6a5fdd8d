"""OpenAI Agents SDK: ``Runner.run`` with a model that answers at once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from agents import Agent, Model, ModelResponse, RunConfig, Runner, Usage, function_tool
from openai.types.responses import ResponseFunctionToolCall, ResponseOutputMessage, ResponseOutputText

from bench.peers.measuring import main


class Quick(Model):
    """Calls the tool so many times, and then says that it is done."""

    def __init__(self, calls: int) -> None:
        self.calls = calls
        self.made = 0

    async def get_response(self, *args: Any, **kwargs: Any) -> ModelResponse:
        self.made += 1
        if self.made <= self.calls:
            item: Any = ResponseFunctionToolCall(
                arguments=json.dumps({"limit": self.made}),
                call_id=f"c{self.made}",
                name="read_file",
                type="function_call",
            )
        else:
            text = ResponseOutputText(annotations=[], text="done", type="output_text")
            item = ResponseOutputMessage(id="m", content=[text], role="assistant", status="completed", type="message")
        return ModelResponse(output=[item], usage=Usage(), response_id=None)

    def stream_response(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError


async def run(file: Path, calls: int) -> int:
    """One agent that makes so many calls; how many results it saw."""

    @function_tool
    def read_file(limit: int) -> str:
        """Read the first lines of the file."""
        with file.open() as lines:
            return "".join(line for _, line in zip(range(limit), lines, strict=False))

    agent = Agent(name="quick", tools=[read_file], model=Quick(calls))
    ended = await Runner.run(agent, "go", max_turns=calls + 2, run_config=RunConfig(tracing_disabled=True))
    return sum(item.type == "tool_call_output_item" for item in ended.new_items)


if __name__ == "__main__":
    main(run)
