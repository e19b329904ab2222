"""The arms of the recovery benchmark: one file per family of them."""

from synfire.bench.arms.arm import ARMS, Arm, Chapter, Conditions, Outcome

__all__ = ["ARMS", "Arm", "Chapter", "Conditions", "Outcome"]
