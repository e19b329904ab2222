"""Message classes from the compiled `inference.proto`, in a descriptor pool of their own.

Every client library of this protocol puts a package `inference` into protobuf's default pool, where a second one is an
error; and code that protoc generates demands the protobuf release that made it. A private pool over the compiled
descriptor has neither trouble.
"""

from __future__ import annotations

from importlib import resources
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

PACKAGE = "inference"
SERVICE = f"{PACKAGE}.GRPCInferenceService"
COMPILED = "inference.binpb"


def message(name: str) -> Any:
    """The class of a message of the package, e.g. `ModelInferRequest`."""
    return message_factory.GetMessageClass(_POOL.FindMessageTypeByName(f"{PACKAGE}.{name}"))


def methods() -> tuple[Any, ...]:
    """The service's methods: descriptors with `name`, `input_type`, `output_type`, `client_streaming`."""
    return tuple(_POOL.FindServiceByName(SERVICE).methods)


def _load() -> Any:
    pool = descriptor_pool.DescriptorPool()
    compiled = resources.files(__package__).joinpath(COMPILED).read_bytes()
    for file in descriptor_pb2.FileDescriptorSet.FromString(compiled).file:
        pool.Add(file)
    return pool


_POOL = _load()
