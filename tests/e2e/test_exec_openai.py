"""A whole task with a model of an OpenAI-compatible server on this machine, which is free and wants no key."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterable
from functools import partial
from pathlib import Path

import pytest
import trio

from tests.fakes.anthropic_server import AnthropicServer, Reply
from tests.fakes.openai_answers import answer_chunks, chunk_stream, openai_complaint
from tests.fakes.processes import READ, Place
from tests.fakes.terminal import installed

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(not installed(), reason="the product is not installed where an isolated Python finds it"),
    pytest.mark.skipif(importlib.util.find_spec("httpx2") is None, reason="the extra `openai` is not installed"),
]


def reply(text: str, calls: Iterable[tuple[str, str, str]], finish_reason: str) -> Reply:
    return Reply((chunk_stream(answer_chunks(text, calls, (10, 9), finish_reason)),))


async def test_a_task_is_done_with_a_free_model_of_a_server_that_the_configuration_names(
    tmp_path: Path, nursery: trio.Nursery
) -> None:
    server = AnthropicServer(complain=openai_complaint)
    server.replies.append(reply("", [("call_1", "read_file", json.dumps(READ["arguments"]))], "tool_calls"))
    server.replies.append(reply("It says hello.", [], "stop"))
    await nursery.start(server.run)
    place = Place(tmp_path)
    place.home.config.write_text(
        f'[providers.here]\nbase_url = "{server.url}/v1"\n[models."here/qwen3:8b"]\nfree = true\n'
    )
    try:
        exec_it = partial(place.exec, "what does a.txt say?", "--model", "here/qwen3:8b")
        done = await trio.to_thread.run_sync(exec_it)
        assert (done.returncode, done.stdout) == (0, "It says hello.\n"), done.stderr
        asked, told = server.seen
        assert (asked.path, asked.body["model"], asked.body["stream"]) == ("/v1/chat/completions", "qwen3:8b", True)
        assert "authorization" not in asked.headers
        result = told.body["messages"][-1]
        assert (result["role"], result["tool_call_id"], "hello" in result["content"]) == ("tool", "call_1", True)
        listed = await trio.to_thread.run_sync(partial(place.astrid, "audit", "list", "--kind", "permit", "--json"))
        did = [json.loads(line)["summary"].partition(":")[0] for line in listed.stdout.splitlines()]
        assert did == ["model", "read_file", "model"]  # each call has a permit of its own, free or not
    finally:
        await trio.to_thread.run_sync(place.stop)
        nursery.cancel_scope.cancel()
