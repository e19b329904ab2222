"""The registry of places that models come from: each recognises what a user calls a model there, and brings it into the store."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar

from synfire.base.errors import UnknownName
from synfire.base.registry import Registry
from synfire.hub.download import client
from synfire.hub.network import httpx
from synfire.hub.watcher import Watcher
from synfire.store import ModelName, ModelStore


@dataclass(frozen=True)
class Into:
    """Where a model is brought to, who is told how far it is, and the client for places on the network."""

    store: ModelStore = field(default_factory=ModelStore)
    watcher: Watcher = field(default_factory=Watcher)
    client: httpx.Client = field(default_factory=client)


class Source(ABC):
    """One kind of place; a subclass is one file in `synfire.hub.sources` that adds an instance to `SOURCES`."""

    name: ClassVar[str]
    looks_like: ClassVar[str]
    """How a model there is written, for messages: `hf://ORG/REPO`."""

    @abstractmethod
    def recognises(self, text: str) -> bool:
        """Whether `text` is meant for this kind of place."""

    @abstractmethod
    def canonical(self, text: str) -> str:
        """The one way to write it, which is kept beside the model. Raises `UserError` where it is written wrongly."""

    @abstractmethod
    def called(self, text: str) -> ModelName:
        """What the model is to be called where the user does not say."""

    @abstractmethod
    def fetch(self, text: str, into: Into) -> bytes:
        """Put every blob of the model into the store, and return its manifest. Raises what hinders it; what came is resumed."""


SOURCES: Registry[Source] = Registry("source", "synfire.hub.sources", "synfire.sources")


def source_of(text: str) -> Source:
    """The kind of place that `text` is meant for. Raises `UnknownName`, which tells how models are written."""
    for name in SOURCES:
        if SOURCES[name].recognises(text):
            return SOURCES[name]
    ways = "; ".join(SOURCES[name].looks_like for name in SOURCES)
    raise UnknownName(f"{text!r} is no model in the store, and no place to get one from; write one as {ways}")


def fitting_name(text: str, tag: str = "") -> ModelName:
    """A model name made of `text`, whatever characters it has, and of a tag."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-._")[:100] or "model"
    fitting = re.sub(r"[^A-Za-z0-9._-]+", "-", tag).strip("-.")[:100]
    return ModelName(name, fitting) if fitting else ModelName(name)
