"""``astridd`` and ``python -m astrid.daemon``: be the daemon, or without one verify a log, replay a session or run a
program in the box.

Source: the first Astrid (names of flags); protocol N11 (what ``verify`` exits with).
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from astrid import __version__
from astrid.errors import AstridError, plain
from astrid.home import Home, home_folder, open_home

USAGE_EXIT = 2
INTERRUPTED_EXIT = 130
GRACE_SECONDS = 30


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says; what the process exits with."""
    try:
        return _main(arguments)
    except KeyboardInterrupt:
        return INTERRUPTED_EXIT  # before a daemon was up, which takes it as a word to stop


def _main(arguments: Sequence[str] | None) -> int:
    from astrid.daemon.process import check_environment, harden
    from astrid.daemon.report import complain

    harden()
    given = list(sys.argv[1:] if arguments is None else arguments)
    options = _parser().parse_args(given if given and given[0] in _COMMANDS else [*_top(given)])
    try:
        check_environment()
        return _DO[options.command](options)
    except AstridError as error:
        complain(error)
        return 1


_COMMANDS = ("run", "verify", "replay", "box")


def _top(given: Sequence[str]) -> Sequence[str]:
    """Without a command it is ``run``; only help and version stand for themselves."""
    return given if {"-h", "--help", "--version"} & set(given) else ["run", *given]


class _Parser(argparse.ArgumentParser):
    """Complaints about words on the command line repeat them, wherever the words came from."""

    def error(self, message: str) -> NoReturn:
        super().error(plain(message))


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="astridd", description="The Astrid daemon.", allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"astridd {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    run = commands.add_parser("run", help="be the daemon of $ASTRID_HOME (the default)", allow_abbrev=False)
    run.add_argument("--ephemeral", action="store_true", help="end when nobody is connected any more")
    run.add_argument(
        "--grace-period",
        type=_seconds,
        default=GRACE_SECONDS,
        metavar="N",
        help="how many seconds nobody may be connected before that (%(default)s)",
    )
    run.add_argument("-v", "--verbose", action="store_true", help="report more than failures")
    run.add_argument("--demo-tools", action="store_true", help=argparse.SUPPRESS)  # `astrid demo` alone
    verify = commands.add_parser("verify", help="check the log of a home, without a daemon", allow_abbrev=False)
    verify.add_argument("--home", type=Path, metavar="DIR", help="the home, or a copy of one; default $ASTRID_HOME")
    verify.add_argument("--key", metavar="HEX", help="the user's or the runtime's public key, known from elsewhere")
    verify.add_argument("--install", type=Path, metavar="FILE", help="the install statement, kept elsewhere")
    verify.add_argument(
        "--witness", type=Path, action="append", default=[], metavar="FILE", help="a checkpoint kept elsewhere"
    )
    verify.add_argument("--start", action="store_true", help="only what a daemon looks at when it starts in this home")
    verify.add_argument("--json", action="store_true", help="print one JSON object")
    replay = commands.add_parser("replay", help="live through a session again, without a daemon", allow_abbrev=False)
    replay.add_argument("session", metavar="ID", help="the session")
    replay.add_argument("--policy", type=Path, metavar="FILE", help="decide by the policy of this configuration")
    replay.add_argument("--json", action="store_true", help="print one JSON object")
    box = commands.add_parser("box", help="what the box of this machine is, or one program in it", allow_abbrev=False)
    box.add_argument("--workspace", type=Path, metavar="DIR", help="the folder; for a command, the current one")
    box.add_argument("--allow-host", action="append", default=[], metavar="HOST", help="a host that it may reach")
    box.add_argument("--show-connections", action="store_true", help="a line on standard error for each connection")
    box.add_argument("argv", nargs="*", metavar="COMMAND", help="run it; without, say what the box is, as JSON")
    return parser


def _seconds(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 0 < int(text) <= 86_400:
        raise argparse.ArgumentTypeError(f"`{text}` is not a number of seconds from 1 to 86400")
    return int(text)


def _run(options: argparse.Namespace) -> int:
    from astrid.daemon.lifecycle import Options, run_daemon
    from astrid.runtime import collector

    home = open_home(home_folder(os.environ))
    chosen = Options(
        ephemeral=options.ephemeral,
        grace_seconds=options.grace_period,
        verbose=options.verbose,
        alone=True,
        demo_tools=options.demo_tools,
    )
    collector.settle()
    run_daemon(home, chosen)
    return 0


def _verify(options: argparse.Namespace) -> int:
    from astrid.runtime.trial import try_start
    from astrid.runtime.verify import Trust, verify_home

    own = home_folder(os.environ)
    trust = Trust(key=options.key, install=options.install, witnesses=tuple(options.witness))
    root: Path = own if options.home is None else options.home.resolve()
    is_own = root == own.resolve() or root == own
    finding = try_start(root) if options.start else verify_home(root, trust, is_own=is_own)
    _print(finding.to_json() if options.json else finding.to_text())
    return finding.exit_code


def _replay(options: argparse.Namespace) -> int:
    from astrid.core.ids import parse_id
    from astrid.daemon import replayed
    from astrid.runtime.replaying import replay_home

    home = open_home(home_folder(os.environ))
    found = replay_home(home, parse_id("session", options.session), options.policy)
    _print(replayed.as_json(found) if options.json else replayed.as_text(found))
    return replayed.exit_code(found)


def _box(options: argparse.Namespace) -> int:
    import msgspec

    from astrid.daemon.boxing import explain, run_boxed

    home = Home(home_folder(os.environ))
    if options.argv:
        hosts, aloud = options.allow_host, options.show_connections
        return run_boxed(home, options.workspace or Path(), options.argv, hosts, aloud=aloud)
    _print(msgspec.json.encode(explain(home, options.workspace)).decode())
    return 0


def _print(text: str) -> None:
    try:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read has left, as ``head`` does, and the exit code says it still; Python would complain when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC), sys.stdout.fileno())


_DO = {"run": _run, "verify": _verify, "replay": _replay, "box": _box}


if __name__ == "__main__":
    sys.exit(main())
