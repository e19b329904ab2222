"""How long each line of a program takes where it stands: between the others, with what they leave in the caches."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba.core.extending import intrinsic

from synfire.engines.cpu import tape as places
from synfire.engines.cpu.chain import Chain
from synfire.engines.cpu.player import begin, play_line
from synfire.engines.cpu.program import CpuProgram
from synfire.engines.cpu.schedule import Cycle, Link, Part
from synfire.engines.cpu.tape import KIND, LOAD, OTHER, SOURCE, STORE, THIRD, kernel
from synfire.engines.cpu.vectors import octets
from synfire.graph import Graph
from synfire.ops import Array

REST: tuple[str, ...] = ()
"""What belongs to no operator: taking values in and handing them out, the calls themselves, and what runs in no chain."""


def operator_seconds(
    graph: Graph, inputs: Mapping[str, Array], steps: int, rounds: int, silent: bool = False
) -> dict[tuple[str, ...], list[float]]:
    """Seconds of `rounds` runs of a block, by the operators that are one piece of the compiled program, and of the `REST`.

    Fused operators share a key, such as a convolution with the neurons behind it. `inputs` are those of `Program.run`; every
    run starts from fresh states. The processor's own counter is read between two lines, which costs nothing that shows.
    With `silent`, every operator gets nothing but zeros: what it takes then it takes for no synaptic operation.
    """
    program, batch = CpuProgram(graph), _batch(graph, inputs)
    watches = [Stopwatch(chain, silent) for chain in _chains(program.parts)]
    found: dict[tuple[str, ...], list[float]] = defaultdict(list)
    for round_ in range(-2, rounds):
        start = time.perf_counter()
        program.run(program.initial_state(batch), inputs, steps)
        whole_s = time.perf_counter() - start
        lines = [each for watch in watches for each in watch.take().items()]
        if round_ >= 0:
            for operators, seconds in lines:
                found[operators].append(seconds)
            found[REST].append(whole_s - sum(seconds for _, seconds in lines))
    return dict(found)


class Stopwatch:
    """Plays a chain's tape as `synfire.engines.cpu.player.play` does, and adds up what its operators take.

    With `silent`, what lines hand to each other becomes zeros before it is read.
    """

    def __init__(self, chain: Chain, silent: bool = False) -> None:
        self._operators, self._silent = _pieces(chain), silent
        self._seconds: dict[tuple[str, ...], float] = {}
        self.take()
        chain.player = self

    def __call__(self, tape: Array, batch: int, group: int, before: int, after: int, state_bytes: int) -> None:
        ticks, start = np.zeros(len(tape) + 1, np.int64), time.perf_counter()
        _play(tape, batch, group, before, after, state_bytes, ticks, self._silent)
        per_tick_s = (time.perf_counter() - start) / max(int(ticks[-1]), 1)
        for operators, spent in zip(self._operators, ticks.tolist(), strict=False):
            if operators:
                self._seconds[operators] += spent * per_tick_s

    def take(self) -> dict[tuple[str, ...], float]:
        """What was added up since the last time."""
        seconds, self._seconds = self._seconds, dict.fromkeys(filter(None, self._operators), 0.0)
        return seconds


def _pieces(chain: Chain) -> list[tuple[str, ...]]:
    """For each line, the operators of all lines that its first one has a part in; none for loads and stores."""
    pieces: dict[str, dict[str, None]] = defaultdict(dict)
    for line in chain.lines:
        if line.operators:
            pieces[line.operators[0]] |= dict.fromkeys(line.operators)
    edges = (places.LOAD, places.STORE)
    return [() if line.numbers[places.KIND] in edges else tuple(pieces[line.operators[0]]) for line in chain.lines]


def _chains(parts: Iterable[Part]) -> Iterator[Chain]:
    for part in parts:
        if isinstance(part, Link):
            yield part.chain
        elif isinstance(part, Cycle):
            yield from _chains(part.parts)


def _batch(graph: Graph, inputs: Mapping[str, Array]) -> int:
    name, signal = next(iter(graph.inputs.items()))
    return int(inputs[name].shape[1 if signal.timed else 0])


def _counter(context: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        read = builder.module.declare_intrinsic("llvm.readcyclecounter", (), ir.FunctionType(ir.IntType(64), ()))
        return builder.call(read, ())

    return numba.int64(), codegen


_ticks: Any = intrinsic(_counter)


@kernel
def _hush(op, samples):  # type: ignore[no-untyped-def]
    """Make zeros of all that a line reads of other lines."""
    if op[KIND] == LOAD or op[KIND] == STORE:
        return
    for place in (SOURCE, OTHER, THIRD):
        read = octets(op[place], samples * op[place + 1])
        for k in range(read.size):
            read[k] = 0


@kernel
def _play(tape, batch, group, before, after, state_bytes, ticks, silent):  # type: ignore[no-untyped-def]
    """`play`; the ticks of each line, and behind them those of the whole."""
    begun = _ticks()
    for first in range(0, batch, group):
        samples = min(group, batch - first)
        begin(first, samples, before, after, state_bytes)
        for line in range(tape.shape[0]):
            if silent:
                _hush(tape[line], samples)
            start = _ticks()
            play_line(tape[line], state_bytes, first, samples)
            ticks[line] += _ticks() - start
    ticks[-1] = _ticks() - begun
