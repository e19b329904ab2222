"""A graph while it is being traced, and the tensors of the source as they look to us."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from math import prod
from typing import Any

from synfire.base.errors import UserError
from synfire.graph import Graph, Synapse
from synfire.ops import Operator, Signal

BATCH = 97
"""The batch size that the traced module sees: a prime, so that it is told from every other size."""


@dataclass(frozen=True)
class Held:
    """A tensor of the source: which operator emits it, its signal, and the axes before those of the signal.

    `lead` spells the leading axes: `("T", "N")` a sequence, `("TN",)` time and batch as one axis, `("N",)` one step or one
    value per request, `("1", "N")` a value that waits to be repeated over time.
    """

    source: str
    signal: Signal
    lead: tuple[str, ...]
    steps: int

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the source's tensor."""
        sizes = {"T": self.steps, "N": BATCH, "TN": self.steps * BATCH, "1": 1}
        return tuple(sizes[axis] for axis in self.lead) + self.signal.shape

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        """Numbers per sample and step."""
        return prod(self.signal.shape)

    def axis(self, dim: int) -> int:
        """Dimension `dim` of the tensor as an axis of the signal; negative for a leading axis."""
        if not -self.ndim <= dim < self.ndim:
            raise UserError(f"there is no dimension {dim} in a tensor of shape {self.shape}")
        return dim % self.ndim - len(self.lead)

    def with_lead(self, *lead: str) -> Held:
        """The same values seen with other leading axes."""
        return replace(self, lead=lead)

    def __str__(self) -> str:
        return f"{self.source} ({', '.join(self.lead)} × {self.signal})"


def under(path: str, part: str) -> str:
    """The name of a part of the module at `path`."""
    return f"{path}.{part}" if path else part


@dataclass
class Sketch:
    """Operators and synapses so far. `parameters` maps each name of the source's state dict to where it went; `scalars` holds what no operator keeps."""

    steps: int
    inputs: dict[str, Signal] = field(default_factory=dict)
    operators: dict[str, Operator] = field(default_factory=dict)
    synapses: list[Synapse] = field(default_factory=list)
    parameters: dict[str, list[str]] = field(default_factory=dict)
    scalars: dict[str, float] = field(default_factory=dict)

    def input(self, name: str, signal: Signal) -> Held:
        """An input of the graph."""
        self.inputs[name] = signal
        return Held(name, signal, ("N",), self.steps)

    def add(self, name: str, operator: Operator, *arriving: Held, delays: tuple[int, ...] = ()) -> Held:
        """A new operator fed by `arriving`; its output has the leading axes of the first.

        A delayed source may be added later, under the name that its `Held` states.
        """
        leads = {each.lead for each in arriving}
        if len(leads) > 1:
            raise UserError(f"the inputs have different leading axes: {', '.join(map(str, arriving))}")
        signal = operator.infer(*(each.signal for each in arriving))
        name = self.unique(name)
        self.operators[name] = operator
        for port, each in enumerate(arriving):
            self.synapses.append(Synapse(each.source, name, port, delays[port] if delays else 0))
        return replace(arriving[0], source=name, signal=signal)

    def unique(self, name: str) -> str:
        """`name`, or with a number behind it when it is taken."""
        taken = {*self.operators, *self.inputs}
        candidate, number = name or "net", 1
        while candidate in taken:
            number += 1
            candidate = f"{name}_{number}"
        return candidate

    def redirect(self, source: str, to: str) -> None:
        """Let every synapse that waits for `source` start at `to`."""
        self.synapses = [replace(each, source=to) if each.source == source else each for each in self.synapses]

    def remember(self, prefix: str, operator: str, **fields: str) -> None:
        """Note that parameter `prefix.key` of the source became `operator`'s field, for each `key=field`."""
        for key, name in fields.items():
            self.parameters[under(prefix, key)] = [f"{operator}/{name}"]

    def graph(self, output: Held, metadata: dict[str, Any]) -> Graph:
        """The finished graph."""
        return Graph(self.operators, tuple(self.synapses), self.inputs, {"output": output.source}, metadata)
