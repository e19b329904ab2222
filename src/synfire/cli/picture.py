"""A graph, its stages and their workers as SVG: a row per operator, so that stages are boxes around rows."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from synfire.base.svg import colour, page, text
from synfire.graph import Graph
from synfire.plan import GATEWAY, Plan
from synfire.plan.costs import format_bytes

ROW, GAP, TOP = 26, 34, 64
"""Height of an operator's row, space between two stages, and head room, in pixels."""

LEFT, NAME, LANE = 24, 60, 14
"""Where boxes and names begin, and how far apart the arcs of skipping synapses run."""

LETTER, SMALL_LETTER = 7.6, 6.2
"""Widths to reckon with, in pixels a character: fonts differ, so a little more than most."""


@dataclass(frozen=True)
class _Columns:
    """Where kinds and signals begin and boxes end, as wide as their longest text."""

    kind: int
    signal: int
    end: int

    @classmethod
    def of(cls, graph: Graph, plan: Plan) -> _Columns:
        kind = NAME + _width([*graph.inputs, *graph.order(), *graph.outputs], LETTER)
        signal = kind + _width([graph.operator(name).kind for name in graph.order()], LETTER)
        end = signal + _width(map(str, graph.signals().values()), SMALL_LETTER) + _width(plan.workers, SMALL_LETTER)
        return cls(kind, signal, end)


def _width(texts: Iterable[str], letter: float) -> int:
    return round(letter * max(map(len, texts))) + 16


def picture(graph: Graph, plan: Plan) -> str:
    """The SVG of a flat graph under a plan."""
    rows, columns = _rows(graph, plan), _Columns.of(graph, plan)
    arcs = _arcs(graph, rows)
    width = columns.end + LANE * (2 + max((lane for *_, lane in arcs), default=0))
    height = max(rows.values()) + GAP
    colours = {worker: colour(i) for i, worker in enumerate(plan.workers)}
    body = [
        text(LEFT, 46, _caption(graph, plan), "small"),
        *_stages(plan, rows, columns, colours),
        *_wires(arcs, columns.end),
        *_operators(graph, rows, columns),
        *_hops(graph, plan, rows),
    ]
    return page(plan.model, width, height, LEFT, body)


def _rows(graph: Graph, plan: Plan) -> dict[str, int]:
    """The height at which each input, operator and output stands."""
    rows: dict[str, int] = {}
    y = TOP + ROW
    for name in graph.inputs:
        rows[name] = y
        y += ROW
    for stage in plan.stages:
        y += GAP
        for name in stage.operators:
            rows[name] = y
            y += ROW
    for name in graph.outputs:
        y += GAP if name == next(iter(graph.outputs)) else ROW
        rows[f"output {name}"] = y
    return rows


def _arcs(graph: Graph, rows: Mapping[str, int]) -> list[tuple[int, int, bool, int]]:
    """`(from, to, delayed, lane)` of each synapse; lane 0 is the straight way to the next row."""
    joined = [(rows[s.source], rows[s.target], s.delay_steps > 0) for s in graph.synapses]
    joined += [(rows[source], rows[f"output {name}"], False) for name, source in graph.outputs.items()]
    order = sorted(rows.values())
    following = dict(itertools.pairwise(order))
    taken: list[list[tuple[int, int]]] = []
    found = []
    for start, end, delayed in sorted(joined, key=lambda each: abs(each[1] - each[0])):
        if following.get(start) == end:
            found.append((start, end, delayed, 0))
            continue
        low, high = min(start, end), max(start, end)
        lane = next((i for i, spans in enumerate(taken) if all(high <= a or b <= low for a, b in spans)), len(taken))
        if lane == len(taken):
            taken.append([])
        taken[lane].append((low, high))
        found.append((start, end, delayed, lane + 1))
    return found


def _stages(plan: Plan, rows: Mapping[str, int], columns: _Columns, colours: Mapping[str, str]) -> Iterator[str]:
    """A tinted box a stage, with its worker's name."""
    for stage in plan.stages:
        ys = [rows[name] for name in stage.operators]
        top, height = min(ys) - ROW + 6, max(ys) - min(ys) + ROW
        tint = colours[stage.worker]
        yield (
            f'<rect x="{LEFT}" y="{top}" width="{columns.end - LEFT}" height="{height}" rx="6" fill="{tint}" '
            f'fill-opacity="0.16" stroke="{tint}" stroke-opacity="0.7"/>'
        )
        yield f'<rect x="{LEFT}" y="{top}" width="5" height="{height}" rx="2" fill="{tint}"/>'
        yield text(columns.end - 8, min(ys), stage.worker, "small", "end")


def _operators(graph: Graph, rows: Mapping[str, int], columns: _Columns) -> Iterator[str]:
    for name, signal in graph.inputs.items():
        yield from _row(columns, rows[name], name, "input", str(signal))
    for name in graph.order():
        yield from _row(columns, rows[name], name, graph.operator(name).kind, str(graph.signals()[name]))
    for name, signal in graph.output_signals().items():
        yield from _row(columns, rows[f"output {name}"], name, "output", str(signal))


def _row(columns: _Columns, y: int, name: str, kind: str, signal: str) -> Iterator[str]:
    yield f'<circle class="node" cx="{NAME - 14}" cy="{y - 4}" r="3.5"/>'
    yield text(NAME, y, name)
    yield text(columns.kind, y, kind)
    yield text(columns.signal, y, signal, "small")


def _wires(arcs: Sequence[tuple[int, int, bool, int]], edge: int) -> Iterator[str]:
    """Straight lines on the left from row to row, arcs on the right for synapses that skip rows or go back."""
    x = NAME - 14
    for start, end, delayed, lane in arcs:
        style = "wire delayed" if delayed else "wire"
        if lane == 0:
            yield f'<path class="{style}" d="M{x} {start - 1}V{end - 8}"/>'
            continue
        right = edge + LANE * lane
        yield (
            f'<path class="{style}" d="M{edge - 2} {start - 4}H{right - 6}Q{right} {start - 4} {right} '
            f"{start - 4 + (6 if end > start else -6)}V{end - 4 + (-6 if end > start else 6)}Q{right} {end - 4} "
            f'{right - 6} {end - 4}H{edge + 3}"/>'
        )
        yield f'<path class="node" d="M{edge - 2} {end - 4}l7 -3.5v7z"/>'


def _hops(graph: Graph, plan: Plan, rows: Mapping[str, int]) -> Iterator[str]:
    """What leaves a stage, beneath its box."""
    for stage in plan.stages:
        sent = {link.source: link for link in plan.links if link.sender == stage.name and link.receiver != GATEWAY}
        if sent:
            size = sum(link.bytes_per_step for link in sent.values())
            clock = "step" if any(graph.signals()[source].timed for source in sent) else "request"
            below = max(rows[name] for name in stage.operators) + 24
            yield text(NAME, below, f"{format_bytes(size)} a {clock}", "small")


def _caption(graph: Graph, plan: Plan) -> str:
    stages, workers = len(plan.stages), len(plan.workers)
    return (
        f"{len(graph.operators)} operators in {stages} stage{'s' * (stages > 1)} on {workers} "
        f"worker{'s' * (workers > 1)}, granularity {plan.granularity}, frames of {plan.frame_steps} steps"
    )
