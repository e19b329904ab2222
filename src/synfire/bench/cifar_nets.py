"""CIFAR-sized nets with random weights, in which each layer spikes as often as in a trained net.

The three have the layers of SpikingJelly's `spiking_vgg11_bn`, `sew_resnet18` and `Spikformer` (four blocks, 256 channels), for
images of 3×32×32 and four time steps. What a spiking net costs depends on how often its neurons spike, and untrained ones
are silent or spike all the time. So each BatchNorm gets the statistics of what arrives there for some images, and a
shift by which the neurons behind it reach the density asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from synfire.engines.engine import ENGINES
from synfire.graph import Graph, Synapse
from synfire.ops import Array, Clock, Operator, Signal
from synfire.ops.adaptive_avg_pool2d import AdaptiveAvgPool2d
from synfire.ops.add import Add
from synfire.ops.batch_norm import BatchNorm
from synfire.ops.constant_current import ConstantCurrent
from synfire.ops.conv1d import Conv1d
from synfire.ops.conv2d import Conv2d
from synfire.ops.flatten import Flatten
from synfire.ops.global_avg_pool import GlobalAvgPool
from synfire.ops.lif import LIF
from synfire.ops.linear import Linear
from synfire.ops.max_pool2d import MaxPool2d
from synfire.ops.mean_rate import MeanRate
from synfire.ops.reshape import Reshape
from synfire.ops.self_attention import CHANNELS_FIRST, SelfAttention
from synfire.ops.slice import Slice

STEPS = 4
IMAGE = (3, 32, 32)
CLASSES = 10

_CALIBRATED_ON = 8
"""Images from which statistics are taken."""

_CHANNEL_SPREAD = 0.3
"""How much the shifts of a layer's channels differ, in standard deviations of what arrives: some are busier than others."""

_HALVINGS = 14
"""Steps of the search for a shift, each of which halves the interval."""


def images(batch: int, seed: int) -> Array:
    """`(batch, 3, 32, 32)`: random patches under noise, of mean 0 and variance near 1, as normalised photographs have."""
    rng = np.random.default_rng(seed)
    patches = rng.normal(size=(batch, 3, 8, 8)).repeat(4, axis=2).repeat(4, axis=3)
    return np.asarray(patches + 0.3 * rng.normal(size=(batch, *IMAGE)), np.float32)


@dataclass
class Net:
    """A graph that grows operator by operator, with what each emits for the images that it is calibrated on."""

    rng: np.random.Generator
    operators: dict[str, Operator] = field(default_factory=dict)
    synapses: list[Synapse] = field(default_factory=list)
    signals: dict[str, Signal] = field(default_factory=lambda: {"input": Signal(IMAGE, clock=Clock.REQUEST)})
    emitted: dict[str, Array] = field(default_factory=dict)

    @classmethod
    def begun(cls, seed: int) -> Net:
        """A net of an input and its encoder, `encoder`."""
        net = cls(np.random.default_rng(seed))
        net.emitted["input"] = images(_CALIBRATED_ON, seed)
        net.add("encoder", ConstantCurrent(STEPS), "input")
        return net

    def graph(self) -> Graph:
        """What was built; the last operator is the output."""
        inputs = {"input": self.signals["input"]}
        return Graph(self.operators, tuple(self.synapses), inputs, {"output": next(reversed(self.operators))})

    def add(self, name: str, operator: Operator, *sources: str) -> str:
        """Put an operator behind others; its name."""
        self.signals[name] = operator.infer(*(self.signals[source] for source in sources))
        self.emitted[name] = self._emit(operator, *sources)
        self.operators[name] = operator
        self.synapses += [Synapse(source, name, port) for port, source in enumerate(sources)]
        return name

    def conv2d(self, name: str, source: str, channels: int, kernel: int = 3, stride: int = 1) -> str:
        """A convolution without bias, padded by half its kernel."""
        weight = self._weight(channels, self.signals[source].shape[0], kernel, kernel)
        around = (kernel // 2,) * 4
        return self.add(name, Conv2d(weight, np.zeros(channels), (stride, stride), around), source)

    def conv1d(self, name: str, source: str, channels: int) -> str:
        """The same linear map of each token."""
        weight = self._weight(channels, self.signals[source].shape[0], 1)
        return self.add(name, Conv1d(weight, np.zeros(channels)), source)

    def normalised(self, name: str, source: str, density: float, pool: MaxPool2d | None = None) -> str:
        """A BatchNorm after which neurons (behind a `pool`, if there is one) spike with a density."""
        x = self.emitted[source]
        axes = (0, 1, *range(3, x.ndim))
        mean, variance = x.mean(axes), x.var(axes)
        plain = BatchNorm(mean, variance, np.ones_like(mean), np.zeros_like(mean))
        arriving = self._emit(plain, source)
        shift = self._shift(arriving if pool is None else _run(pool, [self.signals[source]], [arriving]), density)
        return self.add(name, BatchNorm(mean, variance, np.ones_like(mean), shift), source)

    def linear(self, name: str, source: str, outputs: int, density: float) -> str:
        """A linear synapse without normalisation, of which the bias does what a BatchNorm's shift does elsewhere."""
        weight = self._weight(outputs, self.signals[source].size)
        x = self._emit(Linear(weight, np.zeros(outputs)), source)
        mean, scale = x.mean((0, 1)), max(float(x.std()), 1e-6)
        shift = self._shift((x - mean) / scale, density)
        return self.add(name, Linear(weight / scale, shift - mean / scale), source)

    def spiking(self, name: str, source: str, channels: int, density: float, kernel: int = 3, stride: int = 1) -> str:
        """Convolution, BatchNorm and neurons, named `conv`, `bn` and `sn` behind the name."""
        before = self.conv2d(f"{name}.conv", source, channels, kernel, stride)
        return self.add(f"{name}.sn", LIF(), self.normalised(f"{name}.bn", before, density))

    def _weight(self, *shape: int) -> Array:
        fan_in = int(np.prod(shape[1:]))
        return np.asarray(self.rng.normal(scale=fan_in**-0.5, size=shape), np.float32)

    def _shift(self, x: Array, density: float) -> Array:
        """What to add to each channel of `x` `(steps, batch, channel, …)` so that LIF neurons spike with a density."""
        apart = np.asarray(self.rng.normal(scale=_CHANNEL_SPREAD, size=x.shape[2]))
        form = (x.shape[2], *(1,) * (x.ndim - 3))
        signal = Signal(x.shape[2:])

        def spikes(shift: float) -> float:
            moved = np.asarray(x + np.reshape(apart + shift, form), np.float32)
            return float(_run(LIF(), [signal], [moved]).mean())

        return np.asarray(apart + _where(spikes, density, -8.0, 8.0), np.float32)

    def _emit(self, operator: Operator, *sources: str) -> Array:
        return _run(operator, [self.signals[each] for each in sources], [self.emitted[each] for each in sources])


def _run(operator: Operator, signals: Sequence[Signal], arrays: Sequence[Array]) -> Array:
    """What an operator emits over the steps, from a fresh state."""
    inputs = {f"in{port}": signal for port, signal in enumerate(signals)}
    synapses = tuple(Synapse(name, "it", port) for port, name in enumerate(inputs))
    program = ENGINES["cpu"]().build(Graph({"it": operator}, synapses, inputs, {"it": "it"}))
    batch = len(arrays[0]) if not signals[0].timed else arrays[0].shape[1]
    given = dict(zip(inputs, arrays, strict=True))
    return program.run(program.initial_state(batch), given, STEPS)[1]["it"]


def _where(rising: Callable[[float], float], value: float, low: float, high: float) -> float:
    """Where a function that rises from `low` to `high` takes a value."""
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if rising(middle) < value else (low, middle)
    return (low + high) / 2


def svgg11(seed: int) -> Graph:
    """The layers of `spiking_vgg11_bn`: eight convolutions, then 25088 → 4096 → 4096 → 10, LIF neurons."""
    net = Net.begun(seed)
    last = "encoder"
    widths = (64, -1, 128, -1, 256, 256, -1, 512, 512, -1, 512, 512, -1)
    densities = iter((0.12, 0.08, 0.06, 0.05, 0.05, 0.04, 0.03, 0.03))
    for at, width in enumerate(widths):
        if width < 0:
            last = net.add(f"features.{at}.pool", MaxPool2d((2, 2), (2, 2)), last)
        else:
            last = net.spiking(f"features.{at}", last, width, next(densities))
    last = net.add("avgpool", AdaptiveAvgPool2d((7, 7)), last)
    last = net.add("flatten", Flatten(), last)
    for at in (0, 1):
        last = net.add(f"classifier.{at}.sn", LIF(), net.linear(f"classifier.{at}", last, 4096, 0.04))
    return _read(net, last)


def sew_resnet18(seed: int) -> Graph:
    """The layers of `sew_resnet18`: a 7×7 stem, four pairs of blocks that add spikes to counts, LIF neurons."""
    net = Net.begun(seed)
    last = net.spiking("stem", "encoder", 64, 0.12, kernel=7, stride=2)
    last = net.add("maxpool", MaxPool2d((3, 3), (2, 2), (1, 1, 1, 1)), last)
    for layer, channels in enumerate((64, 128, 256, 512), start=1):
        for block in (0, 1):
            name, stride = f"layer{layer}.{block}", 2 if layer > 1 and block == 0 else 1
            inner = net.spiking(f"{name}.1", last, channels, 0.08, stride=stride)
            inner = net.spiking(f"{name}.2", inner, channels, 0.06)
            if stride > 1:
                last = net.spiking(f"{name}.down", last, channels, 0.08, kernel=1, stride=2)
            last = net.add(f"{name}.add", Add(), last, inner)
    last = net.add("avgpool", AdaptiveAvgPool2d((1, 1)), last)
    return _read(net, net.add("flatten", Flatten(), last))


def spikformer_4_256(seed: int) -> Graph:
    """The layers of `Spikformer(patch_size=4, embed_dims=256, depths=4, num_heads=8)`: 64 tokens, LIF neurons."""
    net = Net.begun(seed)
    last, half = "encoder", MaxPool2d((3, 3), (2, 2), (1, 1, 1, 1))
    for at, (channels, density) in enumerate(((32, 0.12), (64, 0.06), (128, 0.08), (256, 0.06))):
        name, pool = f"stem.{at}", half if at > 1 else None
        last = net.normalised(f"{name}.bn", net.conv2d(f"{name}.conv", last, channels), density, pool)
        last = last if pool is None else net.add(f"{name}.pool", pool, last)
        last = net.add(f"{name}.sn", LIF(), last)
    last = net.add("position.add", Add(), net.spiking("position", last, 256, 0.06), last)
    last = net.add("tokens", Reshape((256, 64)), last)
    for block in range(4):
        last = _block(net, f"blocks.{block}", last)
    return _read(net, net.add("mean", GlobalAvgPool(), last))


NETS: dict[str, Callable[[int], Graph]] = {
    "svgg11": svgg11, "sew-resnet18": sew_resnet18, "spikformer-4-256": spikformer_4_256,
}  # fmt: skip
"""Name → what makes the graph from a seed."""


def _block(net: Net, name: str, x: str) -> str:
    """Self-attention of spikes and two linear maps of each token, each added to what came in."""

    def mapped(to: str, source: str, channels: int, density: float) -> str:
        before = net.conv1d(f"{name}.{to}.conv", source, channels)
        return net.add(f"{name}.{to}.sn", LIF(), net.normalised(f"{name}.{to}.bn", before, density))

    joined = mapped("qkv", x, 768, 0.05)
    parts = [net.add(f"{name}.{to}", Slice(256 * k, 256 * k + 256), joined) for k, to in enumerate("qkv")]
    mixed = net.add(f"{name}.attention", _attention(net, parts, 0.12), *parts)
    x = net.add(
        f"{name}.add", Add(), x, mapped("proj", net.add(f"{name}.attn.sn", _LIF_OF_ATTENTION, mixed), 256, 0.06)
    )
    return net.add(f"{name}.add_2", Add(), x, mapped("fc2", mapped("fc1", x, 1024, 0.05), 256, 0.06))


_LIF_OF_ATTENTION = LIF(threshold=0.5)


def _attention(net: Net, parts: Sequence[str], density: float) -> SelfAttention:
    """Attention of the scale at which neurons behind it spike with a density: random Q, K and V have less in common than
    trained ones, for which it is 0.125."""
    sums = net._emit(SelfAttention(8, 1.0, CHANNELS_FIRST), *parts)
    signal = Signal(sums.shape[2:])

    def spikes(scale: float) -> float:
        return float(_run(_LIF_OF_ATTENTION, [signal], [sums * np.float32(scale)]).mean())

    return SelfAttention(8, _where(spikes, density, 0.0, 4.0), CHANNELS_FIRST)


def _read(net: Net, last: str) -> Graph:
    """A linear readout, and its mean over the steps."""
    weight = net._weight(CLASSES, net.signals[last].size)
    net.add("readout", Linear(weight, np.zeros(CLASSES)), last)
    net.add("mean_rate", MeanRate(), "readout")
    return net.graph()
