"""Message classes from the compiled `device_plugin.proto`, in a descriptor pool of their own.

As with the gateway's messages: another library may have put a package `v1beta1` into protobuf's default pool.
"""

from __future__ import annotations

from importlib import resources
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

PACKAGE = "v1beta1"
PLUGIN = f"{PACKAGE}.DevicePlugin"
REGISTRATION = f"{PACKAGE}.Registration"
COMPILED = "device_plugin.binpb"


def message(name: str) -> Any:
    """The class of a message of the package, e.g. `RegisterRequest`."""
    return message_factory.GetMessageClass(_POOL.FindMessageTypeByName(f"{PACKAGE}.{name}"))


def methods(service: str) -> tuple[Any, ...]:
    """A service's methods: descriptors with `name`, `input_type`, `output_type`, `server_streaming`."""
    return tuple(_POOL.FindServiceByName(service).methods)


def path(service: str, method: str) -> str:
    """What gRPC calls a method."""
    return f"/{service}/{method}"


def _load() -> Any:
    pool = descriptor_pool.DescriptorPool()
    compiled = resources.files(__package__).joinpath(COMPILED).read_bytes()
    for file in descriptor_pb2.FileDescriptorSet.FromString(compiled).file:
        pool.Add(file)
    return pool


_POOL = _load()
