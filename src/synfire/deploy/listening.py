"""Where a deployment is called, and by which names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from synfire.base.errors import UserError
from synfire.chains import Joined
from synfire.deploy.planned import Planned
from synfire.store.names import DEFAULT_VERSION, parted


@dataclass(frozen=True)
class Listening:
    """Where the gateway listens; port 0 finds a free one, `grpc_port` None leaves gRPC out."""

    host: str = "127.0.0.1"
    port: int = 0
    grpc_port: int | None = None

    def __post_init__(self) -> None:
        if self.port and self.port == self.grpc_port:
            raise UserError(f"port {self.port} is named for both HTTP and gRPC; choose two")


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
