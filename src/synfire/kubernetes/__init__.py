"""synfire on Kubernetes: manifests as pure functions, and the device plugin for neuromorphic chips."""
