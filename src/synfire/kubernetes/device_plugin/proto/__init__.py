"""The kubelet's device plugin API: messages, made from the compiled `device_plugin.proto`."""

from synfire.kubernetes.device_plugin.proto.messages import (
    PLUGIN,
    REGISTRATION,
    message,
    methods,
    path,
)

__all__ = ["PLUGIN", "REGISTRATION", "message", "methods", "path"]
