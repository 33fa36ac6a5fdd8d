"""What each tool would do with its arguments: the needs that are decided on, what it found, and how it is performed.

Never: acts while it plans, or plans anything that depends on a hidden file or says whether an outside one exists.

Source: architecture 5, 6; the first Astrid; threats 19, 20, 21, 40.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import msgspec
import trio

from astrid.adapters.workspace.arguments import (
    Arguments,
    Bash,
    EditFile,
    Glob,
    Grep,
    ListDirectory,
    ReadFile,
    WriteFile,
    decode_arguments,
    invalid_arguments,
)
from astrid.adapters.workspace.commands import Touched, survey
from astrid.adapters.workspace.matcher import Engine, Matcher
from astrid.adapters.workspace.observe import observe_for_write
from astrid.adapters.workspace.paths import Locator, Target, check_writable
from astrid.adapters.workspace.reading import check_image, number_lines, read_bytes, text_of
from astrid.adapters.workspace.search import glob, grep
from astrid.adapters.workspace.shell import run_line
from astrid.adapters.workspace.walk import list_directory
from astrid.adapters.workspace.wildcard import Wildcard
from astrid.adapters.workspace.writing import Keep, edit, write
from astrid.box_ports import Leave, Serve, Shell
from astrid.core.call import Need, Pre, Preparation
from astrid.core.command import parse_command
from astrid.core.egress import HTTPS
from astrid.core.hosts import parse_authority
from astrid.core.images import is_image
from astrid.core.resources import net_resource
from astrid.core.risk import Risk
from astrid.core.segments import escape
from astrid.core.tokens import Permission
from astrid.core.visible import visible
from astrid.errors import WorkspaceError
from astrid.ports import EgressLog, ToolOutcome

MAX_NEEDS_BYTES = 3000  # a grant that covers the call has to fit into one block of a token
_WHY_PROTECTED = "this file decides what other programs, or the next session, will do"


# To execute a tree is to run a command in a box that shows it.
_LENT = Permission.READ | Permission.LIST | Permission.EXECUTE
_LENT_TO_CHANGE = _LENT | Permission.WRITE | Permission.CREATE | Permission.DELETE

InLoop = Callable[[EgressLog], Awaitable[ToolOutcome]]
LetOut = Callable[[Sequence[str], EgressLog], Serve]
"""What serves a way out to these hosts, each with its port, and no others; the log has each connection."""


@dataclass(frozen=True, slots=True)
class Plan:
    """One call, worked out.  ``run`` performs it in the thread where the plan was made, or gives what the event
    loop is to call, with where its connections are recorded.
    """

    preparation: Preparation
    run: Callable[[], ToolOutcome | InLoop]


class Planner:
    """Makes plans for one workspace.  It looks at files, so it belongs into a thread."""

    def __init__(
        self,
        locator: Locator,
        *,
        engine: Engine,
        shell: Shell,
        env: Mapping[str, str],
        program_folders: Sequence[str],
        keep: Keep,
        let_out: LetOut | None,
    ) -> None:
        """``shell`` runs commands, and ``env`` is their whole environment; ``program_folders`` are where they are
        looked for, as in it.  ``keep`` gets what a file holds before it is changed, and ``let_out`` lets a command
        out to the hosts that it names, where that can be.
        """
        self._locator = locator
        self._engine = engine
        self._shell = shell
        self._env = env
        self._program_folders = program_folders
        self._keep = keep
        self._let_out = let_out if shell.lets_out else None

    def plan(self, tool: str, args: bytes) -> Plan:
        """The plan of a call of ``tool`` with JSON text ``args``.

        Raises:
            CanonError, CommandError, LaunchError, PatternError, WorkspaceError: what the model should be told
            instead.
        """
        self._locator.workspace.check_in_place()
        match tool:
            case ReadFile.NAME:
                return self._read(decode_arguments(ReadFile, args))
            case WriteFile.NAME:
                return self._write(decode_arguments(WriteFile, args))
            case EditFile.NAME:
                return self._edit(decode_arguments(EditFile, args))
            case Glob.NAME:
                return self._glob(decode_arguments(Glob, args))
            case Grep.NAME:
                return self._grep(decode_arguments(Grep, args))
            case ListDirectory.NAME:
                return self._list(decode_arguments(ListDirectory, args))
            case Bash.NAME:
                return self._bash(decode_arguments(Bash, args))
            case _:
                raise WorkspaceError(
                    "workspace.no-tool",
                    "there is no such tool",
                    effect="none",
                    advice="use one of those that were offered",
                )

    # Looking ----------------------------------------------------------------------------------------------------------

    def _read(self, args: ReadFile) -> Plan:
        target = self._locator.locate(args.file_path)

        def run() -> ToolOutcome:
            data, _ = read_bytes(target)
            if is_image(data):
                check_image(target, data)
                return ToolOutcome(content=data, is_error=False, effect="none")
            return _looked(number_lines(text_of(target, data), args.offset, args.limit))

        return Plan(_look(ReadFile, target, {target.resource: Permission.READ}), run)

    def _list(self, args: ListDirectory) -> Plan:
        target = self._locator.locate(args.path)
        run = partial(list_directory, self._locator, target)
        return _looking(ListDirectory, target, {target.resource: Permission.LIST}, run)

    def _glob(self, args: Glob) -> Plan:
        target = self._locator.locate(args.path)
        find = partial(glob, self._locator, target, Wildcard(args.pattern), visible(args.pattern))
        run = partial(find, trio.from_thread.check_cancelled)
        return _looking(Glob, target, {target.tree: Permission.LIST}, run)

    def _grep(self, args: Grep) -> Plan:
        target = self._locator.locate(args.path)
        names = Wildcard(args.glob if "/" in args.glob else f"**/{args.glob}") if args.glob else None
        if "\0" in args.pattern:
            raise invalid_arguments("the pattern holds a NUL")
        matcher = Matcher(self._engine, args.pattern, args.context, args.case_insensitive, self._env)
        needs = {target.tree: Permission.READ | Permission.LIST}
        if not target.inside:
            needs[target.resource] = Permission.READ  # it may be a file; that is not looked up before it is decided
        elif self._is_file(target):
            needs = {target.resource: Permission.READ}

        async def search(_: EgressLog) -> ToolOutcome:
            return _looked(await grep(self._locator, target, matcher, names, trio.from_thread.check_cancelled))

        return Plan(_look(Grep, target, needs), lambda: search)

    def _is_file(self, target: Target) -> bool:
        if self._locator.hides(target.root, target.parts):
            return False
        status = target.root.status(target.parts)
        return status is not None and not stat.S_ISDIR(status.st_mode)

    # Changing ---------------------------------------------------------------------------------------------------------

    def _write(self, args: WriteFile) -> Plan:
        data = args.content.encode()

        def run(target: Target, pre: tuple[Pre, ...]) -> str:
            write(target, data, pre, self._keep)
            return f"Wrote {len(data)} bytes to {target.shown}"

        return self._changing(WriteFile, args.file_path, run)

    def _edit(self, args: EditFile) -> Plan:
        def run(target: Target, pre: tuple[Pre, ...]) -> str:
            count = edit(
                target, args.old_string, args.new_string, every=args.replace_all, expected=pre, keep=self._keep
            )
            return f"Replaced {count} occurrences in {target.shown}" if args.replace_all else f"Edited {target.shown}"

        return self._changing(EditFile, args.file_path, run)

    def _changing(self, shape: type[Arguments], path: str, run: Callable[[Target, tuple[Pre, ...]], str]) -> Plan:
        target = self._locator.locate(path)
        fresh = check_writable(target)
        # SAFETY: of a file that no tool may see nothing is looked up: neither the needs nor the time tell whether it
        # is there.
        hidden = self._locator.hides(target.root, target.parts)
        pre = () if hidden else observe_for_write(target.root, target.parts)
        permission = Permission.READ | Permission.WRITE
        if shape is WriteFile:
            there = target.inside and any(found.path == target.path_name and found.ino for found in pre)
            permission = Permission.WRITE if there else Permission.WRITE | Permission.CREATE
        preparation = Preparation(
            needs=_needs({target.resource: permission}),
            pre=pre,
            risk=Risk.HIGH if fresh or not target.inside else Risk.LOW,
            fresh=fresh,
            why=_WHY_PROTECTED if fresh else "",
            controls=((shape.CONTROL[0], target.absolute),),
        )

        def perform() -> ToolOutcome:
            return ToolOutcome(content=run(target, pre).encode(), is_error=False, effect="done")

        return Plan(preparation, perform)

    def _bash(self, args: Bash) -> Plan:
        self._shell.check()  # nobody is asked about what would not be run
        contained = self._shell.contains
        cwd = self._folder(args.cwd)
        if contained:
            touched = self._held(args.command)
        else:
            touched = survey(args.command, self._locator, self._program_folders, cwd.parts)
        leave, beyond = self._beyond(args)
        hosts = self._hosts(args.hosts)
        beyond.update(dict.fromkeys(hosts.values(), Permission.INVOKE))
        named = (("hosts", " ".join(hosts)),) if hosts else ()
        preparation = Preparation(
            needs=_needs({**touched.needs, **beyond}),
            pre=touched.pre,
            cwd_rel="/".join(map(escape, cwd.parts)),
            # What it is to see besides, and whom it reaches, its box holds no longer.
            risk=Risk.MEDIUM if contained and not beyond else Risk.HIGH,
            fresh=not contained,
            why=self._shell.why,
            controls=((Bash.CONTROL[0], args.command), *named),
        )
        root = self._locator.workspace

        async def line(log: EgressLog) -> ToolOutcome:
            serve = self._let_out(tuple(hosts), log) if hosts and self._let_out else None
            return await run_line(
                args.command,
                self._shell,
                workspace=root.text_path,
                folder=root.descriptor,
                env=self._env,
                timeout_ms=args.timeout,
                cwd=os.fsdecode(b"/".join(cwd.parts)),
                leave=msgspec.structs.replace(leave, serve=serve),
            )

        return Plan(preparation, lambda: line)

    def _hosts(self, named: Sequence[str]) -> dict[str, str]:
        """As ``_hosts`` below, where commands can be let out."""
        if named and self._let_out is None:
            raise WorkspaceError(
                "workspace.no-way-out",
                "no host can be let in: commands run here in no box that has a network of its own",
                effect="none",
                advice="leave hosts out",
            )
        return _hosts(named)

    def _folder(self, path: str) -> Target:
        """The folder of the workspace that ``path`` means, to run in."""
        target = self._locator.locate(path)
        if not target.inside or self._locator.hides(target.root, target.parts):
            raise invalid_arguments("`cwd` is no folder of the workspace")
        return target

    def _beyond(self, args: Bash) -> tuple[Leave, dict[str, Permission]]:
        """What the box of a line is to show besides the workspace, and what that needs: whatever the line starts sees
        all of it.
        """
        needs: dict[str, Permission] = {}
        shown: list[list[str]] = []
        for paths, permission in ((args.read, _LENT), (args.write, _LENT_TO_CHANGE)):
            found = [self._locator.locate(path) for path in paths]
            if any(target.inside or (target.kept and permission & Permission.WRITE) for target in found):
                raise invalid_arguments("`read` and `write` name what lies outside of the workspace")
            needs.update({target.tree: needs.get(target.tree, permission) | permission for target in found})
            shown.append([os.fsdecode(b"/" + b"/".join(target.parts)) for target in found])
        return Leave(read=tuple(shown[0]), write=tuple(shown[1])), needs

    def _held(self, command: str) -> Touched:
        """What a line needs whose box holds it: to run in the workspace, whatever it starts and opens there."""
        parse_command(command)  # what cannot be judged, policy could not judge either
        return Touched({self._locator.locate(".").tree: Permission.EXECUTE}, ())


def _hosts(named: Sequence[str]) -> dict[str, str]:
    """The hosts that a line asks for, each with its port, and what they are called as resources."""
    found: dict[str, str] = {}
    for text in named:
        asked = parse_authority(text)
        if asked.address is not None:
            # SAFETY: what may be reached is judged by names; addresses that are written down are mostly inside ones.
            raise invalid_arguments(f"`{visible(text)}` is an address; a host is named")
        port = asked.port or HTTPS
        found[f"{asked.host}:{port}"] = net_resource(asked.host, port).text
    return found


def _looking(shape: type[Arguments], target: Target, needs: Mapping[str, Permission], run: Callable[[], str]) -> Plan:
    """A plan that changes nothing."""
    return Plan(_look(shape, target, needs), lambda: _looked(run()))


def _look(shape: type[Arguments], target: Target, needs: Mapping[str, Permission]) -> Preparation:
    return Preparation(
        needs=_needs(needs),
        risk=Risk.LOW if target.inside else Risk.MEDIUM,
        controls=((shape.CONTROL[0], target.absolute),),
    )


def _looked(text: str) -> ToolOutcome:
    return ToolOutcome(content=text.encode(), is_error=False, effect="none")


def _needs(wanted: Mapping[str, int]) -> tuple[Need, ...]:
    if sum(map(len, wanted)) > MAX_NEEDS_BYTES:
        raise WorkspaceError(
            "workspace.too-much",
            "the call names so much that it cannot be approved",
            effect="none",
            advice="use shorter paths and arguments, or put a long command into a script file",
        )
    return tuple(sorted(Need(resource, int(permission)) for resource, permission in wanted.items()))
