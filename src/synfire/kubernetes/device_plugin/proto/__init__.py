"""The kubelet's APIs: messages, made from the compiled `device_plugin.proto`, and `pods` from `pod_resources.proto`."""

from synfire.kubernetes.device_plugin.proto.messages import (
    LISTER,
    PLUGIN,
    REGISTRATION,
    message,
    methods,
    path,
    pods,
)

__all__ = ["LISTER", "PLUGIN", "REGISTRATION", "message", "methods", "path", "pods"]
