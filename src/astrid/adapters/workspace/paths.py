"""From the text of a path argument to the thing it means: a folder handle and a path below it without links.

Never: opens what it names, or says whether something outside the workspace exists.

Relative paths start at the workspace's root, never where the process happens to be.  ``..`` is taken away in the
text, before any link is looked at, so that inside and outside are told apart by the text alone.  Inside, links are
followed (``handles``); outside none is: such a path means exactly what it says, and opening it fails when a component
is a link.

Source: the first Astrid (paths resolved against the process's folder); threats 21, 37, 40.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from astrid.adapters.workspace.handles import Parts, Root, split
from astrid.adapters.workspace.text import visible_name
from astrid.core.protected import Protection, classify_write
from astrid.core.resources import Resource, file_resource
from astrid.errors import PatternError, WorkspaceError

MAX_PATH_BYTES = 4095
MAX_NAME_BYTES = 255
# SAFETY: files here are the kernel talking; /proc/PID/environ and /proc/PID/mem of the daemon are among them.
_KERNEL_FOLDERS = frozenset({b"proc", b"sys", b"dev"})

HiddenRule = Callable[[str], bool]
"""Whether policy denies the file with this resource text, so that it must not even be listed."""


@dataclass(frozen=True, slots=True)
class Target:
    """What a path argument means.  ``shown`` is the argument, fit to be shown; ``parts`` lie below ``root`` and
    hold no link.  ``kept``: no tool may ever write it, whatever its name."""

    root: Root
    parts: Parts
    inside: bool
    shown: str
    kept: bool = False

    @property
    def absolute(self) -> str:
        """The absolute path, fit to be shown."""
        return visible_name(b"/" + b"/".join((*self.root.path, *self.parts)))

    @property
    def resource(self) -> str:
        """The resource text of the file or folder itself."""
        return name_of(self.root, self.parts).text

    @property
    def path_name(self) -> str:
        """The path as it stands in resources and preconditions."""
        return path_name(self.root, self.parts)

    @property
    def tree(self) -> str:
        """The resource text of the folder and everything below it."""
        text = self.resource
        return f"{text}**" if text.endswith("://") else f"{text}/**"


def name_of(root: Root, parts: Parts) -> Resource:
    """The resource of ``parts`` below ``root``."""
    return file_resource(b"/" + b"/".join((*root.path, *parts)))


def path_name(root: Root, parts: Parts) -> str:
    """The path of ``parts`` below ``root`` as it stands in resources and preconditions: escaped, without the
    leading slash."""
    return name_of(root, parts).text.removeprefix("file://")


class Locator:
    """Finds what paths mean, for one workspace."""

    def __init__(
        self, workspace: Root, system: Root, home: Path, hidden: HiddenRule, kept: Iterable[Path] = ()
    ) -> None:
        """``home`` is what ``~/`` means; below the folders ``kept``, which need not be there, no tool writes.

        Raises:
            WorkspaceError: the workspace's own path holds characters that no resource may hold.
        """
        self.workspace = workspace
        self.system = system
        self._home = split(os.fsencode(home))
        self._hidden = hidden
        self._kept = tuple(split(os.path.realpath(os.fsencode(folder))) for folder in kept)
        _check_plain(workspace, ())

    def locate(self, text: str) -> Target:
        """What ``text`` means.  It may look at links inside the workspace, so it belongs into a thread.

        Raises:
            WorkspaceError: no path, one that leads out through a link, or one with characters that hide what it is.
        """
        return self.find(self._absolute(text), text)

    def find(self, path: Parts, shown: str) -> Target:
        """What the absolute ``path`` means; ``shown`` is what the caller wrote.

        Raises:
            WorkspaceError: as ``locate``.
        """
        for spelling in self.workspace.spellings:
            if path[: len(spelling)] == spelling:
                parts = self.workspace.resolve(path[len(spelling) :], self.is_hidden)
                return self._target(self.workspace, parts, shown)
        if path and path[0] in _KERNEL_FOLDERS:
            raise WorkspaceError(
                "workspace.kernel-files",
                "the tools do not touch /proc, /sys and /dev",
                effect="none",
                advice="use a command if it is needed",
            )
        return self._target(self.system, path, shown)

    def holds(self, folder: Path) -> bool:
        """Whether ``folder`` really lies in the workspace.

        Raises:
            OSError: it cannot be resolved.
        """
        return split(os.path.realpath(os.fsencode(folder)))[: len(self.workspace.path)] == self.workspace.path

    def is_hidden(self, parts: Parts) -> bool:
        """Whether the workspace's ``parts`` must not be looked at."""
        return self.hides(self.workspace, parts)

    def hides(self, root: Root, parts: Parts) -> bool:
        """Whether ``parts`` below ``root`` must not be looked at: policy denies it, or its name is so odd that no rule
        matches it."""
        try:
            resource = name_of(root, parts)
        except PatternError:  # deeper or longer than any resource, so nothing could permit it either
            return True
        return resource.suspicious or self._hidden(resource.text)

    def _target(self, root: Root, parts: Parts, shown: str) -> Target:
        if len(b"/".join((*root.path, *parts))) > MAX_PATH_BYTES or any(len(part) > MAX_NAME_BYTES for part in parts):
            raise _no_path("the path or one of its names is too long")
        _check_plain(root, parts)
        whole = (*root.path, *parts)
        kept = any(whole[: len(folder)] == folder for folder in self._kept)
        return Target(root, parts, root is self.workspace, visible_name(shown.encode()), kept)

    def _absolute(self, text: str) -> Parts:
        if not text or "\0" in text:
            raise _no_path("a path is neither empty nor does it hold a NUL")
        steps = split(text.encode())
        if text.startswith("/"):
            return _without_dots((), steps)
        if steps and steps[0] == b"~":
            return _without_dots(self._home, steps[1:])
        if text.startswith("~"):
            raise _no_path("only `~/` is understood, not another user's home")
        return _without_dots(self.workspace.path, steps)


def _without_dots(base: Parts, steps: Parts) -> Parts:
    path = list(base)
    for step in steps:
        if step != b"..":
            path.append(step)
        elif path:
            path.pop()
    return tuple(path)


def _check_plain(root: Root, parts: Parts) -> None:
    try:
        suspicious = name_of(root, parts).suspicious
    except PatternError as error:
        raise _no_path("the path is too long or too deep") from error
    if suspicious:
        raise WorkspaceError(
            "workspace.odd-name",
            "the path holds characters that are invisible, or that turn into others",
            effect="none",
            advice="use plain letters; a command can rename the file",
        )


def _no_path(reason: str) -> WorkspaceError:
    return WorkspaceError("workspace.path", reason, effect="none", advice="give a path relative to the workspace")


def check_writable(target: Target) -> bool:
    """Whether a write of ``target`` takes a person's fresh approval, because of what its name makes other programs do.

    Raises:
        WorkspaceError: no tool may ever write it.
    """
    if target.kept:
        raise WorkspaceError(
            "workspace.own-code",
            "the tools never write what Astrid itself runs from",
            effect="none",
            advice="work in a folder in which Astrid is not installed",
        )
    names, above = (tuple(name.decode() for name in names) for names in (target.parts, target.root.path))
    protection = classify_write(names, above)
    if protection is Protection.NEVER:
        raise WorkspaceError(
            "workspace.protected",
            "the tools never write this file",
            effect="none",
            advice="ask the person to change it",
        )
    return protection is Protection.ASK
