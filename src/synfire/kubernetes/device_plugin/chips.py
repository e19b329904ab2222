"""The chips of a node, as a device plugin asks for them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from synfire.kubernetes.device_plugin.report import Report


@dataclass(frozen=True)
class Given:
    """What a container is given for a chip: `mounts` container path → host path, both read-only; `nodes` of devices likewise."""

    mounts: Mapping[str, Path] = field(default_factory=dict)
    nodes: Mapping[str, Path] = field(default_factory=dict)


class Chips(ABC):
    """The chips of one kind of this node. Not thread-safe: one call at a time."""

    @abstractmethod
    def reported(self) -> bool:
        """Whether a chip has reported something of itself since the last test. Cheap: it is asked every second."""

    @abstractmethod
    def test(self) -> tuple[Report, ...]:
        """Test those chips that nothing uses, and tell of all. May take seconds."""

    @abstractmethod
    def given(self, chip: str) -> Given:
        """What a container that is allocated this chip finds in it."""
