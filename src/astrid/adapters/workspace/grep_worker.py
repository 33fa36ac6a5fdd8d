"""A program of its own: prints the lines of some files that match a regular expression, in the way of ``rg --json``.

Used where ``rg`` is not installed.  It runs as a process with a deadline, because an expression can take for ever.
It imports nothing of Astrid, since it runs without its environment.

    grep_worker.py FLAGS CONTEXT MAX_MATCHES EXPRESSION PATH...        FLAGS is ``i`` (ignore case) or ``-``

Exit code: 0 something matched, 1 nothing did, 2 the expression is none.
"""

from __future__ import annotations

import json
import re
import sys


def main(argv: list[str]) -> int:
    """Search, print, and return the exit code."""
    flags, context, max_matches, expression, *paths = argv
    try:
        wanted = re.compile(expression, re.IGNORECASE if flags == "i" else 0)
    except (re.error, RecursionError, OverflowError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    found = [search(wanted, path, int(context), int(max_matches)) for path in paths]
    return 0 if any(found) else 1


def search(wanted: re.Pattern[str], path: str, context: int, max_matches: int) -> bool:
    """Print what matches in one file; whether anything did."""
    with open(path, "rb") as file:
        lines = file.read().split(b"\n")
    if lines[-1] == b"":
        lines.pop()
    texts = [line.removesuffix(b"\r").decode("utf-8", "replace") for line in lines]
    matched: set[int] = set()
    for number, text in enumerate(texts):
        if wanted.search(text):
            matched.add(number)
            if len(matched) >= max_matches:
                break
    near = {line for number in matched for line in range(number - context, number + context + 1)}
    for number in sorted(near & set(range(len(texts)))):
        kind = "match" if number in matched else "context"
        data = {"path": {"text": path}, "lines": {"text": texts[number]}, "line_number": number + 1}
        sys.stdout.write(json.dumps({"type": kind, "data": data}) + "\n")
    return bool(matched)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
