"""Graphs of operators: structure, shapes, digests, passes, and their meaning."""

from synfire.graph.graph import Graph, Synapse, flatten, strong_components

__all__ = ["Graph", "Synapse", "flatten", "strong_components"]
