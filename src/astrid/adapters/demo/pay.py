"""``demo_pay``: books a payment in a file.

Everything about it but the bank is real: its class, its control arguments, its price, its approval.

Source: architecture 6 ("Tool definitions"; the four kinds that can never have a standing grant).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import trio

from astrid.core.call import Call, Need, Preparation
from astrid.core.money import Micros, format_usd, parse_usd
from astrid.core.own_tools import read_arguments
from astrid.core.resources import tool_resource
from astrid.core.risk import EffectClass, Risk
from astrid.core.tokens import Permission
from astrid.core.tools import ControlKind, OutputTrust, ToolSpec
from astrid.errors import WorkspaceError
from astrid.ports import ToolOutcome

TOOL = "demo_pay"
_ZEROS = b"\0" * 32
_SCHEMA = (
    b'{"additionalProperties":false,"properties":{'
    b'"amount_usd":{"description":"dollars, such as 12.50","type":"string"},'
    b'"recipient":{"description":"account of the recipient","type":"string"}},'
    b'"required":["amount_usd","recipient"],"type":"object"}'
)


class Payment(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The arguments."""

    amount_usd: str
    recipient: str


class DemoPayments:
    """The ``ToolServer`` port over a ledger file."""

    def __init__(self, ledger: Path) -> None:
        self._ledger = ledger

    def specs(self) -> tuple[ToolSpec, ...]:
        """One tool."""
        return (
            ToolSpec(
                name=TOOL,
                host_kind="demo",
                host_id="payments",
                description=b"Pay an amount to a recipient.",
                schema=_SCHEMA,
                effect=EffectClass.FINANCIAL.value,
                control=(("amount_usd", ControlKind.AMOUNT.value), ("recipient", ControlKind.ACCOUNT.value)),
                verbs=("pay", "send"),
                nouns=("payment", "money"),
                output_trust=OutputTrust.FIRST_PARTY,
                endorsed_fields=(),
                creates_id="",
                code=_ZEROS,
                profile=_ZEROS,
                fresh=True,
            ),
        )

    def glance(self, tool: str, args: bytes) -> Preparation:
        """What the payment costs, and that a person has to see it."""
        payment, amount = _decode(args)
        return Preparation(
            needs=(Need(tool_resource("payments", TOOL).text, Permission.INVOKE),),
            risk=Risk.CRITICAL,
            max_micros=amount,
            fresh=True,
            why="it spends money",
            controls=(("amount_usd", payment.amount_usd), ("recipient", payment.recipient)),
        )

    async def prepare(self, tool: str, args: bytes) -> Preparation:
        """The same: there is nothing to look for."""
        return self.glance(tool, args)

    async def execute(self, call: Call, report: Callable[[bytes], None]) -> ToolOutcome:
        """Book it."""
        payment, amount = _decode(call.args)
        line = msgspec.json.encode({"micros": amount, "recipient": payment.recipient}) + b"\n"
        try:
            await trio.to_thread.run_sync(_append, self._ledger, line)
        except OSError as error:
            raise WorkspaceError(
                "demo.ledger",
                "the demo's ledger cannot be written",
                effect="maybe",
                where=str(self._ledger),
                advice="check the folder it lies in",
            ) from error
        text = f"paid {format_usd(amount)} to {payment.recipient}"
        return ToolOutcome(content=text.encode(), is_error=False, effect="done", spent_micros=amount)


def _decode(args: bytes) -> tuple[Payment, Micros]:
    payment = read_arguments(args, Payment, TOOL)
    return payment, parse_usd(payment.amount_usd)


def _append(ledger: Path, line: bytes) -> None:
    with ledger.open("ab") as file:
        file.write(line)
