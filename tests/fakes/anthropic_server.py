"""A loopback stand-in for Anthropic's Messages API: answers what it was told to, in the pieces it was told to.

It checks of a request what the vendor would refuse, and keeps what it saw.
"""

from __future__ import annotations

import json
import math
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import h11
import trio
import trio.testing

Ending = Literal["whole", "stall", "drop"]


@dataclass(frozen=True)
class Reply:
    """One answer: a status, a head, the pieces of a body, and what happens after the last of them."""

    pieces: tuple[bytes, ...] = ()
    status: int = 200
    content_type: str = "text/event-stream; charset=utf-8"
    headers: tuple[tuple[str, str], ...] = ()
    ending: Ending = "whole"
    at_once: bool = False  # the head and all pieces in one send
    pause_seconds: float = 0.0  # before each piece


@dataclass(frozen=True)
class Seen:
    """One request."""

    method: str
    path: str
    headers: dict[str, str]
    body: dict[str, Any]


@dataclass
class AnthropicServer:
    """Replies in order; each request takes one."""

    replies: deque[Reply] = field(default_factory=deque)
    seen: list[Seen] = field(default_factory=list)
    connections: int = 0  # that are open
    stalled: trio.Event = field(default_factory=trio.Event)
    left: trio.Event = field(default_factory=trio.Event)  # a client went away before it had its answer
    url: str = ""
    complain: Callable[[dict[str, Any]], str] | None = None  # another vendor's; none is Anthropic's
    busy_until: float = -math.inf  # up to then every request is refused with 529, and takes no reply
    answer: Callable[[dict[str, Any]], Reply] | None = None  # what follows from a request; else the replies do

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        self.url = f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}"
        task_status.started()
        await trio.serve_listeners(self._connection, listeners)

    async def wait_alone(self) -> None:
        """Until no connection is open.  The limit only keeps a defect from looking like a hang."""
        with trio.fail_after(10):
            while self.connections:
                await trio.testing.wait_all_tasks_blocked()

    async def _connection(self, stream: trio.SocketStream) -> None:
        self.connections += 1
        try:
            async with stream:
                while await self._exchange(stream):
                    pass
        except (trio.BrokenResourceError, h11.RemoteProtocolError):  # in the midst of an answer, or of a request
            self.left.set()
        finally:
            self.connections -= 1

    async def _exchange(self, stream: trio.SocketStream) -> bool:
        """One request and its reply; whether the connection goes on."""
        wire = h11.Connection(h11.SERVER)
        request: h11.Request | None = None
        body = b""
        while True:
            event = wire.next_event()
            if event is h11.NEED_DATA:
                wire.receive_data(await stream.receive_some(65536))
            elif isinstance(event, h11.Request):
                request = event
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                break
            else:
                return False
        assert request is not None
        headers = {name.decode().lower(): value.decode() for name, value in request.headers}
        self.seen.append(Seen(request.method.decode(), request.target.decode(), headers, json.loads(body)))
        if trio.current_time() < self.busy_until:
            reply = fault(529, "overloaded_error", "too much")
        else:
            reply = self.replies.popleft() if self.answer is None else self.answer(self.seen[-1].body)
        if reply.status == 200 and (complaint := (self.complain or vendor_complaint)(self.seen[-1].body)):
            reply = fault(400, "invalid_request_error", complaint)
        head = [("content-type", reply.content_type), ("transfer-encoding", "chunked"), *reply.headers]
        sends = [wire.send(h11.Response(status_code=reply.status, headers=head)) or b""]
        sends += [wire.send(h11.Data(data=piece)) or b"" for piece in reply.pieces]
        for number, data in enumerate([b"".join(sends)] if reply.at_once else sends):
            if number and reply.pause_seconds:
                await trio.sleep(reply.pause_seconds)
            await stream.send_all(data)
        if reply.ending == "drop":
            return False
        if reply.ending == "stall":
            self.stalled.set()
            if not await stream.receive_some(1):
                self.left.set()
            return False
        await stream.send_all(wire.send(h11.EndOfMessage()) or b"")
        return True


def vendor_complaint(body: dict[str, Any]) -> str:
    """Why the vendor would refuse ``body``; empty if it would not."""
    open_uses: list[str] = []
    for tool in body.get("tools", []):
        if not re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", tool["name"]) or not isinstance(tool["input_schema"], dict):
            return "tools: bad name or schema"
    for message in body["messages"]:
        blocks = message["content"]
        if not blocks:
            return "messages: empty content"
        answered = [block["tool_use_id"] for block in blocks if block["type"] == "tool_result"]
        if open_uses and sorted(answered) != sorted(open_uses):
            return "messages: tool_use without tool_result"
        if any(block["type"] == "tool_result" for block in blocks[len(answered) :]):
            return "messages: a tool_result after other content"
        open_uses = []
        for block in blocks:
            if block["type"] == "text" and not block["text"].strip():
                return "messages: text without text"
            if block["type"] == "tool_result" and block.get("is_error") and not block["content"].strip():
                return "messages: an error without content"
            if block["type"] == "tool_use":
                if not re.fullmatch(r"[a-zA-Z0-9_-]+", block["id"]) or not isinstance(block["input"], dict):
                    return "messages: bad tool_use"
                if not re.fullmatch(r"[a-zA-Z0-9_-]{1,128}", block["name"]):
                    return "messages: bad name of a tool"
                open_uses.append(block["id"])
    return "messages: the last call has no result" if open_uses else ""


def fault(status: int, kind: str, message: str, *headers: tuple[str, str]) -> Reply:
    """An error answer as the vendor writes it."""
    body = json.dumps({"type": "error", "error": {"type": kind, "message": message}}).encode()
    return Reply((body,), status=status, content_type="application/json", headers=headers)


def sse(events: Iterable[dict[str, Any]]) -> bytes:
    """Events as the vendor streams them."""
    return b"".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode() for event in events)


def cut(data: bytes, size: int) -> tuple[bytes, ...]:
    """``data`` in pieces of ``size`` bytes."""
    return tuple(data[at : at + size] for at in range(0, len(data), size))


def message_events(message: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The stream that brings ``message`` (an answer as the vendor gives it in one piece)."""
    usage = message["usage"]
    opening = {**message, "content": [], "stop_reason": None, "usage": {**usage, "output_tokens": 1}}
    yield {"type": "message_start", "message": opening}
    for index, block in enumerate(message["content"]):
        yield from block_events(index, block)
    ending = {"stop_reason": message["stop_reason"], "stop_sequence": None}
    yield {"type": "message_delta", "delta": ending, "usage": {"output_tokens": usage["output_tokens"]}}
    yield {"type": "message_stop"}


def block_events(index: int, block: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The stream of one block, its text or its arguments in pieces of five characters."""
    field_name, delta_type = {
        "text": ("text", "text_delta"),
        "thinking": ("thinking", "thinking_delta"),
        "tool_use": ("input", "input_json_delta"),
    }[block["type"]]
    whole = block[field_name] if field_name != "input" else json.dumps(block["input"])
    opening = {**block, field_name: {} if field_name == "input" else ""}
    yield {"type": "content_block_start", "index": index, "content_block": opening}
    for at in range(0, len(whole), 5):
        key = "partial_json" if field_name == "input" else field_name
        delta = {"type": delta_type, key: whole[at : at + 5]}
        yield {"type": "content_block_delta", "index": index, "delta": delta}
    yield {"type": "content_block_stop", "index": index}
