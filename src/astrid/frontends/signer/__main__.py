"""The signer's process: ``python -I -m astrid.frontends.signer --home DIR``, started by a frontend.

    --passphrase-fd N   passphrases on the lines of this descriptor, instead of asking for them
    --yes               what the person's own command line asks for is agreed to already; no question ever is
    --terminal-fd N     make this terminal ours, instead of the one that we were started at

It ends when its standard input does.

Source: threats 5, 46.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import sys
import termios
import time
from collections.abc import Sequence
from pathlib import Path

from astrid.errors import AstridError
from astrid.frontends.signer.harden import harden
from astrid.frontends.signer.passphrases import Handed
from astrid.frontends.signer.protocol import HEADER_BYTES, check_length, frame
from astrid.frontends.signer.screen import Screen
from astrid.frontends.signer.service import Service, Surroundings
from astrid.home import open_home


def main(argv: Sequence[str]) -> int:
    """Serve until whoever started us is gone.  0 is their end; 1 is ours."""
    parser = argparse.ArgumentParser(prog="astrid-signer", allow_abbrev=False)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--passphrase-fd", type=int)
    parser.add_argument("--terminal-fd", type=int)
    parser.add_argument("--yes", action="store_true")
    options = parser.parse_args(argv)
    try:
        harden()
        requests, replies = _take_pipes()
        if options.terminal_fd is not None:
            _take_terminal(options.terminal_fd)
        around = Surroundings(
            clock=lambda: int(time.time()),
            entropy=os.urandom,
            open_terminal=lambda: Screen.open(os.environ, requests),
            assume_yes=options.yes,
            passphrases=None if options.passphrase_fd is None else Handed(options.passphrase_fd),
        )
        service = Service(open_home(options.home), around)
        while (request := _read_frame(requests)) is not None:
            _write(replies, frame(service.serve(request)))
    except AstridError as error:
        sys.stderr.write(f"astrid: {error.render()}\n")
        return 1
    except BrokenPipeError:
        return 0
    return 0


def _take_pipes() -> tuple[int, int]:
    """Our two pipes under other numbers, so that nothing that prints can get between the replies."""
    pipes = (fcntl.fcntl(0, fcntl.F_DUPFD_CLOEXEC, 3), fcntl.fcntl(1, fcntl.F_DUPFD_CLOEXEC, 3))
    nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    os.dup2(nothing, 0)
    os.dup2(nothing, 1)
    os.close(nothing)
    return pipes


def _take_terminal(fd: int) -> None:
    os.setsid()
    fcntl.ioctl(fd, termios.TIOCSCTTY, 0)


def _read_frame(fd: int) -> bytes | None:
    header = _read(fd, HEADER_BYTES)
    if len(header) < HEADER_BYTES:
        return None
    size = check_length(int.from_bytes(header))
    data = _read(fd, size)
    return data if len(data) == size else None


def _read(fd: int, size: int) -> bytes:
    """``size`` bytes, or what there was before the end."""
    data = bytearray()
    while len(data) < size and (chunk := os.read(fd, min(size - len(data), 65536))):
        data += chunk
    return bytes(data)


def _write(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
