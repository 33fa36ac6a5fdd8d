"""A grant as text, drawn from the block that is about to be signed, so that what is shown is what is signed.  Pure.

Every string is quoted, every field that widens or narrows is said, and no row is wider than a narrow terminal.

Source: protocol N1, N8; threats 6, 37.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta

from astrid.core.canon import MAX_U64
from astrid.core.display import rows
from astrid.core.ids import show_id
from astrid.core.money import Micros, format_usd
from astrid.core.quoting import mixed_scripts, quote
from astrid.core.risk import Risk
from astrid.core.tokens import UNLIMITED_MICROS, UNLIMITED_USES, Assurance, Block, Grant, Permission, Scope

_SCOPES = {
    Scope.ONCE: "one call",
    Scope.SESSION: "one session",
    Scope.WORKSPACE: "every session in one workspace",
    Scope.ALWAYS: "every session of this install, in every folder",
}


def describe_block(block: Block) -> str:
    """Everything that a block of a token says, in rows."""
    return as_rows(f"{name}: {value}" for name, value in _lines(block))


def as_rows(lines: Iterable[str]) -> str:
    """Lines that are safe to show, each in rows of its own."""
    every = list(lines)
    if mixed_scripts("\n".join(every)):
        every.append("careful: a word here mixes letters of several alphabets")
    return "".join(f"{row}\n" for line in every for row in rows(line))


def _lines(block: Block) -> Iterator[tuple[str, str]]:
    yield "good for", _SCOPES[Scope(block.scope)]
    for grant in block.grants:
        yield "allows", grant_text(grant)
    yield "while untrusted text is in view", "yes" if block.tainted_ok else "no"
    yield "from", time_text(block.not_before)
    yield "until", time_text(block.expires)
    yield "uses", "any number" if block.uses == UNLIMITED_USES else str(block.uses)
    yield "may spend", purse_text(block.purse)
    yield "may be passed on", f"{block.depth} times, each time narrower"
    if block.session:
        yield "session", show_id("session", block.session)
    if block.workspace:
        yield "workspace", show_id("workspace", block.workspace)
    if block.call:
        yield "call", block.call.hex()
    if block.question:
        yield "answers question", block.question.hex()
    yield "held by", block.holder.hex()
    yield "signed by", f"{block.issuer.hex()} ({Assurance(block.assurance).name.lower()})"
    yield "install", show_id("install", block.aud)


def grant_text(grant: Grant) -> str:
    """One grant of a block."""
    lets = f", may let others {permissions_text(grant.issuable)}" if grant.issuable else ""
    only = f", only the tool defined by {grant.tooldef.hex()}" if grant.tooldef else ""
    risk = Risk(grant.max_risk).name.lower()
    return f"{permissions_text(grant.perms)} {quote(grant.pattern.encode())}, up to risk {risk}{lets}{only}"


def permissions_text(bits: int) -> str:
    """The names of permissions, joined by ``+``."""
    return "+".join(one.name.lower() for one in Permission if one & bits and one.name) or "no use of its own"


def purse_text(micros: int) -> str:
    """An amount, or that there is no cap beside the budgets."""
    return "whatever the budgets allow" if micros == UNLIMITED_MICROS else format_usd(Micros(micros))


def time_text(seconds: int) -> str:
    """A time of a token; beyond the year 9999 the number itself."""
    if seconds == MAX_U64:
        return "it is revoked"
    try:
        return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)).strftime("%Y-%m-%d %H:%M:%S UTC")
    except OverflowError:
        return f"second {seconds}"
