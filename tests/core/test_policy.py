"""The administrator's rules.  Each refusal stands beside the same call without the rule, where it passes."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from astrid.core.call import Call, Need, encode_call
from astrid.core.policy import DEFAULT_BLOCKED_TOOLS, Allowed, Blocked, Fresh, Policy, PolicyConfig
from astrid.core.protected import SECRET_READS
from astrid.core.resources import exec_resource, file_resource, mcp_resource, net_resource
from astrid.core.tokens import Permission
from astrid.core.tools import ToolSpec
from astrid.errors import ConfigError, PatternError
from tests.fakes.authority import call
from tests.fakes.rules import COMMAND, HOME, PERMISSIVE, config, policy, spec

READ, WRITE, DELETE, LIST, INVOKE = (
    int(one) for one in (Permission.READ, Permission.WRITE, Permission.DELETE, Permission.LIST, Permission.INVOKE)
)


def on(*resources: str, permission: int = READ, **fields: Any) -> Call:
    made = call(needs=tuple(sorted(Need(resource, permission) for resource in resources)), **fields)
    encode_call(made)  # it is one that the gate would decide on
    return made


def on_file(path: str, permission: int = READ) -> Call:
    return on(file_resource(path).text, permission=permission)


def on_tree(path: str, permission: int = READ | LIST) -> Call:
    return on(f"{file_resource(path).text}/**".replace("///", "//"), permission=permission)


def on_host(host: str, port: int = 443) -> Call:
    return on(net_resource(host, port).text, permission=INVOKE)


def shell(line: str) -> Call:
    return on(
        exec_resource("/usr/bin/true", ()).text,
        permission=int(Permission.EXECUTE),
        args=msgspec.json.encode({"command": line}),
    )


BASH = spec("bash", "exec", control=COMMAND)
MCP = spec("read_mail", "read", host_kind="mcp", host_id="mail")
PLUGIN = spec("run", "read", host_kind="plugin", host_id="wasm-plugin")
MCP_CALL = on(
    mcp_resource("mail", "read_mail").text, permission=INVOKE, host_kind="mcp", host_id="mail", tool="read_mail"
)
PLUGIN_CALL = on("plugin://wasm-plugin/run", permission=INVOKE, host_kind="plugin", host_id="wasm-plugin", tool="run")

BLOCKS = {
    "a blocked tool": ({"blocked_tools": ("write_file",)}, on_file("/w/a"), spec(), "policy.tool"),
    "a blocked server": ({"blocked_tools": ("mail",)}, MCP_CALL, MCP, "policy.tool"),
    "a blocked tool of a server": ({"blocked_tools": ("mail:read_mail",)}, MCP_CALL, MCP, "policy.tool"),
    "a blocked tool of a kind": ({"blocked_tools": ("mcp:read_mail",)}, MCP_CALL, MCP, "policy.tool"),
    "a blocked built-in": ({"blocked_tools": ("builtin:write_file",)}, on_file("/w/a"), spec(), "policy.tool"),
    "a blocked plugin": ({"blocked_plugins": ("wasm-plugin",)}, PLUGIN_CALL, PLUGIN, "policy.tool"),
    "a blocked command": ({"blocked_tools": ("sudo",)}, shell("sudo ls"), BASH, "policy.command"),
    "a denied path": ({"denied_paths": ("/etc/shadow",)}, on_file("/etc/shadow"), spec(), "policy.path"),
    "a path below a denied one": ({"denied_paths": ("/etc/**",)}, on_file("/etc/a/b"), spec(), "policy.path"),
    "a denied folder itself": ({"denied_paths": ("/etc/**",)}, on_tree("/etc", LIST), spec(), "policy.path"),
    "a path that is not listed": ({"allowed_paths": ("/w",)}, on_file("/v/a"), spec(), "policy.path"),
    "a tree that is not listed as a whole": ({"allowed_paths": ("/w/a",)}, on_tree("/w"), spec(), "policy.path"),
    "a denied host": ({"denied_hosts": ("example.com",)}, on_host("example.com"), spec(), "policy.host"),
    "a host that is not listed": ({"allowed_hosts": ("example.com",)}, on_host("example.org"), spec(), "policy.host"),
    "arguments that are too long": (
        {"max_argument_size": 10},
        msgspec.structs.replace(on_file("/w/a"), args=b'{"a":"bcdef"}'),
        spec(),
        "policy.argument-size",
    ),
}


@pytest.mark.parametrize(("rule", "made", "tool", "code"), BLOCKS.values(), ids=BLOCKS)
def test_a_rule_refuses_what_passes_without_it(rule: dict[str, Any], made: Call, tool: ToolSpec, code: str) -> None:
    assert policy().judge(made, tool) == Allowed()
    judged = policy(config(**rule)).judge(made, tool)
    assert isinstance(judged, Blocked)
    assert judged.code == code


@pytest.mark.parametrize("layers", [("rule", "none"), ("none", "rule"), ("rule", "rule"), ("none", "rule", "none")])
@pytest.mark.parametrize(("rule", "made", "tool", "code"), BLOCKS.values(), ids=BLOCKS)
def test_no_layer_lifts_what_another_forbids(
    layers: tuple[str, ...], rule: dict[str, Any], made: Call, tool: ToolSpec, code: str
) -> None:
    judged = policy(*(config(**rule) if layer == "rule" else PERMISSIVE for layer in layers)).judge(made, tool)
    assert isinstance(judged, Blocked)
    assert judged.code == code


ASKS = {
    "a tool that needs approval": ({"approval_required_tools": ("write_file",)}, on_file("/w/a"), spec()),
    "a server that needs approval": ({"approval_required_tools": ("mail",)}, MCP_CALL, MCP),
    "a tool of a server": ({"approval_required_tools": ("mail:read_mail",)}, MCP_CALL, MCP),
    "a built-in": ({"approval_required_tools": ("builtin:write_file",)}, on_file("/w/a"), spec()),
    "a deletion": ({"require_approval_for_delete": True}, on_file("/w/a", DELETE), spec()),
    "a write that may delete": ({"require_approval_for_delete": True}, on_file("/w/a", WRITE | DELETE), spec()),
    "a network request": ({"require_approval_for_network": True}, on_host("example.com"), spec()),
}


@pytest.mark.parametrize("below", [False, True], ids=["alone", "below a layer without it"])
@pytest.mark.parametrize(("rule", "made", "tool"), ASKS.values(), ids=ASKS)
def test_a_rule_asks_for_what_passes_without_it(rule: dict[str, Any], made: Call, tool: ToolSpec, below: bool) -> None:
    assert policy().judge(made, tool) == Allowed()
    layers = (config(**rule), PERMISSIVE) if below else (config(**rule),)
    assert isinstance(policy(*layers).judge(made, tool), Fresh)


@pytest.mark.parametrize("effect", ["egress", "grant", "account", "financial"])
def test_the_four_kinds_are_asked_about_each_time_whatever_the_policy(effect: str) -> None:
    assert isinstance(policy().judge(on_file("/w/a"), spec(effect=effect)), Fresh)
    assert policy().judge(on_file("/w/a"), spec(effect="destructive")) == Allowed()


def test_a_prohibition_outweighs_a_wish_for_approval() -> None:
    judged = policy(config(approval_required_tools=("write_file",)), config(blocked_tools=("write_file",)))
    assert isinstance(judged.judge(on_file("/w/a"), spec()), Blocked)


def test_without_a_layer_the_defaults_hold() -> None:
    bare = Policy(home=HOME)
    assert isinstance(bare.judge(on_file("/etc/passwd"), spec()), Blocked)
    assert isinstance(bare.judge(shell("sudo ls"), BASH), Blocked)
    assert isinstance(bare.judge(on_host("example.com"), spec()), Fresh)
    assert bare.judge(on_file("/w/a"), spec()) == Allowed()


# --- paths


def test_the_folders_of_the_system_are_denied_by_default() -> None:
    for folder in ("/etc", "/boot", "/sys", "/proc", "/dev"):
        assert isinstance(policy(PolicyConfig()).judge(on_file(f"{folder}/x"), spec()), Blocked)
        assert policy().judge(on_file(f"{folder}/x"), spec()) == Allowed()


@pytest.mark.parametrize("entry", ["~/notes", "~/notes/", "~/notes/**", f"{HOME}/notes"])
def test_a_tilde_is_the_home_folder(entry: str) -> None:
    judged = policy(config(denied_paths=(entry,)))
    assert isinstance(judged.judge(on_file(f"{HOME}/notes/a"), spec()), Blocked)
    assert isinstance(judged.judge(on_file(f"{HOME}/notes"), spec()), Blocked)
    assert judged.judge(on_file(f"{HOME}/notes-too"), spec()) == Allowed()


@pytest.mark.parametrize("entry", ["~", "~/", "~/**"])
def test_the_whole_home_can_be_denied(entry: str) -> None:
    judged = policy(config(denied_paths=(entry,)))
    assert isinstance(judged.judge(on_file(f"{HOME}/a"), spec()), Blocked)
    assert judged.judge(on_file("/home/v/a"), spec()) == Allowed()


@pytest.mark.parametrize("entry", ["/", "/**"])
def test_everything_can_be_denied(entry: str) -> None:
    judged = policy(config(denied_paths=(entry,)))
    assert isinstance(judged.judge(on_file("/w/a"), spec()), Blocked)
    assert isinstance(judged.judge(on_file("/"), spec()), Blocked)


def test_a_star_stands_for_a_name_or_a_part_of_one_and_crosses_no_folder() -> None:
    judged = policy(config(denied_paths=("/home/*/.ssh", "/w/*.pem")))
    assert isinstance(judged.judge(on_file("/home/v/.ssh/id"), spec()), Blocked)
    assert isinstance(judged.judge(on_file("/w/key.pem"), spec()), Blocked)
    assert judged.judge(on_file("/home/v/w/.ssh/id"), spec()) == Allowed()
    assert judged.judge(on_file("/w/a/key.pem"), spec()) == Allowed()


def test_a_file_whose_name_looks_like_a_wildcard_is_one_file() -> None:
    judged = policy(config(denied_paths=("/w/a b%c",)), never_read=("/k/*",))
    assert isinstance(judged.judge(on_file("/w/a b%c"), spec()), Blocked)
    assert isinstance(judged.judge(on_file("/k/*"), spec()), Blocked)
    assert judged.judge(on_file("/k/x"), spec()) == Allowed()


def test_names_are_compared_whole() -> None:
    judged = policy(config(denied_paths=("/etc",), allowed_paths=("/w", "/etc", "/etcetera")))
    assert isinstance(judged.judge(on_file("/etc/a"), spec()), Blocked)
    assert judged.judge(on_file("/etcetera/a"), spec()) == Allowed()


def test_a_denied_path_inside_an_allowed_one_stays_denied() -> None:
    judged = policy(config(denied_paths=("/w/private",), allowed_paths=("/w",)))
    assert isinstance(judged.judge(on_file("/w/private/a"), spec()), Blocked)
    assert judged.judge(on_file("/w/a"), spec()) == Allowed()


def test_a_path_must_be_on_the_list_of_each_layer_that_has_one() -> None:
    judged = policy(config(allowed_paths=("/w",)), PERMISSIVE, config(allowed_paths=("/w/a", "/v")))
    assert judged.judge(on_file("/w/a/b"), spec()) == Allowed()
    assert isinstance(judged.judge(on_file("/w/b"), spec()), Blocked)
    assert isinstance(judged.judge(on_file("/v/b"), spec()), Blocked)


def test_one_denied_file_among_several_is_enough() -> None:
    both = on(file_resource("/w/a").text, file_resource("/etc/passwd").text)
    assert isinstance(policy(PolicyConfig()).judge(both, spec()), Blocked)


@pytest.mark.parametrize("name", [*SECRET_READS, ".ssh/id_ed25519", ".astrid/keys/user.key"])
def test_keys_below_the_home_folder_are_out_of_reach_under_every_policy(name: str) -> None:
    judged = policy(config(allowed_paths=("/",)))
    assert isinstance(judged.judge(on_file(f"{HOME}/{name}"), spec()), Blocked)
    assert judged.judge(on_file(f"{HOME}/src/{name}"), spec()) == Allowed()


def test_what_the_daemon_lives_on_is_out_of_reach_under_every_policy() -> None:
    assert policy().judge(on_file("/opt/astrid/log.db"), spec()) == Allowed()
    assert isinstance(policy(never_read=("/opt/astrid",)).judge(on_file("/opt/astrid/log.db"), spec()), Blocked)


def test_a_name_that_hides_what_it_is_is_denied_without_a_rule() -> None:
    """A suspicious name matches no pattern, and so no rule that denies it either."""
    for path in ("/w/\N{RIGHT-TO-LEFT OVERRIDE}a", "/w/\N{FULLWIDTH LATIN SMALL LETTER A}", "/w/\udcff"):
        assert isinstance(policy().judge(on_file(path), spec()), Blocked)
        assert policy().hides(file_resource(path).text)


# --- trees


def test_a_tree_may_be_read_around_what_is_denied_inside_it() -> None:
    judged = policy(config(denied_paths=("/w/private",)))
    assert judged.judge(on_tree("/w"), spec()) == Allowed()
    assert judged.hides(file_resource("/w/private/a").text)
    assert judged.hides(file_resource("/w/private").text)
    assert not judged.hides(file_resource("/w/public").text)


@pytest.mark.parametrize("permission", [DELETE, WRITE, READ | WRITE, int(Permission.EXECUTE), int(Permission.CREATE)])
def test_a_tree_is_not_changed_around_what_is_denied_inside_it(permission: int) -> None:
    assert policy().judge(on_tree("/w", permission), spec()) == Allowed()
    for inside in ("/w/private", "/w/*/deep", "/w", "/*/private"):
        judged = policy(config(denied_paths=(inside,))).judge(on_tree("/w", permission), spec())
        assert isinstance(judged, Blocked), inside
    beside = policy(config(denied_paths=("/v/private", "/www")))
    assert beside.judge(on_tree("/w", permission), spec()) == Allowed()


def test_the_whole_disk_is_a_tree_that_cannot_be_deleted_because_of_the_keys_on_it() -> None:
    assert isinstance(policy().judge(on("file://**", permission=DELETE), spec()), Blocked)


def test_a_tree_whose_every_file_is_denied_is_denied() -> None:
    judged = policy(config(denied_paths=("/w",)))
    assert isinstance(judged.judge(on_tree("/w/a"), spec()), Blocked)
    assert isinstance(judged.judge(on_tree("/w"), spec()), Blocked)


def test_a_tree_is_listed_if_one_entry_covers_all_of_it() -> None:
    judged = policy(config(allowed_paths=("/w",)))
    assert judged.judge(on_tree("/w/a"), spec()) == Allowed()
    assert isinstance(judged.judge(on_tree("/"), spec()), Blocked)


# --- hosts


@pytest.mark.parametrize(
    ("entry", "host", "port", "meant"),
    [
        ("example.com", "example.com", 443, True),
        ("example.com", "example.com", 8080, True),
        ("EXAMPLE.com.", "example.com", 443, True),
        ("example.com", "www.example.com", 443, False),
        ("example.com", "example.com.evil.org", 443, False),
        ("example.com", "badexample.com", 443, False),
        ("*.example.com", "www.example.com", 443, True),
        ("*.example.com", "a.b.example.com", 443, True),
        ("*.example.com", "example.com", 443, False),
        ("*.example.com:443", "www.example.com", 443, True),
        ("*.example.com:443", "www.example.com", 80, False),
        ("example.com:443", "example.com", 443, True),
        ("example.com:443", "example.com", 80, False),
        ("*", "example.com", 443, True),
        ("*:22", "example.com", 22, True),
        ("*:22", "example.com", 443, False),
        ("*", "10.0.0.1", 443, True),
        ("10.0.0.1", "10.0.0.1", 443, True),
        ("10.0.0.1:80", "10.0.0.1", 443, False),
        ("[::1]", "[::1]", 443, True),
        ("[::1]:443", "[::1]", 443, True),
        ("[::1]:443", "[::1]", 80, False),
    ],
)
def test_an_entry_means_this_host_and_port(entry: str, host: str, port: int, meant: bool) -> None:
    denied = policy(config(denied_hosts=(entry,))).judge(on_host(host, port), spec())
    allowed = policy(config(allowed_hosts=(entry,))).judge(on_host(host, port), spec())
    assert isinstance(denied, Blocked) == meant
    assert isinstance(allowed, Allowed) == meant


def test_a_host_must_be_on_the_list_of_each_layer_that_has_one() -> None:
    judged = policy(config(allowed_hosts=("*.example.com",)), config(allowed_hosts=("www.example.com", "a.org")))
    assert judged.judge(on_host("www.example.com"), spec()) == Allowed()
    assert isinstance(judged.judge(on_host("api.example.com"), spec()), Blocked)
    assert isinstance(judged.judge(on_host("a.org"), spec()), Blocked)


# --- arguments


def test_the_strictest_limit_on_arguments_holds_and_zero_is_none() -> None:
    made = on_file("/w/a")
    size = len(made.args)
    for limits, refused in (((0, 0), False), ((size,), False), ((size - 1,), True), ((0, size - 1, size), True)):
        judged = policy(*(config(max_argument_size=limit) for limit in limits)).judge(made, spec())
        assert isinstance(judged, Blocked) == refused


def test_a_conversation_may_be_longer_than_a_tool_s_arguments() -> None:
    made = on("model://p/m", permission=INVOKE, host_kind="model", host_id="p/m", args=b"x" * 100)
    assert policy(config(max_argument_size=10)).judge(made, spec(effect="model")) == Allowed()


# --- commands


@pytest.mark.parametrize(
    "line",
    [
        "sudo ls",
        "/usr/bin/sudo ls",
        "ls && sudo ls",
        "echo $(sudo ls)",
        "env sudo ls",
        "bash -c 'sudo ls'",
        "X=1 sudo ls",
        "nohup sudo ls",
        "s'u'do ls",
        "rm -r -f /",
        "rm --recursive --force //",
        "chmod 0777 a",
        "mkfs.ext4 /disk",
    ],
)
def test_a_blocked_command_is_found_however_it_is_written(line: str) -> None:
    judged = policy(config(blocked_tools=DEFAULT_BLOCKED_TOOLS)).judge(shell(line), BASH)
    assert isinstance(judged, Blocked)
    assert judged.code == "policy.command"
    assert policy().judge(shell(line), BASH) == Allowed()


@pytest.mark.parametrize("line", ["ls -la", "echo sudoku", "git rm -rf build", "grep 'sudo' notes.txt"])
def test_what_only_looks_like_a_blocked_command_passes(line: str) -> None:
    assert policy(config(blocked_tools=DEFAULT_BLOCKED_TOOLS)).judge(shell(line), BASH) == Allowed()


def test_a_line_that_cannot_be_parsed_is_refused() -> None:
    judged = policy().judge(shell("echo 'unfinished"), BASH)
    assert isinstance(judged, Blocked)
    assert judged.code.startswith("command.")
    assert judged.advice


@pytest.mark.parametrize(
    "args",
    [
        b"",
        b"[]",
        b"{}",
        b'{"command":1}',
        b'{"command":["ls"]}',
        b'{"command":"ls","command":"sudo ls"}',
        b"{",
        b'"ls"',
    ],
)
def test_a_command_that_cannot_be_found_in_the_arguments_is_refused(args: bytes) -> None:
    judged = policy().judge(msgspec.structs.replace(shell("ls"), args=args), BASH)
    assert isinstance(judged, Blocked)


def test_an_argument_that_is_no_command_is_not_read_as_one() -> None:
    tool = spec("bash", "exec", control=(("command", "url"),))
    assert policy(config(blocked_tools=("sudo",))).judge(shell("sudo ls"), tool) == Allowed()


def test_arguments_beside_the_command_may_be_anything_that_json_holds() -> None:
    made = msgspec.structs.replace(shell("ls"), args=b'{"command":"ls","timeout":1.5,"env":{"A":["b"]}}')
    assert policy().judge(made, BASH) == Allowed()
    deep = b'{"command":"ls","x":' + b"[" * 31 + b"]" * 31 + b"}"
    assert policy().judge(msgspec.structs.replace(made, args=deep), BASH) == Allowed()
    deeper = b'{"command":"ls","x":' + b"[" * 32 + b"]" * 32 + b"}"
    assert isinstance(policy().judge(msgspec.structs.replace(made, args=deeper), BASH), Blocked)


def test_whoever_wrote_a_line_that_cannot_be_judged_learns_how_to_write_it() -> None:
    judged = policy().judge(shell("env -i ls"), BASH)
    assert isinstance(judged, Blocked)
    assert judged.advice == "run the inner program itself"


# --- rules are about what they name, and nothing else


def test_a_blocked_plugin_is_a_plugin() -> None:
    judged = policy(config(blocked_plugins=("mail",)))
    assert judged.judge(MCP_CALL, MCP) == Allowed()


def test_lists_of_hosts_and_paths_concern_hosts_and_paths_alone() -> None:
    judged = policy(config(allowed_hosts=("example.com",), allowed_paths=("/w",)))
    assert judged.judge(shell("ls"), BASH) == Allowed()
    assert judged.judge(MCP_CALL, MCP) == Allowed()
    assert policy(config(allowed_hosts=("example.com",))).judge(on_file("/v/a"), spec()) == Allowed()
    assert policy(config(allowed_paths=("/w",))).judge(on_host("example.com"), spec()) == Allowed()


def test_one_need_among_several_is_enough_to_ask() -> None:
    several = call(needs=(Need("file://w/a", READ), Need("file://w/b", DELETE), Need("net://443/com/example", INVOKE)))
    for rule in ({"require_approval_for_delete": True}, {"require_approval_for_network": True}):
        assert isinstance(policy(config(**rule)).judge(several, spec()), Fresh)


# --- broken configurations


@pytest.mark.parametrize(
    "fields",
    [
        {"max_argument_size": -1},
        *(
            {"denied_paths": (path,)}
            for path in ("", "etc", "**", "*", "~u", "../x", "/a/../b", "/a//b", "/a/./b", "//")
        ),
        *({"denied_paths": (path,)} for path in ("/a/**/b", "/a?", "/a[bc]", "/a{b,c}", "/a\0b", "/a/***", "/\ufb01")),
        {"allowed_paths": ("w",)},
        *({"denied_hosts": (host,)} for host in ("", "*.", "*:", "example.com:", "example.com:0", "example.com:65536")),
        *(
            {"denied_hosts": (host,)}
            for host in ("http://example.com", "a b", "u@example.com", "a:b:c", "::1", "0x7f.1")
        ),
        *(
            {"denied_hosts": (host,)}
            for host in ("*.10.0.0.1", "*.[::1]", "*.*.com", "exa*.com", "example.com:4_3", "b\u00fccher.de")
        ),
        {"allowed_hosts": ("example.com:",)},
        *({"blocked_tools": (name,)} for name in ("", " ", "sudo ", " sudo", "rm  -rf", "a\tb")),
        {"blocked_plugins": ("",)},
        {"approval_required_tools": ("bash ",)},
    ],
    ids=str,
)
def test_an_entry_without_meaning_is_no_policy(fields: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as caught:
        policy(PERMISSIVE, config(**fields))
    assert caught.value.code == "config.policy"
    assert caught.value.advice


def test_a_field_that_nobody_knows_is_no_policy() -> None:
    with pytest.raises(msgspec.ValidationError, match="denied_path"):
        msgspec.convert({"denied_path": ["/x"]}, PolicyConfig)


def test_a_path_of_the_daemon_s_that_is_none_is_no_policy() -> None:
    with pytest.raises(ConfigError):
        policy(never_read=("relative",))
    with pytest.raises(ConfigError):
        Policy(PERMISSIVE, home="relative")


@pytest.mark.parametrize("home", ["/", "/home/u/", "/h\udcff"])
def test_any_home_folder_has_its_keys_hidden(home: str) -> None:
    judged = Policy(config(denied_paths=("~/x",)), home=home) if home != "/h\udcff" else None
    if judged is None:
        # Such a name matches no pattern: no policy could protect what is below it.
        with pytest.raises(ConfigError):
            Policy(PERMISSIVE, home=home)
        return
    below = home.rstrip("/")
    assert judged.hides(file_resource(f"{below}/.ssh/id").text)
    assert judged.hides(file_resource(f"{below}/x").text)
    assert not judged.hides(file_resource(f"{below}/y").text)


def test_a_need_that_is_no_resource_is_no_ones_permission() -> None:
    for resource in ("file://a//b", "net://x/y", "file://a/../**"):
        with pytest.raises(PatternError):
            policy().judge(call(needs=(Need(resource, READ),)), spec())


# --- digests


def test_the_digest_names_exactly_this_policy() -> None:
    made = [
        policy(),
        policy(PERMISSIVE, PERMISSIVE),
        policy(config(blocked_tools=("x",))),
        policy(config(denied_paths=("/x",))),
        policy(config(max_argument_size=1)),
        policy(never_read=("/x",)),
        Policy(PERMISSIVE, home="/home/v"),
    ]
    assert len({one.digest for one in made}) == len(made)
    assert policy(config(blocked_tools=("x",))).digest == policy(config(blocked_tools=("x",))).digest


# --- adding a rule

NAMES = ("write_file", "bash", "main", "mail", "main:bash", "mcp:read_mail", "wasm-plugin", "sudo", "rm -rf /", "git")
PATHS = ("/w", "/w/a", "/w/*", "/etc/**", "~", "~/x/**", "/w/a/b", "/")
HOSTS = ("example.com", "*.example.com", "example.com:443", "*", "*:80", "10.0.0.1")
names, paths, hosts = (st.sampled_from(one) for one in (NAMES, PATHS, HOSTS))
limits = st.sampled_from((0, 5, 20, 10**6))
configs = st.builds(
    PolicyConfig,
    blocked_tools=st.lists(names, max_size=2).map(tuple),
    approval_required_tools=st.lists(names, max_size=2).map(tuple),
    allowed_paths=st.lists(paths, max_size=2).map(tuple),
    denied_paths=st.lists(paths, max_size=2).map(tuple),
    allowed_hosts=st.lists(hosts, max_size=2).map(tuple),
    denied_hosts=st.lists(hosts, max_size=2).map(tuple),
    max_argument_size=limits,
    require_approval_for_delete=st.booleans(),
    require_approval_for_network=st.booleans(),
    blocked_plugins=st.lists(names, max_size=1).map(tuple),
)
CASES = (
    (on_file("/w/a"), spec()),
    (on_file("/w/a/b", DELETE), spec()),
    (on_tree("/w"), spec()),
    (on_tree("/w", WRITE | DELETE), spec()),
    (on_file(f"{HOME}/x/y"), spec()),
    (on_host("www.example.com"), spec(effect="fetch")),
    (on_host("example.com", 80), spec(effect="fetch")),
    (shell("git status"), BASH),
    (shell("sudo ls"), BASH),
    (MCP_CALL, MCP),
    (PLUGIN_CALL, PLUGIN),
    (on_file("/w/a"), spec(effect="egress")),
)
cases = st.sampled_from(CASES)
STRICTNESS = {Allowed: 0, Fresh: 1, Blocked: 2}


def strictness(made: Policy, case: tuple[Call, ToolSpec]) -> int:
    return STRICTNESS[type(made.judge(*case))]


@settings(max_examples=150)
@given(st.lists(configs, min_size=1, max_size=3), configs, cases, st.integers(0, 3))
def test_one_layer_more_never_makes_a_judgement_milder(
    layers: list[PolicyConfig], more: PolicyConfig, case: tuple[Call, ToolSpec], at: int
) -> None:
    thicker = [*layers[:at], more, *layers[at:]]
    assert strictness(policy(*thicker), case) >= strictness(policy(*layers), case)


added = st.one_of(
    *(
        st.tuples(st.just(field), entries)
        for field, entries in (
            ("blocked_tools", names),
            ("approval_required_tools", names),
            ("denied_paths", paths),
            ("denied_hosts", hosts),
            ("blocked_plugins", names),
        )
    )
)


@settings(max_examples=150)
@given(configs, added, cases)
def test_one_rule_more_never_makes_a_judgement_milder(
    layer: PolicyConfig, rule: tuple[str, str], case: tuple[Call, ToolSpec]
) -> None:
    field, entry = rule
    stricter = msgspec.structs.replace(layer, **{field: (*getattr(layer, field), entry)})
    assert strictness(policy(stricter), case) >= strictness(policy(layer), case)


@settings(max_examples=100)
@given(st.lists(configs, min_size=1, max_size=3), cases)
def test_the_layers_together_are_as_strict_as_the_strictest(
    layers: list[PolicyConfig], case: tuple[Call, ToolSpec]
) -> None:
    """Stacking is no merging: each layer judges as if it were alone."""
    alone = max(strictness(policy(layer), case) for layer in layers)
    assert strictness(policy(*layers), case) == alone
