"""Message classes from the compiled `device_plugin.proto`."""

from __future__ import annotations

from synfire.base.protobuf import Package

PACKAGE = "v1beta1"
PLUGIN = f"{PACKAGE}.DevicePlugin"
REGISTRATION = f"{PACKAGE}.Registration"
COMPILED = "device_plugin.binpb"

_FOUND = Package(PACKAGE, __package__, COMPILED)

message, methods = _FOUND.message, _FOUND.methods


def path(service: str, method: str) -> str:
    """What gRPC calls a method."""
    return f"/{service}/{method}"
