"""A folder held open, and everything below it opened from there.

Never: follows a link while opening, trusts a path that was resolved earlier, or leaves the folder.

Links are followed only while a path is *resolved*, which yields a path without links; that path is what is decided on
and what is opened. Whoever swaps a link in between makes the opening fail, never go elsewhere.

Invariants:
  what ``open_folder`` and ``open_file`` return was reached from the folder's descriptor through real folders only.
  ``resolve(parts)`` has no ``..`` and no component that was a link when it was looked at.

Source: threats 19, 21; openat2(2), path_resolution(7).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

from astrid.adapters.workspace.openers import (
    FOLDER,
    NO_LINK,
    READ,
    Opener,
    Parts,
    kernel_opens,
    open_by_walking,
    open_in_kernel,
)
from astrid.errors import InternalError, WorkspaceError

MAX_LINKS = 40

__all__ = ["FOLDER", "READ", "Opener", "Parts", "Root", "check_outside", "split"]


class Root:
    """A folder, held open from the moment it was chosen."""

    def __init__(self, descriptor: int, path: Parts, aliases: tuple[Parts, ...], opener: Opener) -> None:
        """``path`` is where the folder is, without links; ``aliases`` are further absolute spellings that mean it."""
        self.descriptor = descriptor
        self.path = path
        self.spellings = (path, *aliases)
        self._opener = opener
        status = os.fstat(descriptor)
        self.dev, self.ino = status.st_dev, status.st_ino

    @classmethod
    def of_system(cls, opener: Opener | None = None) -> Root:
        """The folder ``/``: for paths outside the workspace, that a person approved."""
        descriptor = os.open(b"/", FOLDER | NO_LINK)
        return cls(descriptor, (), (), opener or (open_in_kernel if kernel_opens(descriptor) else open_by_walking))

    @classmethod
    def open(cls, path: Path, opener: Opener | None = None) -> Root:
        """The folder at ``path``, whose links are followed now and never again.

        Raises:
            WorkspaceError: there is no such folder, or it cannot be read; or it is ``/``, which is no workspace.
        """
        top = cls.of_system(opener)
        try:
            real = split(os.path.realpath(os.fsencode(path), strict=True))
            if not real:
                raise WorkspaceError(
                    "workspace.root",
                    "the whole file system is no workspace",
                    effect="none",
                    advice="choose a project folder",
                )
            os.close(top.open_folder(real, os.O_RDONLY | os.O_DIRECTORY))  # readable?
            alias = split(os.path.abspath(os.fsencode(path)))
            return cls(top.open_folder(real), real, () if alias == real else (alias,), top._opener)
        except OSError as error:
            raise WorkspaceError(
                "workspace.cannot-open",
                f"the workspace `{path}` cannot be opened: {(error.strerror or 'it is no path').lower()}",
                effect="none",
                advice="name an existing folder that you may read",
            ) from error
        finally:
            top.close()

    def close(self) -> None:
        """Give the folder back.  Twice is once."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1

    @property
    def text_path(self) -> str:
        """The folder's absolute path, for the operating system."""
        return "/" + os.fsdecode(b"/".join(self.path))

    def check_in_place(self) -> None:
        """Return if the folder still is where it was opened, since resources are named by that path.

        Raises:
            WorkspaceError: it was moved, removed or replaced.
        """
        top = Root.of_system(self._opener)
        try:
            with top.folder(self.path) as descriptor:
                status = os.fstat(descriptor)
            if (status.st_dev, status.st_ino) == (self.dev, self.ino):
                return
        except OSError:
            pass  # not there, or no longer a folder: the same answer
        finally:
            top.close()
        raise WorkspaceError(
            "workspace.moved",
            "the workspace folder was moved or replaced",
            effect="none",
            advice="start a new session in the folder",
        )

    def open_folder(self, parts: Parts, flags: int = FOLDER) -> int:
        """A descriptor of the folder ``parts``.

        Raises:
            OSError: ``ELOOP`` when a component is a link, ``ENOTDIR`` and ``ENOENT`` as usual.
        """
        return self._opener(self.descriptor, _checked(parts), flags)

    def open_file(self, parts: Parts) -> int:
        """A descriptor for reading ``parts``, whatever kind of thing it is; the caller looks at ``fstat``.

        Raises:
            OSError: ``ELOOP`` when a component is a link, others as usual.
        """
        return self._opener(self.descriptor, _checked(parts), READ)

    @contextmanager
    def folder(self, parts: Parts, flags: int = FOLDER) -> Generator[int]:
        """``open_folder`` for the length of a block."""
        descriptor = self.open_folder(parts, flags)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    @contextmanager
    def file(self, parts: Parts) -> Generator[int]:
        """``open_file`` for the length of a block."""
        descriptor = self.open_file(parts)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def status(self, parts: Parts) -> os.stat_result | None:
        """What ``parts`` is, a link being a link; ``None`` when it is not there or cannot be looked at."""
        try:
            with self.folder(parts[:-1]) as folder:
                return os.stat(parts[-1] if parts else b".", dir_fd=folder, follow_symlinks=False)
        except OSError:
            return None

    def resolve(self, parts: Parts, blind: Callable[[Parts], bool]) -> Parts:
        """``parts`` with every link inside the folder followed.  What is not there stays as it is written.

        Nothing below a path for which ``blind`` holds is looked at, so that the answer says nothing about it.

        Raises:
            WorkspaceError: a link leads out of the folder, or links lead in a circle.
        """
        todo = list(reversed(parts))
        real: list[bytes] = []
        links = 0
        unseen = False  # once a name is blind, so is all below it
        while todo:
            name = todo.pop()
            if name == b"..":  # only a link's target holds one
                if not real:
                    raise _escape()
                real.pop()
                continue
            here = (*real, name)
            unseen = unseen or blind(here)
            target = None if unseen else self._link_target(here)
            if target is None:
                real.append(name)
                continue
            links += 1
            if links > MAX_LINKS:
                raise WorkspaceError(
                    "workspace.link-loop",
                    "the path goes through too many links",
                    effect="none",
                    advice="name the real file",
                )
            steps = [step for step in target.split(b"/") if step not in (b"", b".")]
            if target.startswith(b"/"):
                steps = list(self._below(steps))
                real.clear()
            todo.extend(reversed(steps))
        return tuple(real)

    def _below(self, steps: list[bytes]) -> list[bytes]:
        for spelling in self.spellings:
            if tuple(steps[: len(spelling)]) == spelling:
                return steps[len(spelling) :]
        raise _escape()

    def _link_target(self, parts: Parts) -> bytes | None:
        try:
            with self.folder(parts[:-1]) as folder:
                return os.readlink(parts[-1], dir_fd=folder)
        except OSError:  # no link, not there, or not to be looked at: the opening will tell
            return None


def split(path: bytes) -> Parts:
    """The components of a path, without empty ones and ``.``."""
    return tuple(part for part in path.split(b"/") if part not in (b"", b"."))


def _checked(parts: Parts) -> Parts:
    # SAFETY: the walk opens each part by name; a part that is itself a path would be followed by the system, links
    # and all.
    for part in parts:
        if part in (b"", b".", b"..") or b"/" in part or b"\0" in part:
            raise InternalError("internal.path-part", "a path component is itself a path", part=part)
    return parts


def check_outside(home: Path, root: Path) -> None:
    """Return if Astrid's home and the workspace are apart: what tools may write must never hold keys, policy or the
    log.

    Raises:
        WorkspaceError: one of the two lies in the other.
    """
    try:
        real_home, real_root = (split(os.path.realpath(os.fsencode(path))) for path in (home, root))
    except OSError as error:
        raise WorkspaceError(
            "workspace.cannot-open",
            f"`{home}` or `{root}` cannot be resolved",
            effect="none",
            advice="name folders that you may read",
        ) from error
    shorter = min(len(real_home), len(real_root))
    if real_home[:shorter] == real_root[:shorter]:
        raise WorkspaceError(
            "workspace.home-inside",
            f"the workspace `{root}` and Astrid's home `{home}` lie in each other",
            effect="none",
            advice="choose a workspace that neither holds Astrid's home nor lies in it",
        )


def _escape() -> WorkspaceError:
    return WorkspaceError(
        "workspace.escape",
        "a link on the path leads out of the workspace",
        effect="none",
        advice="name the file itself by its absolute path if it is needed",
    )
