"""Public APIs: one file each in `synfire.gateway.protocols`, which registers what it serves."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from synfire.base.registry import Registry
from synfire.gateway.dataplane import DataPlane
from synfire.gateway.http import Endpoint


@dataclass(frozen=True)
class Api:
    """One protocol: HTTP endpoints, gRPC services (as generic handlers), or both, over a data plane.

    `lists` is given the other APIs' endpoints too: for documents that describe all of them.
    """

    endpoints: Callable[[DataPlane], Iterable[Endpoint]] = field(default=lambda plane: ())
    grpc: Callable[[DataPlane], Iterable[Any]] = field(default=lambda plane: ())
    lists: Callable[[tuple[Endpoint, ...]], Iterable[Endpoint]] = field(default=lambda endpoints: ())


APIS: Registry[Api] = Registry("protocol", "synfire.gateway.protocols", "synfire.protocols")


def endpoints_of(plane: DataPlane) -> tuple[Endpoint, ...]:
    """The endpoints of every registered API."""
    own = tuple(endpoint for name in APIS for endpoint in APIS[name].endpoints(plane))
    return own + tuple(endpoint for name in APIS for endpoint in APIS[name].lists(own))


def grpc_handlers_of(plane: DataPlane) -> tuple[Any, ...]:
    """The gRPC handlers of every registered API."""
    return tuple(handler for name in APIS for handler in APIS[name].grpc(plane))
