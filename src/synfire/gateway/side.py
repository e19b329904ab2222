"""A model in the part that it plays for a name that answers by a rule."""

from __future__ import annotations

from dataclasses import dataclass

from synfire.gateway.statistics import Statistics
from synfire.wire.traffic import Rule


@dataclass(frozen=True)
class Side:
    """A model that answers calls of a name; what it does for that name is counted here, beside what it does in all.

    A `shadow` answers copies, which no caller waits for.
    """

    rule: Rule
    model: str
    statistics: Statistics
    shadow: bool = False
