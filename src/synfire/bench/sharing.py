"""Many fine-tuned variants of one backbone served at once: what they take beside one of them, and what a request takes."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from synfire.base.errors import PermanentError
from synfire.bench.benchmark import BENCHMARKS, Benchmark, Progress, Report, Settings, floor, quartiles_of, report
from synfire.bench.command import Commanded, commanded
from synfire.bench.load import Job, infer_request, measure
from synfire.formats import write_bundle
from synfire.graph import Graph, flatten
from synfire.graph.passes import simplify
from synfire.ops import Array
from synfire.ops.linear import Linear
from synfire.testing.zoo import answers, inputs_of
from synfire.wire.batch_axis import batch_first
from synfire.wire.client import Client
from synfire.zoo import find, sample

MODEL, HEAD = "svgg-mnist", "head"

VARIANTS, QUICK_VARIANTS = 100, 3

COMPARED = 5
"""Of so many variants answers are compared with those of the uncut model in this process."""

TURNS = 5
"""How often each variant is asked in a round, one after the other, and the model alone between any two of them."""

ALONE = "alone, before "


@dataclass(frozen=True)
class Variants:
    """The backbone with heads of their own, as bundles in a folder."""

    graphs: Mapping[str, Graph]
    folder: Path

    @classmethod
    def write(cls, folder: Path, count: int, seed: int) -> Variants:
        """The zoo's model, and `count` − 1 whose last synapse is trained on by chance."""
        backbone, rng = flatten(find(MODEL).graph), np.random.default_rng(seed)
        graphs = {f"v{i:03}": _tuned(backbone, rng) if i else backbone for i in range(count)}
        for name, graph in graphs.items():
            write_bundle(graph, folder / name)
        return cls(graphs, folder)

    @property
    def heads_bytes(self) -> int:
        """What the heads take that one variant has not."""
        return sum(graph.operator(HEAD).parameter_bytes for graph in list(self.graphs.values())[1:])

    def words(self, names: Sequence[str]) -> list[str]:
        """Some of them, as `synfire serve` takes them."""
        return [*(f"{name}={self.folder / name}" for name in names), "--workers", "1"]

    def requests(self, url: str, names: Sequence[str]) -> dict[str, str]:
        """The same request to each of these, for the load generator."""
        return {name: infer_request(url, name, self._sent(name)) for name in names}

    def compare(self, url: str) -> int:
        """How many answers were compared, each to the bit. Raises `PermanentError` where one is not that of the uncut model."""
        names = list(self.graphs)[:: max(1, len(self.graphs) // COMPARED)]
        with Client(url) as client:
            for name in names:
                graph = simplify(self.graphs[name])
                right = answers(graph, _image(graph))
                found = client.infer(name, self._sent(name)).outputs
                if any(not np.array_equal(found[output], array) for output, array in right.items()):
                    raise PermanentError(
                        f"variant {name} does not answer what it answers uncut; its weights are mixed up"
                    )
        return len(names)

    def _sent(self, name: str) -> dict[str, Array]:
        graph = self.graphs[name]
        return batch_first(graph.inputs, inputs_of(graph, _image(graph)))


class Sharing(Benchmark):
    """Memory is that of all processes of a deployment, by shares, after every model has answered."""

    name = "sharing"
    about = f"{VARIANTS} variants of one backbone served at once: memory and latency against one of them"

    def measure(self, settings: Settings, progress: Progress) -> Report:
        count, rounds = (QUICK_VARIANTS, 1) if settings.quick else (VARIANTS, 7)
        with tempfile.TemporaryDirectory(prefix="sf-variants-") as folder:
            progress("writing the variants")
            variants = Variants.write(Path(folder), count, settings.seed)
            one, all_ = list(variants.graphs)[:1], list(variants.graphs)
            progress("warming up: kernels are compiled, each variant is built and measured")
            _taken(variants, all_)
            progress("one variant")
            alone = _taken(variants, one)
            progress(f"{count} variants")
            with commanded(variants.words(all_)) as together:
                many = _row(variants, together, all_)
                progress("requests to one and to all of them, in turns")
                with commanded(variants.words(one)) as single:
                    times = _in_turns(variants, single, together, rounds)
        ratio = many["memory_bytes"] / (alone["memory_bytes"] + variants.heads_bytes)
        slower = quartiles_of("p50_ratio", [b / a for a, b in zip(*times, strict=True)])
        rows = [{**alone, **quartiles_of("p50_s", times[0])}, {**many, **quartiles_of("p50_s", times[1]), **slower}]
        floors = [
            floor("sharing_memory_ratio", "<=", 1.3, ratio),
            floor("sharing_p50_ratio", "<=", 1.1, slower["p50_ratio"]),
        ]
        details = {"model": MODEL, "rounds": rounds, "heads_bytes": variants.heads_bytes, "memory_ratio": ratio}
        return report(self.name, settings, {**details, **slower}, rows, floors)


BENCHMARKS.add(Sharing.name, Sharing())


def _tuned(graph: Graph, rng: np.random.Generator) -> Graph:
    head = graph.operator(HEAD)
    if not isinstance(head, Linear):
        raise PermanentError(
            f"{HEAD} of {MODEL} is no {Linear.__name__}; name its last synapse in synfire.bench.sharing"
        )
    noise = rng.normal(scale=0.01, size=head.weight.shape)
    tuned = Linear((head.weight + noise).astype(np.float32), head.bias)
    return replace(graph, operators={**graph.operators, HEAD: tuned})


def _image(graph: Graph) -> Array:
    (given,) = sample(graph).values()
    return given


def _taken(variants: Variants, names: Sequence[str]) -> dict[str, Any]:
    """What some variants take that are served by themselves."""
    with commanded(variants.words(names)) as served:
        return _row(variants, served, names)


def _row(variants: Variants, served: Commanded, names: Sequence[str]) -> dict[str, Any]:
    measure(Job(url=served.url, requests=variants.requests(served.url, names), rounds=TURNS))
    compared = variants.compare(served.url) if len(names) > 1 else 0
    return {
        "variants": len(names),
        "start_s": served.ready_s - served.begun_s,
        "memory_bytes": served.memory_bytes(),
        "compared": compared,
    }


def _in_turns(
    variants: Variants, single: Commanded, together: Commanded, rounds: int
) -> tuple[list[float], list[float]]:
    """Each round's p50 of requests to one variant alone, and of as many that are spread over all, each after one of the former."""
    first, *_ = variants.graphs
    (alone,) = variants.requests(single.url, [first]).values()
    spread = variants.requests(together.url, list(variants.graphs))
    requests = {each: request for name in spread for each, request in ((f"{ALONE}{name}", alone), (name, spread[name]))}
    urls = {name: single.url for name in requests if name.startswith(ALONE)}
    found: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        turns = measure(Job(url=together.url, requests=requests, rounds=TURNS, urls=urls)).turns
        for p50s, names in zip(found, (urls, spread), strict=True):
            p50s.append(statistics.median(seconds for name in names for seconds in turns[name]))
    return found
