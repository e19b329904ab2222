"""A real Kubernetes for tests: its programs built once, and a cluster of them on one machine."""

from synfire.testing.kubernetes.cluster import Cluster, impossible, sweep
from synfire.testing.kubernetes.kubectl import Kubectl

__all__ = ["Cluster", "Kubectl", "impossible", "sweep"]
