"""The keys and statements of a new install, made in an order in which a start that broke off can be gone on with.

Each step makes one file, whole or not at all, and only if it is missing; what is there is read and checked instead.
The install statement comes after every key it names, and the client's token last.

Never: overwrites a key, or makes a second user or runtime key for an install that names a first.

Source: protocol, "Keys and who holds them", N7; threats 5, 43.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from astrid.core.canon import Domain
from astrid.core.install import NO_LOSS, Install, Root, roots_of, sign_statement
from astrid.core.keys import KEY_BYTES, PublicKey, SigningKey, load_public_key
from astrid.core.tokens import Assurance, issue, verify_chain
from astrid.errors import ConfigError, TokenError
from astrid.frontends.signer.granting import Signing, client_block
from astrid.frontends.signer.identity import Identity, load_identity
from astrid.frontends.signer.vault import Vault
from astrid.home import Home, read_guarded, write_guarded

_LEFT_OVER = re.compile(r"\.(?:user|runtime|holder|client)\.(?:key|pub|token)\.[0-9a-f]{16}|\.install\.[0-9a-f]{16}")
_Entropy = Callable[[int], bytes]


def create(home: Home, vault: Vault, *, plain: bool, entropy: _Entropy, now_s: int) -> Identity:
    """The install of ``home``, whole.

    Raises:
        ConfigError: it is whole already (``file.exists``), another start is at work, or a file cannot be made.
        KeyFormatError, TokenError: what is there does not fit together.
    """
    with only_one(home):
        if all(map(os.path.lexists, _files(home))):
            raise ConfigError(
                "file.exists",
                "this home has its keys already",
                where=str(home.root),
                advice="nothing was changed; see `astrid keys show`",
            )
        _tidy(home)
        return _complete(home, vault, plain=plain, entropy=entropy, now_s=now_s)


@contextlib.contextmanager
def only_one(home: Home) -> Iterator[None]:
    """Nobody else makes or changes a key of this home meanwhile.

    Raises:
        ConfigError: somebody does already.
    """
    fd = os.open(home.user_key.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise ConfigError(
            "signer.busy", "another signer is making or changing keys of this home", advice="wait for it to end"
        ) from error
    finally:
        os.close(fd)


def _files(home: Home) -> tuple[Path, ...]:
    keys = (home.user_key, home.runtime_key, home.holder_key, home.holder_public, home.client_key)
    return (*keys, home.install, home.client_token)


def _tidy(home: Home) -> None:
    """Remove what a start that broke off left beside the files; a key may be in it."""
    for folder in (home.root, home.user_key.parent):
        for path in folder.iterdir():
            if _LEFT_OVER.fullmatch(path.name):
                path.unlink()


def _complete(home: Home, vault: Vault, *, plain: bool, entropy: _Entropy, now_s: int) -> Identity:
    identity = load_identity(home) if os.path.lexists(home.install) else None
    user, assurance = _user(home, vault, identity, plain=plain)
    runtime = _key(home.runtime_key, "the runtime key", entropy, may_make=identity is None)
    holder = _key(home.holder_key, "the holder key", entropy, may_make=not os.path.lexists(home.holder_public))
    _public(home.holder_public, holder.public)
    client = _key(home.client_key, "the client key", entropy, may_make=True)
    if len({user.public, runtime.public, holder.public, client.public}) != 4:
        raise TokenError("install.keys", "two keys of this home are the same", advice="choose another, empty home")
    if identity is None:
        install = Install(1, entropy(32), runtime.public, (Root(user.public, assurance),), now_s, NO_LOSS)
        write_guarded(home.install, sign_statement(Domain.INSTALL, install, user), what="the install statement")
        identity = load_identity(home)
    elif identity.install.runtime_key != runtime.public:
        raise _lost(home.runtime_key, "the runtime key that the install statement names")
    renew_client(home, identity, lambda: user, entropy=entropy, now_s=now_s)
    return identity


def renew_client(
    home: Home, identity: Identity, open_key: Callable[[], SigningKey], *, entropy: _Entropy, now_s: int
) -> None:
    """The client's token, made anew unless there is one of this install for the client's key."""
    client = _key(home.client_key, "the client key", entropy, may_make=True)
    if _is_token_of(home, identity, client.public):
        return
    user = open_key()
    signing = Signing(user.public, identity.assurance_of(user), client.public, identity.aud, now_s, entropy(16))
    token = issue(client_block(signing), user)
    write_guarded(home.client_token, token, what="the client token", replace=True)  # no key: it may be made anew


def _user(home: Home, vault: Vault, identity: Identity | None, *, plain: bool) -> tuple[SigningKey, Assurance]:
    if identity is None:
        user, sealed = vault.make(plain=plain)
        return user, Assurance.SEALED if sealed else Assurance.PLAIN
    if not vault.exists:
        raise _lost(home.user_key, "the user key that the install statement names")
    user = vault.open(identity)
    return user, identity.assurance_of(user)


def _key(path: Path, what: str, entropy: _Entropy, *, may_make: bool) -> SigningKey:
    if not os.path.lexists(path):
        if not may_make:
            raise _lost(path, what)
        write_guarded(path, entropy(KEY_BYTES), what=what)
    return SigningKey.from_seed(read_guarded(path, what=what, max_bytes=KEY_BYTES, secret=True))


def _public(path: Path, expected: PublicKey) -> None:
    what = "the holder's public key"
    if not os.path.lexists(path):
        write_guarded(path, expected, what=what)
    if load_public_key(read_guarded(path, what=what, max_bytes=KEY_BYTES, private=False)) != expected:
        raise TokenError(
            "install.keys",
            "the holder's public key is not that of the holder key",
            where=str(path),
            advice="restore the two files that belong together",
        )


def _is_token_of(home: Home, identity: Identity, client: PublicKey) -> bool:
    if not os.path.lexists(home.client_token):
        return False
    raw = read_guarded(home.client_token, what="the client token")
    try:
        token = verify_chain(raw, roots_of(identity.install, epoch=0))
    except TokenError:
        return False
    return (token.holder, token.leaf.aud) == (client, identity.aud)


def _lost(path: Path, what: str) -> ConfigError:
    return ConfigError(
        "signer.lost-key",
        f"{what} is missing, and another cannot take its place",
        where=str(path),
        advice="restore it from a backup, or start with a new home",
    )
