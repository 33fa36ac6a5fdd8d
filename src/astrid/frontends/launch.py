"""The one place of the frontends that starts processes: the daemon, the signer, and ourselves again, isolated.

Whatever is started is this very Python, isolated (``-I``): neither the working folder nor ``PYTHON*`` variables choose
what code it runs.  The variables of the dynamic linker are not handed on either, nor those by which OpenSSL is told
to load a module.  Whatever else a variable holds reaches the daemon alone, which looks for vendors' keys there; the
signer and the verifier get what a terminal and a language need.

Never: starts anything through a shell, or hands a secret over in an argument or a variable.

Source: architecture 4 ("Processes"); threats 5, 43.
"""

from __future__ import annotations

import os
import site
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from astrid.errors import LaunchError

if TYPE_CHECKING:  # `isolate` runs before anything else may be imported
    from astrid.home import Home

DAEMON = "astrid.daemon"
ATTACK = "astrid.daemon.attack"
SIGNER = "astrid.frontends.signer"
CLI = "astrid.frontends.cli"
MAX_LOG_BYTES = 1024 * 1024
RUNNING_CODE = "[daemon.running]"
SPEAKER = "astridd: "
_DROPPED = ("PYTHON", "LD_", "DYLD_", "OPENSSL_")
_KEPT = frozenset(
    "HOME PATH USER LOGNAME SHELL TERM COLORTERM NO_COLOR LANG LANGUAGE TZ COLUMNS LINES TMPDIR TMP TEMP".split()
)
_KEPT_FAMILIES = ("LC_", "TERMINFO", "ASTRID_")


def isolate(arguments: Sequence[str]) -> None:
    """Come back as an isolated interpreter, unless this is one.  Does not return if it was none.

    Raises:
        LaunchError: the interpreter cannot be started.
    """
    if sys.flags.ignore_environment and sys.flags.safe_path:
        return
    command = _python(CLI, *arguments)
    try:
        os.execve(command[0], command, _environment())  # noqa: S606 - our own interpreter, no shell on purpose
    except OSError as error:
        raise _failed("the interpreter", error) from error


class Daemon:
    """A daemon that was started and is not ours to keep: leaving the context leaves it to itself."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path, since: int) -> None:
        self._process = process
        self._log = log
        self._since = since

    def __enter__(self) -> Daemon:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.returncode = 0  # it is in a session of its own, and nobody waits for it any more

    def ended(self) -> bool:
        """Whether it has ended already."""
        return self._process.poll() is not None

    def was_late(self) -> bool:
        """Whether it ended because another daemon serves this home."""
        return RUNNING_CODE in self.last_words()

    def last_words(self) -> str:
        """The last line for a person that it printed since it was started."""
        with self._log.open("rb") as file:
            file.seek(self._since)
            lines = file.read(MAX_LOG_BYTES).decode("utf-8", "replace").splitlines()
        said = [line.removeprefix(SPEAKER) for line in lines if line.startswith(SPEAKER)]
        return said[-1] if said else ""


def start_daemon(home: Home, *, grace_seconds: int | None = None, demo: bool = False) -> Daemon:
    """A daemon that ends by itself when nobody is connected any more, in a session of its own.

    It prints to the daemon's log; it is ready when its socket can be connected to.  ``demo`` gives sessions a tool that
    pays, for the demo's throwaway home.

    Raises:
        LaunchError: it cannot be started.
    """
    grace = () if grace_seconds is None else ("--grace-period", str(grace_seconds))
    log = open_daemon_log(home)
    try:
        since = os.fstat(log).st_size
        process = subprocess.Popen(  # noqa: S603 - the program is our own
            _python(DAEMON, "run", "--ephemeral", *grace, *(("--demo-tools",) if demo else ())),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            env=_environment(home),
            start_new_session=True,
            close_fds=True,
        )
    except OSError as error:
        raise _failed("the daemon", error) from error
    finally:
        os.close(log)
    return Daemon(process, home.daemon_log, since)


def run_daemon(home: Home, arguments: Sequence[str]) -> int:
    """Be the daemon, in the foreground: this process becomes it.

    Raises:
        LaunchError: it cannot be started.
    """
    command = _python(DAEMON, "run", *arguments)
    try:
        os.execve(command[0], command, _environment(home))  # noqa: S606 - as above
    except OSError as error:
        raise _failed("the daemon", error) from error


def run_verifier(arguments: Sequence[str]) -> int:
    """Have the log verified by a process of its own, which prints what it finds; its exit code.

    Raises:
        LaunchError: it cannot be started.
    """
    return _run_beside("verify", *arguments)


def run_replayer(arguments: Sequence[str]) -> int:
    """Have a session lived through again by a process of its own, which prints what comes of it; its exit code.

    Raises:
        LaunchError: it cannot be started.
    """
    return _run_beside("replay", *arguments)


def _run_beside(what: str, *arguments: str) -> int:
    command = _python(DAEMON, what, *arguments)
    try:
        # In a session of its own Ctrl-C does not reach it, but us; and whoever is interrupted here kills it.
        done = subprocess.run(command, env=_bare_environment(), check=False, start_new_session=True)  # noqa: S603 - as above
    except OSError as error:
        raise _failed(f"the process to {what}", error) from error
    return done.returncode


def verify_home(root: Path, *arguments: str) -> tuple[int, str]:
    """As ``run_verifier`` for the home at ``root``, but what it prints is given back too.

    Raises:
        LaunchError: it cannot be started.
    """
    command = _python(DAEMON, "verify", *arguments)
    environment = {**_bare_environment(), "ASTRID_HOME": str(root)}
    try:
        done = subprocess.run(  # noqa: S603 - as above
            command, env=environment, capture_output=True, check=False, start_new_session=True
        )
    except OSError as error:
        raise _failed("the verifier", error) from error
    return done.returncode, done.stdout.decode("utf-8", "replace")


def verify_copy(root: Path, *arguments: str) -> tuple[int, str]:
    """As ``verify_home``, for a home that is not this user's own: nothing in it is believed."""
    return _captured(DAEMON, "verify", "--home", str(root), *arguments)


def explain_box(home: Home, workspace: Path | None = None) -> tuple[int, str]:
    """What the box of this machine is, and what a program in ``workspace`` sees: JSON, if the exit code is 0.  By the
    configuration of ``home``, which need not be there.

    Raises:
        LaunchError: the process that says so cannot be started.
    """
    named = () if workspace is None else ("--workspace", str(workspace))
    return _captured(DAEMON, "box", *named, environment=_bare_environment(home))


def become_boxed(
    home: Home, workspace: Path, argv: Sequence[str], hosts: Sequence[str] = (), *, aloud: bool = False
) -> NoReturn:
    """Run ``argv`` in the box of ``home``, which need not be there: this process becomes the one that does.  It may
    reach ``hosts``; ``aloud``, each connection is told.

    Raises:
        LaunchError: it cannot be started.
    """
    allowed = [f"--allow-host={host}" for host in hosts]
    told = ["--show-connections"] if aloud else []
    command = _python(DAEMON, "box", "--workspace", str(workspace), *allowed, *told, "--", *argv)
    try:
        os.execve(command[0], command, _bare_environment(home))  # noqa: S606 - as above
    except OSError as error:
        raise _failed("the box", error) from error


def run_attack(*arguments: str) -> tuple[int, str]:
    """The demo's hostile child, or damage to a copy of a log: the exit code and what was printed.

    Raises:
        LaunchError: it cannot be started.
    """
    return _captured(ATTACK, *arguments)


def _captured(module: str, *arguments: str, environment: Mapping[str, str] | None = None) -> tuple[int, str]:
    command = _python(module, *arguments)
    try:
        done = subprocess.run(  # noqa: S603 - as above
            command,
            env=_bare_environment() if environment is None else environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            check=False,
            start_new_session=True,
        )
    except OSError as error:
        raise _failed(module, error) from error
    return done.returncode, done.stdout.strip()


def start_signer(home: Home, arguments: Sequence[str] = (), *, pass_fds: Sequence[int] = ()) -> subprocess.Popen[bytes]:
    """The signer of ``home``, which talks on its standard input and output and draws on the terminal itself.

    ``pass_fds`` stay open in it under the same numbers.

    Raises:
        LaunchError: it cannot be started.
    """
    try:
        return subprocess.Popen(  # noqa: S603 - as above
            _python(SIGNER, *arguments),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=_bare_environment(home),
            pass_fds=tuple(pass_fds),
            close_fds=True,
        )
    except OSError as error:
        raise _failed("the signer", error) from error


def open_daemon_log(home: Home) -> int:
    """The daemon's log, to be appended to; what is longer than a mebibyte was moved aside first.

    Raises:
        LaunchError: it cannot be written.
    """
    # Without waiting: a fifo in its place has nobody at the other end.
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        if home.daemon_log.is_file() and home.daemon_log.stat().st_size > MAX_LOG_BYTES:
            os.replace(home.daemon_log, home.daemon_log.with_suffix(".old"))
        return os.open(home.daemon_log, flags, 0o600)
    except OSError as error:
        raise LaunchError(
            "launch.log",
            f"the daemon's log cannot be written: {error.strerror}",
            effect="none",
            where=str(home.daemon_log),
            advice="check the owner and mode of the home",
        ) from error


def _python(module: str, *arguments: str) -> list[str]:
    if not sys.executable:
        raise LaunchError(
            "launch.no-python",
            "the Python that runs this does not know where it is",
            effect="none",
            advice="start astrid by its full path",
        )
    return [sys.executable, *_isolation(), "-m", module, *arguments]


def _isolation() -> tuple[str, ...]:
    """``-I``; where Astrid is installed for this user only, all of it but being deaf to what is."""
    mine = site.getusersitepackages()
    return ("-E", "-P") if __file__.startswith(mine + os.sep) else ("-I",)


def _environment(home: Home | None = None) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_DROPPED)}
    if home is not None:
        kept["ASTRID_HOME"] = str(home.root)
    return kept


def _bare_environment(home: Home | None = None) -> dict[str, str]:
    """For whoever has no use for a key of a vendor's: what is known to be none."""
    given = _environment(home)
    return {name: value for name, value in given.items() if name in _KEPT or name.startswith(_KEPT_FAMILIES)}


def _failed(what: str, error: OSError) -> LaunchError:
    return LaunchError(
        "launch.failed",
        f"{what} cannot be started: {error.strerror}",
        effect="none",
        where=sys.executable,
        advice="check the installation",
    )
