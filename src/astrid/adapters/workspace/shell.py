"""Running one command line with bash, and what a model is told of it; the shell that has nothing around it.

Never: keeps anything from one line to the next, hands on the daemon's environment, or decides whether the line may run.

Source: the first Astrid (bash: texts, limits, and its bugs: environment, sentinel, timeout that did not kill).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence

from astrid.adapters.workspace.process import run_process
from astrid.adapters.workspace.text import cut
from astrid.box_ports import NO_LEAVE, Finished, Leave, Shell
from astrid.core.canon import Domain, digest, encode
from astrid.core.visible import visible
from astrid.errors import InternalError
from astrid.ports import ToolOutcome

BASH = "/bin/bash"
MAX_OUTPUT_BYTES = 1024 * 1024  # of both streams, as they are shown; the model is shown a part, and can read the rest
CUT_SUFFIX = "\n\n... (output truncated: it exceeded 1 MiB)"


OWN_RIGHTS = digest(Domain.TOOLDEF, encode(("tier", "none", "network", "open")))


class OpenShell:
    """``box_ports.Shell`` without a box: a line can do whatever the user can.  For who says that this is enough."""

    profile = bytes(OWN_RIGHTS)
    about = ""
    contains = False
    lets_out = False
    why = "a command runs with your own rights: there is no box around it"

    def check(self) -> None:
        """Nothing is asked for."""

    async def run(
        self,
        argv: Sequence[str],
        *,
        workspace: str,
        folder: int,
        env: Mapping[str, str],
        seconds: float,
        max_bytes: int,
        cwd: str = "",
        leave: Leave = NO_LEAVE,
    ) -> Finished:
        """Run ``argv`` as the daemon's own child, which needs nobody's ``leave``.

        Raises:
            InternalError: it is to have a way out, and a network of its own that there is none of.
        """
        if leave.serve is not None:
            raise InternalError("internal.no-network", "a command without a box cannot be let out of one")
        # A path that means this very folder, even after a rename, where the system has one.
        root = f"/proc/self/fd/{folder}" if sys.platform == "linux" else workspace
        return await run_process(argv, cwd=os.path.join(root, cwd), env=env, seconds=seconds, max_bytes=max_bytes)


async def run_line(
    line: str,
    shell: Shell,
    *,
    workspace: str,
    folder: int,
    env: Mapping[str, str],
    timeout_ms: int,
    cwd: str = "",
    leave: Leave = NO_LEAVE,
) -> ToolOutcome:
    """Run ``line`` with ``shell`` in the open ``workspace``, or in ``cwd`` below it, and say how it went.

    Raises:
        LaunchError: bash could not be started, or would not end.
    """
    # SAFETY: no start-up file is read, and `--` keeps a line that begins with a dash from being an option.
    argv = [BASH, "--noprofile", "--norc", "-c", "--", line]
    done = await shell.run(
        argv,
        workspace=workspace,
        folder=folder,
        env=env,
        seconds=timeout_ms / 1000,
        max_bytes=MAX_OUTPUT_BYTES,
        cwd=cwd,
        leave=leave,
    )
    failed = bool(done.stopped) or done.returncode != 0
    return ToolOutcome(content=describe(done, timeout_ms).encode(), is_error=failed, effect="done")


def describe(done: Finished, timeout_ms: int) -> str:
    """The output of a command and how it ended, as text."""
    out, err = (_text(data) for data in (done.stdout, done.stderr))
    parts = [out] if out else []
    if err:
        parts.append(f"STDERR:\n{err}")
    whole = "\n".join(parts) or "(no output)"
    body = cut(whole, MAX_OUTPUT_BYTES)
    body += CUT_SUFFIX if done.truncated or body != whole else ""
    if done.stopped == "time":
        return f"{body}\nTimeout after {timeout_ms}ms; the command and everything it started were killed"
    if done.stopped:
        return f"{body}\nStopped at the limit of {done.stopped}; the command and everything it started were killed"
    if done.returncode:
        code = done.returncode if done.returncode > 0 else 128 - done.returncode
        return f"{body}\n(exit code: {code})"
    return body


def _text(data: bytes) -> str:
    # A line feed ends the last line; carriage returns before one come from programs that think of terminals.
    return visible(data.decode("utf-8", "replace").replace("\r\n", "\n").removesuffix("\n"))
