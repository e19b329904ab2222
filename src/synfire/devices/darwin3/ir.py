"""What the compiler works on: populations of neurons and the projections between them.

A `Network` is what a stage means in the chip's terms, still with real numbers and without any core: neurons

    V ← keep · V + Σ weights;   S = [V ≥ threshold];   reset: hard V = 0 where S, soft V −= threshold · S, none

and projections in the forms that a dendrite has (`words.Kind`). Weights are rounded when an image is made.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from synfire.devices.darwin3.rows import Rows
from synfire.devices.darwin3.words import MOST_INDICES
from synfire.ops import Array, Signal

HARD, SOFT, NONE = "hard", "soft", "none"

CLOCK = "clock"
"""A source of one channel that spikes at every step: rows of biases hang on it. The host sends its spikes."""


@dataclass(frozen=True)
class Dynamics:
    """What all neurons of a population share, because a core has one program and one set of registers.

    `keep` is the share of the membrane that a step leaves: 1 integrates, 0 forgets. `whole` says that weights and
    thresholds are whole numbers already and are not scaled (logic: OR, delay).
    """

    keep: float
    reset: str = HARD
    strict: bool = False
    whole: bool = False


GATE = Dynamics(keep=0.0, whole=True)
"""Fires when the sum of this step's inputs reaches the threshold. With threshold 1 an OR, or a delay of one step."""

READOUT = Dynamics(keep=0.0, reset=NONE)
"""Never fires; its membrane is this step's weighted sum, which the host reads."""


def countable(size: int) -> int:
    """The largest divisor of a size that a spike's index can count to."""
    return size if size <= MOST_INDICES else max(each for each in range(1, MOST_INDICES + 1) if size % each == 0)


@dataclass(frozen=True)
class Layout:
    """How a population's elements lie: `channels` maps of `height` × `width`; a vector is a column, or several of one length
    where it has more elements than a spike's index can tell apart.

    In C order an element is (channel · height + y) · width + x; in a core, channels come last.
    """

    channels: int
    height: int
    width: int

    @classmethod
    def of(cls, shape: tuple[int, ...]) -> Layout:
        """The layout of a signal's shape, channels first."""
        if len(shape) < 2:
            height = countable(math.prod(shape))
            return cls(math.prod(shape) // height, height, 1)
        return cls(shape[0], math.prod(shape[1:-1]), shape[-1])

    @property
    def pixels(self) -> int:
        return self.height * self.width

    @property
    def size(self) -> int:
        return self.channels * self.pixels


@dataclass(frozen=True, eq=False)
class Population:
    """Neurons of one kind, in C order of `shape`, channels first. `thresholds` is `(size,)` or one for all, `(1,)`."""

    name: str
    shape: tuple[int, ...]
    dynamics: Dynamics
    thresholds: Array

    @property
    def layout(self) -> Layout:
        return Layout.of(self.shape)

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def scales(self) -> int:
        """How many channels have a scale of their own: those of maps, or every neuron of a vector."""
        return self.shape[0] if self.shape else 1


@dataclass(frozen=True, eq=False)
class Convolution:
    """Σ_{r,c,i} weight[o, i, r, c] · X[g(o) + i, y·s_h + r·d_h − top, x·s_w + c·d_w − left], as in `Conv2d`; no bias."""

    weight: Array
    in_size: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    groups: int = 1

    @property
    def in_shape(self) -> tuple[int, int]:
        """(channels, pixels) of what it reads."""
        return self.weight.shape[1] * self.groups, self.in_size[0] * self.in_size[1]

    def gained(self, gain: float) -> Convolution:
        return Convolution(self.weight * gain, self.in_size, self.stride, self.dilation, self.padding, self.groups)


@dataclass(frozen=True, eq=False)
class Full:
    """All-to-all: `weight` is `(output, input)`; an input is channel · `pixels` + pixel."""

    weight: Array
    pixels: int

    @property
    def in_shape(self) -> tuple[int, int]:
        """(channels, pixels) of what it reads."""
        return self.weight.shape[1] // self.pixels, self.pixels

    def gained(self, gain: float) -> Full:
        return Full(self.weight * gain, self.pixels)


@dataclass(frozen=True, eq=False)
class Sparse:
    """Any matrix, as synapse lists: every channel is one row."""

    rows: Rows

    @property
    def in_shape(self) -> tuple[int, int]:
        """(channels, pixels) of what it reads."""
        return len(self.rows), 1

    def gained(self, gain: float) -> Sparse:
        return Sparse(self.rows.transformed(self.rows.weights * gain))


Form = Convolution | Full | Sparse


@dataclass(frozen=True, eq=False)
class Projection:
    """Synapses from a population or input to a population, `delay_steps` graph steps later.

    Element e of the source is input `place[e]` = channel · pixels + pixel of the form, or reaches nothing where that is −1.
    Several elements may share a place: that is what average pooling comes to.
    """

    source: str
    target: str
    place: Array
    form: Form
    delay_steps: int = 0

    @property
    def channel(self) -> Array:
        """The form's channel of each source element; −1 where it reaches nothing."""
        return np.where(self.place < 0, -1, self.place // self.form.in_shape[1])

    @property
    def index(self) -> Array:
        """The pixel of each source element, which its spikes carry; −1 where the form asks for none."""
        if isinstance(self.form, Sparse):
            return np.full(len(self.place), -1)
        return np.where(self.place < 0, -1, self.place % self.form.in_shape[1])


@dataclass(frozen=True)
class Output:
    """Where an output of the stage is found.

    The sum of the spikes of some populations, each through a matrix of ones; or, for `membrane`, the weighted sums that a
    readout population holds.
    """

    terms: tuple[tuple[str, Rows], ...]
    signal: Signal
    membrane: bool = False


@dataclass(frozen=True)
class Network:
    """A stage in the chip's terms. `inputs` are sizes by name, spikes that the host sends.

    `latency`: what population p computes at chip step t + latency[p] belongs to step t of the graph.
    """

    inputs: Mapping[str, int]
    populations: Mapping[str, Population]
    projections: tuple[Projection, ...]
    outputs: Mapping[str, Output]
    approximations: tuple[str, ...] = ()
    latency: Mapping[str, int] = field(default_factory=dict)

    def arriving(self, population: str) -> tuple[Projection, ...]:
        """The projections that end at `population`, in order."""
        return tuple(each for each in self.projections if each.target == population)

    def leaving(self, source: str) -> tuple[Projection, ...]:
        """The projections that start at `source`, in order."""
        return tuple(each for each in self.projections if each.source == source)
