"""Why a plan is what it is, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from synfire.graph import Graph
from synfire.plan.costs import Costs, format_bytes, format_seconds
from synfire.plan.cut import Group, crossing, join
from synfire.plan.predict import Prediction


@dataclass(frozen=True)
class Candidate:
    """One way to cut and place a model, with the prediction for each frame size that was tried.

    `pieces` are the groups that were placed; fewer are left where neighbours on one worker were fused.
    """

    groups: tuple[Group, ...]
    workers: tuple[str, ...]
    frame_steps: int
    tried: Mapping[int, Prediction]
    pieces: tuple[Group, ...]

    @property
    def prediction(self) -> Prediction:
        return self.tried[self.frame_steps]

    def least_s(self, objective: str) -> float:
        """The least of `Prediction.seconds`, of all frame sizes."""
        return min(each.seconds(objective) for each in self.tried.values())


def reasons(
    graph: Graph, granularity: str, candidates: Sequence[Candidate], best: Candidate, costs: Costs
) -> tuple[str, ...]:
    """One sentence a decision: the cut as a whole, each cut, the placement, the frame size."""
    found = [_rule(granularity, best)]
    if granularity == "auto" and all(len(each.groups) > 1 for each in candidates):
        found.append("not cut it would not fit: no worker has the memory for the whole model")
    found += _compared(graph, candidates, best, costs)
    found += [_cut_reason(graph, best, i, costs) for i in range(len(best.groups) - 1)]
    found += _kept_together(graph, best)
    found += _placement(best, costs)
    found.append(_frames(best, costs))
    return tuple(found)


def _rule(granularity: str, best: Candidate) -> str:
    stages = f"{len(best.groups)} stage{'s' if len(best.groups) > 1 else ''}"
    fused = (
        f"; the {len(best.pieces)} pieces are fused where neighbours share a worker"
        if len(best.pieces) > len(best.groups)
        else ""
    )
    rules = {
        "given": f"{stages}, as they were asked for",
        "model": "not cut: granularity model keeps all operators in one stage",
        "operator": f"{stages}: every operator was placed on its own{fused}",
        "block": f"{stages}: every block was placed on its own, cut behind neuron layers where one signal of spikes or "
        f"counts crosses; not cut elsewhere, because floats or more than one signal would cross{fused}",
        "auto": f"{stages}: cut where that is predicted to be best; every further cut would only add a hop"
        if len(best.groups) > 1
        else "not cut: no cut is predicted to be faster by more than 3 %",
    }
    return rules[granularity]


def _compared(graph: Graph, candidates: Sequence[Candidate], best: Candidate, costs: Costs) -> list[str]:
    """For `auto`: what the cuts that were not chosen would have given."""
    return [
        f"{_described(graph, each, costs)} it would take {format_seconds(each.prediction.latency_s)} a request "
        f"against {format_seconds(best.prediction.latency_s)}"
        for each in candidates
        if each is not best
    ]


def _described(graph: Graph, candidate: Candidate, costs: Costs) -> str:
    if len(candidate.groups) == 1:
        return "not cut"
    places = ", ".join(
        f"after {group[-1]} ({_load(graph, crossing(graph, join(candidate.groups[: i + 1])), costs)})"
        for i, group in enumerate(candidate.groups[:-1])
    )
    return f"cut {places}"


def _cut_reason(graph: Graph, best: Candidate, i: int, costs: Costs) -> str:
    """`cut after lif3: 1.1 kB of spikes per step (bitmap, 8 % of them set) against 100 kB one operator earlier (conv3)`."""
    before = join(best.groups[: i + 1])
    sources = crossing(graph, before)
    last = best.groups[i][-1]
    text = f"cut after {last}: {_load(graph, sources, costs)}"
    earlier = crossing(graph, before[:-1])
    if len(best.groups[i]) > 1 and _bytes(graph, earlier, costs) > 1.5 * _bytes(graph, sources, costs):
        text += f" against {format_bytes(_bytes(graph, earlier, costs))} one operator earlier"
    return text


def _load(graph: Graph, sources: Sequence[str], costs: Costs) -> str:
    """What crosses, in words."""
    if not sources:
        return "nothing crosses"
    words = []
    for source in sources:
        signal, encoded = graph.signals()[source], costs.encoded(graph, source)
        how = f"{encoded.encoding}, {encoded.density:.0%} set" if signal.kind == "spike" else encoded.encoding
        clock = "step" if signal.timed else "request"
        words.append(f"{format_bytes(encoded.bytes)} of {signal.kind}s per {clock} ({how})")
    return " and ".join(words)


def _bytes(graph: Graph, sources: Sequence[str], costs: Costs) -> float:
    return sum(costs.encoded(graph, source).bytes for source in sources)


def _kept_together(graph: Graph, best: Candidate) -> list[str]:
    """Cycles and encoders, which no granularity parts."""
    home = {name: i for i, group in enumerate(best.groups) for name in group}
    back = [s for s in graph.synapses if s.delay_steps and s.source in home and _is_earlier(graph, s.target, s.source)]
    if not back:
        return []
    words = ", ".join(f"{s.target} … {s.source}" for s in back[:3])
    return [f"kept together: {words}, because a cycle's state is stepped in one place"]


def _is_earlier(graph: Graph, first: str, second: str) -> bool:
    order = graph.order()
    return order.index(first) <= order.index(second)


def _placement(best: Candidate, costs: Costs) -> list[str]:
    """What each worker has to do, and what crosses between workers."""
    total = sum(costs.block_s(group, 1) for group in best.groups) or 1.0
    words = []
    for worker in dict.fromkeys(best.workers):
        mine = [group for group, each in zip(best.groups, best.workers, strict=True) if each == worker]
        seconds = sum(costs.block_s(group, 1) for group in mine)
        stages = f"{len(mine)} stage{'s' if len(mine) > 1 else ''}"
        words.append(
            f"{worker} runs {stages}, {mine[0][0]} to {mine[-1][-1]}: {format_seconds(seconds)} of a request's "
            f"{format_seconds(total)} ({seconds / total:.0%})"
        )
    return words


def _frames(best: Candidate, costs: Costs) -> str:
    """Why so many steps travel in one frame."""
    size, predicted = best.frame_steps, best.prediction
    text = f"frames of {size} of {costs.steps} steps: {format_seconds(predicted.latency_s)} a request"
    others = [each for each in best.tried if each != size]
    if others:
        nearest = min(others, key=lambda each: best.tried[each].latency_s)
        text += f"; frames of {nearest} would take {format_seconds(best.tried[nearest].latency_s)}"
    granted = f", with {costs.threads} threads for each worker" if costs.threads > 1 else ""
    return text + f"; up to {predicted.requests_s:.0f} requests a second{granted}"
