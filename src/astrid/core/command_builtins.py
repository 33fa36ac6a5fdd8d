"""Which commands and variables change what the shell itself does, so that the rest of the line could no longer be
judged.  Pure.

Never: says that a command is harmless.  What passes here is judged by policy and grants like any other program.

Invariants:
  After each accepted command, a later one in the line still means what it says: no alias, function, option, trap, array
  or variable that the shell obeys has changed.
  No accepted command has the shell evaluate data as code.

The lists of variables name what the shell obeys, and the best-known of what makes an honest program run something
else.  The latter has no end: an assignment is part of the command, and whoever grants a command must look at it.

Source: GNU Bash reference manual, "Shell Builtin Commands", "Shell Variables"; the builtins that evaluate a subscript
were found by trying each one.
"""

from __future__ import annotations

import re

from astrid.core.command_model import ADVICE_QUOTE, ADVICE_SCRIPT, Segment, Word, basename
from astrid.errors import CommandError

_REFUSED = frozenset(
    "eval source . trap alias unalias set shopt enable hash declare typeset local readonly read mapfile readarray let"
    " getopts complete compgen compopt bind fc history".split()
)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_PLAIN_LOCALE = re.compile(r"C|POSIX|C\.UTF-8|C\.utf8|[a-z]{2}_[A-Z]{2}\.(?:UTF-8|utf8)")

_SHELL_VARIABLES = frozenset(
    "PATH HOME ENV CDPATH GLOBIGNORE EXECIGNORE FIGNORE POSIXLY_CORRECT SHELLOPTS SHELL FUNCNEST IFS PS0 PS4"
    " PROMPT_COMMAND RANDOM SRANDOM OPTIND OPTARG OPTERR HISTCMD LINENO SECONDS EPOCHSECONDS EPOCHREALTIME DIRSTACK"
    " GROUPS UID EUID PPID PWD OLDPWD TMOUT CHILD_MAX auto_resume histchars".split()
)
_PROGRAM_VARIABLES = frozenset(
    "GCONV_PATH LOCPATH EDITOR VISUAL PAGER MANPAGER BROWSER LESSOPEN LESSCLOSE TAR_OPTIONS RSYNC_RSH CVS_RSH"
    " SSH_ASKPASS SUDO_ASKPASS SUDO_EDITOR PYTHONSTARTUP PYTHONHOME PYTHONINSPECT PYTHONBREAKPOINT NODE_OPTIONS"
    " PERL5OPT PERL5LIB PERL5DB RUBYOPT RUBYLIB JAVA_TOOL_OPTIONS _JAVA_OPTIONS JDK_JAVA_OPTIONS RUSTC_WRAPPER"
    " MAKEFLAGS GNUMAKEFLAGS MAKEFILES OPENSSL_CONF GIT_SSH GIT_SSH_COMMAND GIT_EXTERNAL_DIFF GIT_EDITOR GIT_PAGER"
    " GIT_SEQUENCE_EDITOR GIT_ASKPASS GIT_PROXY_COMMAND GIT_EXEC_PATH GIT_TEMPLATE_DIR GIT_DIR GIT_COMMON_DIR".split()
)
_PREFIXES = ("BASH", "LD_", "DYLD_", "GIT_CONFIG", "COMP_", "npm_config_", "NPM_CONFIG_")
_LOCALE_PREFIXES = ("LC_", "LANG")


def check_segment(segment: Segment) -> None:
    """Refuse a command that would make the line, or a later part of it, mean something else than it says.

    Raises:
        CommandError: its program is known only when it runs, it is a builtin that changes or evaluates, or it sets a
            variable that the shell or a well-known program obeys.
    """
    for assignment in segment.assignments:
        check_variable(assignment.name, None if assignment.append else assignment.value.literal)
    if not segment.argv:
        return
    program = segment.argv[0].literal
    if not program or program.startswith("%"):
        raise CommandError(
            "command.dynamic-program", "which program runs is known only at that time", advice=ADVICE_QUOTE
        )
    name, arguments = basename(program), segment.argv[1:]
    if name in _REFUSED:
        raise CommandError("command.builtin", f"`{name}` changes the shell or evaluates text", advice=ADVICE_SCRIPT)
    match name:
        case "export" | "unset":
            _check_names(name, arguments)
        case "test" | "[":
            _check_test(name, arguments)
        case "printf":
            _check_printf(arguments)
        case "wait" | "jobs":
            _check_jobs(name, arguments)
        case _:
            pass


def check_variable(name: str, value: str | None) -> None:
    """Refuse to set ``name`` (to ``value``, if that is known) where the shell or a well-known program would obey it.

    Raises:
        CommandError: so it is.
    """
    if name.startswith(_LOCALE_PREFIXES) and value is not None and _PLAIN_LOCALE.fullmatch(value):
        return
    # SAFETY: in a locale whose encoding is not UTF-8, the shell would cut the next line at other places than we do.
    if name in _SHELL_VARIABLES or name in _PROGRAM_VARIABLES or name.startswith((*_PREFIXES, *_LOCALE_PREFIXES)):
        raise CommandError(
            "command.environment", f"sets `{name}`, which decides what programs do", advice=ADVICE_SCRIPT
        )


def _check_names(builtin: str, arguments: tuple[Word, ...]) -> None:
    for word in arguments:
        match = _NAME.match(word.prefix)
        rest = word.prefix[match.end() :] if match else ""
        named = rest.startswith("=") if rest else word.literal is not None
        if match is None or word.splits or not named or (builtin == "unset" and rest):
            raise CommandError(
                "command.builtin",
                f"`{builtin}` with an argument that is not a plain name or `name=value`",
                advice=ADVICE_QUOTE,
            )
        literal = word.literal
        check_variable(match.group(), literal[match.end() + 1 :] if literal is not None and rest else None)


def _check_printf(arguments: tuple[Word, ...]) -> None:
    first = arguments[0] if arguments else Word(text="", prefix="")
    if (first.literal or "").startswith("-v") or (first.literal is None and first.may_be_option):
        raise CommandError("command.builtin", "`printf -v` sets a variable", advice=ADVICE_SCRIPT)


def _check_jobs(name: str, arguments: tuple[Word, ...]) -> None:
    if any(word.literal is None or re.match(r"-\w*[px]", word.literal) for word in arguments):
        raise CommandError("command.builtin", f"`{name}` with a variable or a command", advice=ADVICE_SCRIPT)


def _check_test(name: str, arguments: tuple[Word, ...]) -> None:
    """Refuse a test that may come to be ``-v NAME`` or ``-R NAME``: it evaluates a subscript in the name."""
    literals = [word.literal for word in arguments]
    closed = name == "test" or literals[-1:] == ["]"]
    if name == "[":
        literals = literals[:-1]
    if literals[:1] == ["!"]:
        literals = literals[1:]
    # How many words there are decides which of them is the operator; the others are data.
    operators = {0: [], 1: [], 2: literals[:1], 3: literals[1:2]}.get(len(literals), literals)
    plain = closed and None not in operators and not any(word.splits for word in arguments)
    if not plain or "-v" in literals or "-R" in literals:
        raise CommandError("command.builtin", "a test whose operators are not all plain", advice=ADVICE_QUOTE)
