"""What the simulation is worth: plausible mistakes are put into the product, or into the fakes, and each is found.

Each stands beside the seed of the life in which a search from seed 0 found it first; the search begins there.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any

import msgspec
import pytest

from astrid.core import approval, decide, gate, gate_admin, tokens, turn_answer
from astrid.core.approval import Approvals, Stage
from astrid.core.budget import EMPTY, Ledger, Purse
from astrid.core.facts import Facts
from astrid.core.gate import Gate
from astrid.core.gate_messages import Durable, Send
from astrid.core.policy import Policy
from astrid.core.records import Kind
from astrid.core.turn_state import new_turn
from astrid.guard.audit import Audit
from astrid.hosts.session import Session
from astrid.hosts.tool_host import ToolHost
from astrid.runtime import archive, boot, opening
from astrid.runtime.sleeping import Sleeping
from tests.simulation.disk import Disk
from tests.simulation.life import Result, live
from tests.simulation.plan import plan_of

LIVES = 60
Patch = pytest.MonkeyPatch
Plant = Callable[[Patch], None]


def first_found(first: int) -> Result:
    """The first life in which something is wrong, from the seed ``first`` on."""
    for seed in range(first, first + LIVES):
        result = live(plan_of(seed))
        if result.violations:
            return result
    pytest.fail(f"nothing was found in {LIVES} lives")


def wrap(patch: Patch, owner: Any, name: str, make: Callable[[Any], Any]) -> None:
    """Put ``make(what was there)`` in its place."""
    patch.setattr(owner, name, make(getattr(owner, name)))


# ---- the gate


def executed_before_its_permit_is_durable(patch: Patch) -> None:
    def make(prepared: Any) -> Any:
        def hasty(self: Gate, sender: int, message: Any, now_ns: int) -> Any:
            effects = prepared(self, sender, message, now_ns)
            waiting = self.pending.get(message.ref)
            if waiting is None or waiting.permitted is None:
                return effects
            return [*effects, *self.durable(Durable(message.ref, 1, now_ns), now_ns)]

        return hasty

    wrap(patch, Gate, "prepared", make)


def a_reservation_is_not_released(patch: Patch) -> None:
    def settle(self: Ledger, charge: Any, spent_micros: int) -> bool:
        for cap in charge.caps:
            purse = self.purses[cap.key]
            given_back = charge.micros if spent_micros else 0  # forgotten where nothing was spent
            self.purses[cap.key] = Purse(purse.spent + spent_micros, purse.reserved - given_back)
        return all(self.purses[cap.key].spent <= cap.limit for cap in charge.caps)

    patch.setattr(Ledger, "settle", settle)


def uses_are_counted_for_the_last_block_alone(patch: Patch) -> None:
    def make(charge_of: Any) -> Any:
        def short(call: Any, token: Any, limits: Any) -> Any:
            charge = charge_of(call, token, limits)
            return msgspec.structs.replace(charge, uses=charge.uses[-1:])

        return short

    wrap(patch, decide, "charge_of", make)


def uses_have_no_limit(patch: Patch) -> None:
    def make(charge_of: Any) -> Any:
        def free(call: Any, token: Any, limits: Any) -> Any:
            charge = charge_of(call, token, limits)
            uses = tuple(msgspec.structs.replace(use, limit=2**32) for use in charge.uses)
            return msgspec.structs.replace(charge, uses=uses)

        return free

    wrap(patch, decide, "charge_of", make)


def the_principal_is_taken_from_the_message(patch: Patch) -> None:
    def make(propose: Any) -> Any:
        def trusting(self: Gate, sender: int, message: Any) -> Any:
            for raw in message.tokens[:1]:
                try:
                    holder = tokens.verify_chain(raw, self.facts.roots).holder
                except tokens.TokenError:
                    break
                sender = next((ref for ref, one in self.facts.principals.items() if one.key == holder), sender)
            return propose(self, sender, message)

        return trusting

    wrap(patch, Gate, "propose", make)


def what_was_cancelled_is_not_settled(patch: Patch) -> None:
    def make(settle: Any) -> Any:
        def forgetful(self: Gate, pending: Any, content: bytes, **how: Any) -> Any:
            if pending.cancelled:
                self._drop(pending)
                return []
            return settle(self, pending, content, **how)

        return forgetful

    wrap(patch, Gate, "_settle", make)


def revocation_is_forgotten_once_decided(patch: Patch) -> None:
    patch.setattr(gate, "stale", lambda pending, facts, now_ns: None)


def what_was_revoked_still_counts(patch: Patch) -> None:
    def make(moment: Any) -> Any:
        def blind(self: Facts, call: Any, now_ns: int) -> Any:
            return msgspec.structs.replace(moment(self, call, now_ns), revoked=frozenset())

        return blind

    wrap(patch, Facts, "moment", make)


def any_token_says_once(patch: Patch) -> None:
    patch.setattr(decide, "_says_once", lambda token, around: True)


# ---- over a crash


def open_calls_are_not_settled_after_a_crash(patch: Patch) -> None:
    patch.setattr(gate_admin, "unknown_outcomes", lambda facts, salt: [])


def unknown_calls_are_settled_for_nothing(patch: Patch) -> None:
    def make(unknown: Any) -> Any:
        def cheap(ref: int, opened: Any, salt: bytes) -> Any:
            return unknown(ref, msgspec.structs.replace(opened, record=_free(opened.record)), salt)

        return cheap

    wrap(patch, gate_admin, "_unknown", make)


def _free(record: Any) -> Any:
    return msgspec.structs.replace(record, micros=0)


def questions_are_lost_over_a_crash(patch: Patch) -> None:
    patch.setattr(boot, "recall_questions", lambda beside, past, machine, now_s: [])


def a_start_forgets_what_was_revoked(patch: Patch) -> None:
    def make(replay: Any) -> Any:
        def forgetful(self: Facts, frame: Any, body: Any) -> None:
            if frame.kind != Kind.REVOKED:
                replay(self, frame, body)

        return forgetful

    wrap(patch, Facts, "replay", make)


def the_log_takes_what_an_earlier_start_was_sent(patch: Patch) -> None:
    def make(started: Any) -> Any:
        async def early(self: Audit) -> None:
            await started(self)
            self._begun = True

        return early

    wrap(patch, Audit, "started", make)


def whoever_wakes_is_somebody_else(patch: Patch) -> None:
    def make(recall: Any) -> Any:
        def other(*args: Any) -> Any:
            found = recall(*args)
            return msgspec.structs.replace(found, key=bytes(32))

        return other

    wrap(patch, archive, "recall_session", make)


def whoever_wakes_remembers_nothing(patch: Patch) -> None:
    patch.setattr(opening, "restore", lambda setting, rows: new_turn(setting))


def whoever_was_being_woken_when_the_gateway_broke_is_forgotten(patch: Patch) -> None:
    patch.setattr(Sleeping, "give_up", lambda self: [])


def the_disk_says_that_it_wrote_and_did_not(patch: Patch) -> None:
    """An fsync is left out: what was confirmed is there only a little later."""

    def make(commit: Any) -> Any:
        held: dict[int, Any] = {}

        def late(self: Disk, batch: Any) -> None:
            before = held.pop(id(self), None)
            if before is not None:
                commit(self, before)
            held[id(self)] = batch

        return late

    wrap(patch, Disk, "commit", make)


# ---- approvals, hosts, sessions


def a_question_is_answered_twice(patch: Patch) -> None:
    def make(settle: Any) -> Any:
        def again(self: Approvals, qid: bytes, one: Any, *rest: Any) -> Any:
            effects = settle(self, qid, one, *rest)
            self.open[qid] = msgspec.structs.replace(self.open[qid], stage=Stage.OPEN)
            return effects

        return again

    wrap(patch, Approvals, "_settle", make)


def whoever_says_so_has_answered(patch: Patch) -> None:
    def make(verify: Any) -> Any:
        def credulous(signed: Any, answer: Any, *rest: Any, **more: Any) -> Any:
            return tokens.verify_chain(signed.token, rest[1]) if signed.token else None

        return credulous

    wrap(patch, approval, "verify_answer", make)


def a_host_obeys_anybody(patch: Patch) -> None:
    def make(receive: Any) -> Any:
        async def obedient(self: ToolHost, message: Any, sender: Any) -> Any:
            if type(message).__name__ == "Execute":
                self._last_permit = 0
                sender = msgspec.structs.replace(sender, id=self._interceptor.id)
            return await receive(self, message, sender)

        return obedient

    wrap(patch, ToolHost, "receive", make)


def a_session_hides_untrusted_text(patch: Patch) -> None:
    def make(proposal: Any) -> Any:
        def innocent(self: Session, *how: Any) -> Any:
            return msgspec.structs.replace(proposal(self, *how), tainted=False)

        return innocent

    wrap(patch, Session, "_proposal", make)


def a_tool_runs_other_bytes(patch: Patch) -> None:
    def make(execute: Any) -> Any:
        def altered(self: Gate, pending: Any, now_ns: int) -> Any:
            effects = execute(self, pending, now_ns)
            return [_altered(one) if isinstance(one, Send) else one for one in effects]

        return altered

    wrap(patch, Gate, "_execute", make)


def _altered(send: Any) -> Any:
    call = getattr(send.message, "call", None)
    if call is None:
        return send
    return msgspec.structs.replace(send, message=msgspec.structs.replace(send.message, call=call[:-1] + b"!"))


def policy_blocks_no_tool(patch: Patch) -> None:
    patch.setattr(Policy, "_judge_name", lambda self, call, spec, names: None)


def money_that_is_set_aside_can_be_had_again(patch: Patch) -> None:
    def make(lack: Any) -> Any:
        def generous(self: Ledger, micros: int, caps: Any) -> Any:
            spent = {cap.key: self.purses.get(cap.key, EMPTY).spent for cap in caps}
            short = [cap for cap in caps if micros > cap.limit - spent[cap.key] or spent[cap.key] > cap.limit]
            return lack(self, micros, short)

        return generous

    wrap(patch, Ledger, "lack", make)


def a_result_is_told_by_what_no_row_says(patch: Patch) -> None:
    told = count()

    def make(result_text: Any) -> Any:
        return lambda content, *how: f"{result_text(content, *how)} ({next(told)} so far)"

    wrap(patch, turn_answer, "result_text", make)


PLANTS: tuple[tuple[Plant, int], ...] = (
    (executed_before_its_permit_is_durable, 0),
    (a_reservation_is_not_released, 0),
    (uses_are_counted_for_the_last_block_alone, 0),
    (uses_have_no_limit, 10),
    (the_principal_is_taken_from_the_message, 0),
    (what_was_cancelled_is_not_settled, 59),
    (what_was_revoked_still_counts, 19),
    (any_token_says_once, 6),
    (open_calls_are_not_settled_after_a_crash, 4),
    (unknown_calls_are_settled_for_nothing, 4),
    (questions_are_lost_over_a_crash, 2),
    (a_start_forgets_what_was_revoked, 8),
    (the_disk_says_that_it_wrote_and_did_not, 0),
    (a_question_is_answered_twice, 17),
    (whoever_says_so_has_answered, 2),
    (a_host_obeys_anybody, 7),
    (a_session_hides_untrusted_text, 0),
    (a_tool_runs_other_bytes, 0),
    (revocation_is_forgotten_once_decided, 20),
    (the_log_takes_what_an_earlier_start_was_sent, 67),
    (whoever_wakes_is_somebody_else, 0),
    (whoever_wakes_remembers_nothing, 0),
    (whoever_was_being_woken_when_the_gateway_broke_is_forgotten, 13),
    (policy_blocks_no_tool, 10),
    (money_that_is_set_aside_can_be_had_again, 59),
    (a_result_is_told_by_what_no_row_says, 20),
)


@pytest.mark.parametrize(("plant", "first"), PLANTS, ids=[plant.__name__ for plant, _ in PLANTS])
def test_a_planted_mistake_is_found(plant: Plant, first: int, monkeypatch: Patch) -> None:
    assert not live(plan_of(first)).violations
    plant(monkeypatch)
    assert first_found(first).violations
