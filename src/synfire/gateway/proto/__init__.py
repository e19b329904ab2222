"""The gRPC form of the Open Inference Protocol: messages, made from the compiled `inference.proto`."""

from synfire.gateway.proto.messages import SERVICE, message, methods

__all__ = ["SERVICE", "message", "methods"]
