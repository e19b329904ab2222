"""Orders: what somebody asks of a deployment that runs well. Frozen data; `synfire.control.moves` carries them out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

OrderKind = Literal["drain", "rebalance", "scale", "upgrade"]


@dataclass(frozen=True)
class Relocation:
    """A stage's way from one worker to another. `engine` is set where another engine than before shall run it there. Without a `source`
    it is a replica more of the stage that comes to be; without a `target` it is a replica that goes.

    `parts` are those that go, by name, where not the whole stage does: then it is split again.
    """

    model: str
    stage: str
    source: str
    target: str
    engine: str = ""
    parts: tuple[str, ...] = ()

    @property
    def what(self) -> str:
        """What goes, in words."""
        ends = " … ".join(dict.fromkeys((self.parts[0], self.parts[-1]))) if self.parts else ""
        return f"{ends} of {self.stage}" if ends else self.stage


@dataclass(frozen=True)
class Order:
    """`drain` has a worker leave, `upgrade` has every worker replaced by a fresh one, `rebalance` spreads the stages evenly. `scale` has
    stages get as many replicas as they are to have; nobody asks for that but the deployment itself.

    `leaving` are the workers that have still to go. `underway` is being built at its targets and moved as soon as it is;
    `moved` and `retired` tell what was done. `needs` is the kind of worker that is awaited, to be started. `failure` says
    why the order could not be carried out (any further). A rebalance tells at its end how busy each worker is, in `loads` in
    seconds a request, and in its `remarks` why nothing (more) is moved; an upgrade, in these, who stays as it is. One that has joined is
    upgraded by its `successor`, which is begun `beside` it on its machine. Times are on the controller's clock, in seconds.
    """

    id: str
    kind: OrderKind
    began_s: float
    leaving: tuple[str, ...] = ()
    underway: tuple[Relocation, ...] = ()
    moved: tuple[Relocation, ...] = ()
    retired: tuple[str, ...] = ()
    needs: str = ""
    beside: str = ""
    successor: str = ""
    failure: str = ""
    loads: tuple[tuple[str, float], ...] = ()
    remarks: tuple[str, ...] = ()
    ended_s: float | None = None

    @property
    def over(self) -> bool:
        """Whether nothing more is done for it."""
        return self.ended_s is not None

    @property
    def took_s(self) -> float:
        """From being given to its end."""
        return (self.began_s if self.ended_s is None else self.ended_s) - self.began_s
