"""Planned models behind a gateway on this machine, for as long as a block lasts."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

from anyio.from_thread import BlockingPortal, start_blocking_portal

from synfire.chains import Joined
from synfire.control.record import RecoveryLog
from synfire.deploy.folders import claimed
from synfire.deploy.listening import Listening, check_names
from synfire.deploy.local import LocalDeployment, Settings
from synfire.deploy.planned import Planned
from synfire.gateway.addresses import Addresses
from synfire.gateway.chains import serve_chain
from synfire.gateway.dataplane import DataPlane
from synfire.gateway.limits import Limits
from synfire.gateway.served import Served
from synfire.gateway.server import Server
from synfire.wire.messages import Description


@dataclass(frozen=True)
class Serving:
    """A running gateway with its workers."""

    addresses: Addresses
    plane: DataPlane
    deployment: LocalDeployment


@asynccontextmanager
async def serving(
    planned: Sequence[Planned],
    listening: Listening,
    limits: Limits | None = None,
    settings: Settings | None = None,
    services: Mapping[str, Mapping[str, str]] | None = None,
    log: RecoveryLog | None = None,
    chains: Sequence[Joined] = (),
) -> AsyncIterator[Serving]:
    """Start workers and gateway; at the end drain both, so that no accepted request is lost.

    `services` names, by model and stage, the URLs of foreign services that compute stages; recoveries
    are kept in `log`, that of SYNFIRE_HOME unless another is given. `chains` are served beside the models that they call.
    Raises `UserError` for two models of one name, and for a port that cannot be had.
    """
    check_names(planned, chains)
    plane = DataPlane(limits)
    server = Server(plane, listening.host, listening.port, listening.grpc_port)
    models = {each.model.name: (each.graph, each.plan) for each in planned}
    local = LocalDeployment(models, settings, services=services, log=log)
    with claimed(local.id):
        async with local as deployment:
            served = Served(plane)
            for each in planned:
                name = each.model.name
                priority = deployment.settings.priorities.get(name, 0)
                served.add(name, deployment.routes[name], each.model.version, priority)
            plane.traffic.follow(local.settings.traffic)
            for joined in chains:
                serve_chain(joined, plane)
            plane.describe_workers = deployment.describe
            plane.recoveries = deployment.recoveries
            addresses = await server.start()
            try:
                yield Serving(addresses, plane, deployment)
            finally:
                await server.stop()


@dataclass(frozen=True)
class Background:
    """A gateway that runs in a thread of its own, for callers that wait for its answers in theirs."""

    addresses: Addresses
    _serving: Serving
    _portal: BlockingPortal

    def describe(self) -> dict[str, Description]:
        """What each worker did so far."""
        return self._portal.call(self._serving.deployment.describe)


@contextmanager
def serving_in_background(
    planned: Sequence[Planned],
    limits: Limits | None = None,
    chains: Sequence[Joined] = (),
    settings: Settings | None = None,
) -> Iterator[Background]:
    """`serving` on a free port without gRPC, in a thread."""
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(serving(planned, Listening(), limits, settings, chains=chains)) as running,
    ):
        yield Background(running.addresses, running, portal)
