"""Language models that can be called, loaded or not: those that are served, and those of the store."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from synfire.base.errors import SynfireError
from synfire.base.log import LOGGER
from synfire.gateway.on_demand import OnDemand
from synfire.hub.pieces import Described, described_config
from synfire.store import Tagged
from synfire.store.layers import WEIGHTS


@dataclass(frozen=True)
class Listed:
    """A model of the store: its name, what it is, the bytes of all its files, the digest of its manifest, and when it was added."""

    name: str
    described: Described
    bytes: int
    digest: str
    added_s: float


async def stored_models(on_demand: OnDemand | None) -> list[Listed]:
    """The models of the store that can be called, by name; none where a deployment does not serve them."""
    return [] if on_demand is None else await asyncio.to_thread(_listed, on_demand)


def _listed(on_demand: OnDemand) -> list[Listed]:
    found = (_one(on_demand, each) for each in on_demand.store.names())
    return sorted((each for each in found if each is not None), key=lambda each: each.name)


def _one(on_demand: OnDemand, tagged: Tagged) -> Listed | None:
    """One of them; None for an adapter alone, and for a damaged one, which `synfire list` tells."""
    store = on_demand.store
    try:
        manifest = store.manifest(tagged.manifest)
        described = described_config(store.blobs.get(manifest.config.sha256))
    except SynfireError as error:
        LOGGER.warning("model %s of the store cannot be listed: %s", tagged.name, error)
        return None
    if not manifest.of(*WEIGHTS):
        return None
    return Listed(tagged.name.short, described, manifest.size, tagged.manifest, tagged.added_s)
