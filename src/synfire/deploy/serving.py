"""Planned models behind a gateway on this machine, for as long as a block lasts."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

from anyio.from_thread import BlockingPortal, start_blocking_portal

from synfire.base.errors import UserError
from synfire.chains import Joined
from synfire.control.record import RecoveryLog
from synfire.deploy.folders import claimed
from synfire.deploy.local import LocalDeployment, Settings
from synfire.deploy.planned import Planned
from synfire.gateway.chains import serve_chain
from synfire.gateway.dataplane import DataPlane
from synfire.gateway.limits import Limits
from synfire.gateway.model import DEFAULT_VERSION
from synfire.gateway.served import Served
from synfire.gateway.server import Addresses, Server
from synfire.store.names import parted
from synfire.wire.messages import Description


@dataclass(frozen=True)
class Listening:
    """Where the gateway listens; port 0 finds a free one, `grpc_port` None leaves gRPC out."""

    host: str = "127.0.0.1"
    port: int = 0
    grpc_port: int | None = None

    def __post_init__(self) -> None:
        if self.port and self.port == self.grpc_port:
            raise UserError(f"port {self.port} is named for both HTTP and gRPC; choose two")


@dataclass(frozen=True)
class Serving:
    """A running gateway with its workers."""

    addresses: Addresses
    plane: DataPlane
    deployment: LocalDeployment


def check_names(planned: Sequence[Planned], chains: Sequence[Joined] = ()) -> None:
    """Raise `UserError` for two models of one name and version; a chain is a model among them."""
    served = list(dict.fromkeys(_served_as(each) for each in planned if "#" in each.model.name))
    served += [_served_as(each) for each in planned if "#" not in each.model.name]
    served += [(each.chain.name, DEFAULT_VERSION) for each in chains]
    for name, version in served:
        if served.count((name, version)) > 1:
            raise UserError(
                f"two models are called {name}, version {version}; give one of them another name with NAME=MODEL"
            )


def _served_as(planned: Planned) -> tuple[str, str]:
    """The name and the version, which replicas have in common."""
    return parted(planned.model.name, planned.model.version)


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
