"""A daemon from its start to its end: one per home, everything up before anybody can connect, everything closed after.

The order of stopping: no new clients, goodbye to those there are, then the actors right to left; the log says that the
daemon stopped and is signed to its end.  A second signal does not wait for clients, sessions and tools.

Source: architecture 4; protocol N10; threats 30, 43, 46.
"""

from __future__ import annotations

import math
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import msgspec
import trio

from astrid.adapters.demo.pay import DemoPayments
from astrid.adapters.system import SystemClock, SystemEntropy
from astrid.adapters.workspace.watchman import watchman
from astrid.box_ports import Shell
from astrid.daemon.books import Books
from astrid.daemon.health import RANK as CARETAKER_RANK
from astrid.daemon.health import Caretaker
from astrid.daemon.report import Report
from astrid.daemon.server import CONNECTIONS, Server, bind
from astrid.daemon.shared import Shared
from astrid.errors import AstridError, LaunchError
from astrid.home import Home, HomeLock, clear_drafts
from astrid.kernel import ChildSpec, Misuse, Reason, Ref, SupervisorSpec, System, TooManyRestarts, open_system
from astrid.runtime.boot import World, secrets_of
from astrid.runtime.boxes import boxes, choose_shell
from astrid.runtime.config import Loaded, load_config
from astrid.runtime.parts import Extra
from astrid.runtime.tree import Directory, tree

GOODBYE_SECONDS = 3.0
HURRIED = ("root/connections", "root/sessions", "root/tools")


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """How a daemon is to run.  ``alone``: its process ends with it."""

    ephemeral: bool = False
    grace_seconds: float = 30.0
    verbose: bool = False
    alone: bool = False
    demo_tools: bool = False  # sessions also get ``demo_pay``


def run_daemon(home: Home, options: Options) -> None:
    """Be the daemon of ``home`` until told to stop.

    Raises:
        AstridError: it cannot start, or cannot go on.
    """
    lock = HomeLock(home)
    try:
        clear_drafts(home.anchor)  # of a daemon that was killed while it kept its last checkpoint
        report = Report(home.daemon_log, verbose=options.verbose)
        try:
            with watchman():
                trio.run(Daemon(home, options, report).run)
        finally:
            report.close()
    finally:
        lock.close()


class Daemon:
    """One run."""

    def __init__(self, home: Home, options: Options, report: Report) -> None:
        self._home = home
        self._options = options
        self._report = report
        self._directory = Directory()
        self._server: Server | None = None
        self._starting: trio.CancelScope | None = None  # until everything is up
        self._broken: AstridError | None = None
        self._signals = 0

    async def run(self) -> None:
        """From start to end.

        Raises:
            AstridError: it cannot start, or cannot go on.
        """
        starting = self._starting = trio.CancelScope()
        try:
            with starting, self._signalled():
                await self._live()
        except TooManyRestarts as error:
            raise self._broken or LaunchError(
                "daemon.gave-up",
                "a part of the daemon failed again and again",
                effect="maybe",
                where=str(self._home.daemon_log),
                advice="see the daemon's log; then `astrid audit verify`",
            ) from error
        if self._broken is not None:
            raise self._broken

    async def _live(self) -> None:
        loaded = load_config(self._home.config)
        table = loaded.config.sandbox
        # Before there is anything that a process of ours could take along: keys, a log, connections.
        async with boxes(table.least, secrets_of(self._home, loaded.config)) as launcher:
            await self._live_with(loaded, choose_shell(launcher, launcher.tiers, table))

    async def _live_with(self, loaded: Loaded, shell: Shell) -> None:
        extras = (demo_tools(self._home),) if self._options.demo_tools else ()
        world = World(
            self._home, clock=SystemClock(), entropy=SystemEntropy(), extras=extras, loaded=loaded, shell=shell
        )
        directory = self._directory
        spec = _with_daemon(tree(world, directory), Caretaker(directory.by_path, world.hub, self._report))
        try:
            async with open_system(spec, on_failure=self._failed) as system:
                directory.system = system
                self._starting = None
                server = self._server = self._make_server(world, system)
                if not self._signals:
                    await self._serve(server)
                if self._signals < 2:
                    await server.say_goodbye(GOODBYE_SECONDS)
        finally:
            world.close()
            if self._server is not None:
                await self._server.close()
        self._report.note("stopped")

    async def _serve(self, server: Server) -> None:
        listener = bind(self._home)
        try:
            self._report.note("ready")
            await server.serve(listener)
            self._report.note("stopping")
        finally:
            self._home.socket.unlink(missing_ok=True)
            await trio.aclose_forcefully(listener)

    def _make_server(self, world: World, system: System) -> Server:
        options = self._options
        shared = Shared(
            world=world,
            books=Books(self._home.log),
            ephemeral=options.ephemeral,
            began=trio.current_time(),
            stop=lambda: server.stop(),
            connections=lambda: server.connections(),
        )
        server = Server(
            shared,
            self._directory.by_path,
            lambda: system.supervisor("root/connections"),
            self._report,
            grace_seconds=options.grace_seconds if options.ephemeral else math.inf,
        )
        return server

    def _failed(self, ref: Ref, reason: Reason, error: BaseException) -> None:
        """An actor broke.  Before everything is up there is no point in trying again: say what is wrong."""
        self._report.actor_failed(ref, reason, error)
        if self._starting is not None and isinstance(error, AstridError):
            self._broken = self._broken or error
            self._starting.cancel()

    @contextmanager
    def _signalled(self) -> Iterator[None]:
        """SIGINT and SIGTERM stop the daemon in order; a second one makes it hurry, and a third has nothing to add."""
        token = trio.lowlevel.current_trio_token()

        taken: list[int] = []

        def take(number: int, _frame: FrameType | None) -> None:
            # A handler of Python's can be interrupted by the next signal: in a flood they would nest without end.
            taken.append(number)
            if len(taken) > 1:
                for one in before:
                    signal.signal(one, signal.SIG_IGN)
            token.run_sync_soon(self._stop)

        before = {number: signal.signal(number, take) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                # A process that dies of a signal while it ends says by its exit code that it did not stop in order.
                signal.signal(number, signal.SIG_IGN if self._options.alone else handler)

    def _stop(self) -> None:
        self._signals += 1
        if self._starting is not None:
            self._starting.cancel()
        if self._server is not None:
            self._server.stop()
        if self._signals > 1 and self._directory.system is not None:
            for path in HURRIED:
                try:
                    self._directory.system.supervisor(path).hurry()
                except Misuse:  # it is down already
                    continue


def _with_daemon(spec: SupervisorSpec, caretaker: Caretaker) -> SupervisorSpec:
    """The runtime's tree with what only a daemon has, to the right of everything it stands on."""
    care = ChildSpec(id="caretaker", factory=lambda: caretaker, rank=CARETAKER_RANK)
    return msgspec.structs.replace(spec, children=(*spec.children, care, CONNECTIONS))


def demo_tools(home: Home) -> Extra:
    """The demo's payment tool; it writes to a file of the throwaway home."""
    return Extra("demo", "demo:payments", DemoPayments(home.root / "run" / "demo-payments"))
