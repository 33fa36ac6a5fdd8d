"""The command line ``astrid``: one module a command, loaded when it is called.

Each module has ``add_arguments(parser)`` and ``run(args) -> int``.  What it raises becomes one line on the standard
error output.  Exit codes: 0 done, 1 failed, 2 wrong usage, 3 something was denied or deferred, 130 interrupted.

Never: imports an event loop or a vendor library to print help, runs a session in its own process, or runs as an
interpreter that the environment could have put code into.

Source: the first Astrid (names, exit codes); threats 43.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from types import TracebackType

from astrid import __version__

DONE, FAILED, USAGE, DENIED, INTERRUPTED = 0, 1, 2, 3, 130

COMMANDS: dict[str, tuple[str, str]] = {
    "init": ("astrid.frontends.cli.init", "make a home: keys, install statement, configuration"),
    "exec": ("astrid.frontends.cli.exec", "have a task done in a folder, and watch it"),
    "approvals": ("astrid.frontends.cli.approvals", "see and answer the questions that wait for you"),
    "tokens": ("astrid.frontends.cli.tokens", "sign, list, show and revoke what you granted"),
    "audit": ("astrid.frontends.cli.audit", "look through the log, verify it, prove and explain what is in it"),
    "sessions": ("astrid.frontends.cli.sessions", "list and end the sessions of the daemon"),
    "daemon": ("astrid.frontends.cli.daemon", "run, look at and stop the daemon of this home"),
    "keys": ("astrid.frontends.cli.keys", "show your keys, and how they are kept"),
    "doctor": ("astrid.frontends.cli.doctor", "check this installation, and say what to do about it"),
    "demo": ("astrid.frontends.cli.demo", "watch Astrid at work, with a scripted model and a scripted person"),
}


def main() -> int:
    """``astrid``: what the process exits with."""
    sys.excepthook = _say_where
    arguments = sys.argv[1:]
    if arguments[:1] not in ([], ["-h"], ["--help"], ["--version"]):
        from astrid.frontends.launch import isolate

        isolate(arguments)
    return run(arguments)


def run(arguments: Sequence[str]) -> int:
    """Do what ``arguments`` say; what the process is to exit with."""
    if not arguments or arguments[0] in ("-h", "--help"):
        (sys.stdout if arguments else sys.stderr).write(help_text())
        return DONE if arguments else USAGE
    if arguments[0] == "--version":
        sys.stdout.write(f"astrid {__version__}\n")
        return DONE
    if arguments[0] not in COMMANDS:
        _complain(f"there is no command `{plain(arguments[0])}`; see `astrid --help`")
        return USAGE
    try:
        code = _run(arguments[0], arguments[1:])
        sys.stdout.flush()
        return code
    except* KeyboardInterrupt:
        ended = INTERRUPTED
    except* BrokenPipeError:
        # Whoever read our output has left, as ``head`` does; Python would complain once more when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC), 1)
        ended = FAILED
    return ended


def _run(name: str, arguments: Sequence[str]) -> int:
    import argparse
    from importlib import import_module

    from astrid.errors import AstridError

    module, says = COMMANDS[name]
    command = import_module(module)
    parser = argparse.ArgumentParser(
        prog=f"astrid {name}", description=f"{says[0].upper()}{says[1:]}.", allow_abbrev=False
    )
    command.add_arguments(parser)
    try:
        return command.run(parser.parse_args(arguments))
    except AstridError as error:
        _complain(plain(error.render()))
        return FAILED


def help_text() -> str:
    """What ``astrid --help`` prints."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {says}" for name, (_, says) in COMMANDS.items()]
    return "\n".join([*_USAGE, *lines, *_AFTER, ""])


def plain(text: str) -> str:
    """``text`` on one line, without anything that steers a terminal."""
    return "".join(char if char.isprintable() else f"\\u{{{ord(char):x}}}" for char in text)


_USAGE = [
    "usage: astrid COMMAND ...",
    "",
    "A secure agent runtime: a model only proposes, and your signature decides.",
    "",
    "commands:",
]
_AFTER = ["", "`astrid COMMAND --help` says more.  The home is $ASTRID_HOME, or ~/.astrid."]


def _complain(text: str) -> None:
    sys.stderr.write(f"astrid: {text}\n")


def _say_where(kind: type[BaseException], _error: BaseException, trace: TracebackType | None) -> None:
    """A bug: where it is, without what it held."""
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = "" if trace is None else f" at {trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"
    _complain(f"a bug in astrid: {kind.__qualname__}{where}")
