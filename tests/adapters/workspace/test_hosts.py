"""The hosts that a command line names: what is decided on, what is refused, and who lets it out to which."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from astrid.adapters.workspace.arguments import MAX_HOSTS, Bash
from astrid.adapters.workspace.shell import OpenShell
from astrid.box_ports import NO_LEAVE, Finished, Leave, Serve
from astrid.core.risk import Risk
from astrid.core.tokens import Permission
from astrid.errors import InternalError
from astrid.ports import EgressLog
from tests.fakes.egress import Recorded
from tests.fakes.workspace_bench import Bench, MakeBench

LINE = "curl https://a.example/"


class Letting(OpenShell):
    """A shell that says of itself that it holds a line, and lets it out; it runs nothing."""

    contains = True
    lets_out = True

    def __init__(self) -> None:
        self.served: list[Serve | None] = []

    async def run(self, argv: Sequence[str], *, leave: Leave = NO_LEAVE, **rest: Any) -> Finished:
        self.served.append(leave.serve)
        return Finished(returncode=0, stdout=b"", stderr=b"", truncated=False, stopped="")


class Asked:
    """What is asked to let a line out."""

    def __init__(self) -> None:
        self.hosts: list[tuple[str, ...]] = []
        self.logs: list[EgressLog] = []

    def __call__(self, hosts: Sequence[str], log: EgressLog) -> Serve:
        self.hosts.append(tuple(hosts))
        self.logs.append(log)
        return self.serve

    async def serve(self, _: object) -> None:
        """Nothing."""


@pytest.fixture
def shell() -> Letting:
    return Letting()


@pytest.fixture
def asked() -> Asked:
    return Asked()


@pytest.fixture
def letting(make_bench: MakeBench, shell: Letting, asked: Asked) -> Bench:
    return make_bench(shell=shell, let_out=asked)


async def test_each_host_is_a_need_and_the_call_a_sink(letting: Bench) -> None:
    preparation = await letting.prepare("bash", command=LINE, hosts=["a.example", "B.Example.:80", "a.example:443"])
    hosts = {need.resource: need.permission for need in preparation.needs if need.resource.startswith("net:")}
    assert hosts == {"net://443/example/a": Permission.INVOKE, "net://80/example/b": Permission.INVOKE}
    assert preparation.risk == Risk.HIGH
    assert ("hosts", "a.example:443 b.example:80") in preparation.controls


async def test_a_line_without_hosts_needs_none_and_is_let_out_to_none(
    letting: Bench, shell: Letting, asked: Asked
) -> None:
    for args in ({"command": LINE}, {"command": LINE, "hosts": []}):
        preparation = await letting.prepare("bash", **args)
        assert preparation.risk == Risk.MEDIUM
        assert not any(need.resource.startswith("net:") for need in preparation.needs)
        await letting.outcome("bash", **args)
    assert (shell.served, asked.hosts) == ([None, None], [])


async def test_a_line_is_let_out_to_exactly_what_was_decided_and_the_log_of_its_call_is_told(
    letting: Bench, shell: Letting, asked: Asked
) -> None:
    letting.report = Recorded()
    await letting.outcome("bash", command=LINE, hosts=["b.example:80", "a.example"])
    assert asked.hosts == [("b.example:80", "a.example:443")]
    assert asked.logs == [letting.report]
    assert shell.served == [asked.serve]


async def test_a_host_that_was_not_decided_on_is_not_reached(letting: Bench, shell: Letting) -> None:
    decided = await letting.prepare("bash", command=LINE, hosts=["a.example"])
    call = letting.call("bash", decided, command=LINE, hosts=["a.example", "b.example"])
    outcome = await letting.execute(call)
    assert (outcome.is_error, outcome.effect, shell.served) == (True, "none", [])


@pytest.mark.parametrize(
    "host",
    [
        *("", "http://a.example", "a.example/x", "user@a.example", "a_b.example", "*.a.example", "*", "a..example"),
        *("a.example:0", "a.example:65536", "a.example:", "a\0.example", "ä.example", "a.example%2f", "-a.example"),
        *("127.0.0.1", "10.0.0.1:80", "169.254.169.254", "[::1]", "[2606:4700::1]:443", "8.8.8.8", "0x7f.1", "127.1"),
    ],
)
async def test_what_is_no_plain_name_is_refused(letting: Bench, host: str) -> None:
    error = await letting.refusal("bash", command=LINE, hosts=[host])
    assert error.code.startswith(("workspace.arguments", "pattern."))


@pytest.mark.parametrize("hosts", [["a.example"] * (MAX_HOSTS + 1), "a.example", [["a.example"]], [1], None])
async def test_a_list_is_a_list_of_few_names(letting: Bench, hosts: object) -> None:
    assert (await letting.refusal("bash", command=LINE, hosts=hosts)).code in (
        "workspace.arguments",
        "canon.json-depth",
    )


async def test_as_many_as_may_be_named_are_decided_on(letting: Bench) -> None:
    hosts = [f"{'a' * 60}.h{number}.example" for number in range(MAX_HOSTS)]
    assert len((await letting.prepare("bash", command=LINE, hosts=hosts)).needs) == MAX_HOSTS + 1


@pytest.mark.parametrize("options", [{"shell": OpenShell()}, {"shell": OpenShell(), "let_out": Asked()}, {}])
async def test_where_a_line_cannot_be_let_out_it_is_said(make_bench: MakeBench, options: dict[str, Any]) -> None:
    bench = make_bench(**{"shell": Letting(), **options})
    error = await bench.refusal("bash", command="true", hosts=["a.example"])
    assert error.code == "workspace.no-way-out"
    assert await bench.outcome("bash", command="true")


async def test_a_command_without_a_box_is_not_let_out_by_mistake(bench: Bench) -> None:
    with pytest.raises(InternalError):
        await OpenShell().run(
            ["/bin/true"],
            workspace=str(bench.folder),
            folder=-1,
            env={},
            seconds=1,
            max_bytes=1,
            leave=Leave(serve=Asked().serve),
        )


def test_the_model_is_told_how_to_ask(letting: Bench) -> None:
    [spec] = [one for one in letting.tools.specs() if one.name == Bash.NAME]
    assert b"a person is asked" in spec.schema
    assert b'"maxItems":16' in spec.schema
