"""A daemon in this process, and clients that say what they like."""

from __future__ import annotations

import base64
import contextlib
import json
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio
from trio_websocket import ConnectionClosed, WebSocketConnection, wrap_client_stream

from astrid.core.canon import decode
from astrid.core.keys import SigningKey
from astrid.core.tokens import SignedBlock, block_id
from astrid.daemon.lifecycle import Daemon, Options
from astrid.daemon.report import Report
from astrid.home import Home
from astrid.wire import params as p
from astrid.wire.jsonrpc import Request, write_message
from astrid.wire.methods import METHODS
from astrid.wire.pop import PopSigner
from astrid.wire.typed import write
from tests.fakes.daemon_home import CLIENT, grant_workspace, make_client_home
from tests.fakes.home import Mode

LIMIT_SECONDS = 30


async def settled(holds: Callable[[], bool], *, every: float = 0.005) -> None:
    """Look until it holds, where nothing can be waited for."""
    with trio.fail_after(LIMIT_SECONDS):
        while not holds():  # noqa: ASYNC110 - what it waits for is a file, or another task's variable
            await trio.sleep(every)


class InProcess:
    """A running daemon, with a workspace and models that follow a script."""

    def __init__(self, root: Path, home: Home, aud: bytes, daemon: Daemon) -> None:
        self.root = root
        self.home = home
        self.aud = aud
        self.daemon = daemon
        self.workspace = root / "ws"
        self.workspace.mkdir()
        (self.workspace / "a.txt").write_text("hello\n")

    def script(self, *turns: dict[str, Any]) -> str:
        path = self.root / f"script-{os.urandom(4).hex()}.jsonl"
        path.write_text("".join(f"{json.dumps(turn)}\n" for turn in turns))
        return f"scripted:{path}"

    def grant(self, mode: Mode = Mode.GUIDED) -> bytes:
        return grant_workspace(self.home, self.aud, self.workspace, mode)

    @property
    def told(self) -> list[dict[str, Any]]:
        """What the daemon reported."""
        return [json.loads(line) for line in self.home.daemon_log.read_text().splitlines()]


@asynccontextmanager
async def daemon_in(root: Path, *, token: bytes | None = None, **options: Any) -> AsyncIterator[InProcess]:
    """A daemon that serves a fresh home below ``root``; it stops in order on the way out."""
    home, aud = make_client_home(root / "home", token=token)
    async with daemon_of(home, **options) as daemon:
        yield InProcess(root, home, aud, daemon)


@asynccontextmanager
async def daemon_of(home: Home, **options: Any) -> AsyncIterator[Daemon]:
    """A daemon that serves a home that is there; it stops in order on the way out."""
    report = Report(home.daemon_log, verbose=True)
    daemon = Daemon(home, Options(**options), report)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(daemon.run)
            await settled(home.socket.exists)
            try:
                yield daemon
            finally:
                daemon._stop()
    finally:
        report.close()


class Raw:
    """A client that keeps no rules: it sends what it is told to and shows what it gets."""

    def __init__(self, web: WebSocketConnection) -> None:
        self.web = web
        self.nonce = b""
        self.sent: list[str] = []
        self._number = 0

    async def hear(self) -> dict[str, Any] | None:
        """The next message; ``None`` when the connection is over."""
        with trio.fail_after(LIMIT_SECONDS):
            try:
                return json.loads(await self.web.get_message())
            except ConnectionClosed:
                return None

    async def say(self, text: str | bytes) -> None:
        self.sent.append(text if isinstance(text, str) else "")
        with contextlib.suppress(ConnectionClosed):  # what it says to that, comes from ``hear``
            await self.web.send_message(text)

    def frame(self, method: str, params: p.Params) -> str:
        self._number += 1
        return write_message(Request(self._number, method, write(METHODS[method].params, params))).decode()

    async def ask(self, method: str, params: p.Params) -> dict[str, Any] | None:
        """The answer to one request; events that come before it are dropped."""
        await self.say(self.frame(method, params))
        number = self._number
        while True:
            heard = await self.hear()
            if heard is None or ("method" not in heard and heard["id"] in (number, None)):
                return heard

    async def greet(self, aud: bytes | None = None) -> dict[str, Any] | None:
        heard = await self.hear()
        assert heard is not None
        self.nonce = base64.b64decode(heard["params"]["nonce"])
        return await self.ask("hello", p.Hello(client="raw", protocol=1, version="0", aud=aud))

    async def authenticate(self, home: Home, aud: bytes, *, key: SigningKey = CLIENT) -> dict[str, Any] | None:
        chain = home.client_token.read_bytes()
        last = decode(chain, tuple[SignedBlock, ...], max_bytes=2**20, what="a token")[-1]
        self.signer = PopSigner(key, aud=aud, nonce=self.nonce, id_last=block_id(last.payload))
        return await self.ask("authenticate", self.signer.seal("authenticate", p.Authenticate(chain=chain)))

    async def prove(self, method: str, params: p.Proven) -> dict[str, Any] | None:
        return await self.ask(method, self.signer.seal(method, params))


@asynccontextmanager
async def raw_client(home: Home, *, path: str = "/", **options: Any) -> AsyncIterator[Raw]:
    """A connection below the product's own client."""
    stream = await trio.open_unix_socket(str(home.socket))
    try:
        async with trio.open_nursery() as nursery:
            with trio.fail_after(LIMIT_SECONDS):
                web = await wrap_client_stream(nursery, stream, "localhost", path, **options)
            yield Raw(web)
            nursery.cancel_scope.cancel()
    finally:
        await trio.aclose_forcefully(stream)
