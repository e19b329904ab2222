"""What an arm is: one way to fail and be recovered, measured under the same load as the others."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from synfire.base.registry import Registry
from synfire.bench.benchmark import Floor, Progress


@dataclass(frozen=True)
class Conditions:
    """What the arms of one run share: the models of the families, the seed, and whether it is a smoke run."""

    models: tuple[str, ...]
    seed: int = 0
    quick: bool = False


@dataclass(frozen=True)
class Outcome:
    """An arm's rows and floors, and what its clients were told by requests that were lost."""

    rows: tuple[dict[str, Any], ...]
    floors: tuple[Floor, ...] = ()
    complaints: tuple[str, ...] = ()
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Chapter:
    """What an arm adds to the report for people: sections, plots by file name, and whose rows (`arms`) these show."""

    arms: frozenset[str]
    sections: tuple[str, ...]
    plots: Mapping[str, str]


class Arm(ABC):
    """One arm. Its rows have at least `arm`, `family` and `trials`; what else they have the report shows where it knows it."""

    name: ClassVar[str]
    about: ClassVar[str]
    """What fails and who takes over, in a line."""

    @abstractmethod
    def measure(self, conditions: Conditions, progress: Progress) -> Outcome:
        """Run it. Raises `UserError` when something that it needs is not there, `PermanentError` when nothing recovers."""

    def chapter(self, rows: Sequence[Mapping[str, Any]]) -> Chapter | None:
        """A chapter of its own in the report, from the rows of all arms; None where its rows fit the tables of all."""
        return None


ARMS: Registry[Arm] = Registry("recovery arm", "synfire.bench.arms", "synfire.recovery_arms")
