"""One way to serve a model, with an id that says the same on every machine."""

from __future__ import annotations

import hashlib
import json

import msgspec

SCHEMA = 1
"""Of what an id is made from: counted up when that changes."""

LATENCY, THROUGHPUT = "latency", "throughput"


class Requirements(msgspec.Struct, frozen=True, kw_only=True):
    """What a profile takes.

    `memory_bytes` are parameters and the state of 16 requests in all workers together, and what a worker takes for itself.
    """

    memory_bytes: int
    workers: int = 1


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """An engine, its number format, and what the plan is to be best at.

    `digest` is the model's content digest. `exact` says that it gives the bits of the reference engine. `goal` is the plan's:
    the least time of a request alone, or the most requests a second.
    """

    model: str
    digest: str
    engine: str
    format: str
    device: str
    exact: bool
    goal: str
    requires: Requirements

    @property
    def name(self) -> str:
        """`engine-format`, with the goal behind it where that is not the usual one."""
        whole = self.engine if self.engine.endswith(self.format) else f"{self.engine}-{self.format}"
        return whole if self.goal == LATENCY else f"{whole}-{self.goal}"

    @property
    def id(self) -> str:
        """SHA-256 of its canonical JSON (keys in order, no spaces); what the model is called is no part of it."""
        content = {
            "schema": SCHEMA,
            "model": self.digest,
            "tags": {each: getattr(self, each) for each in ("engine", "format", "device", "exact", "goal")},
            "requirements": msgspec.to_builtins(self.requires),
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
