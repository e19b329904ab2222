"""What healing needs of a deployment."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

from synfire.deploy.gateways import Gateways
from synfire.deploy.hosting import Parts
from synfire.deploy.known_answers import KnownAnswers
from synfire.deploy.settings import Settings
from synfire.deploy.workers import Workers
from synfire.graph import Graph
from synfire.plan import Plan


class Healed(Protocol):
    """A deployment that is healed; `synfire.deploy.local.LocalDeployment` is one.

    `models` are the flat graphs with the plans that they began with, `parts` the graphs of their stages, `services` the URLs of
    foreign services by model and stage; `priorities` are the models' that have any.
    """

    settings: Settings
    gateways: Gateways
    workers: Workers
    known: KnownAnswers
    models: dict[str, tuple[Graph, Plan]]
    parts: dict[str, Parts]
    services: dict[str, Mapping[str, str]]
    priorities: dict[str, int]

    async def start_workers(self, names: Iterable[str], anew: bool = False) -> None:
        """Start those workers that do not run yet; `anew`, with the code that is installed now."""
        ...

    def unhost(self, model: str) -> None:
        """Have every worker drop the model's stages."""
        ...

    def changed(self) -> None:
        """Tell those who follow that calls go another way."""
        ...
