"""Where the passphrase of the user's key comes from: the person's terminal, an open descriptor, or nowhere.

Never: keeps a passphrase longer than it is needed, or shows it.

Source: threats 5, 46.
"""

from __future__ import annotations

import os
from typing import Protocol

from astrid.errors import EdgeError, InputError, KeyFormatError

LEAST_PASSPHRASE = 8
MOST_PASSPHRASE_BYTES = 1024
ATTEMPTS = 3


class Passphrases(Protocol):
    """Where passphrases come from."""

    def current(self) -> bytes:
        """The one that the key is under."""
        ...

    def fresh(self) -> bytes:
        """A new one."""
        ...

    @property
    def attempts(self) -> int:
        """How often it may be wrong."""
        ...


class Asker(Protocol):
    """A terminal that can be asked without echo."""

    def ask(self, prompt: str, *, secret: bool = False) -> bytes:
        """One typed line."""
        ...

    def say(self, text: str) -> None:
        """Show one line."""
        ...


class Typed:
    """Passphrases that the person types; a new one twice."""

    attempts = ATTEMPTS

    def __init__(self, screen: Asker) -> None:
        self._screen = screen
        self._asked = False

    def current(self) -> bytes:
        """Asked for without echo."""
        if self._asked:
            self._screen.say("that was another passphrase")
        self._asked = True
        return self._screen.ask("Passphrase of your Astrid key:", secret=True)

    def fresh(self) -> bytes:
        """Asked for twice, until both are the same and long enough."""
        for _ in range(ATTEMPTS):
            first = self._screen.ask(f"New passphrase (at least {LEAST_PASSPHRASE} characters):", secret=True)
            try:
                check_passphrase(first)
            except KeyFormatError as error:
                self._screen.say(error.render())
                continue
            if self._screen.ask("The same once more:", secret=True) == first:
                return first
            self._screen.say("the two are not the same")
        raise InputError("signer.no-passphrase", "no passphrase was chosen; nothing was changed", advice="try again")


class Handed:
    """Passphrases that stand on the lines of an open descriptor: the current one first, if one is needed."""

    attempts = 1

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._lines: list[bytes] | None = None

    def current(self) -> bytes:
        """The next line."""
        return self._next()

    def fresh(self) -> bytes:
        """The next line, if it is long enough."""
        passphrase = self._next()
        check_passphrase(passphrase)
        return passphrase

    def _next(self) -> bytes:
        if self._lines is None:
            self._lines = self._read()
        if not self._lines:
            raise InputError(
                "signer.no-passphrase",
                "the descriptor holds no (further) passphrase",
                advice="write each on a line of its own",
            )
        return self._lines.pop(0)

    def _read(self) -> list[bytes]:
        try:
            data = b""
            while chunk := os.read(self._fd, MOST_PASSPHRASE_BYTES):
                data += chunk
                if len(data) > 2 * MOST_PASSPHRASE_BYTES:
                    raise InputError(
                        "signer.passphrase-fd",
                        "what the passphrase descriptor holds is too long",
                        advice="have the descriptor hold the passphrase and nothing else",
                    )
        except OSError as error:
            raise InputError(
                "signer.passphrase-fd",
                f"the passphrase cannot be read: {error.strerror}",
                advice="open the descriptor for reading",
            ) from error
        return data.removesuffix(b"\n").split(b"\n") if data else []


class Nobody:
    """Nobody to ask: no terminal, and no descriptor."""

    attempts = 1

    def current(self) -> bytes:
        """Nothing to open the key with."""
        raise no_terminal()

    def fresh(self) -> bytes:
        """Nothing to seal the key with."""
        raise no_terminal()


def check_passphrase(passphrase: bytes) -> None:
    """Nothing, if ``passphrase`` may seal a key.

    Raises:
        KeyFormatError: too short or too long.
    """
    if len(passphrase.decode("utf-8", "replace")) < LEAST_PASSPHRASE or len(passphrase) > MOST_PASSPHRASE_BYTES:
        raise KeyFormatError(
            "key.short-passphrase",
            f"a passphrase has {LEAST_PASSPHRASE} characters or more, and at most {MOST_PASSPHRASE_BYTES} bytes",
            advice="choose a longer one, such as a few words",
        )


def no_terminal() -> EdgeError:
    """There is nobody to ask."""
    return EdgeError(
        "signer.no-terminal",
        "there is no terminal at which a person could be asked",
        effect="none",
        advice="run this at a terminal; to sign a grant without one, give --yes, and --passphrase-fd for a sealed key",
    )
