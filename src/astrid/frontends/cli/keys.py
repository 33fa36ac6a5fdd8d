"""``astrid keys``: what keys this home has, making the user's, its passphrase, and trusting another install's.

Never: opens a private key; what needs one is done by the signer.

Source: the first Astrid; protocol, "Keys and who holds them", N7; threats 12, 48.
"""

from __future__ import annotations

import argparse
import base64
import os
import stat
import sys
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import msgspec

from astrid.core.ids import show_id
from astrid.core.install import MAX_STATEMENT_BYTES, Install, install_id, roots_of, verify_install
from astrid.core.quoting import quote
from astrid.core.tokens import Assurance, verify_chain
from astrid.errors import ConfigError, InputError
from astrid.frontends.cli import DENIED, DONE
from astrid.frontends.cli.init import PLAIN_WARNING, print_created
from astrid.frontends.cli.signed import print_json, run_signed
from astrid.frontends.signer.describe import time_text
from astrid.frontends.signer.identity import load_identity, load_keeper
from astrid.frontends.signing import Signer
from astrid.home import Home, home_folder, open_home, read_guarded, write_guarded

SEALED_LATE = """\
The key is sealed from now on. It lay there plain before, and whoever copied it then can still use it: so the install
statement goes on calling it plain, and so do grants. For a key that was sealed from its first moment, make a new home.
"""


class Listed(msgspec.Struct, frozen=True):
    """A key as it is listed.  ``mode`` is that of its private file, or why there is none."""

    role: str
    public: bytes
    assurance: str
    file: str
    mode: str

    @property
    def fingerprint(self) -> str:
        """What two people compare."""
        return fingerprint(self.public)


def fingerprint(public: bytes) -> str:
    """SHA-256 of something public, short enough to be read out."""
    return "SHA256:" + base64.b64encode(sha256(public).digest()).decode().rstrip("=")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``astrid keys``."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    show = actions.add_parser("show", help="the public keys of this home, how they are kept, their fingerprints")
    show.add_argument("--json", action="store_true", help="print JSON")
    generate = actions.add_parser("generate", help="make the user key if it is missing, or seal the one there is")
    kind = generate.add_mutually_exclusive_group()
    kind.add_argument("--seal", action="store_true", help="put the key that is there under a (new) passphrase")
    kind.add_argument("--plain", action="store_true", help="make one without a passphrase")
    generate.add_argument(
        "--passphrase-fd", type=int, metavar="N", help="read passphrases from the lines of descriptor N"
    )
    generate.add_argument("--json", action="store_true", help="print JSON")
    passphrase = actions.add_parser("passphrase", help="put the user key under a (new) passphrase, or take it off")
    passphrase.add_argument("what", choices=("set", "remove"))
    passphrase.add_argument(
        "--passphrase-fd", type=int, metavar="N", help="read passphrases from the lines of descriptor N"
    )
    passphrase.add_argument("--json", action="store_true", help="print JSON")
    trust = actions.add_parser("trust", help="keep another install's statement, to verify its logs and exports with")
    trust.add_argument("file", type=Path, metavar="FILE")
    trust.add_argument("--yes", action="store_true", help="the fingerprint was compared already")
    trust.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Do what was asked for.

    Raises:
        AstridError: what went wrong.
    """
    home = open_home(home_folder(os.environ))
    match args.action:
        case "show":
            return _show(home, as_json=args.json)
        case "generate":
            return _generate(home, args)
        case "passphrase":
            return run_signed(lambda: _passphrase(home, args))
        case _:
            return _trust(home, args)


# --- show


def _show(home: Home, *, as_json: bool) -> int:
    identity = load_identity(home)
    keys = list(list_keys(home, identity.install))
    install = show_id("install", identity.aud)
    if as_json:
        print_json({"install": install, "keys": [_plain(key) for key in keys]})
        return DONE
    print(f"install  {install}")
    for key in keys:
        print(f"{key.role:<8} {key.public.hex()}")
        print(f"         {key.fingerprint}")
        print(f"         {key.assurance}, {quote(os.fsencode(key.file))} {key.mode}")
    return DONE


def list_keys(home: Home, install: Install) -> Iterator[Listed]:
    """The keys of this home, told from what is public."""
    for root in install.roots:
        yield _listed("user", root.key, Assurance(root.assurance).name.lower(), home.user_key)
    yield _listed("runtime", install.runtime_key, "signs checkpoints only", home.runtime_key)
    yield _listed("holder", load_keeper(home, install), "holds what you grant", home.holder_key)
    token = verify_chain(read_guarded(home.client_token, what="the client token"), roots_of(install, epoch=0))
    yield _listed("client", token.holder, "asks the daemon", home.client_key)


def _listed(role: str, public: bytes, assurance: str, path: Path) -> Listed:
    return Listed(role, public, assurance, str(path), _mode(path))


def _mode(path: Path) -> str:
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return "missing"
    mode = stat.S_IMODE(found.st_mode)
    return f"{mode:04o}" if not mode & 0o077 else f"{mode:04o}, open to others: chmod 0600"


def _plain(key: Listed) -> dict[str, str]:
    return {
        "role": key.role,
        "public_key": key.public.hex(),
        "fingerprint": key.fingerprint,
        "kept": key.assurance,
        "file": key.file,
        "mode": key.mode,
    }


# --- generate


def _generate(home: Home, args: argparse.Namespace) -> int:
    # Whether it is there, not what is in it: only the signer opens it.
    exists = os.path.lexists(home.user_key)
    if exists and not args.seal:
        raise ConfigError(
            "file.exists",
            "there is a user key already",
            where=str(home.user_key),
            advice="to put it under a (new) passphrase: `astrid keys generate --seal`",
        )
    if args.plain:
        sys.stderr.write(PLAIN_WARNING)
    return run_signed(lambda: _make_or_seal(home, args, exists=exists))


async def _make_or_seal(home: Home, args: argparse.Namespace, *, exists: bool) -> int:
    async with Signer.start(home, passphrase_fd=args.passphrase_fd) as signer:
        state = await (signer.reseal() if exists else signer.create(plain=args.plain))
    if exists and state.assurance == Assurance.PLAIN:
        sys.stderr.write(SEALED_LATE)
    print_created(home, state, as_json=args.json)
    return DONE


# --- passphrase


async def _passphrase(home: Home, args: argparse.Namespace) -> int:
    sets = args.what == "set"
    async with Signer.start(home, passphrase_fd=args.passphrase_fd) as signer:
        state = await (signer.reseal() if sets else signer.unseal())
    sys.stderr.write("" if not sets or state.assurance == Assurance.SEALED else SEALED_LATE)
    sys.stderr.write("" if sets else PLAIN_WARNING)
    if args.json:
        print_json({"user_key": bytes(state.public).hex(), "passphrase": sets})
    else:
        print("the user key is under the new passphrase" if sets else "the user key is under no passphrase any more")
    return DONE


# --- trust


def _trust(home: Home, args: argparse.Namespace) -> int:
    raw = _read(args.file)
    install = verify_install(raw)
    identity = install_id(install)
    told = {
        "install": show_id("install", identity),
        "fingerprint": fingerprint(identity),
        "log": install.log_id.hex(),
        "runtime_key": install.runtime_key.hex(),
        "user_keys": ", ".join(
            f"{root.key.hex()} ({Assurance(root.assurance).name.lower()})" for root in install.roots
        ),
        "created": time_text(install.created_s),
    }
    for name, value in told.items():
        sys.stderr.write(f"{name:<12} {value}\n")
    if not args.yes and not _agreed():
        sys.stderr.write("not kept\n")
        return DENIED
    place = home.root / "anchor" / f"install-{identity.hex()}"
    try:
        write_guarded(place, raw, what="the install statement")
    except ConfigError as error:
        if error.code != "file.exists":  # then it is known already: the name is that of its content
            raise
    if args.json:
        print_json({**told, "kept": str(place)})
    else:
        print(f"kept as {quote(os.fsencode(place))}")
    return DONE


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAX_STATEMENT_BYTES + 1)
    except OSError as error:
        raise InputError(
            "keys.unreadable",
            f"the install statement cannot be read: {error.strerror}",
            where=str(path),
            advice="name a file that was copied from the other home",
        ) from error


def _agreed() -> bool:
    if not sys.stdin.isatty():
        raise InputError(
            "keys.unconfirmed",
            "nobody can be asked whether this is the right install",
            advice="compare the fingerprint with its owner, and give --yes",
        )
    sys.stderr.write("Compare the fingerprint with what its owner reads out. Keep it? yes or no: ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")
