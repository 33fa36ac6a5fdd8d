"""What a session is made of, as the gateway and the catalogue speak of it.  Data and one Protocol.

Source: architecture 4.
"""

from __future__ import annotations

import enum
from typing import Literal, Protocol

import msgspec

from astrid.core.decide import Limits
from astrid.core.grants import Mode
from astrid.core.ids import SessionId
from astrid.core.subagents import Subagent
from astrid.core.turn_messages import Setting
from astrid.kernel import Ref
from astrid.messages.gateway import SessionLine
from astrid.messages.session import Hear, TurnBack
from astrid.ports import ToolServer

Why = Literal["asked", "idle", "failed", "done"]  # a session has ended, as people are told


class Place(msgspec.Struct, frozen=True):
    """A workspace and the tools in it."""

    identity: bytes
    root: str
    toolbox: str
    server: ToolServer


class Extra(msgspec.Struct, frozen=True):
    """Tools that a session gets beside those of its workspace."""

    name: str
    toolbox: str
    server: ToolServer


class Brain(msgspec.Struct, frozen=True):
    """A model as a session uses it."""

    name: str
    toolbox: str
    server: ToolServer
    scripted: bool
    context_tokens: int
    fallbacks: tuple[Brain, ...] = ()  # asked in its place when it fails


class Options(msgspec.Struct, frozen=True):
    """How a session was opened.  ``model`` is what was asked for, ``name`` what it is called, ``fleet`` the id of the
    token of its fleet, if it is in one, ``agent`` the definition that it follows, if not that of every session.
    """

    workspace: str
    mode: str
    model: str
    name: str
    budget_micros: int
    max_turns: int
    interactive: bool
    fleet: bytes = b""
    agent: str = ""


class Catalogue(Protocol):
    """What sessions are made of."""

    def place(self, workspace: str) -> Place:
        """The workspace at a path, opened once.  Raises what a person should read."""
        ...

    def brain(self, model: str) -> Brain:
        """The model by its name; empty for the configured one."""
        ...

    def extras(self, place: Place) -> tuple[Extra, ...]:
        """What a session gets beside its workspace."""
        ...

    def mode(self, name: str) -> Mode:
        """The mode by its name; empty for the configured one."""
        ...

    def setting(
        self, place: Place, brain: Brain, options: Options, now_ns: int, agent: Subagent | None = None
    ) -> Setting:
        """Frame, tools and limits of a session that starts now, as its definition has them if it follows one."""
        ...

    def limits(self, budget_micros: int) -> Limits:
        """The caps of a session; 0 for the configured ones."""
        ...


class Stage(enum.Enum):
    """Where a session that is there stands."""

    RISING = "rising"  # it is not a principal yet, or not again
    AWAKE = "awake"
    DROWSY = "drowsy"  # the gate was asked to let it go
    LEAVING = "leaving"  # the gate let it go; its actor ends


class Stem(msgspec.Struct, frozen=True):
    """What sub-agents of a session are made from: its key and tokens, its model and caps, and the session at the top.
    ``parent`` and ``purse`` (the block that pays for it) are of one that is a sub-agent itself, ``agent`` of one that
    follows a definition of a sub-agent.
    """

    key: bytes
    tokens: tuple[bytes, ...]
    brain: Brain
    limits: Limits
    top: bytes
    parent: bytes = b""
    agent: str = ""
    purse: bytes = b""


class Live(msgspec.Struct):
    """A session that is there.  ``own_host`` is the tool host that serves it alone, if one does; ``first`` the record
    that says that it started, ``active`` when something was last said to it or by it; ``held`` what it is to hear as
    soon as it hears anything; ``ending`` why it is being ended for good, once it is.
    """

    session: SessionId
    ref: Ref
    options: Options
    created_ns: int
    stem: Stem
    own_host: str = ""
    running: bool = False
    turns: int = 0
    deferred: int = 0
    first: int = 0
    active: float = 0.0
    stage: Stage = Stage.RISING
    held: Hear | TurnBack | None = None
    ending: Why | None = None

    def line(self) -> SessionLine:
        """As it is listed."""
        return SessionLine(
            session=self.session,
            workspace=self.options.workspace,
            mode=self.options.mode,
            model=self.options.name,
            state="running" if self.running else "idle",
            created_ns=self.created_ns,
            turns=self.turns,
            deferred=self.deferred,
            budget_micros=self.options.budget_micros,
            parent=self.stem.parent,
            agent=self.stem.agent,
            purse=self.stem.purse,
        )
