"""Writes the lines of a chain: the operators that run together in one call of the compiled program.

Values inside a chain live in scratch memory, channels last where they have spatial axes, and are never what a caller sees.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

import numpy as np

from synfire.engines.cpu import tape
from synfire.engines.cpu.tape import COUNTS, FLOATS, SPIKES
from synfire.ops import Array, Kind, Operator, Signal

FIRST, LAST = "channels first", "channels last"
"""Where the channel axis of a value with spatial axes is kept. Signals are channels first, kernels like it last."""

EXACT = 2**24
"""Whole numbers below it are exact in float32."""

COUNTED = 2**16
"""Counts that come from outside, or of neurons that fire several times a step, are less, or another program takes them: nothing tells how
many spikes they are. The sum of 256 such counts is exact in float32, and no layer adds up so many spikes at one place."""


@dataclass(frozen=True)
class Value:
    """What an operator gives, inside a chain: where it is kept, how, and how large its whole numbers may become."""

    place: int
    signal: Signal
    layout: str
    format: int
    still: bool
    most: int | None = None
    listed: bool = False

    @property
    def channels(self) -> int:
        """Numbers of one place in space."""
        shape = self.signal.shape
        if len(shape) < 2:
            return self.signal.size
        return shape[0] if self.layout == LAST else shape[-1]

    @property
    def places(self) -> int:
        """Places in space."""
        return self.signal.size // max(self.channels, 1)

    @property
    def item_bytes(self) -> int:
        return 4 if self.format == FLOATS else 1

    @property
    def frame_bytes(self) -> int:
        """Bytes of one sample's value at one time step."""
        return list_places(self)[2] if self.listed else self.signal.size * self.item_bytes


@dataclass(frozen=True)
class Memory:
    """What an operator remembers from step to step: how it begins, for one sample, and the place of its address in the line.

    `key` is its name in a portable state, where it is channels first; here it may have channels `last`.
    """

    place: int
    fresh: Array
    key: str
    last: bool = False

    @property
    def words(self) -> int:
        """What it takes, in pieces of four bytes."""
        return -(-self.fresh.nbytes // 4)

    def of(self, operator: str) -> Memory:
        """The memory under the operator's name, if it has nobody's yet."""
        return self if "/" in self.key else replace(self, key=f"{operator}/{self.key}")

    def portable(self, octets: Array) -> Array:
        """`(batch, *shape)` from its bytes `(batch, bytes)` in a chain's state."""
        kept, shape = np.ascontiguousarray(octets).view(self.fresh.dtype), self.fresh.shape
        if self.last:
            kept = np.ascontiguousarray(kept.reshape(len(kept), -1, shape[-1]).swapaxes(1, 2))
            shape = (shape[-1], *shape[:-1])
        return kept.reshape(len(kept), *shape)

    def octets(self, portable: Array) -> Array:
        """The inverse of `portable`."""
        kept = np.ascontiguousarray(np.moveaxis(portable, 1, -1) if self.last else portable)
        return kept.reshape(len(kept), -1).view(np.uint8)


@dataclass
class Line:
    """A line of the tape before addresses are known. `ports` are values by the place of their address.

    `operators` are the names of those that it is, or is a part of.
    """

    numbers: dict[int, int]
    ports: dict[int, Value]
    arrays: dict[int, Array] = field(default_factory=dict)
    memories: list[Memory] = field(default_factory=list)
    operators: list[str] = field(default_factory=list)


class Refusal(Exception):
    """An operator that a chain cannot hold as it stands: it runs by itself, by its own step."""


class Uncounted(Exception):
    """A count of `COUNTED` or more, or a negative one, arrived at a chain that takes none, or arose in it."""


class Writer:
    """Takes operators in running order, and writes their lines.

    Synapses that read spikes get weights that are kept as `narrow` says (`synfire.engines.cpu.tape`), others float32.
    Counts that are loaded or fired are below `COUNTED` if they are `counted`, and else as large as they like.
    """

    def __init__(self, narrow: int = tape.WIDE, counted: bool = True) -> None:
        self.narrow, self.counted = narrow, counted
        self.lines: list[Line] = []
        self.places: list[Value] = []
        self.shared: set[int] = set()
        self.current_floats = self.active = 0

    def value(self, signal: Signal, layout: str, form: int, still: bool, most: int | None = None) -> Value:
        """A new place for a value."""
        made = Value(len(self.places), signal, layout, form, still, most)
        self.places.append(made)
        return made

    def line(self, kind: int, target: Value, *sources: Value, **numbers: int) -> Line:
        """Write a line that reads `sources`; numbers are named as in `synfire.engines.cpu.tape`."""
        ports = dict(zip((tape.SOURCE, tape.OTHER, tape.THIRD), sources, strict=False))
        formats = dict(zip((tape.FORMAT, tape.OTHER_FORMAT), (each.format for each in sources), strict=False))
        named = {getattr(tape, name): int(number) for name, number in numbers.items()}
        line = Line(
            {tape.KIND: kind, tape.TARGET_FORMAT: target.format, **formats, **named}, {**ports, tape.TARGET: target}
        )
        self.lines.append(line)
        return line

    def load(self, signal: Signal, still: bool) -> Value:
        """A value from outside: the next of the chain's inputs."""
        counts = (FLOATS, COUNTED - 1 if self.counted else None)
        forms = {Kind.SPIKE: (SPIKES, 1), Kind.COUNT: counts, Kind.VALUE: (FLOATS, None)}
        if signal.kind not in forms:
            raise Refusal
        form, most = forms[signal.kind]
        target = self.value(signal, FIRST, form, still, most)
        line = self.line(tape.LOAD, target, HEIGHT=1, WIDTH=signal.size)
        line.numbers[tape.FORMAT] = tape.WHOLE if signal.kind is Kind.COUNT else form
        return target

    def store(self, value: Value) -> None:
        """Give a value to the outside as the next of the chain's outputs: channels first, in the dtype of its kind."""
        whole = value.signal.kind is Kind.COUNT
        rows, columns = (value.places, value.channels) if value.layout == LAST else (1, value.signal.size)
        line = self.line(tape.STORE, value, value, HEIGHT=rows, WIDTH=columns)
        line.numbers[tape.TARGET_FORMAT] = (
            FLOATS if value.signal.kind is Kind.VALUE else tape.WHOLE if whole else value.format
        )

    def laid(self, value: Value, layout: str) -> Value:
        """The value in a layout, turned round if it is not."""
        if value.layout == layout or len(value.signal.shape) < 2:
            return replace(value, layout=layout)
        for line in self.lines:
            turned = line.ports[tape.TARGET]
            same = line.numbers[tape.KIND] == tape.TURN and line.ports[tape.SOURCE].place == value.place
            if same and (turned.layout, turned.signal.shape) == (layout, value.signal.shape):
                return replace(turned, signal=value.signal)
        target = self.value(value.signal, layout, value.format, value.still, value.most)
        channels = value.signal.shape[0]
        others = value.signal.size // max(channels, 1)
        rows, columns = (channels, others) if value.layout == FIRST else (others, channels)
        if rows == 1 or columns == 1:
            self.places.pop()
            return replace(value, layout=layout)
        self.line(tape.TURN, target, value, HEIGHT=rows, WIDTH=columns)
        return target

    def listed(self, value: Value, height: int, width: int, channels: int) -> Value:
        """A list of the value's active inputs, place by place: see `synfire.engines.cpu.tiled_kernels`."""
        shape = {tape.HEIGHT: height, tape.WIDTH: width, tape.CHANNELS: channels}
        for line in self.lines:
            alike = line.numbers[tape.KIND] == tape.LIST and line.ports[tape.SOURCE].place == value.place
            if alike and shape.items() <= line.numbers.items():
                return line.ports[tape.TARGET]
        target = replace(self.value(value.signal, value.layout, value.format, value.still), listed=True)
        line = self.line(tape.LIST, target, value)
        entries, values, _ = list_places(target)
        line.numbers |= {**shape, tape.ENTRIES: entries, tape.VALUES: values}
        return target

    def alike(self, *values: Value) -> list[Value]:
        """The values in one layout: channels last if one of them is."""
        layout = LAST if any(each.layout == LAST for each in values) else FIRST
        return [self.laid(each, layout) for each in values]

    def synapse_of(self, value: Value) -> Line | None:
        """The line of the synapse that gives `value`, if nobody but one operator reads it."""
        if value.place in self.shared:
            return None
        found = (line for line in self.lines if line.ports[tape.TARGET].place == value.place)
        return next((line for line in found if line.numbers[tape.KIND] in (tape.SYNAPSE, tape.TILED)), None)

    def room(self, current_floats: int, active: int = 0) -> None:
        """Ask for scratch memory that lines share: numbers of a current, active inputs of a row."""
        self.current_floats, self.active = max(self.current_floats, current_floats), max(self.active, active)


def list_places(value: Value) -> tuple[int, int, int]:
    """Where the entries and the values of a list begin, and where it ends, in bytes."""
    starts, entries = (-(-4 * size // 64) * 64 for size in (value.signal.size + 1, value.signal.size))
    return starts, starts + entries, starts + entries * (1 if value.format == SPIKES else 2)


Emit = Callable[..., Value]
"""(writer, operator, inputs, output): write the lines of one operator; its value. Raises `Refusal`."""

F = TypeVar("F", bound=Callable[..., Value])
LINES: dict[type[Operator], Emit] = {}
TAKES_SMALL: set[type[Operator]] = set()


def lines_for(*kinds: type[Operator], small: bool = False) -> Callable[[F], F]:
    """Function decorator: it writes the lines of operators of these classes.

    With `small` they take, and may give, numbers that are kept as bytes because they are spikes or counts in truth.
    """

    def add(emit: F) -> F:
        LINES.update(dict.fromkeys(kinds, emit))
        TAKES_SMALL.update(kinds if small else ())
        return emit

    return add


def write(writer: Writer, operator: Operator, inputs: Sequence[Value], output: Signal) -> Value:
    """Write an operator's lines. Raises `Refusal`; what was written then has to be taken back."""
    unbounded = any(each.signal.kind is Kind.COUNT and each.most is None for each in inputs)
    if type(operator) not in LINES or (unbounded and output.kind is Kind.COUNT):
        raise Refusal
    if any(_is_small(each) for each in inputs) and type(operator) not in TAKES_SMALL:
        raise Refusal
    made = LINES[type(operator)](writer, operator, inputs, output)
    if made.format == FLOATS and output.kind is Kind.SPIKE:
        raise Refusal
    if _is_small(made) and type(operator) not in TAKES_SMALL:
        raise Refusal
    return made


def _is_small(value: Value) -> bool:
    """Whether it is kept as bytes though its signal is one of numbers: they are all 0 or 1, or small and whole."""
    return value.signal.kind is Kind.VALUE and value.format != FLOATS


def whole(value: Value, times: int = 1) -> int:
    """How large a sum of `times` of the value's whole numbers may become. Raises `Refusal` where float32 may not hold it."""
    if value.most is None or value.most * times >= EXACT:
        raise Refusal
    return value.most * times


def narrow(most: int) -> int:
    """The format of whole numbers up to `most`."""
    return COUNTS if most <= 255 else FLOATS
