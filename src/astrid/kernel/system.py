"""A running system: the root supervisor, the one nursery that all actors live in, and the door to the outside.

The nursery is in a task of its own, under a shield.  If it were open to cancellation, Trio would cancel the actors in
no order at all; so only their supervisors stop them, right to left, each within its deadline.

Invariants:
  When the context is left, however it is left, no actor, timer or wait of the system is there any more.
  Whoever sends through the ``System`` is outside: an actor that tries is refused, so nobody can shed who they are.

What cannot be bounded: an actor that shields itself from cancellation for ever.  All others are stopped in order
first; then the context waits for it, since Trio has no way to leave a task behind.
"""

from __future__ import annotations

import contextvars
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import trio
from trio.lowlevel import enable_ki_protection

from astrid.kernel.actor import ask
from astrid.kernel.cell import Cell
from astrid.kernel.errors import Misuse
from astrid.kernel.message import Exit, Reason
from astrid.kernel.ref import OUTSIDE, Posted, Ref
from astrid.kernel.run import INSIDE, Codec, OnFailure, Run, not_running
from astrid.kernel.spec import SupervisorSpec
from astrid.kernel.statistics import SystemStatistics
from astrid.kernel.supervisor import Supervisor, SupervisorHandle

if TYPE_CHECKING:
    from astrid.kernel.life import Life

Child = Cell | Supervisor


class _Ground:
    """What the root supervisor stands on."""

    __slots__ = ("_stop_asked", "body", "error", "root", "run", "started", "stopped")

    def __init__(self, run: Run) -> None:
        self.run = run
        self.root: Supervisor | None = None
        self.started = trio.Event()
        self.stopped = trio.Event()
        self.body = trio.CancelScope()  # around the body of the context
        self.error: BaseException | None = None
        self._stop_asked = False

    def child_up(self, child: Child) -> None:
        """The root has started, and so has everything."""
        self.started.set()

    def child_ended(self, child: Child, reason: Reason, error: BaseException | None) -> None:
        """The root has ended, and everything below it."""
        self.error = error
        child.close()
        self.started.set()
        self.stopped.set()
        if error is not None:
            self.body.cancel()

    @enable_ki_protection
    def stop(self) -> None:
        """Have everything stopped, in order; also if it has not begun."""
        self._stop_asked = True
        if self.root is not None:
            self.root.request_stop()

    @enable_ki_protection
    async def hold(self, root: Supervisor) -> None:
        """The task that the nursery is in."""
        context = contextvars.copy_context()  # actors start in this one, not in that of whoever starts them
        try:
            with trio.CancelScope(shield=True):
                async with trio.open_nursery() as outer:
                    self.run.abandon = outer.cancel_scope.cancel
                    outer.start_soon(self.run.timers.run)
                    async with trio.open_nursery() as nursery:

                        def spawn(life: Life) -> None:
                            context.run(nursery.start_soon, life.run, name=life.cell.path)

                        self.run.spawn = spawn
                        if self._stop_asked:
                            self.child_ended(root, Reason(Exit.SHUTDOWN), None)
                        else:
                            root.begin()
                        await self.stopped.wait()
                        self.run.spawn = not_running
                    outer.cancel_scope.cancel()
        finally:
            self.started.set()  # nobody may wait for these for ever, even if there is a bug in this kernel
            self.stopped.set()


class System:
    """What the outside has of a system."""

    __slots__ = ("_ground", "_run")

    def __init__(self, run: Run, ground: _Ground) -> None:
        self._run = run
        self._ground = ground

    # ---- finding ----------------------------------------------------------------------------------------------------

    def ref(self, path: str) -> Ref:
        """The actor at ``path``, such as ``root/tools/workspace``.

        Raises:
            Misuse: no living actor is there.
        """
        node = self._run.paths.get(path)
        if not isinstance(node, Cell):
            raise Misuse("kernel.unknown_path", f"there is no actor at `{path}`")
        return node.ref

    def supervisor(self, path: str) -> SupervisorHandle:
        """The supervisor at ``path``.

        Raises:
            Misuse: no living supervisor is there.
        """
        node = self._run.paths.get(path)
        if not isinstance(node, Supervisor):
            raise Misuse("kernel.unknown_path", f"there is no supervisor at `{path}`")
        return node.handle

    # ---- sending from outside ---------------------------------------------------------------------------------------

    def post(self, ref: Ref, message: object) -> Posted:
        """As ``Context.post``, from outside."""
        self._must_be_outside()
        run = self._run
        posted = ref.cell.mailbox.offer((run.carry(message), OUTSIDE, None))
        if posted is Posted.DEAD_LETTER:
            run.bury(ref.cell, OUTSIDE, message)
        return posted

    async def tell(self, ref: Ref, message: object) -> None:
        """As ``Context.tell``, from outside: always a checkpoint."""
        self._must_be_outside()
        await ref.cell.mailbox.put((self._run.carry(message), OUTSIDE, None))

    async def ask(self, ref: Ref, message: object, within: float) -> object:
        """As ``Context.ask``, from outside."""
        self._must_be_outside()
        return await ask(self._run, ref.cell, message, OUTSIDE, within)

    def _must_be_outside(self) -> None:
        # SAFETY: an actor that could send as OUTSIDE would shed its identity, and could wait against its rank.
        if INSIDE.get() is self._run:
            raise Misuse("kernel.not_outside", "an actor sends through its own context")

    # ---- looking and ending -----------------------------------------------------------------------------------------

    def snapshot(self) -> SystemStatistics:
        """What everything looks like at this moment.

        Raises:
            Misuse: there is no tree yet.
        """
        run = self._run
        if self._ground.root is None:
            raise Misuse("kernel.not_running", "the system is not open")
        return SystemStatistics(
            now_seconds=trio.current_time(),
            root=self._ground.root.statistics(),
            actors=len(run.actors),
            timers=len(run.timers),
            dead_letters=run.dead_letters_total,
            last_dead_letters=tuple(run.dead_letters),
        )

    def stop(self) -> None:
        """Have everything stopped, in order.  Returns at once; see ``wait_stopped``."""
        self._ground.stop()

    async def wait_stopped(self) -> None:
        """Return when the root supervisor has ended, because it was told to or because it gave up."""
        await self._ground.stopped.wait()


@asynccontextmanager
async def open_system(
    spec: SupervisorSpec | Callable[[System], SupervisorSpec],
    *,
    strict: Codec | None = None,
    on_failure: OnFailure | None = None,
) -> AsyncGenerator[System, None]:
    """A running system: entered when every static child has started, left when everything has stopped.

    A spec that needs refs, so that a factory can hand one actor the ref of another, is given as a function of the
    system: factories run after it has returned, and the refs of all static children exist by then.

    With ``strict`` every message and every answer is encoded and decoded on its way.  ``on_failure`` is told of each
    actor that ended by an error.

    Raises:
        TooManyRestarts: the root gave up; the cause is what broke its child.
        Stuck: an actor did not end when it was cancelled, and now has.
        BaseException: what an actor raised that is no ``Exception``, such as KeyboardInterrupt.
    """
    run = Run(strict, on_failure)
    ground = _Ground(run)
    system = System(run, ground)
    tree = spec if isinstance(spec, SupervisorSpec) else spec(system)
    root = ground.root = Supervisor(run, ground, tree.id, tree)
    failure: BaseException | None = None
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ground.hold, root, name=f"{tree.id} nursery")
            try:
                with ground.body:
                    await ground.started.wait()
                    yield system
            except BaseException as error:  # noqa: BLE001 - raised below, where no nursery makes a group of it
                failure = error
            finally:
                ground.stop()  # and the nursery waits for that, which the deadlines of the children bound
    finally:
        # What ended the system says more than what that did to the body, or a cancellation that came meanwhile.
        if ground.error is not None:
            raise ground.error from (ground.error.__cause__ or failure)
    if failure is not None:
        raise failure
