"""Models of the store that can be called, loaded or not: language models, and ONNX models beside them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from synfire.base.errors import SynfireError
from synfire.base.log import LOGGER
from synfire.gateway.on_demand import OnDemand
from synfire.hub.pieces import Described, described_config
from synfire.store import Tagged
from synfire.store.layers import ONNX, WEIGHTS


@dataclass(frozen=True)
class Listed:
    """A model of the store: its name, what it is, the bytes of all its files, the digest of its manifest, and when it was added."""

    name: str
    described: Described
    bytes: int
    digest: str
    added_s: float


async def stored_models(on_demand: OnDemand | None) -> list[Listed]:
    """The language models of the store, by name; none where a deployment does not serve them."""
    return [] if on_demand is None else await asyncio.to_thread(_listed, on_demand, WEIGHTS)


async def all_stored_models(on_demand: OnDemand | None) -> list[Listed]:
    """Those of every kind."""
    return [] if on_demand is None else await asyncio.to_thread(_listed, on_demand, (*WEIGHTS, ONNX))


def _listed(on_demand: OnDemand, kinds: tuple[str, ...]) -> list[Listed]:
    found = (_one(on_demand, each, kinds) for each in on_demand.store.names())
    return sorted((each for each in found if each is not None), key=lambda each: each.name)


def _one(on_demand: OnDemand, tagged: Tagged, kinds: tuple[str, ...]) -> Listed | None:
    """One of them; None for another kind, as an adapter alone is, and for a damaged one, which `synfire list` tells."""
    store = on_demand.store
    try:
        manifest = store.manifest(tagged.manifest)
        described = described_config(store.blobs.get(manifest.config.sha256))
    except SynfireError as error:
        LOGGER.warning("model %s of the store cannot be listed: %s", tagged.name, error)
        return None
    if not manifest.of(*kinds):
        return None
    return Listed(tagged.name.short, described, manifest.size, tagged.manifest, tagged.added_s)
