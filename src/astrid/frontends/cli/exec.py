"""``astrid exec``: have a task done in a folder, watch it, and answer what is asked.

Never: decides or signs anything; questions are shown and answered by the signer, and the daemon decides.  A task counts
as the person's own only where a person is at the terminal to have it signed; text from a file never does.

Source: the first Astrid; architecture 4, 6 ("Labels"); threats 9, 41, 42.
"""

from __future__ import annotations

import argparse
import os
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import cast

import msgspec

from astrid.core.grants import Mode
from astrid.core.ids import parse_id
from astrid.core.money import parse_usd
from astrid.core.tokens import UNLIMITED_MICROS, Assurance
from astrid.errors import AstridError, ConfigError, InputError
from astrid.frontends.answering import answer_question
from astrid.frontends.cli import DENIED, DONE, FAILED, INTERRUPTED
from astrid.frontends.cli.given import read_text, read_tokens
from astrid.frontends.cli.going_on import go_on
from astrid.frontends.cli.instructions import advise_trust
from astrid.frontends.cli.interrupts import Interrupts
from astrid.frontends.cli.past import last_session, resumed_session
from astrid.frontends.cli.pictures import Given, attach, read_images, with_images
from astrid.frontends.cli.show import ForPeople, ForPrograms, Show, Tally
from astrid.frontends.client import Client, connect, run_client
from astrid.frontends.signing import Signer, token_of
from astrid.home import Home, home_folder, identify_workspace, open_home
from astrid.wire import params as p
from astrid.wire import results as r
from astrid.wire.events import AnyEvent, ApprovalNeeded, SessionEnded, TurnComplete
from astrid.wire.params import MAX_INPUT_CHARS

SCRIPTED = "scripted:"
GRANT_DAYS = 30
CANCEL_SECONDS = 10.0
ASKED_TIMES = 2  # should the signer die under a question
_GOOD_ENDS = frozenset({"end_turn", "stop_sequence"})


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked for, read and checked before anything is started."""

    task: str
    images: tuple[Given, ...]  # which the task names
    resumes: str | None  # a session; empty for the last one of the workspace
    attached: str | None
    workspace: str
    mode: Mode | None
    model: str | None
    asks: bool
    tokens: tuple[bytes, ...]
    agent: str | None
    max_turns: int | None
    budget_micros: int | None
    passphrase_fd: int | None
    present: bool  # somebody is at the terminal


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``astrid exec``."""
    parser.add_argument("task", metavar="TASK", nargs="?", default="", help="what to do, in your own words")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--resume", metavar="ID", help="have a session go on; TASK may be left out if one was cut off")
    which.add_argument("--last", action="store_true", help="the same, of the last one in the workspace")
    parser.add_argument("--workspace", type=Path, metavar="DIR", help="the folder to work in (the current one)")
    parser.add_argument("--model", metavar="NAME", help="the model, or scripted:FILE; default: the configured one")
    parser.add_argument("--agent", metavar="NAME", help="the definition to follow, such as explorer; default: coder")
    parser.add_argument("--mode", choices=[mode.value for mode in Mode], help="how far it may go without asking")
    parser.add_argument(
        "--approve",
        metavar="never|ask|FILE",
        help="what becomes of questions: ask at the terminal, never, or tokens from a file of yours",
    )
    parser.add_argument(
        "--input", metavar="FILE", help="text to work on, which is not taken for yours; - for standard input"
    )
    parser.add_argument("--image", type=Path, action="append", metavar="FILE", help="a PNG or JPEG to look at (repeat)")
    parser.add_argument("--max-turns", type=_count, metavar="N", help="at most so many calls of the model")
    parser.add_argument("--budget", metavar="USD", help="at most so many dollars")
    parser.add_argument("--passphrase-fd", type=int, metavar="N", help="read the key's passphrase from descriptor N")
    parser.add_argument("--json", action="store_true", help="print one event a line")
    parser.set_defaults(misused=parser.error)


def run(args: argparse.Namespace) -> int:
    """Have the task done.

    Raises:
        AstridError: it could not be begun, or the daemon is gone.
        SystemExit: there is neither a task nor a session to resume.
    """
    if not (args.task or args.last) and args.resume is None:
        args.misused("say what to do: astrid exec TASK")
    home = open_home(home_folder(os.environ))
    job = _job(args, home)
    show = ForPrograms() if args.json else ForPeople()
    return run_client(lambda: Run(home, job, show).run())


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 0 < int(text) <= 1_000_000:
        raise argparse.ArgumentTypeError(f"`{text}` is not a number from 1 to 1000000")
    return int(text)


# --- what is asked for


def _job(args: argparse.Namespace, home: Home) -> Job:
    workspace = identify_workspace(args.workspace or Path.cwd(), home).path
    present = _terminal()
    approve: str = args.approve or ("ask" if present else "never")
    if approve == "ask" and not present:
        raise ConfigError(
            "exec.no-terminal", "there is no terminal to ask at", advice="give --approve never, or a file"
        )
    attached = None if args.input is None else read_text(args.input)
    resumes = resumed_session(args, approve)
    may_be_empty = resumes is not None and attached is None
    images = read_images(args.image or ())
    task = with_images(args.task, images)
    length = len(task) + len(attached or "") + 200
    if not (task.strip() or may_be_empty) or length > MAX_INPUT_CHARS:
        raise InputError(
            "exec.task",
            f"the task is empty, or longer than {MAX_INPUT_CHARS} characters with its input",
            advice="say what to do in a sentence, and leave long texts in files of the workspace",
        )
    return Job(
        task=task,
        images=images,
        resumes=resumes,
        attached=attached,
        workspace=workspace,
        mode=None if args.mode is None else Mode(args.mode),
        model=model_name(args.model),
        agent=args.agent,
        asks=approve == "ask",
        tokens=() if approve in ("ask", "never") else read_tokens(Path(approve), workspace),
        max_turns=args.max_turns,
        budget_micros=None if args.budget is None else parse_usd(args.budget),
        passphrase_fd=args.passphrase_fd,
        present=present,
    )


def _terminal() -> bool:
    """Whether a person is there: somebody types into us, and has a terminal on which the signer can ask."""
    if not sys.stdin.isatty():
        return False
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return False
    return True


def model_name(name: str | None) -> str | None:
    """The model's name as the daemon, which works elsewhere, finds it."""
    if name is None or not name.startswith(SCRIPTED):
        return name
    path = Path(name.removeprefix(SCRIPTED))
    return f"{SCRIPTED}{path.absolute()}"


# --- doing it


class Run:
    """One task, from the session's start to its end."""

    def __init__(self, home: Home, job: Job, show: Show) -> None:
        self._home = home
        self._job = job
        self._show = show
        self._tally = Tally()
        self._signers = AsyncExitStack()
        self._signer: Signer | None = None

    async def run(self) -> int:
        """The exit code.

        Raises:
            AstridError: it could not be begun, or the daemon is gone.
        """
        with Interrupts() as interrupts:
            async with connect(self._home, start_daemon=True) as client, self._signers:
                with interrupts.leaving:
                    return await self._with(client, interrupts)
                client.abandon()
        self._show.note("left; what was under way may go on: see `astrid sessions list`")
        return INTERRUPTED

    async def _with(self, client: Client, interrupts: Interrupts) -> int:
        for token in self._job.tokens:
            await client.call("tokensAdd", p.TokensAdd(token=token, source="file"))
        if self._job.resumes is None:
            session, turn = await self._begin(client), 1
        else:
            session, turn = await self._resume(client, self._job.resumes, interrupts)
        if self._job.task and self._tally.stop_reason not in ("cancelled", "ended"):
            images = await self._attach(client, session)
            said = await self._input(client, session, turn)
            await client.call("sendInput", msgspec.structs.replace(said, images=images))
            await self._follow(client, session, interrupts)
        self._tally.spent_micros = await self._spent(client, session)
        if self._tally.stop_reason != "ended":
            await client.call("endSession", p.OfSession(session_id=session))
        code = self._code(interrupts)
        self._show.result(session, self._tally, code)
        return code

    async def _begin(self, client: Client) -> str:
        mode = self._job.mode or Mode(client.welcome.session_mode)
        if advice := advise_trust(self._home, self._job.workspace):
            self._show.note(advice)
        session = (await self._open(client, mode)).session_id
        await client.subscribe(session, interactive=self._job.asks)
        return session

    async def _resume(self, client: Client, name: str, interrupts: Interrupts) -> tuple[str, int]:
        """A session that goes on, its open turn finished; and the number of its next turn."""
        session = name or await last_session(client, self._job.workspace)
        job = self._job
        there = await go_on(client, session, model=job.model, interactive=job.asks, has_more=bool(job.task))
        session = there.session_id
        if there.forked is not None:
            self._show.forked(there.forked)
        await client.subscribe(session, after=there.seq, interactive=self._job.asks)
        if self._job.asks:  # what was asked before it was cut off is not asked again
            waiting = cast("r.Approvals", await client.call("listApprovals", p.ListApprovals(session_id=session)))
            for one in waiting.questions:
                await self._answer(client, session, one.question_id)
        if there.running:
            await self._follow(client, session, interrupts)
        elif not self._job.task:
            self._show.note("nothing of the session was open")
            self._tally.stop_reason = "end_turn"
        return session, there.turn + 1

    def _code(self, interrupts: Interrupts) -> int:
        if interrupts.count or self._tally.stop_reason == "cancelled":
            return INTERRUPTED
        if self._tally.denied or self._tally.deferred:
            return DENIED
        return DONE if self._tally.stop_reason in _GOOD_ENDS else FAILED

    async def _open(self, client: Client, mode: Mode) -> r.SessionInfo:
        job = self._job
        asked = p.CreateSession(
            workspace=job.workspace,
            mode=mode.value,
            model=job.model,
            options=p.SessionOptions(
                budget_micros=None if job.budget_micros is None else str(job.budget_micros),
                max_turns=job.max_turns,
                interactive=job.asks,
                agent=job.agent,
            ),
        )
        try:
            return cast("r.SessionInfo", await client.call("createSession", asked))
        except AstridError as error:
            if error.code != "token.no-grant" or not job.asks:
                raise
            self._show.note(f"{error.message}; you can sign that now")
        signer = await self._person()
        reply = await signer.grant_workspace(Path(job.workspace), mode, days=GRANT_DAYS, purse_micros=UNLIMITED_MICROS)
        await client.call("tokensAdd", p.TokensAdd(token=token_of(reply)))
        return cast("r.SessionInfo", await client.call("createSession", asked))

    async def _attach(self, client: Client, session: str) -> tuple[int, ...]:
        try:
            return await attach(client, session, self._job.images)
        except AstridError:
            if self._job.resumes is None:  # nothing was said in it
                await client.call("endSession", p.OfSession(session_id=session))
            raise

    async def _input(self, client: Client, session: str, turn: int) -> p.SendInput:
        """The turn's input: signed where it is all the person's own words, else for the daemon to mistrust."""
        job = self._job
        if job.attached is not None:
            text = f"{job.task}\n\nThe rest of this message was read from a file:\n\n{job.attached}"
            return p.SendInput(session_id=session, turn=turn, input=text)
        prompt = await self._sign(client.welcome.aud, session, turn) if job.present else None
        return p.SendInput(session_id=session, turn=turn, input=job.task, prompt=prompt)

    async def _sign(self, aud: bytes, session: str, turn: int) -> p.PromptSignature | None:
        signer = await self._person()
        key = await signer.show()
        if key.assurance != Assurance.PLAIN:
            if self._job.passphrase_fd is None:
                self._show.note("your key is sealed, so the task is not signed and counts as untrusted text")
                return None
            await signer.unlock()
        reply = await signer.sign_prompt(aud, parse_id("session", session), turn, self._job.task)
        return p.PromptSignature(signer=key.public, signature=reply.signature)

    async def _person(self) -> Signer:
        if self._signer is None:
            starting = Signer.start(self._home, passphrase_fd=self._job.passphrase_fd)
            self._signer = await self._signers.enter_async_context(starting)
        return self._signer

    async def _follow(self, client: Client, session: str, interrupts: Interrupts) -> None:
        """Watch the session until its turn is over."""
        while True:
            event: AnyEvent | None = None
            with interrupts.next():
                event = await client.next_event(session)
            if interrupts.take():
                self._show.note("stopping; Ctrl-C again leaves at once")
                await client.call("cancelTurn", p.OfSession(session_id=session), within=CANCEL_SECONDS)
            if event is None:
                continue
            self._tally.count(event)
            self._show.event(event)
            match event:
                case ApprovalNeeded() if self._job.asks:
                    await self._answer(client, session, event.question_id)
                case TurnComplete() | SessionEnded():
                    return
                case _:
                    continue

    async def _answer(self, client: Client, session: str, question_id: str) -> None:
        for _ in range(ASKED_TIMES):
            try:
                with client.attended():
                    settled = await answer_question(client, await self._person(), self._home, question_id)
            except AstridError as error:
                match error.code:
                    case "signer.aborted":
                        await client.call("cancelTurn", p.OfSession(session_id=session), within=CANCEL_SECONDS)
                        return
                    case "approval.unknown":
                        self._show.note("the question was settled meanwhile")
                        return
                    case "signer.gone":
                        self._show.note(error.render())
                        await self._signers.aclose()
                        self._signer = None
                        continue
                    case _:
                        raise
            if settled.outcome != "settled":
                self._show.note(f"your answer did not count: {settled.outcome} {settled.reason}")
            return
        self._show.note(f"the question stays open: `astrid approvals answer {question_id}`")

    async def _spent(self, client: Client, session: str) -> int:
        known = cast("r.Sessions", await client.call("listSessions", p.ListSessions()))
        return next((int(info.spent_micros) for info in known.sessions if info.session_id == session), 0)
