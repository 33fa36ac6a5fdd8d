"""The command line ``astrid``: one module a command, loaded when it is called.

Each module has ``add_arguments(parser)`` and ``run(args) -> int``.  What it raises becomes one line on the standard
error output.  Exit codes: 0 done, 1 failed, 2 wrong usage, 3 something was denied or deferred, 4 a replay
comes out otherwise, 130 interrupted.

Never: imports an event loop or a vendor library to print help, runs a session in its own process, or runs as an
interpreter that the environment could have put code into.

Source: the first Astrid (names, exit codes); threats 43.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from types import TracebackType
from typing import NoReturn

from astrid import __version__
from astrid.errors import AstridError, plain

DONE, FAILED, USAGE, DENIED, INTERRUPTED = 0, 1, 2, 3, 130

COMMANDS: dict[str, tuple[str, str]] = {
    "init": ("astrid.frontends.cli.init", "make a home: keys, install statement, configuration"),
    "exec": ("astrid.frontends.cli.exec", "have a task done in a folder, and watch it"),
    "fleet": ("astrid.frontends.cli.fleet", "have many tasks out of a file done, so many at once, on one purse"),
    "approvals": ("astrid.frontends.cli.approvals", "see and answer the questions that wait for you"),
    "tokens": ("astrid.frontends.cli.tokens", "sign, list, show and revoke what you granted"),
    "audit": ("astrid.frontends.cli.audit", "look through the log, verify, prove and explain it, or give it up"),
    "instructions": ("astrid.frontends.cli.instructions", "see what instructs sessions in a folder, and trust it"),
    "models": ("astrid.frontends.cli.models", "see which models there are, what they cost, and which can be used"),
    "sessions": ("astrid.frontends.cli.sessions", "list, show, export and end sessions, and say what one cost"),
    "replay": ("astrid.frontends.cli.replay", "live through a session again, by its policy or another one"),
    "daemon": ("astrid.frontends.cli.daemon", "run, look at and stop the daemon of this home"),
    "keys": ("astrid.frontends.cli.keys", "show your keys, and how they are kept"),
    "secrets": ("astrid.frontends.cli.secrets", "keep values under names; what uses one is told its name alone"),
    "sandbox": ("astrid.frontends.cli.sandbox", "run a program in the box of agents, or see what that is"),
    "doctor": ("astrid.frontends.cli.doctor", "check this installation, and say what to do about it"),
    "demo": ("astrid.frontends.cli.demo", "watch Astrid at work, with a scripted model and a scripted person"),
}


def main() -> int:
    """``astrid``: what the process exits with."""
    sys.excepthook = _say_where
    sys.unraisablehook = _say_where_of_nobodys
    arguments = sys.argv[1:]
    if arguments[:1] not in ([], ["-h"], ["--help"], ["--version"]):
        from astrid.frontends.launch import isolate
        from astrid.frontends.waiting import hold_interrupts

        hold_interrupts()  # until `_run` can tell what one means; the isolated interpreter inherits that
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
    import logging
    from importlib import import_module

    from astrid.frontends.waiting import take_interrupts

    class Parser(argparse.ArgumentParser):
        """Complaints about words on the command line repeat them, wherever the words came from."""

        def error(self, message: str) -> NoReturn:
            super().error(plain(message))

    take_interrupts()
    logging.disable()  # what libraries report, with the text of exceptions, is not for a terminal
    module, says = COMMANDS[name]
    command = import_module(module)
    parser = Parser(prog=f"astrid {name}", description=f"{says[0].upper()}{says[1:]}.", allow_abbrev=False)
    command.add_arguments(parser)
    try:
        return command.run(parser.parse_args(arguments))
    except AstridError as error:
        _complain(error.render())
        return FAILED


def help_text() -> str:
    """What ``astrid --help`` prints."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {says}" for name, (_, says) in COMMANDS.items()]
    return "\n".join([*_USAGE, *lines, *_AFTER, ""])


def counted(number: int, what: str) -> str:
    """``number`` of ``what``, which takes an s where there are several."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def lasting(seconds: int) -> str:
    """About how long that is."""
    for size, name in ((86_400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= size:
            return counted(seconds // size, name)
    return counted(seconds, "second")


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
    """A bug: where it is, without what it held.  An interrupt while Python itself begins or ends is none."""
    if issubclass(kind, KeyboardInterrupt):
        return
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = "" if trace is None else f" at {trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"
    _complain(f"a bug in astrid: {kind.__qualname__}{where}")


def _say_where_of_nobodys(broken: sys.UnraisableHookArgs) -> None:
    """The same, of an error that nobody can catch: of an object that is cleared away."""
    if broken.exc_value is not None:
        _say_where(broken.exc_type, broken.exc_value, broken.exc_traceback)
