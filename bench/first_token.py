"""From the provider's first byte to the first word that a client hears: what do we add to the provider's own library?

A server on this machine stands in for the provider.  The peer is the provider's library alone, iterating over the
events of the same answer; ours is a session of a daemon, its gate, and a client on the daemon's socket, all in this
process.  Processor time counts, from the moment that the server is about to send to the moment that the text is there:
the server's own share is in both, and goes out in the difference.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import trio

from astrid.frontends.client import Client, connect
from astrid.wire import params as p
from astrid.wire import results as r
from astrid.wire.events import TextDelta, TurnComplete
from bench import measure
from bench.measure import Row, shown
from tests.fakes.anthropic_server import AnthropicServer, Reply, message_events, sse
from tests.fakes.daemon_home import grant_workspace, make_client_home
from tests.fakes.daemons import daemon_of
from tests.fakes.home import Mode

ROUNDS = 30
MODEL = "claude-haiku-4-5"
KEY = "a-key-of-nobody"
MOST_MS = 5.0


class Marked:
    """A stream that says when something is first sent on it."""

    def __init__(self, stream: trio.SocketStream, server: Provider) -> None:
        self._stream = stream
        self._server = server

    async def send_all(self, data: bytes) -> None:
        self._server.began = self._server.began or time.process_time()
        await self._stream.send_all(data)

    async def receive_some(self, most: int) -> bytes:
        return await self._stream.receive_some(most)


class Provider(AnthropicServer):
    """Answers everything alike.  ``began`` is the processor time at the first byte of the answer."""

    began = 0.0

    async def _exchange(self, stream: trio.SocketStream) -> bool:
        message = {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": MODEL,
            "content": [{"type": "text", "text": "hello"}],
            "stop_reason": "end_turn",
            "stop_sequence": None,
            "usage": {"input_tokens": 10, "output_tokens": 9},
        }
        self.replies.append(Reply((sse(message_events(message)),)))
        return await super()._exchange(cast("trio.SocketStream", Marked(stream, self)))


async def alone(server: Provider, client: Any) -> float:
    """Seconds of the library."""
    server.began = 0.0
    asked: dict[str, Any] = {"role": "user", "content": [{"type": "text", "text": "hello"}]}
    stream = await client.messages.create(model=MODEL, max_tokens=100, stream=True, messages=[asked])
    seconds = 0.0
    async for event in stream:
        if event.type == "content_block_delta" and not seconds:
            seconds = time.process_time() - server.began
    return seconds


async def ours(server: Provider, client: Client, workspace: Path) -> float:
    """Seconds of a session, its gate, its daemon and its client."""
    server.began = 0.0
    asked = p.CreateSession(workspace=str(workspace), mode="guided", model=f"anthropic/{MODEL}")
    session = cast("r.SessionInfo", await client.call("createSession", asked)).session_id
    await client.subscribe(session)
    await client.call("sendInput", p.SendInput(session_id=session, turn=1, input="hello"))
    seconds = 0.0
    while True:
        match await client.next_event(session):
            case TextDelta() if not seconds:
                seconds = time.process_time() - server.began
            case TurnComplete():
                break
            case _:
                continue
    await client.call("endSession", p.OfSession(session_id=session))
    return seconds


async def measured(folder: Path, rounds: int) -> tuple[float, float]:
    """The median of each."""
    import anthropic

    workspace = folder / "ws"
    workspace.mkdir()
    home, aud = make_client_home(folder / "home")
    mine: list[float] = []
    peers: list[float] = []
    async with trio.open_nursery() as nursery:
        server = Provider()
        await nursery.start(server.run)
        home.config.write_text(f'[model]\napi_url = "{server.url}"\n')
        async with daemon_of(home), connect(home) as client:
            await client.call("tokensAdd", p.TokensAdd(token=grant_workspace(home, aud, workspace, Mode.GUIDED)))
            async with anthropic.AsyncAnthropic(api_key=KEY, base_url=server.url) as library:
                for number in range(rounds + 3):
                    found = await ours(server, client, workspace), await alone(server, library)
                    if number >= 3:  # the first ones import what they need
                        mine.append(found[0])
                        peers.append(found[1])
        nursery.cancel_scope.cancel()
    return sorted(mine)[rounds // 2], sorted(peers)[rounds // 2]


def rows(rounds: int) -> Iterator[Row]:
    """What comes on top of the library."""
    os.environ["ANTHROPIC_API_KEY"] = KEY
    with tempfile.TemporaryDirectory(prefix="astrid-bench-") as folder:
        mine, peer = trio.run(measured, Path(folder), rounds)
    yield Row(
        what="the first streamed word",
        measured=(mine - peer) * 1000,
        bar=MOST_MS,
        unit="ms of processor time more than the library alone",
        detail=f"{shown(mine)} to the client of a daemon; {shown(peer)} alone",
    )


if __name__ == "__main__":
    sys.exit(measure.main(rows, rounds=ROUNDS))
