"""Running one program to its end: the only place that starts processes for tools.

Never: leaves a process behind, waits without a deadline, hands on the daemon's environment, standard input or
descriptors.

A program runs in a session and process group of its own.  However it ends (by itself, at the deadline, by
cancellation) the whole group is killed before its leader is reaped, so that the group's number cannot have become
somebody else's.  What left the group by ``setsid`` still carries the mark that each run puts into the environment,
and is found by it (Linux).  Who also wipes its environment escapes this: containing that is the sandbox's part.
If this process is itself killed on the spot, nothing of the above happens; what it was running is then the watchman's.

Invariants:
  after ``run_process`` returned or raised, no process of the group runs.
  output beyond ``max_bytes`` is read and dropped, so that a full pipe never stops the program.

Source: the first Astrid ("on timeout the child is not killed"); kill(2), pidfd_open(2), credentials(7).
"""

from __future__ import annotations

import os
import re
import secrets
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import trio

from astrid.adapters.workspace.sweep import hunt, is_dead, watch
from astrid.box_ports import Finished
from astrid.errors import InternalError, LaunchError, WorkspaceError

FIXED_PATH = ("/usr/local/bin", "/usr/bin", "/bin")
MARK = "ASTRID_TOOL_RUN"
OURS = f"{MARK}={secrets.token_hex(8)}."  # how the mark of every run of this process begins
GRACE_SECONDS = 2.0
DRAIN_SECONDS = 0.2
REAP_SECONDS = 5.0
_CHUNK_BYTES = 64 * 1024

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# What makes an interpreter, a linker or a package manager run other code than the command says, or look for it
# elsewhere.
_REFUSED_VARIABLES = frozenset(
    {
        "PATH",
        "IFS",
        "ENV",
        "CDPATH",
        "GLOBIGNORE",
        "SHELLOPTS",
        "BASHOPTS",
        "PS4",
        "PROMPT_COMMAND",
        "PERL5OPT",
        "PERL5LIB",
        "RUBYOPT",
    }
    | {
        "RUBYLIB",
        "JAVA_TOOL_OPTIONS",
        "JDK_JAVA_OPTIONS",
        "EDITOR",
        "VISUAL",
        "PAGER",
        "MANPAGER",
        "LESSOPEN",
        "BROWSER",
    }
)
# A repository's own configuration names a program that even `git status` runs; what is set here outweighs it.
_HARDENED = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "core.fsmonitor", "GIT_CONFIG_VALUE_0": "false"}
_REFUSED_PREFIXES = ("LD_", "DYLD_", "BASH_", "PYTHON", "NODE_", "GIT_", "NPM_CONFIG_", "ASTRID_", "RUSTC_", "CARGO_")


class _Output:
    """One pipe, read to its end; the first ``limit`` bytes are kept."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.data = bytearray()
        self.truncated = False
        self.ended = trio.Event()

    async def drain(self, stream: trio.abc.ReceiveStream) -> None:
        async for chunk in stream:
            room = self._limit - len(self.data)
            self.data += chunk[:room]
            self.truncated = self.truncated or len(chunk) > room
        self.ended.set()


def tool_environment(home: Path, extra: Mapping[str, str], *, path: Sequence[str] = FIXED_PATH) -> dict[str, str]:
    """The whole environment of a tool: a fixed ``PATH``, ``HOME``, what git must not do, and what the user's
    configuration adds.  Nothing is inherited.

    Raises:
        WorkspaceError: ``extra`` names a variable that decides which code runs, or is no variable.
    """
    for name, value in extra.items():
        if (
            not _VARIABLE.fullmatch(name)
            or "\0" in value
            or name.upper() in _REFUSED_VARIABLES
            or name.upper().startswith(_REFUSED_PREFIXES)
        ):
            raise WorkspaceError(
                "workspace.environment",
                f"the variable `{name}` cannot be given to tools",
                effect="none",
                advice="variables that decide which code runs are fixed",
            )
    fixed = {"PATH": ":".join(path), "HOME": str(home), **_HARDENED}
    return {"LANG": "C.UTF-8", "TERM": "dumb", "TMPDIR": "/tmp", **extra, **fixed}  # noqa: S108 - no file of ours


async def run_process(
    argv: Sequence[str],
    *,
    cwd: str,
    env: Mapping[str, str],
    seconds: float,
    max_bytes: int,
    pass_fds: Sequence[int] = (),
    grace_seconds: float = GRACE_SECONDS,
    sweep: bool = True,
) -> Finished:
    """Run ``argv`` for at most ``seconds`` and say how it ended.  ``argv[0]`` is an absolute path; input is empty.

    At the deadline and on cancellation the group gets TERM, ``grace_seconds`` to obey, then KILL.  ``sweep`` looks
    for what left the group, which programs of our own do not.

    Raises:
        LaunchError: it could not be started (``effect`` none), or would not die (``done``).
    """
    mark = f"{OURS}{secrets.token_hex(8)}"
    try:
        process = await trio.lowlevel.open_process(
            list(argv),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=cwd,
            env={**env, MARK: mark.partition("=")[2]},
            start_new_session=True,
            pass_fds=tuple(pass_fds),
        )
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        raise LaunchError("process.not-started", "the program could not be started", effect="none") from error
    out, err = _Output(max_bytes), _Output(max_bytes)
    try:
        with trio.move_on_after(seconds) as deadline:
            await _collect(process, out, err)
    finally:
        returncode = await _end(process, mark if sweep else "", grace_seconds)
    return Finished(
        returncode=returncode,
        stdout=bytes(out.data),
        stderr=bytes(err.data),
        truncated=out.truncated or err.truncated,
        stopped="time" if deadline.cancelled_caught else "",
    )


async def _collect(process: trio.Process, out: _Output, err: _Output) -> None:
    """Read both pipes until the leader is gone; a grandchild that holds them open is waited for only a moment."""
    async with trio.open_nursery() as nursery:
        for output, stream in zip((out, err), _pipes(process), strict=True):
            nursery.start_soon(output.drain, stream)
        await _wait_exited(process)
        with trio.move_on_after(DRAIN_SECONDS):
            await out.ended.wait()
            await err.ended.wait()
        nursery.cancel_scope.cancel()


def _pipes(process: trio.Process) -> tuple[trio.abc.ReceiveStream, trio.abc.ReceiveStream]:
    if process.stdout is None or process.stderr is None:
        raise InternalError("internal.no-pipe", "a process was started without its pipes")
    return process.stdout, process.stderr


async def _wait_exited(process: trio.Process) -> None:
    """Return once the leader has ended, without reaping it where the system allows that."""
    watched = watch(process.pid)
    if watched is None:
        await process.wait()
        return
    try:
        await trio.lowlevel.wait_readable(watched)
    finally:
        trio.lowlevel.notify_closing(watched)
        os.close(watched)


def _has_exited(process: trio.Process) -> bool:
    watched = watch(process.pid)
    if watched is None:
        return process.poll() is not None
    try:
        return is_dead(watched, wait_ms=0)
    finally:
        os.close(watched)


async def _end(process: trio.Process, mark: str, grace_seconds: float) -> int:
    """Kill what is left of the group, and what left it with ``mark``; reap the leader; its return code."""
    with trio.CancelScope(shield=True):
        # SAFETY: until the leader is reaped, two steps on, its number names our group (where it can be watched).
        if not _has_exited(process):
            _signal_group(process.pid, signal.SIGTERM)
            with trio.move_on_after(grace_seconds):
                await _wait_exited(process)
        _signal_group(process.pid, signal.SIGKILL)
        if mark:
            await trio.to_thread.run_sync(hunt, mark.encode(), process.pid)
        with trio.move_on_after(REAP_SECONDS):
            await process.wait()
        for stream in _pipes(process):
            await stream.aclose()
    if process.returncode is None:
        raise LaunchError(
            "process.undead", "a killed program does not end", effect="done", advice="look for a hanging disk or mount"
        )
    return process.returncode


def _signal_group(group: int, number: signal.Signals) -> None:
    # Gone already is what is wanted; macOS answers EPERM for a group of which only the unreaped leader is left.
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)
