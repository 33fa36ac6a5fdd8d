"""The box on macOS: the command that runs a program under ``sandbox-exec``, with its rules.  Pure.

Rules are a text in a language, and paths are others' text: a path is never part of the rules.  They name parameters
only, and the paths go beside them, one argument each; so the rules depend on how many paths there are, and on nothing
that anybody could have put into one.  The last rule that matches decides.

Never: pastes a path into the rules, or resolves one: each comes as the kernel knows it (``/private/tmp``).

Source: sandbox-exec(1), sandbox(7); the rules of other agents for the same system.  Nobody has yet shown them on a Mac.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from astrid.adapters.sandbox.cage.requests import Floor, RequestError, exposes, forbidden_workspace
from astrid.box_ports import Box
from astrid.core.protected import OCCUPIED

PROGRAM = "/usr/bin/sandbox-exec"
# Without the first import no program gets as far as its first line.  What it opens beyond files is closed again.
_BEGINNING = """\
(version 1)
(deny default)
(import "system.sb")
(deny network*)
(deny system-socket)
(deny signal)
(allow signal (target same-sandbox))
(allow process-info* (target same-sandbox))
(allow process-fork)
(allow sysctl-read)
(allow file-read* file-write-data (literal "/dev/null") (literal "/dev/zero"))
(allow file-read* (literal "/") (literal "/dev/random") (literal "/dev/urandom"))
(allow file-read* (literal "/private/var/select/sh") (literal "/private/var/db/xcode_select_link"))
"""
# What is there on every such machine, and nobody's secret.
_SYSTEM = ("/System", "/Library/Apple", "/Library/Developer", "/opt/homebrew", "/private/var/db/dyld")
# The shell lays the limits, since nothing of ours runs in between; a number is no path, and is given beside as well.
_LIMITED = 'ulimit -c 0 && ulimit -t "$1" && ulimit -n "$2" && ulimit -f "$3" || exit 126; shift 3; exec "$@"'
_BLOCK_BYTES = 1024


class Wrapped(NamedTuple):
    """A command that closes the box and then runs the program; the rules in it, and the paths by their names there."""

    argv: tuple[str, ...]
    rules: str
    paths: Mapping[str, str]


def wrap(argv: Sequence[str], box: Box, *, scratch: str, protect: Sequence[str], never: Sequence[str]) -> Wrapped:
    """How ``argv`` is run in ``box``.  ``scratch`` is for its temporary files, ``protect`` are names in the workspace
    that it must not change beside those that are protected in any case, ``never`` is what it must not see.

    Raises:
        RequestError: the box would show what is never exposed.
    """
    _check(box, never)
    named = {
        "RUN": [*box.run, *box.lent],
        "READ": [*box.read],
        "WRITE": [box.workspace, scratch, *box.write],
        "PROTECT": [f"{box.workspace}/{name}" for name in protect],
        "PINNED": [box.workspace, *(f"{box.workspace}/{name}" for name in _parents(protect))],
        "NEVER": list(never),
    }
    paths = {f"{kind}_{place}": path for kind, some in named.items() for place, path in enumerate(some)}
    rules = _rules({kind: len(some) for kind, some in named.items()})
    given = [part for name, path in paths.items() for part in ("-D", f"{name}={path}")]
    limits = [str(box.limits["cpu"]), str(box.limits["nofile"]), str(box.limits["fsize"] // _BLOCK_BYTES)]
    shell = ("/bin/sh", "-c", _LIMITED, "sh", *limits)
    return Wrapped((PROGRAM, "-p", rules, *given, "--", *shell, *argv), rules, paths)


def _check(box: Box, never: Sequence[str]) -> None:
    # SAFETY: two spellings are one file here, so what is never exposed is compared without case.
    floor = Floor("l0", tuple(map(_fold, never)))
    if forbidden_workspace(_fold(box.workspace), floor, "l0"):
        raise RequestError("the workspace is never exposed, or holds what is")
    if any(exposes(_fold(path), floor) for path in (*box.run, *box.read, *box.lent, *box.write)):
        raise RequestError("a path is at, below or above one that is never exposed")


def _fold(path: str) -> str:
    return unicodedata.normalize("NFC", path).casefold()


def _parents(names: Iterable[str]) -> list[str]:
    """Each folder on the way to one of ``names``, once."""
    ways = (name.split("/") for name in names)
    return sorted({"/".join(way[:count]) for way in ways for count in range(1, len(way))})


def _rules(counts: Mapping[str, int]) -> str:
    def paths(kind: str, filter_: str = "subpath") -> str:
        return " ".join(f'({filter_} (param "{kind}_{place}"))' for place in range(counts[kind]))

    def rule(what: str, where: str) -> str:
        return f"({what} {where})\n" if where else ""

    system = " ".join(f'(subpath "{path}")' for path in _SYSTEM)
    return _BEGINNING + "".join(
        (
            rule("allow file-read* process-exec*", system),
            rule("allow file-read* process-exec*", paths("RUN")),
            rule("allow file-read*", paths("READ")),
            rule("allow file-read* file-write* process-exec*", paths("WRITE")),
            rule("allow file-read-metadata", paths("WRITE", "path-ancestors")),
            "(deny file-write-setugid)\n",
            rule("deny file-write*", paths("PROTECT")),
            rule("deny file-write*", _in_any_case(OCCUPIED, "(/|$)")),
            # What a folder holds is moved with it: no part of the way can be, neither away nor there.
            rule("deny file-write-create file-write-unlink", paths("PINNED", "literal")),
            rule("deny file-write-create file-write-unlink", _in_any_case(_parents(OCCUPIED), "$")),
            rule("deny file-read* file-write* process-exec*", paths("NEVER")),
        )
    )


def _in_any_case(names: Iterable[str], end: str) -> str:
    """Our own ``names`` in the workspace, which are there or not and however they are spelt, up to ``end``."""
    start = 'regex (string-append "^" (regex-quote (param "WRITE_0"))'
    return " ".join(f'({start} #"/{"".join(map(_any_case, name))}{end}"))' for name in names)


def _any_case(character: str) -> str:
    if character.isalpha():
        return f"[{character.lower()}{character.upper()}]"
    return f"[{character}]" if character == "." else character
