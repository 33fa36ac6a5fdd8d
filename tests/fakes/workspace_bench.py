"""A workspace's tools, called the way a gate calls them: prepare, decide (always yes), execute."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from astrid.adapters.workspace.tools import WorkspaceTools
from astrid.core.call import Call, Preparation
from astrid.errors import AstridError
from astrid.ports import ToolOutcome
from tests.fakes.egress import Recorded


@dataclass
class Bench:
    """The tools of one workspace, and what a gate would do between prepare and execute."""

    folder: Path
    home: Path
    tools: WorkspaceTools
    hidden: set[str] = field(default_factory=set)
    report: Recorded = field(default_factory=Recorded)

    async def prepare(self, tool: str, **args: object) -> Preparation:
        return await self.tools.prepare(tool, json.dumps(args).encode())

    def call(self, tool: str, preparation: Preparation, **args: object) -> Call:
        spec = next(spec for spec in self.tools.specs() if spec.name == tool)
        return Call(
            version=1,
            aud=b"a" * 32,
            session=b"s" * 16,
            workspace=b"w" * 32,
            principal_key=b"p" * 32,
            caller_key=b"",
            host_kind=spec.host_kind,
            host_id=spec.host_id,
            tooldef=spec.tooldef(),
            tool=tool,
            needs=preparation.needs,
            risk=preparation.risk,
            tainted=False,
            cwd_rel=preparation.cwd_rel,
            profile=spec.profile,
            pre=preparation.pre,
            max_micros=preparation.max_micros,
            args=json.dumps(args).encode(),
        )

    async def execute(self, call: Call) -> ToolOutcome:
        return await self.tools.execute(call, self.report)

    async def outcome(self, tool: str, **args: object) -> ToolOutcome:
        return await self.execute(self.call(tool, await self.prepare(tool, **args), **args))

    async def text(self, tool: str, **args: object) -> str:
        """What a model is told of a call that succeeds."""
        outcome = await self.outcome(tool, **args)
        assert not outcome.is_error, outcome.content.decode()
        return outcome.content.decode()

    async def failure(self, tool: str, **args: object) -> str:
        """What a model is told of a permitted call that fails without effect."""
        outcome = await self.outcome(tool, **args)
        assert outcome.is_error
        assert outcome.effect == "none"
        return outcome.content.decode()

    async def refusal(self, tool: str, **args: object) -> AstridError:
        """Why a call cannot even be prepared."""
        with pytest.raises(AstridError) as caught:
            await self.prepare(tool, **args)
        return caught.value

    def name(self, path: str) -> str:
        """The resource of a path below the workspace, for plain names."""
        return f"file:/{self.folder}/{path}" if path else f"file:/{self.folder}"


MakeBench = Callable[..., Bench]
