"""Graphs of operators: structure, shapes, digests, passes, and their meaning."""

from synfire.graph.components import strong_components
from synfire.graph.flatten import flatten
from synfire.graph.graph import Graph, Synapse

__all__ = ["Graph", "Synapse", "flatten", "strong_components"]
