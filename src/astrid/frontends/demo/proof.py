"""After the play: hostile tokens, the log verified and proved, and copies of it damaged in every way.

Source: protocol N2, N9 to N11; threats 1, 2, 11, 12.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import cast

from astrid.core.checkpoint import verify_checkpoint
from astrid.core.install import verify_install
from astrid.core.keys import load_public_key
from astrid.core.merkle import leaf_hash, verify_inclusion
from astrid.frontends.client import connect
from astrid.frontends.demo.stage import Stage
from astrid.frontends.demo.table import Row
from astrid.frontends.launch import run_attack, verify_copy, verify_home
from astrid.home import Home
from astrid.wire import params as p
from astrid.wire import results as r

DAMAGES = (
    ("bit", "one bit of one record is flipped"),
    ("cut", "the second half is cut off"),
    ("swap", "two records change places"),
    ("re-signed", "a record is left out, the rest chained and signed anew with another key"),
)


def hostile_child(say: Callable[[str], None]) -> list[Row]:
    """A hostile actor in a runtime of its own, and what it tried with tokens."""
    say("a hostile child tries its tokens, its parent's, and forged ones")
    code, out = run_attack("child")
    rows = [_row(cast("dict[str, object]", attempt)) for attempt in json.loads(out)]
    return [*rows, Row(part="A hostile child", what="every one of these went as it must", held=code == 0)]


def _row(attempt: dict[str, object]) -> Row:
    return Row(
        part="A hostile child",
        what=f"{attempt['name']}: {attempt['expected']}",
        held=attempt["held"] is True,
        layer=str(attempt["layer"]),
        reason=str(attempt["reason"]),
        advice=str(attempt["advice"]),
    )


async def inclusion(stage: Stage, say: Callable[[str], None]) -> list[Row]:
    """One record proved to be in the log, checked on this side."""
    async with connect(stage.home, start_daemon=True) as client:
        records = cast("r.AuditRecords", await client.call("auditList", p.AuditList(kind="permit", limit=1)))
        seq = records.records[0].seq
        proof = cast("r.AuditProof", await client.call("auditProve", p.AuditRecordOf(seq=seq)))
        await client.call("shutdown", p.ProvenNothing())
    install = verify_install(stage.home.install.read_bytes())
    checkpoint = verify_checkpoint(proof.checkpoint, load_public_key(install.runtime_key), install.log_id)
    held = verify_inclusion(leaf_hash(proof.frame), seq - 1, checkpoint.size, proof.path, checkpoint.root)
    say(f"record {seq} proved by inclusion, with {len(proof.path)} hashes")
    return [Row(part="The log", what=f"record {seq} is proved to be in it", held=held)]


def damages(stage: Stage, say: Callable[[str], None]) -> list[Row]:
    """The log as it is verifies; each damaged copy of it does not."""
    code, found = verify_home(stage.home.root)
    what = "it verifies from its first record to its last"
    rows = [Row(part="The log", what=what, held=code == 0, reason=found.partition("\n")[0])]
    say("the log verified; now copies of it are damaged")
    for kind, what in DAMAGES:
        copy = stage.copy_home(kind)
        run_attack("damage", kind, str(copy.root))
        rows.append(_caught(stage, copy, what))
    rows.append(_caught(stage, Home(stage.copies / "early"), "an old copy is put in its place"))
    return rows


def _caught(stage: Stage, copy: Home, what: str) -> Row:
    code, found = verify_copy(copy.root, "--install", str(stage.home.install), "--witness", str(stage.home.witness))
    return Row(part="Damaged copies of the log", what=what, held=code == 1, layer="verify", reason=_said(found))


def _said(found: str) -> str:
    """What was found and where; the code and the advice are for whoever runs ``astrid audit verify``."""
    return " ".join(line.strip() for line in found.splitlines()[:2]).removeprefix("tampered: ")
