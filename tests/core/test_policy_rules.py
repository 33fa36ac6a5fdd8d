"""Which entries of a policy speak against a call: all that do, none that does not, and none of a call that may be."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from astrid.core.call import Call, Need
from astrid.core.policy import Blocked
from astrid.core.policy_rules import BUILT_IN, Layers, rules_behind
from astrid.core.resources import exec_resource, net_resource
from astrid.core.tokens import Permission
from astrid.errors import ConfigError
from tests.fakes.authority import call
from tests.fakes.rules import COMMAND, HOME, config, spec

EXECUTE, INVOKE, DELETE = int(Permission.EXECUTE), int(Permission.INVOKE), int(Permission.DELETE)


def layers(*given: dict[str, Any], never_read: tuple[str, ...] = ()) -> Layers:
    return Layers(tuple(config(**fields) for fields in given or ({},)), HOME, never_read)


def shell(line: str) -> Call:
    needs = (Need(exec_resource("/usr/bin/true", ()).text, EXECUTE),)
    return call(needs=needs, tool="bash", args=msgspec.json.encode({"command": line}))


def test_a_call_that_may_be_has_no_rule_against_it() -> None:
    assert rules_behind(layers({"blocked_tools": ("another",)}), call(), spec()) == ()


def test_every_entry_that_alone_would_judge_as_strictly_is_named_once() -> None:
    forbids = {"blocked_tools": ("another", "write_file"), "denied_paths": ("/w", "/elsewhere")}
    both = layers(
        forbids, {"denied_paths": ("/w",), "max_argument_size": 3, "approval_required_tools": ("write_file",)}
    )
    assert rules_behind(both, call(), spec()) == ("blocked_tools: write_file", "denied_paths: /w", "max_argument_size")


def test_what_only_wants_a_person_asked_is_named_where_nothing_forbids() -> None:
    asks = layers({"approval_required_tools": ("write_file",), "require_approval_for_delete": True})
    assert rules_behind(asks, call(), spec()) == ("approval_required_tools: write_file",)
    deletes = call(needs=(Need("file://w/a.txt", DELETE),))
    assert rules_behind(asks, deletes, spec()) == ("approval_required_tools: write_file", "require_approval_for_delete")


def test_a_list_of_what_is_allowed_is_one_rule() -> None:
    to_host = call(needs=(Need(net_resource("b.example", 443).text, INVOKE),))
    assert rules_behind(layers({"allowed_hosts": ("a.example", "c.example")}), to_host, spec()) == ("allowed_hosts",)
    assert rules_behind(layers({"allowed_paths": ("/x", "/y")}), call(), spec()) == ("allowed_paths",)


def test_a_command_is_named_by_the_entry_that_reads_it() -> None:
    forbids = layers({"blocked_tools": ("touch no", "rm -rf")})
    bash = spec("bash", "exec", control=COMMAND)
    assert rules_behind(forbids, shell("true && touch no"), bash) == ("blocked_tools: touch no",)
    assert rules_behind(forbids, shell("touch yes"), bash) == ()


@pytest.mark.parametrize("given", [{}, {"denied_paths": ("/w",)}])
def test_what_no_entry_can_change_is_built_in(given: dict[str, Any]) -> None:
    kept = layers(given, never_read=("/w/a.txt",))
    assert isinstance(kept.policy().judge(call(), spec()), Blocked)
    assert rules_behind(kept, call(), spec()) == (BUILT_IN,)


def test_an_entry_without_a_meaning_is_refused() -> None:
    with pytest.raises(ConfigError):
        layers({"denied_paths": ("relative",)}).policy()
