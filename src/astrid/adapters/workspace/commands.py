"""What a shell line would touch: the programs it starts, the files it redirects, the workspace's files it executes.

Never: runs anything, or says that a line is harmless.  It names what can be seen in the line; what a program does with
its arguments cannot, so a person approves each line until the sandbox holds.

How a command becomes a resource:
  A program is named by the path under which the shell finds it, its folder resolved.  Its own last link is kept, since
  programs with many names (busybox) act by the name, unless it leads from the workspace into the workspace.
  A builtin of the shell, and an assignment, is a program in ``/builtin:bash/``, where nothing can be run from.
  A word known only when the line runs is written as what is known of it and ``${...}``; a glob stays as it is.

Not seen are the modules that an interpreter imports, and what a program reads or writes by itself.  Between the last
check and the start of the shell, a process of the same user can still exchange a file: both are the sandbox's part.

SAFETY: two lines may differ in such a word and have one name.  That is sound only while each line is approved by itself
(``fresh``), by the digest of the call, which holds the line.

Source: threats 19, 20; protocol N4 (pre); the first Astrid.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import msgspec

from astrid.adapters.workspace.handles import Parts, Root, split
from astrid.adapters.workspace.observe import MAX_PROGRAM_BYTES, observe, observe_for_write
from astrid.adapters.workspace.paths import Locator, check_writable
from astrid.adapters.workspace.procpath import is_of_a_process
from astrid.core.call import MAX_NEEDS, Pre
from astrid.core.command import CommandLine, Segment, Word, changes_directory, parse_command, writes_and_reads
from astrid.core.resources import exec_resource
from astrid.core.tokens import Permission
from astrid.errors import CommandError, PatternError

BUILTIN_FOLDER = b"/builtin:bash/"
UNKNOWN = "${...}"
MAX_PINNED_BYTES = 1024 * 1024 * 1024
MAX_PINNED_FILES = 256

# What bash itself does when the name has no slash.  Those that change how the rest of the line is read never get here.
_BUILTINS = frozenset(
    ": [ bg break builtin caller cd command continue dirs disown echo exec exit export false fg jobs kill logout popd"
    " printf pushd pwd return shift suspend test time times true type ulimit umask unset wait".split()
)
_INTERPRETER = re.compile(
    r"(?:python|pypy|perl|ruby|node|nodejs|deno|bun|php|lua|luajit|tclsh|bash|sh|dash|ash|zsh|ksh|fish)[0-9.]*"
)
_RECIPES = {
    **dict.fromkeys(("make", "gmake"), (b"GNUmakefile", b"makefile", b"Makefile")),
    **dict.fromkeys(("npm", "npx", "pnpm", "yarn", "bun"), (b"package.json",)),
    "just": (b"justfile", b"Justfile", b".justfile"),
    "rake": (b"Rakefile", b"rakefile", b"Rakefile.rb", b"rakefile.rb"),
    # Even `git status` runs what its configuration names, and hooks.  A slash at the end: every file in there.
    "git": (b".git", b".git/commondir", b".git/config", b".git/config.worktree", b".git/hooks/"),
}
_PLAIN_DEVICES = frozenset(
    f"/dev/{name}" for name in ("null", "zero", "full", "random", "urandom", "stdin", "stdout", "stderr")
)
_KERNEL_FOLDERS = (b"/proc/", b"/sys/", b"/dev/")
_PERMISSIONS = {
    "read": Permission.READ,
    "write": Permission.WRITE | Permission.CREATE,
    "append": Permission.WRITE | Permission.CREATE,
    "readwrite": Permission.READ | Permission.WRITE | Permission.CREATE,
}


@dataclass(frozen=True, slots=True)
class Touched:
    """What a line needs (permissions by resource), and what it found, sorted."""

    needs: dict[str, Permission]
    pre: tuple[Pre, ...]


def survey(line: str, locator: Locator, program_folders: Sequence[str], cwd: Parts = ()) -> Touched:
    """What ``line`` touches when it runs in ``cwd`` below the workspace, as far as it shows.  It looks at files, so it
    belongs into a thread.

    Raises:
        CommandError: the line cannot be judged.
        WorkspaceError: it redirects to a file that no tool may touch.
    """
    return _Survey(parse_command(line), locator, program_folders, cwd).touched()


class _Survey:
    def __init__(self, command: CommandLine, locator: Locator, program_folders: Sequence[str], cwd: Parts) -> None:
        self._command = command
        self._locator = locator
        self._folders = program_folders
        self._needs: dict[str, Permission] = {}
        self._pre: dict[str, Pre] = {}
        self._room_bytes = MAX_PINNED_BYTES
        self._here = b"/" + b"/".join((*locator.workspace.path, *cwd))
        self._bases, self._program_base = self._find_bases()

    def touched(self) -> Touched:
        for segment in self._command.segments:
            self._take_segment(segment)
        interprets = any(_interprets(segment) for segment in self._command.segments)
        if interprets:
            self._take_piped_scripts()
        for redirected in writes_and_reads(self._command):
            self._take_redirection(redirected.path, _PERMISSIONS[redirected.mode], runs=interprets)
        if not self._needs:
            self._need(_exec_text(BUILTIN_FOLDER + b":", ()), Permission.EXECUTE)
        if len(self._needs) > MAX_NEEDS or len(self._pre) > MAX_PINNED_FILES:
            raise CommandError(
                "command.too-many",
                "the line touches too many programs and files",
                advice="split it into several",
            )
        return Touched(self._needs, tuple(sorted(self._pre.values())))

    # Where relative names start --------------------------------------------------------------------------------------

    def _find_bases(self) -> tuple[tuple[bytes, ...], bytes | None]:
        """The folders in which a relative file may be meant, and the one for a relative program; none if unknown."""
        segments = self._command.segments
        movers = [segment for segment in segments if changes_directory(CommandLine(segments=(segment,)))]
        if not movers:
            return (self._here,), self._here
        first, *rest = segments
        words = [word.literal for word in first.argv]
        plain = len(movers) == 1 and movers[0] is first and first.depth == 0 and not first.background
        if not plain or len(words) != 2 or words[0] != "cd" or not words[1] or words[1].startswith("-"):
            return (), None
        there = _real_path(os.path.join(self._here, _without_climbing(words[1])))
        # Only if everything hangs on the success of `cd` is it certain where a relative program is looked for.
        certain = all(segment.operator_before in ("&&", "|", "|&", "") for segment in rest)
        return (there, self._here), there if certain and rest and rest[0].operator_before == "&&" else None

    # Programs --------------------------------------------------------------------------------------------------------

    def _take_segment(self, segment: Segment) -> None:
        if segment.assignments:
            words = [
                msgspec.structs.replace(
                    assignment.value,
                    text=None if assignment.value.text is None else f"{assignment.name}={assignment.value.text}",
                    prefix=f"{assignment.name}={assignment.value.prefix}",
                )
                for assignment in segment.assignments
            ]
            self._need(_exec_text(BUILTIN_FOLDER + b"assign", words), Permission.EXECUTE)
        if not segment.argv:
            return
        program = self._program(segment)
        self._need(_exec_text(program, segment.argv[1:]), Permission.EXECUTE)
        name = os.path.basename(segment.program)
        if _interprets(segment):
            self._take_script(segment)
        if name in _RECIPES:
            self._take_recipe(segment, _RECIPES[name])

    def _program(self, segment: Segment) -> bytes:
        name = segment.program
        if "/" in name:
            return self._program_at(name)
        found = next((path for folder in self._folders if _is_program(path := os.path.join(folder, name))), None)
        # What another program starts for the line (`env echo`) is a program, if there is one.
        if name in _BUILTINS and (segment.via != "wrapper" or found is None):
            return BUILTIN_FOLDER + name.encode()
        if found is None:
            raise CommandError(
                "command.unknown-program",
                f"no program `{name}` in the system's folders",
                advice="name a program of the workspace by its path",
            )
        return self._resolved_program(os.fsencode(found))

    def _program_at(self, name: str) -> bytes:
        if not name.startswith("/") and self._program_base is None:
            raise _moved()
        return self._resolved_program(os.path.join(self._program_base or b"/", name.encode()))

    def _resolved_program(self, path: bytes) -> bytes:
        real = _real_path(path)
        named = os.path.join(_real_path(os.path.dirname(path)), os.path.basename(path))
        if named.startswith(_KERNEL_FOLDERS) or real.startswith(_KERNEL_FOLDERS):
            raise CommandError(
                "command.kernel-program", "a program in /proc, /sys or /dev", advice="name its real path"
            )
        if not self._in_workspace(named) and not self._in_workspace(real):
            return named
        self._pin(real)
        return real if self._in_workspace(real) else named

    def _in_workspace(self, path: bytes) -> bool:
        parts = split(path)
        return parts[: len(self._locator.workspace.path)] == self._locator.workspace.path

    # What programs read their instructions from ----------------------------------------------------------------------

    def _take_script(self, segment: Segment) -> None:
        """Pin every file that an interpreter's arguments name: which one is the script, only its options tell."""
        operands = [word for word in segment.argv[1:] if not word.prefix.startswith("-")]
        if operands and operands[0].literal is None:
            raise CommandError(
                "command.dynamic-script",
                "what the interpreter would run is known only when the line runs",
                advice="name the script, or write the code to a file and name that",
            )
        for word in _literals(segment):
            for path in self._meant(word):
                mine = self._in_workspace(path) or (bool(operands) and word == operands[0].literal)
                if mine and os.path.isfile(path):
                    self._pin(path)

    def _take_piped_scripts(self) -> None:
        """Pin what any word of the line names in the workspace: an interpreter may get it through a pipe."""
        for segment in self._command.segments:
            for path in (path for word in _literals(segment) for path in self._lying(word)):
                self._pin(path)

    def _lying(self, word: str) -> Iterator[bytes]:
        """The files of the workspace that ``word`` may mean."""
        for base in () if word in _PLAIN_DEVICES else self._bases:
            path = _real_path(os.path.join(base, word.encode()))
            if self._in_workspace(path) and os.path.isfile(path):
                yield path

    def _take_recipe(self, segment: Segment, names: tuple[bytes, ...]) -> None:
        """Pin the files that say what ``make`` and its like do, also those that are not there: one may appear."""
        folders = set(self._bases)
        for word in _literals(segment):
            for path in self._meant(word):
                if os.path.isdir(path):
                    folders.add(path)
                elif os.path.isfile(path):
                    self._pin(path)
        for folder in folders:
            for name in names:
                for path in _files(os.path.join(folder, name)):
                    self._pin(_real_path(path))

    def _meant(self, word: str) -> Iterator[bytes]:
        """The paths that ``word``, or what stands behind its option, may mean."""
        texts = [word, word.partition("=")[2], word[2:]] if word.startswith("-") else [word, word.partition("=")[2]]
        for text in (text for text in texts if text and text not in _PLAIN_DEVICES):
            if not text.startswith("/") and not self._bases:
                if word.startswith("-"):
                    continue
                raise _moved()
            for base in self._bases or (b"/",):
                yield _real_path(os.path.join(base, text.encode()))

    def _pin(self, path: bytes) -> None:
        """Put what ``path``, which has no links, holds now into the call."""
        root, parts = self._handle(path)
        status = root.status(parts)
        if status is not None and stat.S_ISREG(status.st_mode):
            self._room_bytes -= status.st_size
            if self._room_bytes < 0 or status.st_size > MAX_PROGRAM_BYTES:
                raise CommandError(
                    "command.too-large", "the line runs files too large to be checked", advice="run a smaller one"
                )
        found = observe(root, parts, max_bytes=MAX_PROGRAM_BYTES)
        self._pre[found.path] = found

    def _handle(self, path: bytes) -> tuple[Root, Parts]:
        parts = split(path)
        workspace = self._locator.workspace
        if self._in_workspace(path):
            return workspace, parts[len(workspace.path) :]
        return self._locator.system, parts

    # Redirections ----------------------------------------------------------------------------------------------------

    def _take_redirection(self, path: str | None, permission: Permission, *, runs: bool) -> None:
        if path is None:
            raise CommandError(
                "command.redirection",
                "a redirection to a file that is known only when the line runs",
                advice="name the file, from the workspace's root and without cd",
            )
        if path in _PLAIN_DEVICES:
            return
        real = _real_path(os.path.join(self._here, path.encode()))
        target = self._locator.find(split(real), path)
        self._need(target.resource, permission)
        if runs and not permission & Permission.WRITE and not self._locator.hides(target.root, target.parts):
            self._pin(real)
        if permission & Permission.WRITE:
            check_writable(target)
            if not self._locator.hides(target.root, target.parts):
                self._pre.update((found.path, found) for found in observe_for_write(target.root, target.parts))

    def _need(self, resource: str, permission: Permission) -> None:
        self._needs[resource] = self._needs.get(resource, permission) | permission


def _exec_text(program: bytes, words: Iterable[Word]) -> str:
    """The need to run ``program`` with ``words``."""
    shown = [f"{word.prefix}{UNKNOWN}" if word.text is None else word.text for word in words]
    try:
        resource = exec_resource(program, shown)
    except PatternError as error:
        raise CommandError(
            "command.no-resource",
            f"the command cannot be named: {error.message}",
            advice="put long texts into a file",
        ) from error
    if resource.suspicious:
        raise CommandError(
            "command.odd-characters",
            "an argument holds characters that are invisible, or that turn into others",
            advice="use plain characters, or put the text into a file",
        )
    return resource.text


def _real_path(path: bytes) -> bytes:
    """``path`` as the system would resolve it now, for whatever process.

    Raises:
        CommandError: a link on it may not be read, or it leads through the folder of one process in /proc.
    """
    try:
        if is_of_a_process(path):
            raise CommandError(
                "command.process-path",
                "a path through /proc, where it means another file to each process",
                advice="name the real path",
            )
        return os.path.realpath(path)
    except OSError as error:
        raise CommandError(
            "command.unresolved", "a path in the line cannot be resolved", advice="name a file that can be read"
        ) from error


def _without_climbing(word: str) -> bytes:
    """The folder of a ``cd``.

    Raises:
        CommandError: ``..`` after a name: the shell takes the name away, the system would first follow it as a link.
    """
    names = split(word.encode())
    while names[:1] == (b"..",):
        names = names[1:]
    if b".." in names:
        raise CommandError("command.dots", "`cd` into a folder and back", advice="write the path without `..`")
    return word.encode()


def _interprets(segment: Segment) -> bool:
    return _INTERPRETER.fullmatch(os.path.basename(segment.program)) is not None


def _literals(segment: Segment) -> list[str]:
    return [word.literal for word in segment.argv[1:] if word.literal]


def _files(path: bytes) -> list[bytes]:
    """``path`` itself; if it ends in a slash, every file in there but samples, which are for people to read."""
    if not path.endswith(b"/"):
        return [path]
    try:
        return [path + name for name in os.listdir(path) if not name.endswith(b".sample")]
    except OSError:  # it is not there, or nothing in there can be run by us either
        return []


def _is_program(path: str) -> bool:
    return os.path.isfile(path) and os.access(path, os.X_OK)


def _moved() -> CommandError:
    return CommandError(
        "command.moved",
        "the line changes the folder and then names a file from there",
        advice="name files from the workspace's root, without cd; or begin the line with `cd FOLDER &&`",
    )
