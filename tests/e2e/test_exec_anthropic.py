"""A whole task with Anthropic's model: the product's own processes, and the vendor's interface on this machine."""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.fakes.anthropic_server import AnthropicServer, Reply, message_events, sse
from tests.fakes.pictures import png
from tests.fakes.processes import READ, Place
from tests.fakes.terminal import installed

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(not installed(), reason="the product is not installed where an isolated Python finds it"),
    pytest.mark.skipif(importlib.util.find_spec("anthropic") is None, reason="the extra `anthropic` is not installed"),
]

MODEL = "claude-haiku-4-5"
KEY = "a-key-for-this-test"


def reply(content: dict[str, Any], stop_reason: str) -> Reply:
    message = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": MODEL,
        "content": [content],
        "stop_reason": stop_reason,
        "stop_sequence": None,
        "usage": {"input_tokens": 10, "output_tokens": 9},
    }
    return Reply((sse(message_events(message)),))


async def permitted(place: Place) -> list[str]:
    listed = await trio.to_thread.run_sync(partial(place.astrid, "audit", "list", "--kind", "permit", "--json"))
    return [json.loads(line)["summary"].partition(":")[0] for line in listed.stdout.splitlines()]


async def test_a_task_is_done_with_a_model_that_calls_a_tool_and_hears_what_came_of_it(
    tmp_path: Path, nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    server = AnthropicServer()
    server.replies.append(
        reply({"type": "tool_use", "id": "toolu_1", "name": "read_file", "input": READ["arguments"]}, "tool_use")
    )
    server.replies.append(reply({"type": "text", "text": "It says hello."}, "end_turn"))
    await nursery.start(server.run)
    place = Place(tmp_path)
    place.home.config.write_text(f'[model]\napi_url = "{server.url}"\n')
    try:
        exec_it = partial(place.exec, "what does a.txt say?", "--model", f"anthropic/{MODEL}")
        done = await trio.to_thread.run_sync(exec_it)
        assert (done.returncode, done.stdout) == (0, "It says hello.\n"), done.stderr
        asked, told = server.seen
        assert (asked.path, asked.body["model"], asked.body["stream"]) == ("/v1/messages", MODEL, True)
        keys = (asked.headers.get("x-api-key", ""), asked.headers.get("authorization", "").removeprefix("Bearer "))
        assert KEY in keys  # whichever of the two the library chooses
        [result] = [block for block in told.body["messages"][-1]["content"] if block["type"] == "tool_result"]
        assert (result["tool_use_id"], "hello" in json.dumps(result["content"])) == ("toolu_1", True)
        assert await permitted(place) == ["model", "read_file", "model"]  # each call has a permit of its own
        assert all(KEY.encode() not in file.read_bytes() for file in place.home.root.rglob("*") if file.is_file())
    finally:
        await trio.to_thread.run_sync(place.stop)
        nursery.cancel_scope.cancel()


async def test_the_model_is_shown_an_image_that_lies_outside_of_the_workspace_and_nobody_is_asked(
    tmp_path: Path, nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    server = AnthropicServer()
    server.replies.append(reply({"type": "text", "text": "A cat."}, "end_turn"))
    await nursery.start(server.run)
    place = Place(tmp_path)
    place.home.config.write_text(f'[model]\napi_url = "{server.url}"\n')
    picture = tmp_path / "shot.png"
    picture.write_bytes(png(640, 480, size=1_200_000))  # more than one message takes
    try:
        exec_it = partial(
            place.exec, "what is on it?", "--model", f"anthropic/{MODEL}", "--image", str(picture), "--json"
        )
        done = await trio.to_thread.run_sync(exec_it)
        assert done.returncode == 0, done.stderr
        [asked] = server.seen
        text, image = asked.body["messages"][-1]["content"]
        assert image["source"]["data"] == base64.b64encode(picture.read_bytes()).decode()
        assert hashlib.sha256(picture.read_bytes()).hexdigest() in text["text"]
        assert await permitted(place) == ["model"]
    finally:
        await trio.to_thread.run_sync(place.stop)
        nursery.cancel_scope.cancel()


async def test_a_model_that_takes_no_images_is_not_asked(tmp_path: Path) -> None:
    place = Place(tmp_path)
    picture = tmp_path / "shot.png"
    picture.write_bytes(png())
    script = place.script({"text": "I saw nothing"})
    try:
        exec_it = partial(place.exec, "what is on it?", "--model", script, "--image", str(picture))
        done = await trio.to_thread.run_sync(exec_it)
        assert "model.no-images" in done.stderr
        assert (done.returncode, await permitted(place)) == (1, [])
        listed = await trio.to_thread.run_sync(partial(place.astrid, "sessions", "list", "--json"))
        assert json.loads(listed.stdout)["sessions"] == []
    finally:
        await trio.to_thread.run_sync(place.stop)
