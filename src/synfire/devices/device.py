"""Hardware that runs stages, as the planner sees it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

from synfire.base.registry import Registry
from synfire.devices.cores import Cores
from synfire.graph import Graph


@dataclass(frozen=True)
class Description:
    """What one device of this machine is and can hold. `features` are instruction sets or the like, where they matter."""

    device: str
    model: str
    cores: int
    memory_bytes: int
    features: tuple[str, ...] = ()


class Device(ABC):
    """A kind of hardware."""

    name: str

    @abstractmethod
    def describe(self) -> Description:
        """This machine's device of the kind. Raises `PermanentError` when it has none."""

    def refusals(self, graph: Graph) -> Mapping[str, str]:
        """The operators of a flat graph that the device cannot run, each with the reason. The default runs all."""
        return {}

    def room(self) -> Cores | None:
        """The cores, and events a second, that the stages of one worker of this machine may take together; None where nobody counts them."""
        return None

    def cores(self, graph: Graph) -> Cores | None:
        """What a flat, simplified stage takes of them; None where nobody counts them. Raises `UserError` for one that the device cannot run."""
        return None

    def events(self, graph: Graph, density: Mapping[str, float]) -> float:
        """How many events a time step of one sample brings such a stage, by the share of non-zero elements of its signals; 0 where nobody
        counts them. Raises as `cores` does."""
        return 0.0


DEVICES: Registry[Device] = Registry("device", "synfire.devices", "synfire.devices")
