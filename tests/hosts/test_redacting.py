"""What a tool server says has no secret in it; what it is told to do stays as it was approved."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from astrid.core.call import Call, Preparation
from astrid.core.egress_connection import Attempt, Traffic
from astrid.core.redact import Redactor
from astrid.core.tools import ToolSpec
from astrid.errors import AstridError, ConfigError, EdgeError, InputError
from astrid.hosts.redacting import Redacting
from astrid.ports import Report, ToolOutcome, ToolServer
from tests.fakes.egress import Recorded

Act = Callable[[Redacting], Awaitable[object]]
VALUE = "correct horse battery"
SAYS = f"it is {VALUE}".encode()
QUIET = b"it is [secret key]"


class Talkative:
    """A server that says the secret wherever it can; ``fails`` is what it raises instead."""

    def __init__(self, fails: AstridError | None = None) -> None:
        self.fails = fails
        self.given: list[object] = []

    def specs(self) -> tuple[ToolSpec, ...]:
        return ()

    def glance(self, tool: str, args: bytes) -> Preparation | None:
        self.given.append(args)
        return None

    async def prepare(self, tool: str, args: bytes) -> Preparation:
        self.given.append(args)
        if self.fails is not None:
            raise self.fails
        return Preparation(needs=())

    async def execute(self, call: Call, report: Report) -> ToolOutcome:
        self.given.append(call)
        if self.fails is not None:
            raise self.fails
        report(SAYS)
        return ToolOutcome(content=SAYS, is_error=False, effect="done", spent_micros=7, untrusted=True)


def redactor() -> Redactor:
    return Redactor({"key": VALUE.encode()})


async def test_results_and_pieces_come_without_it_and_all_else_as_it_was() -> None:
    pieces: list[bytes] = []
    outcome = await Redacting(Talkative(), redactor).execute(object(), pieces.append)  # type: ignore[arg-type]
    assert (outcome.content, pieces) == (QUIET, [QUIET])
    assert (outcome.effect, outcome.spent_micros, outcome.untrusted) == ("done", 7, True)


async def test_the_call_is_handed_on_untouched() -> None:
    server, call = Talkative(), object()
    quiet = Redacting(server, redactor)
    assert quiet.specs() == ()
    assert quiet.glance("t", SAYS) is None
    await quiet.prepare("t", SAYS)
    await quiet.execute(call, lambda _piece: None)  # type: ignore[arg-type]
    assert server.given == [SAYS, SAYS, call]


async def prepare(server: Redacting) -> object:
    return await server.prepare("t", b"")


async def execute(server: Redacting) -> object:
    return await server.execute(object(), lambda _piece: None)  # type: ignore[arg-type]


@pytest.mark.parametrize("act", [prepare, execute])
@pytest.mark.parametrize(
    "error", [InputError("x.y", SAYS.decode(), advice="z"), EdgeError("x.y", SAYS.decode(), effect="maybe", advice="z")]
)
async def test_an_error_says_its_code_and_not_the_secret(error: AstridError, act: Act) -> None:
    with pytest.raises(type(error)) as caught:
        await act(Redacting(Talkative(error), redactor))
    assert (caught.value.code, caught.value.message, caught.value.advice) == ("x.y", QUIET.decode(), "z")
    assert VALUE not in str(caught.value) + repr(caught.value)
    assert getattr(caught.value, "effect", "maybe") == "maybe"


@pytest.mark.parametrize("act", [prepare, execute])
async def test_a_call_whose_secrets_cannot_be_read_is_not_begun(act: Act) -> None:
    def unreadable() -> Redactor:
        raise ConfigError("file.open-to-others", "a secret has mode 0644", advice="chmod")

    server = Talkative()
    with pytest.raises(ConfigError):
        await act(Redacting(server, unreadable))
    assert server.given == []


class Online(Talkative):
    """Connects to a host while it runs."""

    def __init__(self, host: str, refused: str = "") -> None:
        super().__init__()
        self.attempt = Attempt(host=host, port=443, addresses=("1.1.1.1",), refused=refused)

    async def execute(self, call: Call, report: Report) -> ToolOutcome:
        number = await report.begin(self.attempt)
        report.end(number, TRAFFIC)
        return ToolOutcome(content=b"", is_error=False, effect="done", spent_micros=0)


class Noted(Recorded):
    """A ``Report`` that notes what it is told."""

    def __call__(self, piece: bytes, /) -> None:
        raise AssertionError(piece)


TRAFFIC = Traffic(address="1.1.1.1", sent_bytes=1, received_bytes=2, cut="")


async def run(server: ToolServer) -> Noted:
    report = Noted()
    try:
        await Redacting(server, redactor).execute(object(), report)  # type: ignore[arg-type]
    except EdgeError as error:
        assert error.code == "egress.secret"
    return report


async def test_a_connection_and_its_end_are_told_as_they_are() -> None:
    server = Online("a.example")
    report = await run(server)
    assert (report.attempts, report.ends) == ([server.attempt], [(1, TRAFFIC)])


async def test_no_connection_begins_to_a_host_whose_name_holds_a_secret() -> None:
    report = await run(Online(f"{VALUE}.example"))
    assert [(one.host, one.addresses, one.refused) for one in report.attempts] == [
        ("[secret key].example", (), "egress.secret")
    ]
    assert report.ends == []


async def test_a_refused_name_is_recorded_without_the_secret() -> None:
    report = await run(Online(f"{VALUE}.example", "egress.not-listed"))
    assert [(one.host, one.refused) for one in report.attempts] == [("[secret key].example", "egress.not-listed")]
