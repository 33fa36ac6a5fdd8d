"""What an OpenAI-compatible server streams, and what it would refuse.  The server itself is ``AnthropicServer``."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

END = b"data: [DONE]\n\n"


def chunk_stream(chunks: Iterable[dict[str, Any]], end: bytes = END) -> bytes:
    """Chunks as they are streamed."""
    return b"".join(f"data: {json.dumps(chunk)}\n\n".encode() for chunk in chunks) + end


def said(delta: dict[str, Any], finish_reason: str | None = None, **more: Any) -> dict[str, Any]:
    """One chunk."""
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    return {"id": "c", "object": "chat.completion.chunk", "choices": [choice], **more}


def counted(prompt: int, completion: int, **more: Any) -> dict[str, Any]:
    """The chunk with the usage."""
    total = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
    return {"id": "c", "object": "chat.completion.chunk", "choices": [], "usage": {**total, **more}}


def answer_chunks(
    text: str, calls: Iterable[tuple[str, str, str]], usage: tuple[int, int], finish_reason: str
) -> Iterator[dict[str, Any]]:
    """A whole answer, texts and arguments in pieces of five characters; calls are (id, name, arguments)."""
    yield said({"role": "assistant", "content": ""})
    for at in range(0, len(text), 5):
        yield said({"content": text[at : at + 5]})
    for index, (call_id, name, arguments) in enumerate(calls):
        opening = {"index": index, "id": call_id, "type": "function", "function": {"name": name, "arguments": ""}}
        yield said({"tool_calls": [opening]})
        for at in range(0, len(arguments), 5):
            yield said({"tool_calls": [{"index": index, "function": {"arguments": arguments[at : at + 5]}}]})
    yield said({}, finish_reason)
    yield counted(*usage)


def openai_complaint(body: dict[str, Any]) -> str:
    """Why a server would refuse ``body``; empty if it would not."""
    for tool in body.get("tools", []):
        if not re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", tool["function"]["name"]):
            return "tools: bad name"
        if not isinstance(tool["function"]["parameters"], dict):
            return "tools: bad schema"
    unanswered: list[str] = []
    for message in body["messages"]:
        if message["role"] == "tool":
            if message["tool_call_id"] not in unanswered or not message["content"]:
                return "messages: a result of no call, or of nothing"
            unanswered.remove(message["tool_call_id"])
            continue
        if unanswered:
            return "messages: a call without a result"
        if not message.get("content") and not message.get("tool_calls"):
            return "messages: empty"
        for call in message.get("tool_calls", []):
            if not re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", call["id"]) or call["id"] in unanswered:
                return "messages: bad id of a call"
            if not isinstance(json.loads(call["function"]["arguments"]), dict):
                return "messages: arguments that are no object"
            unanswered.append(call["id"])
    return "messages: the last call has no result" if unanswered else ""
