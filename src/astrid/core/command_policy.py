"""What an administrator's list of blocked commands says about a line, and which files its redirections open.  Pure.

Never: resolves a path, or knows what a program does with its words.

An entry of one word names a program: it matches a command whose base name is that word, or that word, a dot and more
(`mkfs.ext4`), letter case aside, wherever in the line it would run.

An entry of several words matches a command of the same program if the entry's options and operands are all among the
command's:
  options     in any order and place before `--`; `-rf` is `-r` and `-f`; a long option is its short one where `_LONG`
              says so, also abbreviated, and else must be spelled alike; what follows a `=` does not count;
  operands    the others, in any order: spelled alike, or the same number with leading zeros; if the entry's begins with
              a slash, the same path when `.`, `..` and double slashes are gone.  A path that climbs (`../..`), or any
              relative path after a `cd` to a place that may be the root, is taken from the root; a home directory may
              be the root.
  dynamic     a word known only when it runs counts for one missing operand, or all missing options, that it may be; if
              it may split into several words, for all.  A glob counts for an operand with a glob in the same directory.
Whatever else the command has, does not save it.

Source: the first Astrid (default list).
"""

from __future__ import annotations

import re
from typing import Literal

from astrid.core.command_model import CommandLine, Redirected, Segment, Word, basename
from astrid.errors import CommandError

_LONG = {
    "rm": {"recursive": "r", "force": "f", "dir": "d", "interactive": "i", "verbose": "v", "R": "r"},
    "chmod": {"recursive": "R", "changes": "c", "verbose": "v", "quiet": "f", "silent": "f"},
    "chown": {"recursive": "R", "changes": "c", "verbose": "v", "quiet": "f", "silent": "f", "no-dereference": "h"},
    "git": {"force": "f"},
}
_GLOB = re.compile(r"[*?[]")
_NUMBER = re.compile(r"[0-9]+")
# Programs that are given code in one of their words.  Looking for blocked names in it is a net, not a wall: code can
# spell a name in countless ways, in a word as in a file.
_CODE = re.compile(
    r"(?:python|pypy|perl|ruby|node|nodejs|deno|bun|php|lua|luajit|tclsh|expect|osascript|pwsh|awk|gawk|mawk|nawk|ssh|tmux|screen)[0-9.]*"
)
_CODE_WORD = re.compile(r"[^A-Za-z0-9_./:=@%+,-]")
_CODE_TOKEN = re.compile(r"[^\s'\"`;|&(){}<>,$=\[\]\\]+")
_MODES: dict[str, Literal["read", "write", "append", "readwrite"]] = {
    "<": "read",
    ">": "write",
    ">|": "write",
    "&>": "write",
    ">&": "write",
    ">>": "append",
    "&>>": "append",
    "<>": "readwrite",
}


def program_names(command: CommandLine) -> tuple[str, ...]:
    """The base name of every program the line runs, each followed by its name as written; nothing twice."""
    names: dict[str, None] = {}
    for segment in command.segments:
        if segment.program:
            names[basename(segment.program)] = None
            names[segment.program] = None
    return tuple(names)


def changes_directory(command: CommandLine) -> bool:
    """Whether the line changes the working directory, so that a relative name in it may mean another file."""
    return any(segment.changes_directory for segment in command.segments)


def writes_and_reads(command: CommandLine) -> tuple[Redirected, ...]:
    """The files that redirections open, in order; in a line that changes the directory, a relative path is unknown."""
    moved = changes_directory(command)
    found: list[Redirected] = []
    for segment in command.segments:
        for redirection in segment.redirections:
            mode, target = _MODES.get(redirection.operator), redirection.target
            duplicates = redirection.operator == ">&" and target.prefix[:1] in "0123456789-"
            if mode is None or duplicates:
                continue
            path = target.literal
            known = path is not None and (path.startswith("/") or not moved)
            found.append(Redirected(mode=mode, path=path if known else None))
    return tuple(found)


def blocked_by(command: CommandLine, blocked: frozenset[str]) -> str | None:
    """The first entry that the line matches or may come to match, ``None`` if there is none; see the module's header.

    Raises:
        CommandError: an entry has no word, so that it would block nothing.
    """
    at_root = any(_may_reach_root(segment) for segment in command.segments)
    for entry in sorted(blocked):
        words = entry.split()
        if not words:
            raise CommandError("command.blocked-entry", "an entry of the blocked commands is empty", advice="remove it")
        for segment in command.segments:
            if _matches(segment, words, at_root=at_root) or _names_in_code(segment, words):
                return entry
    return None


def _matches(segment: Segment, entry: list[str], *, at_root: bool) -> bool:
    """Whether the segment matches, or may, depending on a dynamic word."""
    if not segment.argv:
        return False
    name, wanted = basename(segment.program).casefold(), basename(entry[0]).casefold()
    if name != wanted and not name.startswith(f"{wanted}."):
        return False
    long = _LONG.get(wanted, {})
    options, operands = _sort(entry[1:], long)
    literals, dynamic = _literals(segment.argv[1:])
    given_options, given_operands = _sort(literals, long)
    missing = [
        operand for operand in operands if not any(_same(operand, given, at_root=at_root) for given in given_operands)
    ]
    lacks_options = not options <= given_options
    if not missing and not lacks_options:
        return True
    usable = [
        word
        for word in dynamic
        if (lacks_options and word.may_be_option) or any(_may_be(word, operand, at_root=at_root) for operand in missing)
    ]
    anything = any(word.has_expansion and word.splits for word in dynamic)
    return anything or len(usable) >= len(missing) + lacks_options


def _literals(words: tuple[Word, ...]) -> tuple[list[str], list[Word]]:
    literals = [word.literal for word in words]
    return [text for text in literals if text is not None], [word for word in words if word.literal is None]


def _sort(words: list[str], long: dict[str, str]) -> tuple[frozenset[str], list[str]]:
    """The options, folded, and the operands."""
    options: set[str] = set()
    for index, word in enumerate(words):
        if word == "--":
            return frozenset(options), [text for text in words[:index] if not _is_option(text)] + words[index + 1 :]
        if word.startswith("--"):
            name = word[2:].partition("=")[0]
            short = {letter for known, letter in long.items() if len(known) > 1 and known.startswith(name)}
            options |= short or {name}
        elif _is_option(word):
            options |= {long.get(letter, letter) for letter in word[1:]}
    return frozenset(options), [text for text in words if not _is_option(text)]


def _is_option(word: str) -> bool:
    return word.startswith("-") and word != "-"


def _same(wanted: str, given: str, *, at_root: bool) -> bool:
    """Whether a literal operand is what the entry names."""
    if wanted == given or (_NUMBER.fullmatch(wanted) and wanted.lstrip("0") == given.lstrip("0")):
        return True
    place = _from_root(given, at_root=at_root)
    return wanted.startswith("/") and place is not None and place == _from_root(wanted, at_root=at_root)


def _may_be(word: Word, wanted: str, *, at_root: bool) -> bool:
    """Whether a dynamic word may become what the entry names."""
    text = word.text
    if text is None:
        # Whatever comes before, `"$x/build"` is not the root.
        _, slash, last = word.suffix.rstrip("/").rpartition("/")
        if slash and last not in ("", ".", "..", wanted.rpartition("/")[2]):
            return False
        # A path may climb out of whatever it begins with.
        return wanted.startswith(("/", word.prefix))
    if _same(wanted, text, at_root=at_root):
        return True
    if text.startswith("~"):
        text = f"/{text.partition('/')[2]}"
        if _same(wanted, text, at_root=at_root):
            return True
    given = _from_root(text, at_root=at_root)
    if not word.has_glob or not _GLOB.search(wanted) or given is None:
        return False
    return _directory_of_glob(given) == _directory_of_glob(wanted)


def _from_root(path: str, *, at_root: bool) -> str | None:
    """The path as seen from the root, without `.`, `..` and double slashes; ``None`` if it is below another place."""
    parts = path.split("/")
    if not (path.startswith("/") or ".." in parts or at_root):
        return None
    kept: list[str] = []
    for part in parts:
        if part == "..":
            kept = kept[:-1]
        elif part not in ("", "."):
            kept.append(part)
    return "/" + "/".join(kept)


def _directory_of_glob(path: str) -> str:
    return path[: path.rfind("/", 0, match.start()) + 1] if (match := _GLOB.search(path)) else path


def _may_reach_root(segment: Segment) -> bool:
    """Whether the segment may leave the shell in the root directory."""
    if not segment.changes_directory:
        return False
    targets = [word.literal for word in segment.argv[1:] if (word.literal or "") not in ("-P", "-L", "-e", "-@", "--")]
    if not targets:
        return True
    return any(target is None or target == "-" or _from_root(target, at_root=False) == "/" for target in targets)


def _names_in_code(segment: Segment, entry: list[str]) -> bool:
    if not _CODE.fullmatch(basename(segment.program).casefold()):
        return False
    texts = [word.text or "" for word in segment.argv[1:] if _CODE_WORD.search(word.text or "")]
    texts += [
        redirection.target.text or "" for redirection in segment.redirections if redirection.operator.startswith("<<")
    ]
    return any({basename(token) or token for token in _CODE_TOKEN.findall(text)} >= set(entry) for text in texts)
