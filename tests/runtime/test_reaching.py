"""Commands that reach the hosts they name once a person has said yes: whole sessions, a real box, a network of ours."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from astrid.core.answers import Verdict
from astrid.core.display import render_question
from astrid.core.grants import Mode
from astrid.core.records import Kind, PermitRecord
from astrid.core.records_connections import ConnectionEndedRecord, ConnectionRecord
from astrid.core.redecide import How
from astrid.core.risk import Risk
from astrid.runtime.replaying import replay_home
from tests.fakes.clock import START_NS
from tests.fakes.egress import PUBLIC, Answering
from tests.fakes.home import make_home
from tests.fakes.runtime import Json, Runtime, call, running, turn
from tests.runtime.test_connections import Life
from tests.runtime.test_contained import held, permits, told

pytestmark = pytest.mark.e2e

ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\nconnection: close\r\n\r\nhello\n"
INSIDE = "10.0.0.7"
FETCH = "curl -sS http://a.example/"
HOST = "a.example:80"


def network() -> Answering:
    return Answering({"a.example": [PUBLIC], "b.example": [PUBLIC], "in.example": [INSIDE]}, ANSWER)


@asynccontextmanager
async def session(tmp_path: Path, net: Answering, *calls: Json, mode: Mode = Mode.GUIDED) -> AsyncIterator[Runtime]:
    """A session that proposes these calls, one a turn; a person is there."""
    async with held(tmp_path) as shell, running(tmp_path, shell=shell, network=net) as runtime:
        await runtime.grant(mode)
        await runtime.open([*map(turn, calls), turn()], mode=mode.value)
        await runtime.attend()
        await runtime.say("go")
        yield runtime


async def step(runtime: Runtime) -> list[Json]:
    """What happens up to the next question, or the end."""
    return await runtime.until("approval_needed", "turn_complete")


async def told_yes(tmp_path: Path, net: Answering, line: str, *hosts: str) -> tuple[str, Life]:
    """What the model is told of a line with these hosts to which a person says yes, and the log of it."""
    async with session(tmp_path, net, call("bash", command=line, hosts=list(hosts))) as runtime:
        asked = (await step(runtime))[-1]
        assert asked["event"] == "approval_needed"
        assert net.looked_up == []
        await runtime.respond(asked, Verdict.ONCE)
        [result] = told(await step(runtime))
        home = runtime.world.home
    return result, Life(home)


async def test_a_host_that_a_person_said_yes_to_is_reached_and_the_log_has_it(tmp_path: Path) -> None:
    net = network()
    result, life = await told_yes(tmp_path, net, FETCH, HOST)
    assert "hello" in result
    assert net.dialled == [(PUBLIC, 80)]
    ((begun, connection),) = life.of(ConnectionRecord)
    ((over, end),) = life.of(ConnectionEndedRecord)
    ((permit, _),) = [one for one in life.of(PermitRecord) if one[1].tool == "bash"]
    assert permit.seq < begun.seq < over.seq
    assert (connection.permit_seq, connection.port, connection.code) == (permit.seq, 80, "")
    assert life.places() == [("a.example", (PUBLIC,))]
    assert (end.permit_seq, end.received, end.code) == (permit.seq, len(ANSWER), "")
    assert end.sent > 0


@pytest.mark.parametrize("url", ["http://b.example/", "http://a.example:8080/", "http://169.254.169.254/latest"])
async def test_another_place_is_refused_and_the_log_has_that(tmp_path: Path, url: str) -> None:
    net = network()
    result, life = await told_yes(tmp_path, net, f"curl -sS -w '%{{http_code}}' {url}", HOST)
    assert "egress.not-listed" in result
    assert "403" in result
    assert [body.code for _, body in life.of(ConnectionRecord)] == ["egress.not-listed"]
    assert (net.looked_up, net.dialled) == ([], [])


async def test_a_name_that_leads_inside_is_refused_though_a_person_said_yes(tmp_path: Path) -> None:
    net = network()
    result, life = await told_yes(tmp_path, net, "curl -sS http://in.example/", "in.example:80")
    assert "egress.address" in result
    assert [body.code for _, body in life.of(ConnectionRecord)] == ["egress.address"]
    assert net.dialled == []


async def test_without_hosts_nobody_is_asked_and_nothing_gets_out(tmp_path: Path) -> None:
    net = network()
    line = f"{FETCH}; curl -sS --proxy http://127.0.0.1:3128 http://a.example/"
    async with session(tmp_path, net, call("bash", command=line)) as runtime:
        events = await step(runtime)
        home = runtime.world.home
    assert events[-1]["event"] == "turn_complete"
    assert "exit code" in told(events)[0]
    assert Life(home).of(ConnectionRecord) == []
    assert (net.looked_up, net.dialled) == ([], [])


async def test_the_question_shows_each_host_and_is_about_this_very_call(tmp_path: Path) -> None:
    hosts = ["a.example", "B.example:8080"]
    async with session(tmp_path, network(), call("bash", command=FETCH, hosts=hosts)) as runtime:
        shown = render_question(await runtime.question((await step(runtime))[-1])).replace("|\n|", "")
    assert 'touches: invoke "net://443/example/a"' in shown
    assert 'touches: invoke "net://8080/example/b"' in shown
    assert 'value of: "hosts": "a.example:443 b.example:8080"' in shown
    assert "by itself high" in shown
    assert "can only be answered once: yes" in shown
    assert "any number of calls" not in shown


async def test_a_yes_is_for_one_call_and_what_it_names(tmp_path: Path) -> None:
    net = network()
    again = [call("bash", command=FETCH, hosts=[HOST]), call("bash", command=FETCH, hosts=[HOST])]
    async with session(tmp_path, net, *again) as runtime:
        await runtime.respond((await step(runtime))[-1], Verdict.ONCE)
        second = (await step(runtime))[-1]
        assert second["event"] == "approval_needed"
        await runtime.respond(second, Verdict.DENY)
        await step(runtime)
        assert len(permits(runtime)) == 1
    assert net.dialled == [(PUBLIC, 80)]


async def test_untrusted_text_in_view_makes_it_the_gravest_kind(tmp_path: Path) -> None:
    async with session(
        tmp_path, network(), call("read_file", file_path="page"), call("bash", command=FETCH, hosts=[HOST])
    ) as runtime:
        await runtime.respond((await step(runtime))[-1], Verdict.ONCE)
        await step(runtime)
        [one] = permits(runtime)
    assert one.tainted
    assert one.risk == Risk.CRITICAL


@pytest.mark.parametrize(
    ("policy", "ends"),
    [
        ({"denied_hosts": ["a.example"]}, "denied"),
        ({"denied_hosts": ["*:80"]}, "denied"),
        ({"allowed_hosts": ["*.example:443"]}, "denied"),
        ({"allowed_hosts": ["*.example"]}, "approval_needed"),
        # Whom policy does not have asked, the grants do: none of a mode covers a host.
        ({"require_approval_for_network": False}, "approval_needed"),
    ],
)
async def test_policy_judges_the_hosts(tmp_path: Path, policy: dict[str, object], ends: str) -> None:
    home, _ = make_home(tmp_path / "home", now_s=START_NS // 10**9)
    entries = [f"{name} = {json.dumps(value)}" for name, value in policy.items()]
    home.config.write_text("\n".join(["[security.policy]", *entries, ""]))
    (tmp_path / "workspace").mkdir()
    net = network()
    async with session(tmp_path, net, call("bash", command=FETCH, hosts=[HOST]), mode=Mode.AUTONOMOUS) as runtime:
        events = await step(runtime)
        assert permits(runtime) == []
    assert ends in [one["event"] for one in events]
    assert net.looked_up == []


async def test_where_no_host_can_be_let_in_it_is_said_and_nobody_is_asked(tmp_path: Path) -> None:
    async with held(tmp_path, "l0") as shell, running(tmp_path, shell=shell, network=network()) as runtime:
        await runtime.grant(Mode.GUIDED)
        await runtime.open([turn(call("bash", command=FETCH, hosts=[HOST])), turn()], mode="guided")
        await runtime.attend()
        await runtime.say("go")
        events = await step(runtime)
        kinds = {kind for kind, _ in runtime.records()}
    assert events[-1]["event"] == "turn_complete"
    assert "no box that has a network of its own" in json.dumps(events)
    assert Kind.CONNECTION not in kinds


async def test_a_session_that_reached_a_host_replays_to_itself(tmp_path: Path) -> None:
    async with session(tmp_path, network(), call("bash", command=FETCH, hosts=[HOST])) as runtime:
        await runtime.respond((await step(runtime))[-1], Verdict.ONCE)
        await step(runtime)
        home, lived = runtime.world.home, runtime.session
    found = replay_home(home, lived, None)
    assert found.same
    # The question, and the permit after the answer; both could be decided again.
    assert [isinstance(one.now, How) for one in found.decisions if one.tool == "bash"] == [True, True]
