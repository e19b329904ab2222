"""Passes: functions from a flat graph to a flat graph of the same meaning, and what graphs share."""

from synfire.graph.passes.batch_norm import fold_batch_norm
from synfire.graph.passes.constants import fold_constants
from synfire.graph.passes.dead import remove_dead
from synfire.graph.passes.sharing import Level, Sharing, share
from synfire.graph.passes.simplify import simplify

__all__ = ["Level", "Sharing", "fold_batch_norm", "fold_constants", "remove_dead", "share", "simplify"]
