"""Where on the mesh each piece goes: a curve to start with, then forces.

Cost: Σ spikes × hops, the traffic of the mesh; beside it the load of the busiest link. A start lays the pieces, in the order of
the layers, along a curve: `zigzag` row by row (what the public toolchain does) or `hilbert`, which keeps neighbours in the
order neighbours in the plane (doi:10.1145/3582016.3582046). The refinement moves each piece to where what pulls at it is least,
into a free core or in exchange with another piece, until nothing gains.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from synfire.base.errors import UserError
from synfire.devices.darwin3.limits import ChipLimits
from synfire.devices.darwin3.words import Coordinate
from synfire.ops import Array

HILBERT, ZIGZAG = "hilbert", "zigzag"

PORT = "port"
"""The data port at (0, 0), as an end of a flow."""

MOST_SWEEPS = 12
TRIED = 8
"""How many of the best cores are tried for a piece in a sweep."""


@dataclass(frozen=True)
class Block:
    """Something to place: a piece that needs so many dendrite words."""

    name: str
    dendrite_words: int


Flows = Mapping[tuple[str, str], float]
"""Spikes per time step from a block to a block, or from or to `PORT`."""


@dataclass(frozen=True)
class Traffic:
    """How good a placement is: spikes × hops in a step, the mean hops of a spike, the load of the busiest link."""

    spike_hops: float
    mean_hops: float
    busiest_link: float


def place(
    blocks: Sequence[Block],
    flows: Flows,
    limits: ChipLimits,
    free: Sequence[Coordinate],
    start: str = HILBERT,
    refine: bool = True,
    fixed: Mapping[str, Coordinate] | None = None,
) -> dict[str, Coordinate]:
    """A core for every block; `fixed` ends of flows stay where they are. Raises `UserError` when the free cores do not suffice, with the numbers by class."""
    kinds = {core: limits.rooms[core] for core in free}
    placed = _along(blocks, _curve(start, limits, kinds), kinds, limits)
    return (
        _Forces(blocks, flows, placed, kinds, {PORT: (0, 0), **(fixed or {})}).settled()
        if refine and blocks
        else placed
    )


def traffic(placed: Mapping[str, Coordinate], flows: Flows, limits: ChipLimits) -> Traffic:
    """What the flows do to the mesh, along x first and then along y."""
    at = {**placed, PORT: (0, 0)}
    across = np.zeros((2, limits.width or 0, limits.height or 0))  # right, left
    along = np.zeros((2, limits.width or 0, limits.height or 0))  # down, up
    total = hops = 0.0
    for (a, b), spikes in flows.items():
        (x0, y0), (x1, y1) = at[a], at[b]
        across[int(x1 < x0), min(x0, x1) : max(x0, x1), y0] += spikes
        along[int(y1 < y0), x1, min(y0, y1) : max(y0, y1)] += spikes
        total += spikes
        hops += spikes * (abs(x0 - x1) + abs(y0 - y1))
    busiest = float(max(across.max(initial=0), along.max(initial=0)))
    return Traffic(hops, hops / total if total else 0.0, busiest)


def nearest(pulls: Sequence[tuple[Coordinate, float]], candidates: Sequence[Coordinate]) -> list[Coordinate]:
    """The candidates in the order of Σ weight × hops to what pulls; ties by coordinate."""
    ordered = sorted(candidates)
    if not pulls or not ordered:
        return ordered
    cores, ends = np.array(ordered), np.array([core for core, _ in pulls])
    hops = np.abs(cores[:, None] - ends[None]).sum(axis=2)
    costs = hops @ np.array([weight for _, weight in pulls])
    return [ordered[k] for k in np.argsort(costs, kind="stable")]


def _curve(start: str, limits: ChipLimits, kinds: Mapping[Coordinate, int]) -> list[Coordinate]:
    size = max(limits.width or 0, limits.height or 0)
    orders = {HILBERT: _hilbert, ZIGZAG: _zigzag}
    if start not in orders:
        raise UserError(f"there is no start {start!r} for placing; choose one of {', '.join(orders)}")
    return [core for core in orders[start](size) if core in kinds]


@functools.cache
def _zigzag(size: int) -> tuple[Coordinate, ...]:
    return tuple((x if y % 2 == 0 else size - 1 - x, y) for y in range(size) for x in range(size))


@functools.cache
def _hilbert(size: int) -> tuple[Coordinate, ...]:
    """The curve over the smallest square of a power of two that covers the mesh; what lies outside is left out."""
    side = 1 << max(size - 1, 1).bit_length()
    return tuple(point for point in (_hilbert_point(d, side) for d in range(side * side)) if max(point) < size)


def _hilbert_point(distance: int, side: int) -> Coordinate:
    x = y = 0
    step = 1
    while step < side:
        right = 1 & distance // 2
        up = 1 & (distance ^ right)
        if not up:
            if right:
                x, y = step - 1 - x, step - 1 - y
            x, y = y, x
        x, y = x + step * right, y + step * up
        distance //= 4
        step *= 2
    return x, y


def _along(
    blocks: Sequence[Block], curve: list[Coordinate], kinds: Mapping[Coordinate, int], limits: ChipLimits
) -> dict[str, Coordinate]:
    """Each block on the next core of the curve that can hold it; small cores are left to small blocks only if they must be."""
    free = dict.fromkeys(curve)
    smallest = min(kinds.values(), default=0)
    large = sum(each.dendrite_words > smallest for each in blocks)
    spare = sum(words > smallest for words in kinds.values()) - large
    placed: dict[str, Coordinate] = {}
    for each in blocks:
        small = each.dendrite_words <= smallest
        core = next(
            (
                at
                for at in free
                if kinds[at] >= each.dendrite_words and not (small and kinds[at] > smallest and spare <= 0)
            ),
            None,
        )
        if core is None:
            raise UserError(_refusal(blocks, kinds, limits))
        if small and kinds[core] > smallest:
            spare -= 1
        del free[core]
        placed[each.name] = core
    return placed


def _refusal(blocks: Sequence[Block], kinds: Mapping[Coordinate, int], limits: ChipLimits) -> str:
    sizes = ", ".join(f"{sum(words >= size for words in kinds.values())} free cores of {size} dendrite words or more"
                      for size in sorted(set(kinds.values())))  # fmt: skip
    largest = max(each.dendrite_words for each in blocks)
    return (
        f"{limits.name} cannot hold {len(blocks)} pieces, the largest of {largest} dendrite words: it has {sizes or 'no free core'}; "
        "free some cores, cut the stage, or place a part on cpu"
    )


class _Forces:
    """Blocks pulled by their flows; a sweep moves each to a better core, if there is one."""

    def __init__(
        self,
        blocks: Sequence[Block],
        flows: Flows,
        placed: Mapping[str, Coordinate],
        kinds: Mapping[Coordinate, int],
        fixed: Mapping[str, Coordinate],
    ) -> None:
        self.names = [each.name for each in blocks]
        self.words = np.array([each.dendrite_words for each in blocks])
        number = {name: i for i, name in enumerate((*self.names, *fixed))}
        self.weight = np.zeros((len(blocks), len(number)))
        for (a, b), spikes in flows.items():
            i, j = number[a], number[b]
            for here, there in ((i, j), (j, i)) if i != j else ():
                if here < len(blocks):
                    self.weight[here, there] += spikes
        self.at = np.array([*(placed[name] for name in self.names), *fixed.values()])
        self.cores = np.array(sorted(kinds))
        self.room = np.array([kinds[core[0], core[1]] for core in self.cores.tolist()])
        index = {(x, y): k for k, (x, y) in enumerate(self.cores.tolist())}
        self.core_of = np.array([index[placed[name]] for name in self.names])
        self.block_on = np.full(len(self.cores), -1)
        self.block_on[self.core_of] = np.arange(len(blocks))

    def settled(self) -> dict[str, Coordinate]:
        """Where the blocks come to rest."""
        order = np.argsort(-self.weight.sum(axis=1), kind="stable")
        for _ in range(MOST_SWEEPS):
            if not sum([self._improve(int(i)) for i in order]):
                break
        return {name: (int(x), int(y)) for name, (x, y) in zip(self.names, self.at.tolist(), strict=False)}

    def _improve(self, i: int) -> bool:
        """Move block i, or swap it with another, where that costs less."""
        costs = self._costs(i)
        own = costs[self.core_of[i]]
        costs = np.where(self.room >= self.words[i], costs, np.inf)
        best = np.argsort(costs, kind="stable")[:TRIED]
        for core in best:
            if costs[core] >= own - 1e-9:
                return False
            if self._gain(i, int(core), own - costs[core]) > 1e-9:
                self._exchange(i, int(core))
                return True
        return False

    def _costs(self, i: int) -> Array:
        """What block i would cost on every core, all others staying where they are."""
        pulling = np.flatnonzero(self.weight[i])
        weight, at = self.weight[i, pulling], self.at[pulling]
        size = int(self.cores.max()) + 1
        line = np.arange(size)[:, None]
        x_cost, y_cost = (np.abs(line - at[None, :, axis]) @ weight for axis in (0, 1))
        return np.asarray(x_cost[self.cores[:, 0]] + y_cost[self.cores[:, 1]])

    def _gain(self, i: int, core: int, gain: float) -> float:
        """What is saved when block i goes to `core`, and who is there comes here."""
        other, home = int(self.block_on[core]), int(self.core_of[i])
        if other < 0:
            return gain
        if self.words[other] > self.room[home]:
            return -1.0
        costs = self._costs(other)
        apart = np.abs(self.cores[core] - self.cores[home]).sum()
        return float(gain + costs[core] - costs[home] - 2 * self.weight[i, other] * apart)

    def _exchange(self, i: int, core: int) -> None:
        other, home = int(self.block_on[core]), int(self.core_of[i])
        self._put(i, core)
        self.block_on[home] = other
        if other >= 0:
            self._put(other, home)

    def _put(self, i: int, core: int) -> None:
        self.core_of[i], self.block_on[core] = core, i
        self.at[i] = self.cores[core]
