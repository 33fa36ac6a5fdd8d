"""A model that follows no script: a vendor's interface on this machine, with the answers of one conversation.

A session whose model follows a script never sleeps, so who is to sleep talks to this one.

Source: ``tests.fakes.anthropic_server``.
"""

from __future__ import annotations

import importlib.util
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Any

import trio

from tests.fakes.anthropic_server import AnthropicServer, Reply, message_events, sse

MODEL = "claude-haiku-4-5"
NAME = f"anthropic/{MODEL}"
KEY = {"ANTHROPIC_API_KEY": "a-key-for-this-sweep"}
START_SECONDS = 30.0
MORE = 50  # answers, for whoever asks again after a fault
WHY_NOT = "" if importlib.util.find_spec("anthropic") else "the extra `anthropic` is not installed"


@contextmanager
def vendor(
    said: Sequence[dict[str, Any]] = (), answer: Callable[[dict[str, Any]], Reply] | None = None
) -> Iterator[str]:
    """The address at which the model says these, one after the other, and then that it is done; or what ``answer`` has
    it say to a request.
    """
    server = AnthropicServer(answer=answer)
    server.replies.extend(reply(content, number) for number, content in enumerate(said))
    server.replies.extend(reply(text("done"), number) for number in range(MORE))
    up: SimpleQueue[tuple[trio.lowlevel.TrioToken, trio.CancelScope]] = SimpleQueue()

    async def serve() -> None:
        async with trio.open_nursery() as nursery:
            await nursery.start(server.run)
            up.put((trio.lowlevel.current_trio_token(), nursery.cancel_scope))

    serving = threading.Thread(target=trio.run, args=(serve,), name="vendor")
    serving.start()
    token, scope = up.get(timeout=START_SECONDS)
    try:
        yield server.url
    finally:
        token.run_sync_soon(scope.cancel)
        serving.join(START_SECONDS)


def text(words: str) -> dict[str, Any]:
    """What the model says."""
    return {"type": "text", "text": words}


def uses(call: dict[str, Any]) -> dict[str, Any]:
    """What the model does; ``call`` as a script has it."""
    return {"type": "tool_use", "name": call["name"], "input": call["arguments"]}


def reply(content: dict[str, Any], number: int) -> Reply:
    """One answer.  Each call has an id of its own."""
    calls = content["type"] == "tool_use"
    message = {
        "id": f"msg_{number}",
        "type": "message",
        "role": "assistant",
        "model": MODEL,
        "content": [{**content, "id": f"toolu_{number}"} if calls else content],
        "stop_reason": "tool_use" if calls else "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 10, "output_tokens": 9},
    }
    return Reply((sse(message_events(message)),))
