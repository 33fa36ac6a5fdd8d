"""The demo's payment: a real tool in all that the rules look at, and a file where the bank would be."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from astrid.adapters.demo.pay import TOOL, DemoPayments
from astrid.core.call import Call, Need
from astrid.core.risk import NEVER_STANDING, Risk
from astrid.core.tokens import Permission
from astrid.errors import InputError, WorkspaceError
from tests.fakes.authority import call

ARGS = b'{"amount_usd": "12.50", "recipient": "ACME"}'


def payments(tmp_path: Path) -> DemoPayments:
    return DemoPayments(tmp_path / "ledger")


def made(args: bytes = ARGS) -> Call:
    return call(tool=TOOL, host_kind="demo", host_id="payments", args=args, max_micros=12_500_000)


def test_a_payment_is_of_the_kind_that_nobody_can_allow_beforehand(tmp_path: Path) -> None:
    [spec] = payments(tmp_path).specs()
    assert spec.effect_class in NEVER_STANDING
    assert spec.fresh
    assert dict(spec.control) == {"amount_usd": "amount", "recipient": "account"}
    assert set(json.loads(spec.schema)["required"]) == set(dict(spec.control))
    assert spec.tooldef()


async def test_a_payment_costs_what_it_pays_and_shows_to_whom(tmp_path: Path) -> None:
    prepared = await payments(tmp_path).prepare(TOOL, ARGS)
    assert prepared.needs == (Need("tool://payments/demo_pay", int(Permission.INVOKE)),)
    assert (prepared.max_micros, prepared.risk, prepared.fresh) == (12_500_000, Risk.CRITICAL, True)
    assert prepared.controls == (("amount_usd", "12.50"), ("recipient", "ACME"))
    assert not (tmp_path / "ledger").exists()


async def test_a_payment_that_is_run_is_booked_once(tmp_path: Path) -> None:
    outcome = await payments(tmp_path).execute(made(), lambda chunk: None)
    assert (outcome.effect, outcome.spent_micros, outcome.is_error) == ("done", 12_500_000, False)
    assert outcome.content == b"paid $12.50 to ACME"
    booked = [json.loads(line) for line in (tmp_path / "ledger").read_bytes().splitlines()]
    assert booked == [{"micros": 12_500_000, "recipient": "ACME"}]


@pytest.mark.parametrize(
    "args",
    [
        b"",
        b"{}",
        b"[]",
        b'{"amount_usd": 12.5, "recipient": "ACME"}',
        b'{"amount_usd": "-1", "recipient": "ACME"}',
        b'{"amount_usd": "1e9", "recipient": "ACME"}',
        b'{"amount_usd": "1", "recipient": "ACME", "tip": "5"}',
        b'{"amount_usd": "1", "recipient": "ACME", "recipient": "EVE"}',
        b'{"amount_usd": "1", "recipient": "' + b"x" * 5000 + b'"}',
    ],
)
async def test_what_is_no_payment_is_neither_prepared_nor_run(tmp_path: Path, args: bytes) -> None:
    server = payments(tmp_path)
    with pytest.raises(InputError):
        await server.prepare(TOOL, args)
    with pytest.raises(InputError):
        await server.execute(msgspec.structs.replace(made(), args=args), lambda chunk: None)
    assert not (tmp_path / "ledger").exists()


async def test_a_ledger_that_cannot_be_written_may_have_been(tmp_path: Path) -> None:
    server = DemoPayments(tmp_path / "nowhere" / "ledger")
    with pytest.raises(WorkspaceError) as caught:
        await server.execute(made(), lambda chunk: None)
    assert (caught.value.code, caught.value.effect) == ("demo.ledger", "maybe")
