"""Kubernetes' API as the controller uses it: one connection, copies of what is there that follow every change, and a lease."""
