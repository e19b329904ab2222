"""Plans one model for the controller, in a process of its own: reading and measuring take seconds, for which heartbeats cannot wait.

`python -m synfire.deploy.roles.planner` reads an `Asked` from standard input, as JSON, and writes a `Planning` to standard output. The
model's graph is then a blob in the deployment's folder.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from synfire.base.errors import Bug, SynfireError, TemporaryError, UnknownName
from synfire.base.log import LOGGER, configure_logging
from synfire.deploy.ledger import Wanted
from synfire.deploy.places import plan_places
from synfire.deploy.planned import Planned
from synfire.deploy.planning import DEVICE, plan_models
from synfire.deploy.profiles import choose, listed
from synfire.deploy.stage_replicas import replicate_stages
from synfire.engines.profiles.machine import Machine
from synfire.engines.profiles.profile import Profile
from synfire.formats.bundle import store_graph
from synfire.graph.images import accepting_images
from synfire.plan.costs import parse_bytes
from synfire.plan.replicas import Range
from synfire.store import Catalog, MirroredStore, ModelName, ModelStore
from synfire.wire.messages import Done, error_of, error_words
from synfire.wire.wish import Wish
from synfire.zoo import Model, find, shipped

OWN_WORKERS = 2
"""Over how many of its own workers a deployment spreads a model at most, where nobody says; as `synfire serve` does."""

PLAN_S = 600.0
"""How long planning may take. Compiling kernels on a busy machine takes a minute, reading weights from a slow disk more."""


class Asked(msgspec.Struct, frozen=True):
    """What is to be planned, for a deployment with this folder that `begins` workers itself or has them join."""

    name: str
    wish: Wish
    folder: str
    begins: bool


class Planning(msgspec.Struct, frozen=True):
    """The model as it would be served; or `kind` and `text` say why it cannot be."""

    wanted: Wanted | None = None
    kind: str = ""
    text: str = ""


async def planned_elsewhere(asked: Asked) -> Wanted:
    """Have another process plan it. Raises what stands against it there, and `TemporaryError` where that process comes to nothing."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", __spec__.name, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(PLAN_S):
            out, _ = await process.communicate(msgspec.json.encode(asked))
        found = msgspec.json.decode(out, type=Planning)
    except TimeoutError as error:
        raise TemporaryError(f"model {asked.name!r} was not planned within {PLAN_S:g} s; it is tried again") from error
    except msgspec.MsgspecError as error:
        raise TemporaryError(
            f"the process that was to plan model {asked.name!r} has ended with {process.returncode}, and said nothing; see the log"
        ) from error
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if found.wanted is None:
        raise error_of(Done(found.kind, found.text))
    return found.wanted


def main() -> None:
    """Plan what standard input asks for."""
    configure_logging()
    asked = msgspec.json.decode(sys.stdin.buffer.read(), type=Asked)
    try:
        planning = Planning(plan(asked))
    except SynfireError as error:
        planning = Planning(None, *error_words(error))
    except Exception as error:
        LOGGER.error("planning model %s failed", asked.name, exc_info=error)
        planning = Planning(None, *error_words(Bug(f"{type(error).__name__}: {error}; please report it")))
    sys.stdout.buffer.write(msgspec.json.encode(planning))


def plan(asked: Asked) -> Wanted:
    """Read, cut and place the model. Raises `UnknownName` where there is none of its name, and as `plan_places` does."""
    planned = _planned(_found(asked.name, asked.wish), asked.wish, asked.begins)
    store = MirroredStore(Path(asked.folder) / "blobs", lasting=False)
    return Wanted(
        name=asked.name,
        version=planned.model.version,
        source=planned.model.source,
        digest=store_graph(planned.graph, store),
        plan=planned.plan,
        priority=asked.wish.priority,
        variant_of=asked.wish.base,
    )


def _found(name: str, wish: Wish) -> Model:
    """The model that the wish's source names, by its own `name`. What is only a file of this machine is not found."""
    _check_named(wish.source)
    options: dict[str, Any] = {} if wish.context is None else {"context": wish.context}
    model = find(wish.source, options)
    if wish.accept != "tensor":
        model = replace(model, graph=accepting_images(model.graph, wish.accept == "negative"))
    return replace(model, name=name)


def _check_named(source: str) -> None:
    imported = {entry.name for entry in stored.entries()} if (stored := Catalog()).path.exists() else set()
    weights = ModelStore()
    in_store = ModelName.suits(source) and weights.find(ModelName.parse(source)) is not None
    if source not in shipped.names() and source.partition("@")[0] not in imported and not in_store:
        known = {*shipped.names(), *imported, *(each.name.short for each in weights.names())}
        raise UnknownName.among("model of the zoo or the store", source, known)


def _planned(model: Model, wish: Wish, begins: bool) -> Planned:
    profiles: Mapping[str, Profile] = {}
    if wish.profile:
        machine = Machine.here(wish.workers or 1, parse_bytes(wish.memory) if wish.memory else None)
        profiles = choose([listed(model, machine)], [wish.profile])
    device, rates = wish.device or DEVICE, {model.name: wish.requests_s} if wish.requests_s else {}
    if not begins:
        (found,) = plan_places(
            [model], wish.granularity, wish.workers, wish.memory, wish.apart, device, profiles, rates
        )
    else:
        count = wish.workers or OWN_WORKERS
        (found,) = plan_models([model], wish.granularity, count, wish.memory, wish.apart, device, profiles, rates=rates)
    ranges = {model.name: dict.fromkeys(wish.stages, Range(1, 1)) | wish.ranges}
    (found,) = replicate_stages([found], ranges, (wish.workers or OWN_WORKERS) if begins else None, wish.memory)
    return found


if __name__ == "__main__":
    main()
