"""A ``ModelRequest`` as the body of a request to Anthropic's Messages API.  Pure.

What does not change from call to call is marked for the vendor's cache, for five minutes.

What a model thought goes back to it as it came, with the vendor's signature on it.

Never: asks for the vendor's own tools.

Source: vendor's documentation (Messages, tool use, thinking); the first Astrid (names with a colon).
"""

from __future__ import annotations

import base64
from typing import assert_never

from astrid.adapters.llm.names import NO_OUTPUT, legal_name, offered_names, schema_object, unsayable, written_arguments
from astrid.core.conversation import (
    AnyPart,
    Image,
    Message,
    ModelRequest,
    Picture,
    Reasoning,
    Text,
    ToolResult,
    ToolUse,
)

_CACHED = {"type": "ephemeral"}


def request_body(request: ModelRequest) -> tuple[dict[str, object], dict[str, str]]:
    """The arguments for the vendor's library, and each offered tool's own name by its legal one.

    Raises:
        ModelError: the request cannot be said in the vendor's terms; nothing was sent.
    """
    names = offered_names(request)
    body: dict[str, object] = {
        "model": request.model.partition("/")[2],
        "max_tokens": request.max_tokens,
        "messages": [_message(message, request.model) for message in _continuable(request.messages)],
        "stream": True,
        "cache_control": _CACHED,  # up to the end of the last message, and from there on at the next call
    }
    if request.system.strip():
        # Tools and prompt come first and stay: whatever becomes of the messages, these are found again.
        body["system"] = [{"type": "text", "text": request.system, "cache_control": _CACHED}]
    if request.tools:
        body["tools"] = [
            {"name": legal_name(tool.name), "description": tool.description, "input_schema": schema_object(tool.schema)}
            for tool in request.tools
        ]
    return body, names


def _continuable(messages: tuple[Message, ...]) -> tuple[Message, ...]:
    """``messages``; where the last one is the model's own, without white space at its end: the vendor refuses that."""
    match messages:
        case (*before, Message(role="assistant", parts=(*others, Text(text=text)))):
            return (*before, Message(role="assistant", parts=(*others, Text(text=text.rstrip()))))
        case _:
            return messages


def _message(message: Message, model: str) -> dict[str, object]:
    blocks = [block for part in message.parts if (block := _block(part, model)) is not None]
    if not blocks:
        raise unsayable("a message holds no text and no call")
    blocks.sort(key=lambda block: block["type"] != "tool_result")  # results come first; the sort keeps their order
    return {"role": message.role, "content": blocks}


def _image(image: Image) -> dict[str, object]:
    data = base64.b64encode(image.data).decode()
    return {"type": "image", "source": {"type": "base64", "media_type": image.media_type, "data": data}}


def _block(part: AnyPart, model: str) -> dict[str, object] | None:
    match part:
        case Reasoning() if part.model != model:
            return None  # the vendor would refuse what another one signed
        case Reasoning(withheld=True):
            return {"type": "redacted_thinking", "data": part.proof}
        case Reasoning():
            return {"type": "thinking", "thinking": part.text, "signature": part.proof}
        case Text():
            return {"type": "text", "text": part.text} if part.text.strip() else None
        case Picture():
            return _image(part.image)
        case ToolUse():
            name = legal_name(part.name)
            return {
                "type": "tool_use",
                "id": legal_name(part.id),
                "name": name,
                "input": written_arguments(part.arguments),
            }
        case ToolResult():
            text = NO_OUTPUT if part.is_error and not part.content.strip() else part.content
            content = text if part.image is None else [{"type": "text", "text": text}, _image(part.image)]
            result: dict[str, object] = {"type": "tool_result", "tool_use_id": legal_name(part.id), "content": content}
            return {**result, "is_error": True} if part.is_error else result
        case _:
            assert_never(part)
