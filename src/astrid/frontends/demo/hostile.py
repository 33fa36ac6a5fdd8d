"""A hostile client: it reaches the socket as the user does, and shows what it has no right to.

Source: protocol N2 d; threats 1, 13, 30.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import msgspec

from astrid.core.canon import Domain, decode, encode
from astrid.core.keys import SigningKey
from astrid.core.tokens import MAX_CHAIN_BYTES, MAX_PAYLOAD_BYTES, Block, SignedBlock, block_id
from astrid.errors import AstridError
from astrid.frontends.client import Client, connect
from astrid.frontends.demo.stage import Stage
from astrid.frontends.demo.table import Row
from astrid.frontends.meeting import Credentials, load_credentials
from astrid.wire import params as p

PART = "A hostile client"


async def hostile_client(stage: Stage, grant: bytes, once: bytes, say: Callable[[str], None]) -> list[Row]:
    """What such a client tries.  ``grant`` is the workspace grant, which is the daemon's; ``once`` is a person's yes to
    one call, which was used.
    """
    say("a hostile client shows forged and borrowed tokens to the daemon")
    mine = load_credentials(stage.home)
    own = SigningKey.from_seed(os.urandom(32))
    flipped = bytearray(mine.chain)
    flipped[len(flipped) // 2] ^= 1
    shown = {
        "the user's client token, without its key": Credentials(mine.chain, mine.id_last, own),
        "the client token with one bit flipped": Credentials(bytes(flipped), mine.id_last, mine.key),
        "the client token in another spelling": Credentials(b"\xdc\x00\x01" + mine.chain[1:], mine.id_last, mine.key),
        "a block of its own behind the client token, wider than it": _wider(mine, own),
        "the workspace grant, which is the daemon's": Credentials(grant, _last_id(grant), mine.key),
    }
    rows = [await _present(stage, what, credentials) for what, credentials in shown.items()]
    async with connect(stage.home) as client:
        rows.append(await _refused("a grant that it signed itself", client, _self_signed(grant, own)))
        for how, token in _respelt(once).items():
            rows.append(await _refused(f"the used once token, {how}", client, token))
    return rows


async def _present(stage: Stage, what: str, credentials: Credentials) -> Row:
    try:
        async with connect(stage.home, authenticate=False) as client:
            await client.present(credentials)
    except AstridError as error:
        return Row(part=PART, what=what, held=True, layer="connection", reason=error.message, advice=error.advice)
    return Row(part=PART, what=what, held=False, reason="it was admitted")


async def _refused(what: str, client: Client, token: bytes) -> Row:
    try:
        await client.call("tokensAdd", p.TokensAdd(token=token))
    except AstridError as error:
        return Row(part=PART, what=what, held=True, layer="capability", reason=error.message, advice=error.advice)
    return Row(part=PART, what=what, held=False, reason="it was taken in")


def _blocks(chain: bytes) -> tuple[tuple[SignedBlock, ...], Block]:
    blocks = decode(chain, tuple[SignedBlock, ...], max_bytes=MAX_CHAIN_BYTES, what="a token")
    return blocks, decode(blocks[-1].payload, Block, max_bytes=MAX_PAYLOAD_BYTES, what="a token block")


def _last_id(chain: bytes) -> bytes:
    return block_id(_blocks(chain)[0][-1].payload)


def _wider(mine: Credentials, own: SigningKey) -> Credentials:
    blocks, leaf = _blocks(mine.chain)
    grants = tuple(msgspec.structs.replace(grant, perms=0xFF) for grant in leaf.grants)
    block = msgspec.structs.replace(
        leaf,
        parent=mine.id_last,
        issuer=mine.key.public,
        holder=own.public,
        grants=grants,
        depth=0,
        nonce=os.urandom(16),
    )
    payload = encode(block)
    signed = SignedBlock(payload, mine.key.sign(Domain.BLOCK, payload))
    return Credentials(encode((*blocks, signed)), block_id(payload), own)


def _respelt(token: bytes) -> dict[str, bytes]:
    """``token`` in every way to write it down."""
    (block,) = _blocks(token)[0]
    size = len(block.payload)
    head, longer = b"\xc5" + size.to_bytes(2, "big"), b"\xc6" + size.to_bytes(4, "big")
    return {
        "the same bytes": token,
        "with a longer array header": b"\xdc\x00\x01" + token[1:],
        "with an even longer array header": b"\xdd\x00\x00\x00\x01" + token[1:],
        "with a longer byte-string header": token.replace(head, longer, 1),
        "with bytes behind it": token + b"\xc0",
    }


def _self_signed(grant: bytes, own: SigningKey) -> bytes:
    payload = encode(msgspec.structs.replace(_blocks(grant)[1], issuer=own.public))
    return encode((SignedBlock(payload, own.sign(Domain.BLOCK, payload)),))
