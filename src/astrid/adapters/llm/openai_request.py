"""A ``ModelRequest`` as the body of an OpenAI-compatible chat completion.  Pure.

A ``Dialect`` says where one server differs from another.  Results of tools are messages of their own; that a call
failed is told by a word, for the protocol has no field for it.  Nor has it one for the image in a result: that comes
behind the results, under the name of its call.

Never: asks for the vendor's own tools, or for more than one answer.

Source: the vendor's documentation (chat completions, function calling); recorded exchanges (tests/vectors/llm).
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import assert_never

import msgspec

from astrid.adapters.llm.names import NO_OUTPUT, legal_name, offered_names, schema_object, unsayable, written_arguments
from astrid.core.conversation import Image, Message, ModelRequest, Picture, Reasoning, Text, ToolResult, ToolUse

FAILED = "(failed) "
IMAGE_OF = "(the image that call {call} gave)"


class Dialect(msgspec.Struct, frozen=True, kw_only=True):
    """Where a server differs: the field that bounds the answer, what it wants in each request, and whether it wants the
    model's reasoning back.
    """

    max_tokens: str = "max_tokens"
    always: Mapping[str, object] = {}
    wants_reasoning: bool = False


def request_body(request: ModelRequest, dialect: Dialect) -> tuple[dict[str, object], dict[str, str]]:
    """The body, and each offered tool's own name by its legal one.

    Raises:
        ModelError: the request cannot be said in the protocol's terms; nothing was sent.
    """
    names = offered_names(request)
    said: list[dict[str, object]] = []
    if request.system.strip():
        said.append({"role": "system", "content": request.system})
    for message in request.messages:
        said += _messages(message, request.model, dialect)
    body: dict[str, object] = {
        "model": request.model.partition("/")[2],
        dialect.max_tokens: request.max_tokens,
        "messages": said,
        "stream": True,
        "stream_options": {"include_usage": True},
        **dialect.always,
    }
    if request.tools:
        body["tools"] = [
            {
                "type": "function",
                "function": {
                    "name": legal_name(tool.name),
                    "description": tool.description,
                    "parameters": schema_object(tool.schema),
                },
            }
            for tool in request.tools
        ]
    return body, names


def _messages(message: Message, model: str, dialect: Dialect) -> list[dict[str, object]]:
    """One of ours as one or several of theirs."""
    results: list[dict[str, object]] = []
    seen: list[dict[str, object]] = []
    texts: list[str] = []
    calls: list[dict[str, object]] = []
    thoughts: list[str] = []
    for part in message.parts:
        match part:
            case Text():
                if part.text.strip():
                    texts.append(part.text)
            case ToolUse():
                calls.append(_call(part))
            case ToolResult():
                results.append(_result(part))
                if part.image is not None:
                    seen += [_text(IMAGE_OF.format(call=legal_name(part.id))), _image(part.image)]
            case Picture():
                seen.append(_image(part.image))
            case Reasoning():
                if dialect.wants_reasoning and part.model == model:
                    thoughts.append(part.text)
            case _:
                assert_never(part)
    if not (texts or calls or results):
        raise unsayable("a message holds no text and no call")
    if seen:
        return [*results, {"role": "user", "content": [*seen, *map(_text, texts)]}]
    if not (texts or calls):
        return results
    said: dict[str, object] = {"role": message.role, "content": "\n\n".join(texts) if texts else None}
    if calls:
        said["tool_calls"] = calls
    if thoughts:
        said["reasoning_content"] = "".join(thoughts)
    return [*results, said]  # results come right after the calls that they answer


def _text(text: str) -> dict[str, object]:
    return {"type": "text", "text": text}


def _image(image: Image) -> dict[str, object]:
    url = f"data:{image.media_type};base64,{base64.b64encode(image.data).decode()}"
    return {"type": "image_url", "image_url": {"url": url}}


def _call(use: ToolUse) -> dict[str, object]:
    # Servers that put the conversation into a template of their own break on arguments that are no object.
    arguments = msgspec.json.encode(written_arguments(use.arguments)).decode()
    return {
        "id": legal_name(use.id),
        "type": "function",
        "function": {"name": legal_name(use.name), "arguments": arguments},
    }


def _result(result: ToolResult) -> dict[str, object]:
    content = result.content if result.content.strip() else NO_OUTPUT
    told = f"{FAILED}{content}" if result.is_error else content
    return {"role": "tool", "tool_call_id": legal_name(result.id), "content": told}
