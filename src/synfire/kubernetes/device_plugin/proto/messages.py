"""Message classes from the compiled `device_plugin.proto` and `pod_resources.proto`."""

from __future__ import annotations

from synfire.base.protobuf import Package

PACKAGE = "v1beta1"
PLUGIN = f"{PACKAGE}.DevicePlugin"
REGISTRATION = f"{PACKAGE}.Registration"
LISTER = "v1.PodResourcesLister"

_FOUND = Package(PACKAGE, __package__, "device_plugin.binpb")

message, methods = _FOUND.message, _FOUND.methods
pods = Package("v1", __package__, "pod_resources.binpb").message


def path(service: str, method: str) -> str:
    """What gRPC calls a method."""
    return f"/{service}/{method}"
