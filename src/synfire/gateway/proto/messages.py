"""Message classes from the compiled `inference.proto`."""

from __future__ import annotations

from typing import Any

from synfire.base.protobuf import Package

PACKAGE = "inference"
SERVICE = f"{PACKAGE}.GRPCInferenceService"
COMPILED = "inference.binpb"

_FOUND = Package(PACKAGE, __package__, COMPILED)

message = _FOUND.message


def methods() -> tuple[Any, ...]:
    """The service's methods, as `Package.methods` has them."""
    return _FOUND.methods(SERVICE)
