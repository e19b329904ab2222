"""Planned models served by processes of their own: a controller, gateways and workers, for as long as a block lasts."""

from __future__ import annotations

import asyncio
import shutil
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from synfire.base.children import Template, spawned
from synfire.chains import Joined
from synfire.control.state import PROCESSOR
from synfire.deploy import network
from synfire.deploy.folders import claimed, make_folder
from synfire.deploy.healing import devices_of
from synfire.deploy.join.secret import write_credential
from synfire.deploy.ledger import Ledger, Wanted, drop_ledger, write_ledger
from synfire.deploy.planning import Planned
from synfire.deploy.process import loaded
from synfire.deploy.roles.supervisor import Supervisor
from synfire.deploy.serving import Listening, check_names
from synfire.deploy.settings import Settings
from synfire.formats.bundle import store_graph
from synfire.gateway.server import Addresses
from synfire.store import MirroredStore
from synfire.wire.links.tls import Credential, hold


@dataclass(frozen=True)
class Supervised:
    """A running deployment: where callers find it, and its processes. `folder` holds its door, see `synfire.deploy.door`."""

    addresses: Addresses
    supervisor: Supervisor
    folder: Path


@asynccontextmanager
async def supervised(
    planned: Sequence[Planned],
    listening: Listening,
    settings: Settings,
    services: Mapping[str, Mapping[str, str]],
    gateways: int = 1,
    template: Template | None = None,
    chains: Sequence[Joined] = (),
    credential: Credential | None = None,
) -> AsyncIterator[Supervised]:
    """Start everything, each process from the `template` where there is one; at the end let the gateways answer what they have accepted, and leave nothing behind. `chains` are served beside the models that they call. Workers of other machines join with the `credential`, at `settings.join`.

    Raises as `synfire.deploy.serving.serving` does.
    """
    check_names(planned, chains)
    deployment = uuid.uuid4().hex[:8]
    with claimed(deployment):
        folder = make_folder(deployment)
        try:
            store = MirroredStore(folder / "blobs", lasting=False)
            models = [await asyncio.to_thread(_wanted, each, services, settings, store) for each in planned]
            write_ledger(Ledger(deployment=deployment, settings=settings, models=tuple(models), rules=settings.traffic))
            begin = await loaded(template) if template is not None else spawned
            renew = template.renew if template is not None else _nothing
            told = [await asyncio.to_thread(store.put, each.document()) for each in chains]
            file = None
            if credential is not None:
                hold(credential)
                file = write_credential(credential, folder)
            supervisor = Supervisor(deployment, folder, settings, listening, gateways, begin, told, file, renew)
            try:
                addresses = await supervisor.start(_first(planned) if settings.begins and not settings.hosts else {})
                yield Supervised(addresses, supervisor, folder)
            finally:
                await supervisor.stop()
        finally:
            if settings.hosts:
                await asyncio.to_thread(network.remove, deployment)
            drop_ledger(deployment)
            shutil.rmtree(folder, ignore_errors=True)


def _nothing() -> None:
    """What is begun in a new interpreter each is of the code that is installed anyway."""


def _first(planned: Sequence[Planned]) -> dict[str, str]:
    """The workers that the plans name, each with its device."""
    plans = [each.plan for each in planned]
    devices = devices_of(plans)
    return {worker: devices.get(worker, PROCESSOR) for plan in plans for worker in plan.workers}


def _wanted(
    planned: Planned, services: Mapping[str, Mapping[str, str]], settings: Settings, store: MirroredStore
) -> Wanted:
    name = planned.model.name
    return Wanted(
        name=name,
        version=planned.model.version,
        source=planned.model.source,
        digest=store_graph(planned.graph, store),
        plan=planned.plan,
        services=dict(services.get(name, {})),
        priority=settings.priorities.get(name, 0),
    )
