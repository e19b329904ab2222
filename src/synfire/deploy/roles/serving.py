"""Planned models served by processes of their own: a controller, gateways and workers, for as long as a block lasts."""

from __future__ import annotations

import asyncio
import shutil
import uuid
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from synfire.base.children import Template, spawned
from synfire.chains import Joined
from synfire.control.state import PROCESSOR
from synfire.deploy import network
from synfire.deploy.folders import claimed, left_behind, make_folder
from synfire.deploy.join.secret import write_credential
from synfire.deploy.ledger import Ledger, Wanted, drop_ledger, write_ledger
from synfire.deploy.listening import Listening, check_names
from synfire.deploy.planned import Planned, devices_of
from synfire.deploy.process import loaded
from synfire.deploy.remains import BLOBS, Remains, beginning_of, remains
from synfire.deploy.roles.supervisor import Supervisor
from synfire.deploy.settings import Settings
from synfire.formats.bundle import manifest_digest, store_graph
from synfire.gateway.addresses import Addresses
from synfire.graph import Graph
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
    lasts: bool = False,
) -> AsyncIterator[Supervised]:
    """Start everything, each process from the `template` where there is one; at the end let the gateways answer what they have accepted, and leave nothing behind. `chains` are served beside the models that they call. Workers of other machines join with the `credential`, at `settings.join`.

    One that `lasts` goes on where another one that was begun with the same was, if all its processes were killed; and when its own are killed it
    is gone on with, too. Raises as `synfire.deploy.serving.serving` does.
    """
    check_names(planned, chains)
    asked = _Asked(planned, services, settings, [each.document() for each in chains], credential)
    found = await asyncio.to_thread(asked.remains) if lasts else None
    deployment = found.ledger.deployment if found is not None else uuid.uuid4().hex[:8]
    with claimed(deployment, lasts):
        folder = found.folder if found is not None else make_folder(deployment)
        try:
            store = MirroredStore(folder / BLOBS, lasting=False)
            write_ledger(
                found.ledger if found is not None else await asyncio.to_thread(asked.ledger, deployment, store)
            )
            begin = await loaded(template) if template is not None else spawned
            renew = template.renew if template is not None else _nothing
            told = [await asyncio.to_thread(store.put, each) for each in asked.chains]
            file = None
            if credential is not None:
                hold(credential)
                file = write_credential(credential, folder)
            supervisor = Supervisor(deployment, folder, settings, listening, gateways, begin, told, file, renew, found)
            try:
                fresh = settings.begins and not settings.hosts and found is None
                addresses = await supervisor.start(_first(planned) if fresh else {})
                yield Supervised(addresses, supervisor, folder)
            finally:
                await supervisor.stop()
        finally:
            if settings.hosts:
                await asyncio.to_thread(network.remove, deployment)
            drop_ledger(deployment)
            shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True)
class _Asked:
    """What a deployment is begun with; `chains` are their documents."""

    planned: Sequence[Planned]
    services: Mapping[str, Mapping[str, str]]
    settings: Settings
    chains: Sequence[bytes]
    credential: Credential | None

    def remains(self) -> Remains | None:
        """What is left of one that was begun with the same, and killed."""
        return remains(self._beginning(self._wanted(manifest_digest)), self.settings) if left_behind() else None

    def ledger(self, deployment: str, store: MirroredStore) -> Ledger:
        """That of one that is begun now; its models go into the store."""
        models = self._wanted(lambda graph: store_graph(graph, store))
        rules, beginning = self.settings.traffic, self._beginning(models)
        return Ledger(deployment=deployment, settings=self.settings, models=models, rules=rules, beginning=beginning)

    def _wanted(self, digest: Callable[[Graph], str]) -> tuple[Wanted, ...]:
        return tuple(_wanted(each, self.services, self.settings, digest(each.graph)) for each in self.planned)

    def _beginning(self, models: Sequence[Wanted]) -> str:
        return beginning_of(models, self.settings, self.chains, self.credential)


def _nothing() -> None:
    """What is begun in a new interpreter each is of the code that is installed anyway."""


def _first(planned: Sequence[Planned]) -> dict[str, str]:
    """The workers that the plans name, each with its device."""
    plans = [each.plan for each in planned]
    devices = devices_of(plans)
    return {worker: devices.get(worker, PROCESSOR) for plan in plans for worker in plan.workers}


def _wanted(planned: Planned, services: Mapping[str, Mapping[str, str]], settings: Settings, digest: str) -> Wanted:
    name = planned.model.name
    return Wanted(
        name=name,
        version=planned.model.version,
        source=planned.model.source,
        digest=digest,
        plan=planned.plan,
        services=dict(services.get(name, {})),
        priority=settings.priorities.get(name, 0),
    )
