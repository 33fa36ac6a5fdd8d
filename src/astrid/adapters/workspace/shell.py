"""Running one command line with bash, and what a model is told of it.

Never: keeps anything from one line to the next, hands on the daemon's environment, or decides whether the line may run.

Source: the first Astrid (bash: texts, limits, and its bugs: environment, sentinel, timeout that did not kill).
"""

from __future__ import annotations

from collections.abc import Mapping

from astrid.adapters.workspace.process import Finished, run_process
from astrid.adapters.workspace.text import cut
from astrid.core.visible import visible
from astrid.ports import ToolOutcome

BASH = "/bin/bash"
MAX_OUTPUT_BYTES = 1024 * 1024  # of both streams, as they are shown; the model is shown a part, and can read the rest
CUT_SUFFIX = "\n\n... (output truncated: it exceeded 1 MiB)"


async def run_line(line: str, *, cwd: str, env: Mapping[str, str], timeout_ms: int) -> ToolOutcome:
    """Run ``line`` in the folder ``cwd`` and say how it went.

    Raises:
        LaunchError: bash could not be started, or would not end.
    """
    # SAFETY: no start-up file is read, and `--` keeps a line that begins with a dash from being an option.
    argv = [BASH, "--noprofile", "--norc", "-c", "--", line]
    done = await run_process(argv, cwd=cwd, env=env, seconds=timeout_ms / 1000, max_bytes=MAX_OUTPUT_BYTES)
    failed = done.timed_out or done.returncode != 0
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
    if done.timed_out:
        return f"{body}\nTimeout after {timeout_ms}ms; the command and everything it started were killed"
    if done.returncode:
        code = done.returncode if done.returncode > 0 else 128 - done.returncode
        return f"{body}\n(exit code: {code})"
    return body


def _text(data: bytes) -> str:
    # A line feed ends the last line; carriage returns before one come from programs that think of terminals.
    return visible(data.decode("utf-8", "replace").replace("\r\n", "\n").removesuffix("\n"))
