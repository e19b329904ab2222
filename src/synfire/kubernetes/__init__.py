"""synfire on Kubernetes: manifests as pure functions, custom resources with their controller, and the device plugin for neuromorphic chips."""
