"""synfire against other servers that host the framework's model: requests a second within a latency, and one client's latency."""

from __future__ import annotations

import importlib.util
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

import numpy as np

from synfire.base.errors import PermanentError, UserError
from synfire.bench import wrk
from synfire.bench.benchmark import BENCHMARKS, Benchmark, Floor, Progress, Report, Settings, floor, report
from synfire.bench.peers import OURS, PEERS, Server
from synfire.bench.peers.net import Net, raw
from synfire.bench.peers.server import Setup, ask, running
from synfire.ops import Array
from synfire.testing.zoo import held_out
from synfire.zoo import card

MODELS = ("svgg-mnist", "scnn-nmnist")

P99_S = 0.05
"""Within this 99 of 100 requests are to be answered; as many requests a second as can be had within it count."""

CONCURRENCY = (1, 2, 4, 8, 16, 32, 64, 128)
"""Tried in this order until the latency is beyond `P99_S`."""

FINALISTS = 2
"""So many setups of a server are measured in the rounds."""

SAMPLES = 32
"""Different requests, sent in turns, and all compared with the framework's own answers beforehand."""

TOLERANCE = 1e-4
"""How far scores may differ: sums in another order differ by rounding, and servers compute other batches."""


@dataclass(frozen=True)
class Questions:
    """Held-out samples of a model, and the framework's own scores `(sample, class)`."""

    model: str
    samples: Sequence[Array]
    scores: Array

    @classmethod
    def of(cls, model: str) -> Questions:
        """Computed one by one in this process."""
        net = Net(model)
        samples = list(held_out(card(model)["dataset"], SAMPLES)[0])
        return cls(model, samples, np.stack([np.frombuffer(net([raw(each)])[0], np.float32) for each in samples]))

    def requests(self, server: Server) -> list[bytes]:
        return [server.request(self.model, each) for each in self.samples]

    def compare(self, server: Server, url: str) -> float:
        """The largest difference of any score. Raises `PermanentError` where it is more than rounding."""
        answers = [ask(url, each) for each in self.requests(server)]
        scores = np.stack([server.scores(*each) for each in answers])
        difference = float(np.abs(scores - self.scores).max())
        if difference > TOLERANCE:
            raise PermanentError(
                f"{server.name} answers {self.model} with scores that differ by {difference:g} from the framework's own; "
                "what computes something else is not compared"
            )
        return difference


@dataclass
class Contestant:
    """A server for one model: the setups that were found best, and what each round measured with them.

    `finalists` are up to `FINALISTS` setups, each with the concurrency at which it gave most: one measurement of a setup tells them from
    the others, and not from each other.
    """

    server: Server
    questions: Questions
    seconds: float
    difference: float = 0.0
    failures: list[str] = field(default_factory=list)
    finalists: dict[Setup, int] = field(default_factory=dict)
    quickest: Setup | None = None
    loaded: dict[Setup, list[wrk.Load]] = field(default_factory=dict)
    alone: list[wrk.Load] = field(default_factory=list)

    def search(self, setups: Sequence[Setup], progress: Progress) -> None:
        """Find the setups that give the most requests a second, and the one that answers one client first."""
        tried: dict[Setup, dict[int, wrk.Load]] = {}
        for setup in setups:
            progress(f"{self.questions.model} on {self.server.name}, {self.server.words(setup)}")
            try:
                with self._running(setup) as url:
                    self.difference = max(self.difference, self.questions.compare(self.server, url))
                    tried[setup] = self._ladder(url)
            except PermanentError as error:
                self.failures.append(str(error))
        if not tried:
            return
        self.quickest = min(tried, key=lambda setup: tried[setup][1].p50_s)
        most = {setup: max(loads, key=lambda each: _worth(loads[each])) for setup, loads in tried.items()}
        best = sorted(most, key=lambda setup: _worth(tried[setup][most[setup]]), reverse=True)
        self.finalists = {setup: most[setup] for setup in best[:FINALISTS]}

    def measure(self, progress: Progress) -> None:
        """One round with the best setups. Nothing where none of them worked."""
        if self.quickest is None:
            return
        for setup, concurrency in self.finalists.items():
            progress(
                f"{self.questions.model} on {self.server.name}, {self.server.words(setup)}, concurrency {concurrency}"
            )
            with self._running(setup) as url:
                self.loaded.setdefault(setup, []).append(self._best(url, concurrency))
                if setup == self.quickest:
                    self.alone.append(self._load(url, 1))
        if self.quickest not in self.finalists:
            with self._running(self.quickest) as url:
                self.alone.append(self._load(url, 1))

    def row(self) -> dict[str, Any]:
        if self.quickest is None:
            return {"model": self.questions.model, "server": self.server.name, "setup": "does not run here"}
        setup = max(self.finalists, key=lambda each: statistics.median_low(map(_worth, self.loaded[each])))
        loads = self.loaded[setup]
        rates = [each.requests_s for each in loads]
        alone = [each.p50_s for each in self.alone]
        answers = sum(each.answers for each in loads)
        return {
            "model": self.questions.model,
            "server": self.server.name,
            "version": version(self.server.package),
            "setup": self.server.words(setup),
            "concurrency": self.finalists[setup],
            "requests_s": statistics.median(rates),
            "min_requests_s": min(rates),
            "max_requests_s": max(rates),
            "p99_s": statistics.median(each.p99_s for each in loads),
            "cores_s": sum(each.busy_s for each in loads) / answers,
            "wrk_s": sum(each.own_s for each in loads) / answers,
            "alone": self.server.words(self.quickest),
            "alone_p50_s": statistics.median(alone),
            "min_alone_p50_s": min(alone),
            "max_alone_p50_s": max(alone),
            "max_difference": self.difference,
        }

    def _ladder(self, url: str) -> dict[int, wrk.Load]:
        found: dict[int, wrk.Load] = {}
        self._load(url, 4)  # warms up
        for concurrency in CONCURRENCY:
            found[concurrency] = self._load(url, concurrency)
            if found[concurrency].p99_s > P99_S:
                break
        return found

    def _best(self, url: str, concurrency: int) -> wrk.Load:
        """The most requests a second within the latency around `concurrency`; the quickest where none is within it."""
        self._load(url, concurrency)  # warms up
        near = sorted({max(1, concurrency // 2), concurrency, 2 * concurrency})
        return max((self._load(url, each) for each in near), key=_worth)

    def _load(self, url: str, concurrency: int) -> wrk.Load:
        return wrk.load(url, self.questions.requests(self.server), concurrency, self.seconds)

    def _running(self, setup: Setup) -> Any:
        return running(self.server, setup, self.questions.requests(self.server)[0])


def _worth(load: wrk.Load) -> tuple[float, float]:
    """What is compared: the rate, where it was had within the latency; else the latency."""
    return (load.requests_s, 0.0) if load.p99_s <= P99_S else (0.0, -load.p99_s)


class Serving(Benchmark):
    """wrk asks every server for the same samples; each is started anew in each round, with nothing else running.

    `cores_s` is what a request takes of all cores together, wrk's share (`wrk_s`) among it: so many cores by that is the most that this server
    can give here, however its setup.
    """

    name = "serving"
    about = f"requests a second at p99 ≤ {1e3 * P99_S:.0f} ms, and one client's p50, against other servers"
    environment = "make serving"
    shown = (
        *("model", "server", "setup", "concurrency", "requests_s", "min_requests_s", "max_requests_s", "p99_s"),
        *("cores_s", "wrk_s", "alone_p50_s", "min_alone_p50_s", "max_alone_p50_s", "max_difference"),
    )

    @property
    def parts(self) -> tuple[str, ...]:
        return tuple(PEERS)

    def measure(self, settings: Settings, progress: Progress) -> Report:
        wrk.require()
        _require("torch", "spikingjelly")
        seconds, rounds = (1.0, 1) if settings.quick else (4.0, 3)
        servers = [OURS, *(PEERS[name] for name in settings.only or PEERS)]
        rows: list[dict[str, Any]] = []
        failures: list[str] = []
        for model in MODELS:
            questions = Questions.of(model)
            contestants = [Contestant(each, questions, seconds) for each in servers if each.installed]
            for each in contestants:
                setups = each.server.setups(model)
                each.search(setups[:1] if settings.quick else setups, progress)
            for _ in range(rounds):
                for each in contestants:
                    each.measure(progress)
            rows += [each.row() for each in contestants]
            rows += [_absent(model, each) for each in servers if not each.installed]
            failures += [why for each in contestants for why in each.failures]
        details = {
            "seconds": seconds,
            "rounds": rounds,
            "models": MODELS,
            "p99_s": P99_S,
            "samples": SAMPLES,
            "failures": failures,
        }
        return report(self.name, settings, details, rows, floors(rows))


BENCHMARKS.add(Serving.name, Serving())


def floors(rows: Sequence[Mapping[str, Any]]) -> list[Floor]:
    """The worst of all models against the best of all other servers; nothing without one."""
    measured = [row for row in rows if "requests_s" in row]
    by_model = [_split([row for row in measured if row["model"] == model]) for model in MODELS]
    if not all(ours and others for ours, others in by_model):
        return []
    rates = [ours[0]["requests_s"] / max(row["requests_s"] for row in others) for ours, others in by_model]
    times = [ours[0]["alone_p50_s"] / min(row["alone_p50_s"] for row in others) for ours, others in by_model]
    return [floor("serving_rps_ratio", ">=", 5.0, min(rates)), floor("serving_p50_ratio", "<=", 1 / 3, max(times))]


def _split(rows: Sequence[Mapping[str, Any]]) -> tuple[list[Mapping[str, Any]], list[Mapping[str, Any]]]:
    ours = [row for row in rows if row["server"] == OURS.name]
    return ours, [row for row in rows if row["server"] != OURS.name]


def _absent(model: str, server: Server) -> dict[str, Any]:
    return {"model": model, "server": server.name, "setup": "not installed"}


def _require(*packages: str) -> None:
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(
            f"the other servers host SpikingJelly's model, and {' and '.join(missing)} cannot be imported; docs/serving.md "
            "says how to make an environment with them, from which this is run"
        )
