"""What operators must do for given inputs, however they are programmed: synaptic operations, and bytes that must move.

A synaptic operation is one addition: of the weight between one active input and one output that it reaches. Its weight has to be
read, four bytes; a linear synapse may read it once for the frames that are summed together. Its sum stays in a register while inputs of one place are added, since these reach the same
outputs, and has to be read and written once for each place (a linear synapse has one). An input that is no spike needs
a multiplication, too. What stays the same over the time steps is computed once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields

import numpy as np

from synfire.bench.roofline import Roofs
from synfire.engines.cpu.dense_kernels import TOGETHER
from synfire.engines.cpu.program import CpuProgram
from synfire.engines.cpu.reach import Axis
from synfire.graph import Graph
from synfire.ops import Array, Encoder, Kind
from synfire.ops.constant_current import ConstantCurrent
from synfire.ops.conv1d import Conv1d
from synfire.ops.conv2d import Conv2d
from synfire.ops.linear import Linear

_NUMBER_BYTES = 4


@dataclass(frozen=True)
class Work:
    """Of one operator or several that run as one piece, for one block of inputs.

    `moved_bytes` are all that have to pass the nearest cache, `read_bytes` those of weights among them, which come from
    where `weight_bytes` of weights lie.
    """

    operations: int = 0
    multiplications: int = 0
    moved_bytes: int = 0
    read_bytes: int = 0
    weight_bytes: int = 0

    def __add__(self, other: Work) -> Work:
        return Work(*(getattr(self, each.name) + getattr(other, each.name) for each in fields(self)))

    def least_s(self, roofs: Roofs) -> dict[str, float]:
        """The seconds that each roof allows at best; the longest of them binds."""
        level = roofs.holding(self.weight_bytes)
        found = {
            "adds": (self.operations + self.multiplications) / roofs.additions_s,
            roofs.nearest.name: self.moved_bytes / roofs.nearest.read_bytes_s,
        }
        found[level.name] = max(found.get(level.name, 0.0), self.read_bytes / level.read_bytes_s)
        return found


def work(graph: Graph, pieces: Iterable[tuple[str, ...]], inputs: Mapping[str, Array], steps: int) -> list[Work]:
    """The work of each of `pieces`, groups of the flat graph's timed operators, for a block of `inputs` as `Program.run` has them."""
    everything = Graph(graph.operators, graph.synapses, graph.inputs, {name: name for name in graph.order()})
    program = CpuProgram(everything)
    batch = next(array.shape[1 if graph.inputs[name].timed else 0] for name, array in inputs.items())
    seen = {**inputs, **program.run(program.initial_state(batch), inputs, steps)[1]}
    still = _still(graph)
    blocks = {
        name: array[:1] if name in still and graph.signals()[name].timed else array for name, array in seen.items()
    }
    return [_piece(graph, piece, blocks) for piece in pieces]


def _still(graph: Graph) -> set[str]:
    """What has one value for all time steps."""
    signals = graph.signals()
    found = {name for name, signal in graph.inputs.items() if not signal.timed}
    for name in graph.order():
        arriving, operator = graph.arriving(name), graph.operator(name)
        alike = all(each.source in found and not each.delay_steps for each in arriving)
        remembers = operator.initial_state(1, *graph.signals_into(name))
        if alike and not remembers and (not isinstance(operator, Encoder) or isinstance(operator, ConstantCurrent)):
            found.add(name)
    return found & set(signals)


def _piece(graph: Graph, piece: tuple[str, ...], blocks: Mapping[str, Array]) -> Work:
    """Of operators that hand nothing to each other through memory: what enters, what leaves, what they remember, and sums."""
    total, within = Work(), set(piece)
    for name in piece:
        operator, sources = graph.operator(name), [each.source for each in graph.arriving(name)]
        if isinstance(operator, (Linear, Conv1d, Conv2d)):
            total += _synaptic(operator, blocks[sources[0]], graph.signals()[sources[0]].kind)
        entering = [source for source in dict.fromkeys(sources) if source not in within]
        leaving = [each.target for each in graph.leaving(name) if each.target not in within]
        moved = sum(_bytes(graph, source, blocks[source]) for source in entering)
        if leaving or name in graph.outputs.values():
            moved += _bytes(graph, name, blocks[name])
        total += Work(moved_bytes=moved + 2 * _state_bytes(graph, name) * blocks[name].shape[0] * blocks[name].shape[1])
    return total


def _bytes(graph: Graph, name: str, block: Array) -> int:
    """Spikes and counts take a byte each."""
    return int(block.size) * (_NUMBER_BYTES if graph.signals()[name].kind is Kind.VALUE else 1)


def _state_bytes(graph: Graph, name: str) -> int:
    """Of one sample."""
    return sum(array.nbytes for array in graph.operator(name).initial_state(1, *graph.signals_into(name)).values())


def _synaptic(operator: Linear | Conv1d | Conv2d, block: Array, kind: Kind) -> Work:
    """Of a block `(time, batch, *shape)`."""
    groups = 1 if isinstance(operator, Linear) else operator.groups
    image, places = _image(operator, block), _reached_places(operator, block.shape[2:])
    outputs = len(operator.weight) // groups
    grouped = image.reshape(*image.shape[:2], groups, -1, *image.shape[3:]) != 0
    operations = int((np.count_nonzero(grouped, axis=(0, 1, 2, 3)) * places).sum()) * outputs
    sums = int((np.count_nonzero(grouped.any(axis=3), axis=(0, 1, 2)) * places).sum()) * outputs
    read = _read_together(operator, block) if isinstance(operator, Linear) and block.ndim == 3 else operations
    return Work(
        operations=operations,
        multiplications=0 if kind is Kind.SPIKE else operations,
        moved_bytes=_NUMBER_BYTES * (read + 2 * sums),
        read_bytes=_NUMBER_BYTES * read,
        weight_bytes=int(operator.weight.nbytes),
    )


def _read_together(operator: Linear, block: Array) -> int:
    """How many weights are read at the least: for some frames one for each operation, or all of them once."""
    active = np.count_nonzero(np.moveaxis(block, 1, 0), axis=2).reshape(-1)
    groups = np.add.reduceat(active, np.arange(0, len(active), TOGETHER))
    return int(np.minimum(groups, block.shape[2]).sum()) * len(operator.weight)


def _image(operator: Linear | Conv1d | Conv2d, block: Array) -> Array:
    """The block as `(time, batch, channel, height, width)`; what stands before a linear synapse's inputs are places."""
    if isinstance(operator, Linear):
        return np.moveaxis(block.reshape(*block.shape[:2], 1, -1, block.shape[-1]), -1, 2)
    return block if block.ndim == 5 else block[..., None, :]


def _reached_places(operator: Linear | Conv1d | Conv2d, shape: tuple[int, ...]) -> Array:
    """`(height, width)`: how many places of the output an input at each place reaches."""
    if isinstance(operator, Linear):
        return np.ones((1, int(np.prod(shape[:-1]))), np.int64)
    if isinstance(operator, Conv1d):
        width, kernel = operator.output_size(shape[1]), operator.weight.shape[2]
        return _along(Axis(shape[1], width, kernel, operator.stride, operator.padding[0], operator.dilation))[None]
    (height, width), (down, along) = operator.output_size(shape[1], shape[2]), operator.weight.shape[2:]
    (sy, sx), (top, _, left, _), (dy, dx) = operator.stride, operator.padding, operator.dilation
    return np.outer(
        _along(Axis(shape[1], height, down, sy, top, dy)), _along(Axis(shape[2], width, along, sx, left, dx))
    )


def _along(axis: Axis) -> Array:
    return np.array([len(axis.inside(at)) for at in range(axis.inputs)], np.int64)
