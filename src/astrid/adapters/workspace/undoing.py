"""Putting files of the workspace back to what they held, through the same handles and checks as a tool's writes.

Never: touches a file outside the workspace, through a link, or one that no tool may see or write; or one that does not
hold what it is said to hold.

Source: architecture 7; threats 19, 21, 37.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable

from astrid.adapters.workspace.arguments import EditFile, WriteFile, decode_arguments
from astrid.adapters.workspace.handles import split
from astrid.adapters.workspace.observe import observe, observe_for_write
from astrid.adapters.workspace.paths import Locator, Target, check_writable
from astrid.adapters.workspace.text import visible_name
from astrid.adapters.workspace.writing import Keep, changed, remove, write
from astrid.core.call import Call, Pre
from astrid.core.resources import parse_resource, path_of
from astrid.core.undo import Change, Undo
from astrid.errors import WorkspaceError

Kept = Callable[[bytes], bytes | None]
CHANGING = frozenset({WriteFile.NAME, EditFile.NAME})


class Undoer:
    """See the module.  ``kept`` gives content by its SHA-256 as long as it is kept, ``keep`` keeps what is replaced.

    It looks at files, so it belongs into a thread.
    """

    def __init__(self, locator: Locator, kept: Kept, keep: Keep) -> None:
        self._locator = locator
        self._kept = kept
        self._keep = keep

    def change_of(self, call: Call, sure: bool) -> Change | None:
        """What a call that wrote or edited a file did to it; ``None`` if the file does not lie in the workspace.

        Raises:
            CanonError, PatternError, WorkspaceError: it is no such call.
        """
        path = call.needs[0].resource.removeprefix("file://")
        if not self._is_inside(_parts(path)):
            return None
        found = next((pre for pre in call.pre if pre.path == path), None)
        before = None if found is None or (found.ino and not found.content) else found.content
        return Change(path, before, self._left_by(call, before), sure=sure)

    def _left_by(self, call: Call, before: bytes | None) -> bytes | None:
        if call.tool == WriteFile.NAME:
            return _sha256(decode_arguments(WriteFile, call.args).content.encode())
        held = self._kept(before) if before else None
        if held is None:
            return None
        args = decode_arguments(EditFile, call.args)
        return _sha256(held.decode("utf-8", "replace").replace(args.old_string, args.new_string).encode())

    def held(self, path: str) -> bytes | None:
        """The SHA-256 of what the file at ``path`` holds, empty if it is not there; ``None`` if that cannot be told, or
        nobody may be told.
        """
        try:
            target = self._target(path)
        except WorkspaceError:
            return None
        return _held(observe(target.root, target.parts))

    def is_kept(self, digest: bytes) -> bool:
        """Whether a file can be given the content with this SHA-256."""
        return not digest or self._kept(digest) is not None

    def hold(self, undos: Iterable[Undo]) -> None:
        """Have the content that these need be what is thrown away last.

        Raises:
            ConfigError: it cannot be.
        """
        for undo in undos:
            content = self._kept(undo.then) if undo.then else None
            if content is not None:
                self._keep(content)

    def put_back(self, undo: Undo) -> None:
        """Give a file the content that it is to have, if it holds what it is said to hold.

        Raises:
            WorkspaceError: it does not, or cannot be changed; ``effect`` is exact.
        """
        target = self._target(undo.path)
        check_writable(target)
        expected = observe_for_write(target.root, target.parts)
        was = next(pre for pre in expected if pre.path == target.path_name)
        if _held(was) != undo.now:
            raise changed()
        if not undo.then:
            remove(target, was, self._keep)
            return
        content = self._kept(undo.then)
        if content is None:
            raise WorkspaceError(
                "workspace.not-kept",
                f"what {target.shown} held is not kept any more",
                effect="none",
                advice="keep more: workspace.keep_mb",
            )
        write(target, content, expected, self._keep)

    def _is_inside(self, parts: tuple[bytes, ...]) -> bool:
        root = self._locator.workspace.path
        return len(parts) > len(root) and parts[: len(root)] == root

    def _target(self, path: str) -> Target:
        """The file, which lies where its path says: in the workspace, with no link on the way."""
        parts = _parts(path)
        self._locator.workspace.check_in_place()
        target = self._locator.find(parts, shown_path(path))
        real = (*target.root.path, *target.parts)
        # SAFETY: the path was free of links when the call was decided; a link that came since leads elsewhere.
        if not target.inside or real != parts or self._locator.hides(target.root, target.parts):
            raise changed()
        return target


def shown_path(path: str) -> str:
    """A path as it stands in preconditions, for people."""
    return visible_name(path_of(parse_resource(f"file://{path}")))


def _parts(path: str) -> tuple[bytes, ...]:
    return split(path_of(parse_resource(f"file://{path}")))


def _held(found: Pre) -> bytes | None:
    return None if found.ino and not found.content else found.content


def _sha256(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()
