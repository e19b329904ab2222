"""What a benchmark is and what it reports."""

from __future__ import annotations

import operator
import random
import statistics
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar, Literal

import msgspec

from synfire.base.registry import Registry
from synfire.bench.machine import machine
from synfire.bench.page import columns_of, page, table

Progress = Callable[[str], None]
"""Told what is measured next."""

_HOLDS = {"<=": operator.le, ">=": operator.ge, "==": operator.eq}


class Floor(msgspec.Struct, frozen=True):
    """A promise about a number; its name is stable, because issues and the README quote it."""

    name: str
    op: Literal["<=", ">=", "=="]
    limit: float
    value: float
    holds: bool


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What a run found. Times are in seconds, sizes in bytes, rates per second; a field's name ends in its unit."""

    benchmark: str
    machine: dict[str, Any]
    settings: dict[str, Any]
    rows: tuple[dict[str, Any], ...]
    floors: tuple[Floor, ...] = ()

    @property
    def holds(self) -> bool:
        """Whether every floor holds; true without floors."""
        return all(each.holds for each in self.floors)


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """How long to measure. `quick` is a smoke run: few rounds, small sizes, no floors.

    `only` names the benchmark's `parts` that are run, all when empty; `seed` decides whatever is random in it. `beside` are reports
    of the same benchmark from other environments, whose rows count, too.
    """

    quick: bool = False
    only: tuple[str, ...] = ()
    seed: int = 0
    beside: tuple[Report, ...] = ()


class Benchmark(ABC):
    """A named measurement; a subclass is one file in `synfire.bench`."""

    name: ClassVar[str]
    about: ClassVar[str]
    """One line for `synfire bench --help` and the table's title."""
    environment: ClassVar[str] = ""
    """The command that sets up what it needs beside the environment of the tests; nothing where that has all."""
    shown: ClassVar[tuple[str, ...]] = ()
    """The columns for people; all that hold single values when empty."""
    joins: ClassVar[bool] = False
    """Whether it can judge the reports of `Settings.beside` together with its own run."""

    @property
    def parts(self) -> tuple[str, ...]:
        """What `Settings.only` may name; nothing where the benchmark runs whole or not at all."""
        return ()

    @abstractmethod
    def measure(self, settings: Settings, progress: Progress) -> Report:
        """Run it. Raises `UserError` when something that it needs is not installed."""

    def documents(self, found: Report) -> dict[str, str]:
        """The report for people, as files by name: a page of Markdown, and what it shows."""
        rows = table(found.rows, self.shown or columns_of(found))
        return {f"{self.name}.md": page(found, f"{self.name}: {self.about}", ["## Rows\n", rows])}


BENCHMARKS: Registry[Benchmark] = Registry("benchmark", "synfire.bench", "synfire.benchmarks")


def floor(name: str, op: Literal["<=", ">=", "=="], limit: float, value: float) -> Floor:
    """A floor, judged."""
    return Floor(name, op, limit, value, bool(_HOLDS[op](value, limit)))


def report(
    name: str,
    settings: Settings,
    details: Mapping[str, Any],
    rows: Iterable[Mapping[str, Any]],
    floors: Sequence[Floor],
) -> Report:
    """A report from this machine; a quick run states no floors. Of reports beside it, `details` and rows tell."""
    own = {each: value for each, value in msgspec.to_builtins(settings).items() if each != "beside"}
    return Report(
        benchmark=name,
        machine=machine(),
        settings={**own, **details},
        rows=tuple(dict(row) for row in rows),
        floors=() if settings.quick else tuple(floors),
    )


def in_turns(
    calls: Mapping[str, Callable[[], object]], rounds: int, warm_up: int = 2, untimed: int = 0
) -> dict[str, list[float]]:
    """Seconds of each call, `rounds` times, one after the other in every round, so that all see the same machine.

    Each round has an order of its own: threads of some libraries spin for a while after a call, and would else cost the one call
    behind them. In its turn each is called `untimed` times before that counts, so that threads and caches are its own.
    """
    times: dict[str, list[float]] = {name: [] for name in calls}
    order, shuffled = list(calls), random.Random(0)
    for round_ in range(-warm_up, rounds):
        shuffled.shuffle(order)
        for name in order:
            call = calls[name]
            for _ in range(untimed):
                call()
            start = time.perf_counter()
            call()
            if round_ >= 0:
                times[name].append(time.perf_counter() - start)
    return times


def spread(seconds: Sequence[float]) -> dict[str, float]:
    """Median and the middle half of measured times."""
    low, middle, high = quartiles(seconds)
    return {"median_s": middle, "q1_s": low, "q3_s": high}


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """The middle half's lower end, the median, and its upper end; a single value is all three."""
    low, middle, high = statistics.quantiles(values, n=4) if len(values) > 1 else [values[0]] * 3
    return low, middle, high


def quartiles_of(name: str, values: Sequence[float]) -> dict[str, float]:
    """The median under the name, and the middle half's ends beside it."""
    low, middle, high = quartiles(values)
    return {name: middle, f"q1_{name}": low, f"q3_{name}": high}
