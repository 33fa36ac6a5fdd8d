"""What sessions are made of: workspaces, models, prompts and limits.

Definitions of agents are declarative and not trusted: what one asks for grants nothing.

Source: architecture 1 (actors/), 6; threats 42, 44.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import msgspec

from astrid.adapters.llm.catalogue import KnownModel, identify_model, resolve_model
from astrid.adapters.llm.sight import image_tokens, takes_images
from astrid.adapters.workspace.plans import LetOut
from astrid.adapters.workspace.shell import OWN_RIGHTS
from astrid.adapters.workspace.tools import WorkspaceTools
from astrid.adapters.workspace.undoing import Undoer
from astrid.box_ports import Shell
from astrid.core.canon import MAX_U64, Digest, Domain, digest, encode
from astrid.core.decide import Limits
from astrid.core.frame import compose
from astrid.core.grants import Mode
from astrid.core.money import Price
from astrid.core.subagents import Subagent
from astrid.core.turn_limits import Limits as TurnLimits
from astrid.core.turn_messages import Setting
from astrid.core.turn_retry import model_tool
from astrid.errors import ConfigError, InputError, WorkspaceError
from astrid.home import Home, KeptFiles, actors_folder, identify_workspace, workspace_id
from astrid.hosts.model import ModelServer, Sight
from astrid.hosts.results import Consult, ResultServer, find_image
from astrid.hosts.skills import TOOL as READ_SKILL
from astrid.hosts.skills import SkillServer
from astrid.hosts.todos import TodoServer
from astrid.ports import Entropy, Model
from astrid.runtime.config import Config, usd
from astrid.runtime.definitions import load_subagents
from astrid.runtime.framing import Texts, environment_of, listed
from astrid.runtime.own_code import code_folders
from astrid.runtime.parts import Brain, Extra, Options, Place
from astrid.runtime.vendor_keys import VendorKeys, configured_providers

DEFAULT_AGENT = "coder"
MB = 1024 * 1024
ANSWER_SHARE = 4  # of a small window: the rest is for what is asked
MAX_PROMPT_BYTES = 64 * 1024


class AgentDefinition(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An ``actor.toml`` of kind ``session``."""

    kind: str
    name: str
    description: str
    prompt: str  # a file beside it


class Catalogue:
    """See the module.  A workspace is opened once and kept: its root is a handle, so that a later swap of the path
    changes nothing.
    """

    def __init__(
        self,
        config: Config,
        home: Home,
        *,
        hides: Callable[[str], bool],
        entropy: Entropy,
        consult: Consult,
        vendor_keys: VendorKeys,
        shell: Shell,
        let_out: LetOut | None = None,
        extras: tuple[Extra, ...] = (),
    ) -> None:
        self._config = config
        self._home = home
        self._hides = hides
        self._entropy = entropy
        self._consult = consult
        self._vendor_keys = vendor_keys
        self._shell = shell
        self._let_out = let_out
        self._extras = extras
        self._prices: dict[str, Price] = {key: table.price() for key, table in config.models.items()}
        self._providers = configured_providers(config)
        self._kept = KeptFiles(home.kept, config.workspace.keep_mb * MB)
        self._places: dict[bytes, Place] = {}
        self._held = ExitStack()  # the folders that are open
        self._undoers: dict[bytes, Undoer] = {}
        self._brains: dict[str, Brain] = {}
        # Of each workspace and definition, the last that a session got.
        self._settings: dict[tuple[bytes, str], Setting] = {}
        self._agent, self._prompt = load_agent(DEFAULT_AGENT)

    def close(self) -> None:
        """Let go of the folders of workspaces.  What is called in them afterwards fails."""
        self._held.close()

    def place(self, workspace: str) -> Place:
        """The workspace at a path."""
        if not workspace.startswith("/"):
            raise WorkspaceError(
                "workspace.relative",
                "the path of the workspace is not absolute",
                effect="none",
                advice="write the whole path",
            )
        identity = identify_workspace(Path(workspace), self._home)
        known = workspace_id(identity, self._home, fresh=self._entropy.random_bytes(32))
        place = self._places.get(known)
        if place is None:
            server = WorkspaceTools(
                Path(identity.path),
                home=Path.home(),
                hidden=self._hides,
                profile=OWN_RIGHTS,  # what runs in this process
                shell=self._shell,
                kept=(*code_folders(), actors_folder()),
                keep=self._kept.keep,
                let_out=self._let_out,
            )
            self._held.callback(server.close)
            place = self._places[known] = Place(known, identity.path, f"workspace:{known.hex()}", server)
            self._undoers[known] = server.undoer(self._kept.get)
        return place

    def undoer(self, place: Place) -> Undoer:
        """What puts files of ``place`` back to what they held."""
        return self._undoers[place.identity]

    def brain(self, model: str) -> Brain:
        """The model by its name."""
        name = model or self._config.model.model
        if not name:
            raise ConfigError(
                "model.none",
                "no model is configured",
                where=str(self._home.config),
                advice="name one: --model anthropic/... or scripted:FILE",
            )
        brain = self._brains.get(name)
        if brain is None:
            brain = self._brain(name)
            if brain.scripted:  # a script says also what goes wrong, so nothing stands in for it
                return brain
            fallbacks: list[Brain] = []
            for other in self._config.model.fallback:
                one = self._fallback(other, len(fallbacks) + 1)
                if one.name not in (brain.name, *(known.name for known in fallbacks)):
                    fallbacks.append(one)
            brain = self._brains[name] = msgspec.structs.replace(brain, fallbacks=tuple(fallbacks))
        return brain

    def _fallback(self, name: str, place: int) -> Brain:
        brain = self._brain(name, place)
        if brain.scripted:
            raise ConfigError(
                "model.fallback-scripted",
                "a script cannot stand in for a model",
                where=str(self._home.config),
                advice="name models of vendors in model.fallback",
            )
        return brain

    def _brain(self, said: str, place: int = 0) -> Brain:
        name = self._config.aliases.get(said, said)
        found = resolve_model(
            name,
            key_of=self._vendor_keys.of,
            base_url=self._config.model.api_url or None,
            prices=self._prices,
            providers=self._providers,
        )
        window = self.window(found.name)
        # A script is read anew for each session: it is being written.  So each has a host of its own.
        known = self._entropy.random_bytes(16) if found.scripted else digest(Domain.TOOLDEF, name.encode())[:16]
        server = ModelServer(found, place=place, sight=self._sight(found))
        return Brain(found.name, f"{model_tool(place)}:{known.hex()}", server, found.scripted, window)

    def _sight(self, model: Model) -> Sight | None:
        """How a model is shown images; none if it takes none.  A script sees nothing."""
        if model.scripted or not self.shows_images(model.name):
            return None

        async def find(session: bytes, record: int) -> bytes:
            return await self._consult(lambda reader: find_image(reader, session, record))

        return Sight(partial(image_tokens, model.name), find)

    def shows_images(self, name: str) -> bool:
        """Whether a vendor's model is shown images, by its name with the provider's."""
        table = self._config.models.get(name)
        return takes_images(name, "auto" if table is None else table.images)

    def identify(self, name: str) -> KnownModel:
        """What the name of a vendor's model stands for, whether or not a session could use it.

        Raises:
            ConfigError: nobody knows it.
        """
        return identify_model(name, prices=self._prices, providers=self._providers)

    def has_key(self, provider: str) -> bool:
        """Whether there is a key for the models of ``provider``."""
        return bool(self._vendor_keys.of(provider))

    def window(self, name: str) -> int:
        """How many tokens a model takes in, by its name with the provider's."""
        table = self._config.models.get(name)
        return table.context_window if table is not None else 200_000

    def digest(self) -> Digest:
        """What the definitions of agents say; recorded at each start."""
        others = [msgspec.json.encode(agent) for agent in load_subagents(actors_folder() / "subagents").values()]
        return digest(Domain.TOOLDEF, encode((msgspec.json.encode(self._agent), self._prompt.encode(), *others)))

    def mode(self, name: str) -> Mode:
        """The mode by its name; empty for the configured one."""
        try:
            return Mode(name or self._config.workspace.mode)
        except ValueError as error:
            raise InputError(
                "session.mode", f"`{name[:40]}` is not a mode", advice="write safe, guided or autonomous"
            ) from error

    def extras(self, place: Place) -> tuple[Extra, ...]:
        """What a session gets beside its workspace: skills, its long results, its to-dos, sub-agents, and in the demo
        what that is about.
        """
        servers = {
            "skills": SkillServer(place.root, self._texts(place.root).vouched),
            "results": ResultServer(place.root, self._consult),
            "todos": TodoServer(place.root),
        }
        named = ((f"{kind}-{place.identity.hex()}", server) for kind, server in servers.items())
        return (*(Extra(name, name, server) for name, server in named), *self._extras)

    def _texts(self, root: str) -> Texts:
        return Texts(root, self._home, actors_folder() / "skills", self._hides)

    def setting(
        self, place: Place, brain: Brain, options: Options, now_ns: int, agent: Subagent | None = None
    ) -> Setting:
        """Frame, tools and limits of a session that starts now.  One that follows a definition has that one's prompt
        and tools, and is told what every session is told of the project; of skills, if it can read them.
        """
        specs = [
            spec
            for server in (place.server, *(extra.server for extra in self.extras(place)))
            for spec in server.specs()
            if agent is None or spec.name in agent.tools
        ]
        most = self._config.runtime.max_turns
        limits = TurnLimits(asks_per_input=min(options.max_turns or most, most))
        environment = environment_of(place.root, options.mode, attended=options.interactive, now_ns=now_ns)
        texts = self._texts(place.root)
        skills = listed(texts.skills()) if agent is None or READ_SKILL in agent.tools else ()
        frame = compose(self._prompt if agent is None else agent.prompt, environment, texts.passages(), skills)
        window = min(one.context_tokens for one in (brain, *brain.fallbacks))
        made = Setting(
            model=brain.name,
            fallbacks=tuple(other.name for other in brain.fallbacks),
            system=frame.text,
            frame_label=frame.label,
            max_tokens=min(self._config.model.max_tokens, max(window // ANSWER_SHARE, 1)),
            tools=tuple(spec.definition() for spec in specs),
            effects={spec.name: spec.effect_class for spec in specs},
            limits=limits,
            window_tokens=0 if brain.scripted else window,  # a script has no line for a summary
            compact_at_percent=self._config.context.compact_at_percent,
            keep_recent=self._config.context.keep_recent,
            workspace=os.fsencode(place.root),
            budget_micros=options.budget_micros,
            fleet=options.fleet,
            agent="" if agent is None else agent.name,
        )
        # Sessions that are alike share it: the tools alone are most of what an idle session would take.
        alike = place.identity, made.agent
        if self._settings.get(alike) != made:
            self._settings[alike] = made
        return self._settings[alike]

    def limits(self, budget_micros: int) -> Limits:
        """The caps of a session: what is configured, or less."""
        budget = self._config.budget
        session = usd(budget.session_max_usd, 0)
        if budget_micros:
            session = min(session, budget_micros)
        action = min(usd(budget.per_action_max_usd, 0), session)
        return Limits(action, session, usd(budget.workspace_max_usd, MAX_U64), budget.warn_at_percent)


def load_agent(name: str) -> tuple[AgentDefinition, str]:
    """A built-in definition and its prompt.

    Raises:
        ConfigError: it is missing or makes no sense.
    """
    folder = actors_folder() / "sessions" / name
    try:
        definition = msgspec.convert(tomllib.loads((folder / "actor.toml").read_text("utf-8")), AgentDefinition)
        prompt = (folder / definition.prompt).read_text("utf-8")
    except (OSError, ValueError) as error:
        raise ConfigError(
            "agent.invalid",
            f"the definition of `{name}` cannot be read: {error}",
            where=str(folder),
            advice="reinstall Astrid",
        ) from error
    if definition.kind != "session" or len(prompt.encode()) > MAX_PROMPT_BYTES:
        raise ConfigError(
            "agent.invalid", f"`{name}` is no definition of a session", where=str(folder), advice="reinstall Astrid"
        )
    return definition, prompt
