"""What Kubernetes adds: how soon the controller acts, and what callers see of lost Pods and nodes, beside others on the same machine."""

from synfire.bench.kubernetes.benchmark import Kubernetes

__all__ = ["Kubernetes"]
