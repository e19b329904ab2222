"""What the choice of a replica does to the slowest calls: least outstanding work against round robin, requests of unlike length.

Replicas are those of a whole model, and those of each of its stages.
"""

from __future__ import annotations

import asyncio
import random
import statistics
from collections.abc import AsyncGenerator, Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from synfire.base.clock import SystemClock
from synfire.bench import replicas
from synfire.bench.benchmark import BENCHMARKS, Benchmark, Floor, Progress, Report, Settings, floor, report
from synfire.gateway.call import Call, Part, Route
from synfire.gateway.dataplane import DataPlane
from synfire.gateway.lanes import Lanes
from synfire.gateway.limits import Limits
from synfire.gateway.open_ended import Told
from synfire.gateway.protection import Protection
from synfire.gateway.replicas import Replicas
from synfire.gateway.request import Request
from synfire.graph import Graph, Synapse
from synfire.ops import Clock, Signal
from synfire.ops.identity import Identity
from synfire.plan import Plan

REPLICAS = 4
LOAD = 0.8
STEP_S = 1e-3
"""How long a replica takes for a time step: it works on one call at a time, as a worker's compute thread does."""

LENGTHS, SHARES = (4, 16, 64), (0.80, 0.15, 0.05)
"""Time steps of a request, and how many requests are so long: most are short, a few take sixteen times as much."""

MODEL = "net"


class Routing(Benchmark):
    """Replicas take their time by waiting, as Pods on other machines do from a gateway's point of view: so the machine's cores do not
    decide, and what is compared is the choice alone. Requests arrive at random (Poisson), the same for both, in turns."""

    name = "routing"
    about = f"p99 of calls at {100 * LOAD:.0f} % load on {REPLICAS} replicas, lengths 1:4:16, by how a replica is chosen, of a model and of its stages"

    def measure(self, settings: Settings, progress: Progress) -> Report:
        seconds, rounds = (1.0, 1) if settings.quick else (10.0, 5)
        found: dict[Choice, list[list[float]]] = {each: [] for each in CHOICES}
        for number in range(rounds):
            for choice in CHOICES:
                progress(f"{choice.name} of a {choice.of}, round {number + 1}")
                found[choice].append(asyncio.run(_asked(choice, arrivals(settings.seed + number, seconds))))
        rows = [{"of": choice.of, "choice": choice.name, **_row(samples)} for choice, samples in found.items()]
        details: dict[str, Any] = {
            "seconds": seconds,
            "rounds": rounds,
            "replicas": REPLICAS,
            "load": LOAD,
            "step_s": STEP_S,
        }
        details |= {
            "lengths": LENGTHS,
            "shares": SHARES,
            "stages": dict(replicas.COUNTS),
            "frame_steps": replicas.FRAME_STEPS,
        }
        return report(self.name, settings, details, rows, floors(rows))


BENCHMARKS.add(Routing.name, Routing())


def floors(rows: list[dict[str, Any]]) -> list[Floor]:
    p99_s = {row["choice"]: row["p99_s"] for row in rows if row["of"] == MODELS}
    return [floor("routing_p99_ratio", "<=", 0.6, p99_s[LEAST_WORK] / p99_s[ROUND_ROBIN])]


class RoundRobin(Replicas):
    """Each call goes to the next replica, whatever that has to do."""

    _turn = 0

    def _next(self) -> str:
        self._turn += 1
        names = sorted(self._routes)
        return names[self._turn % len(names)]


class FewestCalls(Replicas):
    """Each call goes to who has the fewest, however long these are."""

    def _work(self, call: Call) -> float:
        return 1.0


class Choice(NamedTuple):
    """How a replica is chosen, of a whole model or of each stage, and what makes a route that does so."""

    of: str
    name: str
    route: Callable[[], Route]


def _whole(kind: type[Replicas]) -> Route:
    """Replicas of a whole model."""
    found = kind(Waiting().graph)
    for number in range(REPLICAS):
        found.add(f"{MODEL}#{number + 1}", Waiting())  # type: ignore[arg-type]
    return found


def _staged(kind: type[Lanes]) -> Route:
    """Replicas of stages."""
    return replicas.routed(MODEL, kind, STEP_S)


ROUND_ROBIN, FEWEST_CALLS, LEAST_WORK = "round robin", "fewest calls", "least work"
MODELS, STAGES = "model", "stage"
CHOICES = (
    Choice(MODELS, ROUND_ROBIN, partial(_whole, RoundRobin)),
    Choice(MODELS, FEWEST_CALLS, partial(_whole, FewestCalls)),
    Choice(MODELS, LEAST_WORK, partial(_whole, Replicas)),
    Choice(STAGES, ROUND_ROBIN, partial(_staged, replicas.InTurns)),
    Choice(STAGES, FEWEST_CALLS, partial(_staged, replicas.FewestCalls)),
    Choice(STAGES, LEAST_WORK, partial(_staged, Lanes)),
)


def arrivals(seed: int, seconds: float) -> list[tuple[float, int]]:
    """When requests come, and how long each is: as many as fill `LOAD` of all replicas."""
    draw = random.Random(seed)
    mean_s = STEP_S * sum(length * share for length, share in zip(LENGTHS, SHARES, strict=True))
    found, at_s = [], 0.0
    while at_s < seconds:
        at_s += draw.expovariate(LOAD * REPLICAS / mean_s)
        found.append((at_s, draw.choices(LENGTHS, SHARES)[0]))
    return found


class Waiting:
    """A replica that takes `STEP_S` for each time step of a call, one call after the other."""

    standing = ready = protected = True
    failure = None
    replays = restored = 0

    def __init__(self) -> None:
        self.graph = Graph(
            {"echo": Identity()}, (Synapse("x", "echo"),), {"x": Signal((1,), clock=Clock.STEP)}, {"y": "echo"}
        )
        self.plan = Plan(model=MODEL, granularity="model", stages=(), links=(), frame_steps=1)
        self.engines = {"echo": "cpu"}
        self.sessions = Protection(())
        self._free_s = 0.0
        self._now_s = SystemClock().now_s

    async def once(self, call: Call, given: int = 0, told: Told | None = None) -> AsyncGenerator[Part, None]:
        """Answer when all that came before is answered, and then its own time has passed."""
        steps = len(call.inputs["x"])
        self._free_s = max(self._free_s, self._now_s()) + STEP_S * steps
        await asyncio.sleep(self._free_s - self._now_s())
        yield Part({"y": call.inputs["x"]}, 0, steps, True)


async def _asked(choice: Choice, wanted: list[tuple[float, int]]) -> list[float]:
    """The seconds that each request took, from when it was due."""
    plane = DataPlane(Limits(in_flight=100_000, queued=100_000))
    plane.add(MODEL, choice.route())
    now_s = SystemClock().now_s
    began_s = now_s()

    async def ask(due_s: float, steps: int) -> float:
        await plane.infer(Request(MODEL, {"x": np.zeros((1, steps, 1), np.float32)}))
        return now_s() - began_s - due_s

    asking = []
    for due_s, steps in wanted:
        await asyncio.sleep(max(0.0, due_s - (now_s() - began_s)))
        asking.append(asyncio.ensure_future(ask(due_s, steps)))
    return list(await asyncio.gather(*asking))


def _row(rounds: list[list[float]]) -> dict[str, Any]:
    """The medians of the rounds' quantiles, and the range of their p99."""
    quantiles = [[float(each) for each in np.quantile(seconds, [0.5, 0.9, 0.99])] for seconds in rounds]
    p50_s, p90_s, p99_s = (statistics.median(each) for each in zip(*quantiles, strict=True))
    return {
        "p50_s": p50_s,
        "p90_s": p90_s,
        "p99_s": p99_s,
        "min_p99_s": min(each[2] for each in quantiles),
        "max_p99_s": max(each[2] for each in quantiles),
        "calls": sum(len(each) for each in rounds),
    }
