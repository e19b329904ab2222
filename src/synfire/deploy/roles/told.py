"""What processes of a deployment are told on their command lines. Whoever begins them needs no more of them than this."""

from __future__ import annotations

import msgspec


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """What every such process is told, on its command line."""

    deployment: str
    folder: str
    """Where the deployment's sockets and blobs are."""

    lifeline: int
    """The descriptor of a socket whose other end the supervisor holds."""

    credential: str = ""
    """The file with the key and the certificate for links to workers of other machines; empty where there are none."""


class ControllerTold(Told, frozen=True, kw_only=True):
    """What a controller is told: beside the rest, how many gateways there are, the process with which the deployment ends, how
    many controllers there were before, and the digests of the chains that gateways serve from the beginning."""

    gateways: int
    owner: int
    before: int = 0
    chains: tuple[str, ...] = ()


class GatewayTold(Told, frozen=True, kw_only=True):
    """What a gateway is told. `names` are those of all gateways; `sockets` are descriptors of sockets that listen: the shared one
    first, then its own. Where `store` says so, the models of the store can be called, too. `chains` are the digests of what it is to
    serve beside the controller's models."""

    name: str
    names: tuple[str, ...]
    controller: str
    host: str
    grpc_port: int | None
    sockets: tuple[int, ...]
    store: bool = False
    chains: tuple[str, ...] = ()
