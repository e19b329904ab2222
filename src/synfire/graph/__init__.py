"""Graphs of operators: structure, shapes, digests, passes, and their meaning."""

from synfire.graph.graph import Graph, Synapse, flatten

__all__ = ["Graph", "Synapse", "flatten"]
