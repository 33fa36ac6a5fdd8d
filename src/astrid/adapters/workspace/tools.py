"""The workspace as a tool server: tools on the files of one folder, and a shell in it.

Never: decides whether a call may run, or does anything but what a permitted call names.

``prepare`` makes a plan: what the call needs, what it found, how it is performed.  ``execute`` makes the plan again
from the same arguments; only if it still is the plan that was decided is it performed, and each step then checks
again on what it opened.

Invariants:
  ``prepare`` changes nothing.  Its errors depend on the arguments, the workspace's links and its visible files, never
  on a hidden or an outside file.
  An outcome or error with ``effect`` none left everything as it was.

Source: architecture 5, 6; the first Astrid; threats 19, 21, 40.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import trio

from astrid.adapters.workspace.arguments import ALL, HOST_ID, HOST_KIND, Bash, bash_spec, tool_spec
from astrid.adapters.workspace.handles import Opener, Root
from astrid.adapters.workspace.matcher import Engine, find_engine
from astrid.adapters.workspace.paths import HiddenRule, Locator
from astrid.adapters.workspace.plans import InLoop, LetOut, Planner
from astrid.adapters.workspace.process import FIXED_PATH, tool_environment
from astrid.adapters.workspace.text import clip
from astrid.adapters.workspace.undoing import Kept, Undoer
from astrid.adapters.workspace.writing import Keep, changed, nothing
from astrid.box_ports import Shell
from astrid.core.call import Call, Preparation
from astrid.core.tools import ToolSpec
from astrid.errors import AstridError, EdgeError, Effect, InputError, WorkspaceError
from astrid.ports import Report, ToolOutcome


class WorkspaceTools:
    """The tools of one workspace.  ``close`` gives its folder back."""

    def __init__(
        self,
        root: Path,
        *,
        home: Path,
        profile: bytes,
        shell: Shell,
        hidden: HiddenRule,
        env: Mapping[str, str] | None = None,
        program_folders: Sequence[Path] = (),
        opener: Opener | None = None,
        engine: Engine | None = None,
        kept: Sequence[Path] = (),
        keep: Keep = nothing,
        let_out: LetOut | None = None,
    ) -> None:
        """``home`` is the user's home folder, ``profile`` the digest of what holds the tools that run in this
        process; ``shell`` runs commands, and ``let_out`` lets one out to the hosts that it names, if any can be.
        ``hidden`` says which files policy denies.

        ``env`` is added to the fixed environment of commands, ``program_folders`` to where they are looked for.
        ``opener`` and ``engine`` are otherwise chosen by what the system offers.  Below the folders ``kept`` no tool
        writes.  ``keep`` is given what a file holds before it is changed, and is durable when it returns; where it
        fails, the file stays as it is.

        Raises:
            WorkspaceError: the folder cannot be a workspace, or a variable or a program folder is unsafe.
        """
        programs = (*FIXED_PATH, *map(str, program_folders))
        environment = tool_environment(home, env or {}, path=programs)
        bash = bash_spec(shell.profile, shell.about, contains=shell.contains)
        specs = tuple(bash if shape is Bash else tool_spec(shape, profile) for shape in ALL)
        self._specs = specs
        self._tooldefs = {spec.name: spec.tooldef() for spec in specs}
        self._root = Root.open(root, opener)
        self._system = Root.of_system(opener)
        try:
            locator = Locator(self._root, self._system, home, hidden, kept)
            for folder in program_folders:
                _check_program_folder(folder, locator)
        except WorkspaceError:
            self.close()
            raise
        self._locator = locator
        self._keep = keep
        self._planner = Planner(
            locator,
            engine=engine or find_engine(self._root),
            shell=shell,
            env=environment,
            program_folders=programs,
            keep=keep,
            let_out=let_out,
        )

    def close(self) -> None:
        """Give the folder back.  What is called afterwards fails."""
        self._root.close()
        self._system.close()

    def undoer(self, kept: Kept) -> Undoer:
        """What puts files back to what they held; ``kept`` gives what ``keep`` was given, by its digest."""
        return Undoer(self._locator, kept, self._keep)

    def identity(self) -> tuple[int, int, str]:
        """Device, inode and path of the workspace: what its id is bound to."""
        return self._root.dev, self._root.ino, self._root.text_path

    def specs(self) -> tuple[ToolSpec, ...]:
        """The tools, in the order a model sees them."""
        return self._specs

    def glance(self, tool: str, args: bytes) -> None:
        """Nothing: where a path leads, the disk says."""

    async def prepare(self, tool: str, args: bytes) -> Preparation:
        """What a call of ``tool`` with JSON text ``args`` would touch.

        Raises:
            CanonError, CommandError, LaunchError, PatternError, WorkspaceError: what the model should be told instead.
        """
        return (await trio.to_thread.run_sync(self._planner.plan, tool, args)).preparation

    async def execute(self, call: Call, report: Report) -> ToolOutcome:
        """Perform ``call`` if it still is what was decided.  ``report`` gets what it connects to."""
        try:
            if (call.host_kind, call.host_id, call.tooldef) != (HOST_KIND, HOST_ID, self._tooldefs.get(call.tool)):
                raise changed()
            outcome = await trio.to_thread.run_sync(self._perform, call)
            return outcome if isinstance(outcome, ToolOutcome) else await outcome(report)
        except EdgeError as error:
            return _failed(error, error.effect)
        except InputError as error:
            return _failed(error, "none")

    def _perform(self, call: Call) -> ToolOutcome | InLoop:
        """In a thread: to go to one again for each step costs more than most steps."""
        plan = self._planner.plan(call.tool, call.args)
        _check_decided(plan.preparation, call)
        trio.from_thread.check_cancelled()
        return plan.run()


def _check_decided(now: Preparation, call: Call) -> None:
    """Return if the plan of ``now`` is inside what ``call`` was decided for.

    Raises:
        WorkspaceError: a link, a file or a program is another by now.
    """
    same = now.pre == call.pre and now.cwd_rel == call.cwd_rel
    if not (same and set(now.needs) <= set(call.needs) and now.risk <= call.risk):
        raise changed()


def _failed(error: AstridError, effect: Effect) -> ToolOutcome:
    text = f"{error.message}; {error.advice}" if error.advice else error.message
    return ToolOutcome(content=clip(text).encode(), is_error=True, effect=effect)


def _check_program_folder(folder: Path, locator: Locator) -> None:
    try:
        safe = folder.is_absolute() and ":" not in str(folder) and not locator.holds(folder)
    except OSError:  # what cannot be resolved cannot be judged
        safe = False
    if not safe:
        raise WorkspaceError(
            "workspace.program-folder",
            f"programs cannot be looked for in `{folder}`",
            effect="none",
            advice="name an absolute folder outside the workspace",
        )
