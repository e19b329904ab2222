"""Writes the lines of a chain: the operators that run together in one call of the compiled program.

Values inside a chain live in scratch memory, channels last where they have spatial axes, and are never what a caller sees.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from synfire.engines.cpu import tape
from synfire.engines.cpu.tape import COUNTS, FLOATS, SPIKES
from synfire.ops import Array, Kind, Operator, Signal

FIRST, LAST = "channels first", "channels last"
"""Where the channel axis of a value with spatial axes is kept. Signals are channels first, kernels like it last."""

EXACT = 2**24
"""Whole numbers below it are exact in float32."""


@dataclass(frozen=True)
class Value:
    """What an operator gives, inside a chain: where it is kept, how, and how large its whole numbers may become."""

    place: int
    signal: Signal
    layout: str
    format: int
    still: bool
    most: int | None = None

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
        return self.signal.size * self.item_bytes


@dataclass(frozen=True)
class Memory:
    """What an operator remembers from step to step: how it begins, for one sample, and the place of its address in the line."""

    place: int
    fresh: Array

    @property
    def words(self) -> int:
        """What it takes, in pieces of four bytes."""
        return -(-self.fresh.nbytes // 4)


@dataclass
class Line:
    """A line of the tape before addresses are known. `ports` are values by the place of their address."""

    numbers: dict[int, int]
    ports: dict[int, Value]
    arrays: dict[int, Array] = field(default_factory=dict)
    memories: list[Memory] = field(default_factory=list)


class Refusal(Exception):
    """An operator that a chain cannot hold as it stands: it runs by itself, by its own step."""


class Writer:
    """Takes operators in running order, and writes their lines."""

    def __init__(self) -> None:
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
        forms = {Kind.SPIKE: (SPIKES, 1), Kind.COUNT: (FLOATS, None), Kind.VALUE: (FLOATS, None)}
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
        line.numbers[tape.TARGET_FORMAT] = tape.WHOLE if whole else value.format

    def laid(self, value: Value, layout: str) -> Value:
        """The value in a layout, turned round if it is not."""
        if value.layout == layout or len(value.signal.shape) < 2:
            return replace(value, layout=layout)
        target = self.value(value.signal, layout, value.format, value.still, value.most)
        channels = value.signal.shape[0]
        others = value.signal.size // max(channels, 1)
        rows, columns = (channels, others) if value.layout == FIRST else (others, channels)
        if rows == 1 or columns == 1:
            self.places.pop()
            return replace(value, layout=layout)
        self.line(tape.TURN, target, value, HEIGHT=rows, WIDTH=columns)
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
        return next((line for line in found if line.numbers[tape.KIND] == tape.SYNAPSE), None)

    def room(self, current_floats: int, active: int = 0) -> None:
        """Ask for scratch memory that lines share: numbers of a current, active inputs of a row."""
        self.current_floats, self.active = max(self.current_floats, current_floats), max(self.active, active)


Emit = Callable[..., Value]
"""(writer, operator, inputs, output): write the lines of one operator; its value. Raises `Refusal`."""

F = TypeVar("F", bound=Callable[..., Value])
LINES: dict[type[Operator], Emit] = {}


def lines_for(*kinds: type[Operator]) -> Callable[[F], F]:
    """Function decorator: it writes the lines of operators of these classes."""

    def add(emit: F) -> F:
        LINES.update(dict.fromkeys(kinds, emit))
        return emit

    return add


def write(writer: Writer, operator: Operator, inputs: Sequence[Value], output: Signal) -> Value:
    """Write an operator's lines. Raises `Refusal`; what was written then has to be taken back."""
    unbounded = any(each.signal.kind is Kind.COUNT and each.most is None for each in inputs)
    if type(operator) not in LINES or (unbounded and output.kind is Kind.COUNT):
        raise Refusal
    made = LINES[type(operator)](writer, operator, inputs, output)
    if (made.format == FLOATS) != (output.kind is Kind.VALUE) and output.kind is not Kind.COUNT:
        raise Refusal
    return made


def whole(value: Value, times: int = 1) -> int:
    """How large a sum of `times` of the value's whole numbers may become. Raises `Refusal` where float32 may not hold it."""
    if value.most is None or value.most * times >= EXACT:
        raise Refusal
    return value.most * times


def narrow(most: int) -> int:
    """The format of whole numbers up to `most`."""
    return COUNTS if most <= 255 else FLOATS
