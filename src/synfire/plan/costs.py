"""What the planner is told about a model on a machine: seconds per operator, densities of spikes, prices of hops."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from functools import lru_cache

import msgspec

from synfire.base.errors import UserError
from synfire.graph import Graph
from synfire.ops import Kind, Signal

FRAME_HEADER_BYTES = 64
"""What a frame carries beside its payload: request, sequence number, signal name, shape, encoding."""


MOST_TOGETHER, PIECE_S = 64, 0.5e-3
"""How many samples a worker computes together at most, and how long each of its threads has to be busy with some of them, in
seconds: as `synfire.worker` has it."""


class Hop(msgspec.Struct, frozen=True, kw_only=True):
    """What frames and requests pay on their way, on one kind of machine.

    `synfire.deploy.prices` measures it; the defaults, of a 2-core virtual machine with other work beside, stand in where nobody did.
    """

    frame_s: float = 350e-6
    """Seconds per frame between two workers: encode, send, wake up, decode."""
    work_s: float = 100e-6
    """Of these, the seconds for which the sender is busy, and the receiver again; what is left is waiting."""
    byte_s: float = 1.5e-9
    """Seconds per encoded byte between two workers: encode, copy, decode."""
    local_s: float = 50e-6
    """Seconds per frame between two stages of one worker: a queue, no encoding."""
    local_byte_s: float = 0.1e-9
    """Seconds per byte of its arrays between such stages: memory, where fused operators use the cache."""
    request_s: float = 800e-6
    """Seconds per request at the gateway: HTTP, checks, the way to the first stage and back."""
    request_byte_s: float = 3e-9
    """Seconds per byte of a request's inputs on the way to the first stage: parse, encode, copy, decode."""

    def seconds(self, frame_bytes: float, same_worker: bool) -> float:
        """The time of one frame of so many bytes: as encoded between workers, as arrays inside one."""
        if same_worker:
            return self.local_s + frame_bytes * self.local_byte_s
        return self.frame_s + frame_bytes * self.byte_s

    def busy_s(self, frame_bytes: float) -> float:
        """For how long such a frame to another worker keeps its sender busy, and its receiver again."""
        return min(self.work_s, self.frame_s / 2) + frame_bytes * self.byte_s / 2


class Costs(msgspec.Struct, frozen=True, kw_only=True):
    """Measured costs of one model's operators on one kind of machine, for one request of one sample.

    `operator_s` is what an operator adds to a program that holds its neighbours too, for all `steps` of a request; one whose
    time is not known costs nothing. `call_s` is the price of entering a program, paid once per stage and frame.
    `density` is the share of non-zero elements of each signal, `payload` the bytes of those signals whose shape
    does not tell: files and event lists.

    All that was measured with the `threads` that each worker computes with. They share an operator where that pays, and
    `operator_s` is less for it; of programs too small for that they make so many `calls` at a time, for requests that wait together.
    """

    operator_s: dict[str, float] = {}
    density: dict[str, float] = {}
    payload: dict[str, float] = {}
    steps: int = 1
    call_s: float = 0.0
    threads: int = 1
    calls: int = 1
    hop: Hop = Hop()

    def block_s(self, operators: Iterable[str], frames: int) -> float:
        """The time that the fused `operators` take for one of a request's `frames`."""
        return sum(self.operator_s.get(name, 0.0) for name in operators) / frames + self.call_s

    def at_a_time(self, seconds: float) -> int:
        """How many of a worker's threads compute at a time where a request takes it so many seconds, and as many wait as it takes
        together: to begin a piece of work must be worth it."""
        return max(1, min(self.calls, int(MOST_TOGETHER * seconds / PIECE_S)))

    def encoded(self, graph: Graph, source: str) -> Encoded:
        """The signal of operator or input `source` as the wire would carry it."""
        density = self.density.get(source, 1.0)
        if source in self.payload:
            return Encoded(self.payload[source], "dense", density)
        return encode(graph.signals()[source], density)


def assumed(graph: Graph, steps: int = 16) -> Costs:
    """Costs for a model that nobody measured: a nanosecond per number that an operator reads, holds or emits.

    Good for balance, not for clock times. `steps` counts where the encoders do not say how many.
    """
    signals, total = graph.signals(), graph.steps or steps
    numbers = {
        name: sum(abs(signal.size) for signal in [*graph.signals_into(name), signals[name]])
        + graph.operator(name).parameter_bytes // 4
        for name in graph.order()
    }
    density = {name: 0.1 for name, signal in signals.items() if signal.kind is Kind.SPIKE}
    return Costs(
        operator_s={name: count * total * 1e-9 for name, count in numbers.items()}, density=density, steps=total
    )


class Encoded(msgspec.Struct, frozen=True):
    """The estimated size of one sample and step (or request) of a signal, and the encoding that gives it."""

    bytes: float
    encoding: str
    density: float


@lru_cache(1024)  # a search for a plan asks for a few signals some thousand times
def encode(signal: Signal, density: float) -> Encoded:
    """The smallest of the frame codec's encodings: bitmap, gap list, counts, dense."""
    size = abs(signal.size)
    dense = Encoded(float(size * signal.kind.dtype.itemsize), "dense", density)
    if signal.kind is Kind.SPIKE:
        return min(
            Encoded(float(math.ceil(size / 8)), "bitmap", density),
            Encoded(size * density * _gap_bytes(density), "gap list", density),
            key=lambda each: each.bytes,
        )
    if signal.kind is Kind.COUNT:
        return min(Encoded(float(size), "counts", density), dense, key=lambda each: each.bytes)
    return dense


def _gap_bytes(density: float) -> float:
    """Bytes of one gap as a variable-length integer of 7 bits a byte, for the mean gap at this density."""
    return 1.0 if density <= 0 else float(max(1, math.ceil(math.log2(1 / density + 1) / 7)))


def memory_bytes(graph: Graph, operators: Iterable[str], requests: int = 1) -> int:
    """What a stage of these operators holds: parameters once, and the state of so many requests at a time."""
    total = 0
    for name in operators:
        operator = graph.operator(name)
        state = operator.initial_state(1, *graph.signals_into(name))
        total += operator.parameter_bytes + requests * sum(array.nbytes for array in state.values())
    return total


def format_bytes(count: float) -> str:
    """`1.1 kB`: three figures or fewer, decimal prefixes."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(count) < 999.5 or unit == "GB":
            break
        count /= 1000
    return f"{count:.0f} {unit}" if unit == "B" or abs(count) >= 99.5 else f"{count:.2g} {unit}"


def format_seconds(seconds: float) -> str:
    """`1.3 ms`: the unit that gives one to three figures before the point."""
    units = (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6))
    unit, size = next((each for each in units if abs(seconds) >= each[1]), units[-1])
    return f"{seconds / size:.3g} {unit}"


def parse_bytes(text: str) -> int:
    """`512MB`, `2 GiB`, `1000` → bytes. Raises `UserError`."""
    units: Mapping[str, int] = {
        "": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30,
    }  # fmt: skip
    digits = text.strip().rstrip("BbIiKkMmGg ")
    unit = text.strip()[len(digits) :].strip().upper()
    try:
        return int(float(digits) * units[unit])
    except (KeyError, ValueError) as error:
        raise UserError(f"{text!r} is no size in bytes; write it like 512MB or 2GiB") from error
