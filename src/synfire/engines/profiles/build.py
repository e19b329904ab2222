"""Building a profile: compile it, and measure on real inputs how fast it is and how well it answers."""

from __future__ import annotations

import hashlib
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import numpy as np

from synfire.base import paths
from synfire.base.errors import PermanentError
from synfire.devices import DEVICES
from synfire.engines.engine import PROCESSOR
from synfire.engines.profiles.cache import keep, recalled
from synfire.engines.profiles.profile import Profile
from synfire.engines.profiles.whole import Part, Whole, parts_of, scores_of
from synfire.engines.samples import FEW, Samples, Source
from synfire.engines.version import engines_version
from synfire.graph import Graph
from synfire.ops import Array, Kind

BATCHES = (1, 16)
"""How many samples are computed together when speed is measured, where there are so many."""

ENOUGH_S, REPEATS = 0.15, 5
"""A time is the median of so many calls, and of more as long as they have not taken so many seconds."""

BUDGET_S = 5.0
"""How long a profile that is not exact is compared with the exact one. What was compared until then counts."""

Tell = Callable[[str, float], None]
"""(what is being done, the share that is done)."""


class Likeness(msgspec.Struct, frozen=True, kw_only=True):
    """How a profile that is not exact does beside the exact one, on the same `samples`.

    `spikes` is the share of the spikes, of those that either fires, that both fire; `answers` the share of the samples that
    both put in the same class; accuracies are the shares that are in their right one. None where a model has no such thing, or nobody knows
    the right classes.
    """

    samples: int
    spikes: float | None = None
    answers: float | None = None
    accuracy: float | None = None
    exact_accuracy: float | None = None


class Built(msgspec.Struct, frozen=True, kw_only=True):
    """A profile as it was built and measured on this machine: seconds of a call by the samples in it, all time steps."""

    profile: str
    build_s: float
    seconds: dict[int, float]
    likeness: Likeness | None = None


def known(profile: Profile, source: Source) -> Built | None:
    """What was measured before on these samples, this kind of processor and device with these engines; None where nothing was."""
    try:
        file = _file(profile, source)
    except PermanentError:  # its device is not here
        return None
    found = recalled(file, Built)
    return found if found is not None and found.profile == profile.id else None


def build(graph: Graph, profile: Profile, source: Source, tell: Tell = lambda what, share: None) -> Built:
    """`known`, or build the flat, simplified graph and measure it now. Raises `UserError` for what the engine cannot run."""
    found = known(profile, source)
    if found is None:
        found = _measured(graph, profile, source, tell)
        keep(_file(profile, source), found)
    return found


def _measured(graph: Graph, profile: Profile, source: Source, tell: Tell) -> Built:
    tell("compiling", 0.0)
    began_s = time.perf_counter()
    parts = parts_of(graph, profile)
    whole = Whole(graph, parts)
    whole.warm()
    build_s = time.perf_counter() - began_s
    given, seconds = source.read(FEW if profile.exact else None), {}
    for k, batch in enumerate(each for each in BATCHES if each <= (given.count if given.batched else 1)):
        tell(f"measuring batches of {batch}", 0.1 + 0.2 * k)
        seconds[batch] = _time(whole, graph, given, batch)
    likeness = None if profile.exact else _likeness(graph, parts, given, tell)
    tell("built", 1.0)
    return Built(profile=profile.id, build_s=build_s, seconds=seconds, likeness=likeness)


def _time(whole: Whole, graph: Graph, given: Samples, batch: int) -> float:
    """Median seconds of a call, on another part of the samples each time."""
    times: list[float] = []
    whole.run(given.part(graph, 0, batch), batch, given.steps)
    while len(times) < REPEATS or sum(times) < ENOUGH_S:
        inputs = given.part(graph, len(times) * batch % (given.count - batch + 1), batch)
        start_s = time.perf_counter()
        whole.run(inputs, batch, given.steps)
        times.append(time.perf_counter() - start_s)
    return statistics.median(times)


def _likeness(graph: Graph, parts: list[Part], given: Samples, tell: Tell) -> Likeness:
    """Run both over the samples, some at a time, until all are done or the budget is spent."""
    layers = [name for name in graph.order() if _fires(graph, name)]
    seen = Graph(
        graph.operators, graph.synapses, graph.inputs, {**graph.outputs, **{f"layer/{each}": each for each in layers}}
    )
    ours, exact = Whole(seen, parts), Whole(seen, [(tuple(graph.order()), PROCESSOR)])
    both = either = done = 0
    classes: list[tuple[Array, Array]] = []
    for inputs, batch in _blocks(graph, given):
        found, right = ours.run(inputs, batch, given.steps), exact.run(inputs, batch, given.steps)
        for each in layers:
            one, other = found[f"layer/{each}"], right[f"layer/{each}"]
            both += int(np.count_nonzero(one & other))
            either += int(np.count_nonzero(one | other))
        if scores_of(graph) is not None:
            classes.append((ours.classes(found), exact.classes(right)))
        done += batch
        tell("comparing with float32", 0.4 + 0.6 * done / given.count)
    said, wanted = (np.concatenate(each) for each in zip(*classes, strict=True)) if classes else (None, None)
    truth = None if given.labels is None else given.labels[:done]
    return Likeness(
        samples=done,
        spikes=both / either if either else None,
        answers=_share(said, wanted),
        accuracy=_share(said, truth),
        exact_accuracy=_share(wanted, truth),
    )


def _blocks(graph: Graph, given: Samples) -> Iterator[tuple[dict[str, Array], int]]:
    """The samples, some at a time, for as long as there is time."""
    size = BATCHES[-1] if given.batched else 1
    began_s = time.perf_counter()
    for start in range(0, given.count, size):
        batch = min(size, given.count - start)
        yield given.part(graph, start, batch), batch
        if time.perf_counter() - began_s > BUDGET_S:
            return


def _share(found: Array | None, wanted: Array | None) -> float | None:
    return None if found is None or wanted is None else float(np.mean(found == wanted))


def _fires(graph: Graph, name: str) -> bool:
    """Whether it is a neuron layer: it has a state, and emits spikes."""
    state = graph.operator(name).initial_state(1, *graph.signals_into(name))
    return bool(state) and graph.signals()[name].kind is Kind.SPIKE


def _file(profile: Profile, source: Source) -> Path:
    """By profile, samples, engines, processor and device: what is measured on one may be wrong for another.

    Raises `PermanentError` where the device is not here.
    """
    found = [DEVICES[device].describe() for device in dict.fromkeys((PROCESSOR, profile.device))]
    key = "\n".join(
        [
            engines_version(),
            source.digest,
            *(word for each in found for word in (each.model, str(each.cores), *each.features)),
        ]
    )
    return paths.cache() / "profiles" / f"{profile.id[:32]}-{hashlib.sha256(key.encode()).hexdigest()[:16]}.json"
