"""What a command runs for others: which of the words of a program that starts another one are that one's.  Pure.

Never: guesses how an unknown wrapper reads its words; it is refused.

Invariants:
  The command revealed is the one the wrapper starts, with the words it passes; a word it adds at run time is marked as
  dynamic.
  A script given to a shell is parsed as that shell reads it.

Source: the manual pages of GNU findutils and of the programs in ``command_options``; POSIX.1-2017, `sh`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

from astrid.core.command_model import ADVICE_SCRIPT, Assignment, Dialect, Script, Segment, Word, basename
from astrid.core.command_options import WRAPPERS, Options, WrapperWords, literal_text, option_text, reject
from astrid.errors import CommandError

_UNKNOWN = frozenset(
    "su doas pkexec runuser runcon sg newgrp gosu su-exec setpriv capsh chroot unshare nsenter proot fakeroot bwrap"
    " firejail systemd-run start-stop-daemon daemonize at batch chpst cgexec choom taskset chrt numactl prlimit setarch"
    " linux32 linux64 flock strace ltrace script unbuffer rlwrap watch entr parallel chronic ifne xvfb-run torsocks"
    " torify dbus-run-session proxychains proxychains4 eatmydata faketime busybox toybox"
    " genv gnice gnohup gstdbuf gtimeout gtime gxargs gfind".split()
)
_LOADER = re.compile(r"ld.*\.so.*")
_SHELLS: Mapping[str, Dialect] = {"bash": "bash", "sh": "posix", "dash": "posix"}
# Their grammars differ from Bash; a script of theirs in a file is a program like any other.
_FOREIGN_SHELLS = frozenset(
    "ash csh elvish fish ksh ksh93 mksh nu oksh osh posh pwsh rbash rksh tcsh xonsh yash zsh".split()
)
_FIND_ACTIONS = frozenset(("-exec", "-execdir", "-ok", "-okdir"))
_SHELL_OPTIONS = frozenset("allexport errexit nounset noexec pipefail verbose xtrace".split())
_ASSIGNMENT = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=")


def inner_commands(segment: Segment) -> tuple[Segment | Script, ...]:
    """What the segment's program starts, one level deep; empty if it starts nothing that we know of.

    Raises:
        CommandError: it starts something, and what that is cannot be told from the line.
    """
    name = basename(segment.program).casefold()
    if name in _UNKNOWN or _LOADER.fullmatch(name):
        raise CommandError(
            "command.wrapper",
            f"`{name}` runs another program in a way that is not known here",
            advice="run that program itself",
        )
    if name in _SHELLS:
        return _shell(segment, _SHELLS[name])
    if name in _FOREIGN_SHELLS:
        return (_script_file(segment, segment.argv[1:]),)
    if name == "find":
        return _find(segment)
    if name in WRAPPERS:
        return _wrapped(segment, name, WRAPPERS[name])
    return ()


def _wrapped(segment: Segment, name: str, table: Options) -> tuple[Segment, ...]:
    words = WrapperWords(segment.argv[1:])
    words.read_options(name, table)
    if words.asks:
        return ()
    for _ in range(table.operands):
        words.take(name)
    assignments: list[Assignment] = []
    while table.assigns and words.words and "=" in words.words[0].prefix:
        word = words.words[0]
        words.words = words.words[1:]
        match = _ASSIGNMENT.match(word.prefix)
        # SAFETY: a name may be anything for `env`; `BASH_FUNC_ls%%` defines a function in every shell below.
        if match is None or word.splits:
            raise reject(name, "an assignment that is not plain")
        assignments.append(Assignment(name=match.group(1), value=_tail(word, match.end())))
    if name == "xargs":
        return _xargs(segment, words)
    if words.words:
        # SAFETY: `env` takes a lone dash for `-i`, and `sudo` takes options after assignments, too.
        if words.words[0].prefix.startswith("-"):
            raise reject(name, words.words[0].prefix)
        return (_inner(segment, words.words, assignments),)
    if name == "exec":
        raise CommandError("command.builtin", "`exec` without a program changes the shell", advice=ADVICE_SCRIPT)
    return ()


def _tail(word: Word, start: int) -> Word:
    return msgspec.structs.replace(
        word, text=None if word.text is None else word.text[start:], prefix=word.prefix[start:], substitutions=()
    )


def _inner(segment: Segment, argv: tuple[Word, ...], assignments: list[Assignment] | None = None) -> Segment:
    return Segment(
        assignments=tuple(assignments or ()),
        argv=argv,
        background=segment.background,
        depth=segment.depth,
        via="wrapper",
    )


def _filled(word: Word, marker: str) -> Word:
    """The word with something unknown in place of each ``marker``."""
    literal = word.literal
    if literal is None:
        return Word(text=None, prefix="", has_expansion=True, splits=word.splits)
    before, found, _ = literal.partition(marker)
    return Word(text=None, prefix=before, has_expansion=True) if found else word


_ANY_WORDS = Word(text=None, prefix="", has_expansion=True, splits=True)


def _xargs(segment: Segment, words: WrapperWords) -> tuple[Segment, ...]:
    if not words.words:
        return ()  # it echoes
    marker = words.options.get("I")
    if marker is None:
        return (_inner(segment, (*words.words, _ANY_WORDS)),)
    # SAFETY: of `-I`, `-L` and `-n` only the last counts.
    if not marker or not words.options.keys() <= {"I", "P", "max-procs", "d", "delimiter"}:
        raise reject("xargs", "-I")
    return (_inner(segment, tuple(_filled(word, marker) for word in words.words)),)


def _find(segment: Segment) -> tuple[Segment, ...]:
    found: list[Segment] = []
    words = list(segment.argv[1:])
    while words:
        word = words.pop(0)
        if option_text(word) not in _FIND_ACTIONS:
            continue
        action = literal_text(word)
        inner: list[Word] = []
        end = ""
        while words and end not in (";", "+"):
            word = words.pop(0)
            # SAFETY: a word that came to end the action would turn the words after it into actions.
            if word.prefix in (";", "+") or word.may_be_option:
                literal_text(word)
            end = word.literal or ""
            if end == "+" and not (inner and inner[-1].literal == "{}"):
                end = ""
            inner.append(word)
        if end not in (";", "+") or len(inner) < 2:
            raise reject("find", action)
        argv = tuple(_filled(word, "{}") for word in inner[:-1])
        if end == "+":
            argv = (*argv[:-1], _ANY_WORDS)
        # SAFETY: a relative program would be looked up in each directory that is visited.
        if action in ("-execdir", "-okdir") and "/" in argv[0].prefix and not argv[0].prefix.startswith("/"):
            raise reject("find", f"{action} {argv[0].prefix}")
        found.append(_inner(segment, argv))
    return tuple(found)


def _shell(segment: Segment, dialect: Dialect) -> tuple[Segment | Script, ...]:
    """The script that a shell is given with ``-c``, or the file that it runs."""
    name = basename(segment.program)
    words = WrapperWords(segment.argv[1:])
    has_script = False
    while words.words:
        text = option_text(words.words[0])
        if text in ("--help", "--version") and not has_script and len(words.words) == 1:
            return ()
        if text in ("--norc", "--noprofile") and dialect == "bash":
            words.take(name)
        elif re.fullmatch(r"-[ceunvxo]+", text):
            words.take(name)
            has_script = has_script or "c" in text
            for _ in range(text.count("o")):
                if words.take(name) not in _SHELL_OPTIONS:
                    raise reject(name, text)
        elif text.startswith(("-", "+")):
            raise reject(name, text)
        else:
            break
    if not has_script:
        return (_script_file(segment, words.words),)
    return (Script(text=words.take(name), dialect=dialect),)


def _script_file(segment: Segment, words: tuple[Word, ...]) -> Segment:
    """The file that a shell is given to run, as if it had been started itself.

    A bare name is the file in the working directory; only where that is missing, Bash looks for it elsewhere.
    """
    file = literal_text(words[0]) if words else ""
    parts = file.split("/")
    device = ("dev" in parts or "proc" in parts) and (file.startswith("/") or ".." in parts)
    if not file or file.startswith("-") or device:
        raise CommandError(
            "command.wrapper", "a shell that would run commands that are not in this line", advice=ADVICE_SCRIPT
        )
    path = file if len(parts) > 1 else f"./{file}"
    return _inner(segment, (Word(text=path, prefix=path), *words[1:]))
