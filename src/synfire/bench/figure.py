"""Plots as SVG, without a plotting library: curves over a logarithmic axis, and timelines."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from synfire.base.svg import colour, page, text
from synfire.plan.costs import format_seconds

WIDTH, LEFT, RIGHT = 720, 96, 24
"""Width of a figure, and what is left of and right of its plots, in pixels."""

PLOT, TOP, FOOT = 300, 56, 48
"""Height of a plot, of the title above it, and of the axis beneath it."""

ROW, LABEL = 20, 60
"""Height of a bar of a timeline with its gap, and width of what stands beside it."""

SHORTEST_S = 1e-6
"""Shorter times than this have no place on a logarithmic axis, and are drawn at its beginning."""


@dataclass(frozen=True)
class Limit:
    """A point that a curve must pass on its left: `share` of the values within `seconds`."""

    seconds: float
    share: float
    label: str


@dataclass(frozen=True)
class Span:
    """A bar of a timeline, in seconds from its beginning."""

    name: str
    begin_s: float
    end_s: float


def cumulative(title: str, axis: str, curves: Mapping[str, Sequence[float]], limits: Sequence[Limit] = ()) -> str:
    """How large a share of each curve's seconds lies within a time: one step a value, over decades of seconds.

    There is at least one curve, and each has at least one value.
    """
    curves = {name: [max(value, SHORTEST_S) for value in curve] for name, curve in curves.items()}
    values = [value for curve in curves.values() for value in curve] + [limit.seconds for limit in limits]
    low, high = math.floor(math.log10(min(values)) * 2) / 2, math.ceil(math.log10(max(values)) * 2) / 2
    scale = _Logarithmic(low, max(high, low + 0.5))
    body = [*_share_axis(), *scale.ticks(TOP, TOP + PLOT), text(_middle(), TOP + PLOT + 38, axis, "small", "middle")]
    for i, (name, curve) in enumerate(curves.items()):
        body += _steps(scale, sorted(curve), colour(i))
        body += _key(i, f"{name} ({len(curve)})")
    for limit in limits:
        x, y = scale.x(limit.seconds), _share_y(limit.share)
        body.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" fill="none" stroke="#e15759" stroke-width="2"/>')
        body.append(text(x + 9, y + 14, limit.label, "small"))
    return page(title, WIDTH, TOP + PLOT + FOOT, LEFT, body)


def lines(title: str, axis: str, curves: Mapping[str, Sequence[tuple[float, float]]]) -> str:
    """Curves through points, both axes logarithmic; every number is above 0, and there is at least one curve."""
    across, up = (_Decades.over([point[i] for curve in curves.values() for point in curve]) for i in (0, 1))
    body = [*_grid(across, up), text(_middle(), TOP + PLOT + 38, axis, "small", "middle")]
    for i, (name, curve) in enumerate(curves.items()):
        points = " ".join(f"{across.at(x, LEFT, WIDTH - RIGHT):.1f},{up.at(y, TOP + PLOT, TOP):.1f}" for x, y in curve)
        body.append(f'<polyline points="{points}" fill="none" stroke="{colour(i)}" stroke-width="2"/>')
        body += _key(i, name, TOP + PLOT + FOOT)
    return page(title, WIDTH, TOP + PLOT + FOOT + 18 * len(curves) + 18, LEFT, body)


def timelines(title: str, charts: Mapping[str, Sequence[Span]]) -> str:
    """A chart under the other, each with its own scale: bars in the order in which they are given."""
    body, y = [], TOP
    for i, (name, spans) in enumerate(charts.items()):
        bottom = y + 18 + ROW * len(spans)
        scale = _Linear(max(span.end_s for span in spans))
        body += [text(LEFT, y + 8, name), *scale.ticks(y + 18, bottom)]
        for row, span in enumerate(spans):
            body += _bar(scale, span, y + 18 + ROW * row, colour(i))
        y = bottom + FOOT
    return page(title, WIDTH, y, LEFT, body)


@dataclass(frozen=True)
class _Logarithmic:
    low: float
    high: float

    def x(self, seconds: float) -> float:
        return LEFT + (math.log10(seconds) - self.low) / (self.high - self.low) * (WIDTH - LEFT - RIGHT)

    def ticks(self, top: float, bottom: float) -> Iterator[str]:
        for decade in range(math.floor(self.low), math.ceil(self.high) + 1):
            for factor in (1, 2, 5):
                seconds = factor * 10.0**decade
                if self.low - 1e-9 <= math.log10(seconds) <= self.high + 1e-9:
                    yield from _tick(self.x(seconds), top, bottom, format_seconds(seconds))


@dataclass(frozen=True)
class _Decades:
    """A logarithmic axis of whole decades."""

    low: int
    high: int

    @classmethod
    def over(cls, values: Sequence[float]) -> _Decades:
        low = math.floor(math.log10(min(values)))
        return cls(low, max(math.ceil(math.log10(max(values))), low + 1))

    def at(self, value: float, begin: float, end: float) -> float:
        return begin + (math.log10(value) - self.low) / (self.high - self.low) * (end - begin)

    @property
    def ticks(self) -> list[float]:
        return [10.0**decade for decade in range(self.low, self.high + 1)]


@dataclass(frozen=True)
class _Linear:
    longest_s: float

    def x(self, seconds: float) -> float:
        return LEFT + seconds / self.longest_s * (WIDTH - LEFT - RIGHT)

    def ticks(self, top: float, bottom: float) -> Iterator[str]:
        raw = self.longest_s / 6
        unit = 10 ** math.floor(math.log10(raw))
        step = next(factor * unit for factor in (1, 2, 5, 10) if factor * unit >= raw)
        for i in range(int(self.longest_s / step + 1e-9) + 1):
            yield from _tick(self.x(i * step), top, bottom, format_seconds(i * step) if i else "0")


def _share_y(share: float) -> float:
    return TOP + (1 - share) * PLOT


def _share_axis() -> Iterator[str]:
    for percent in (0, 25, 50, 75, 100):
        y = _share_y(percent / 100)
        yield f'<path class="grid" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>'
        yield text(LEFT - 8, y + 4, f"{percent} %", "small", "end")


def _grid(across: _Decades, up: _Decades) -> Iterator[str]:
    for value in across.ticks:
        yield from _tick(across.at(value, LEFT, WIDTH - RIGHT), TOP, TOP + PLOT, f"{value:.0e}".replace("e+0", "e"))
    for value in up.ticks:
        y = up.at(value, TOP + PLOT, TOP)
        yield f'<path class="grid" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>'
        yield text(LEFT - 8, y + 4, f"{value:g}", "small", "end")


def _steps(scale: _Logarithmic, ordered: Sequence[float], tint: str) -> Iterator[str]:
    path = f"M{scale.x(ordered[0]):.1f} {_share_y(0):.1f}"
    for i, value in enumerate(ordered):
        path += f"H{scale.x(value):.1f}V{_share_y((i + 1) / len(ordered)):.1f}"
    yield f'<path d="{path}" fill="none" stroke="{tint}" stroke-width="2"/>'


def _key(i: int, name: str, top: float = TOP) -> Iterator[str]:
    y = top + 18 + 18 * i
    yield f'<rect x="{LEFT + 12}" y="{y - 9}" width="16" height="4" fill="{colour(i)}"/>'
    yield text(LEFT + 34, y - 3, name)


def _bar(scale: _Linear, span: Span, y: float, tint: str) -> Iterator[str]:
    """The bar, its name on the left, and its length behind it, or before it where the plot ends."""
    x, end = scale.x(span.begin_s), scale.x(span.end_s)
    yield text(LEFT - 8, y + 14, span.name, "small", "end")
    yield f'<rect x="{x:.1f}" y="{y + 4:.1f}" width="{max(1.0, end - x):.1f}" height="{ROW - 8}" fill="{tint}"/>'
    length = format_seconds(span.end_s - span.begin_s)
    if end < WIDTH - RIGHT - LABEL or x < LEFT + LABEL:
        yield text(min(end, WIDTH - RIGHT - LABEL) + 6, y + 14, length, "small")
    else:
        yield text(x - 6, y + 14, length, "small", "end")


def _tick(x: float, top: float, bottom: float, label: str) -> Iterator[str]:
    yield f'<path class="grid" d="M{x:.1f} {top}V{bottom}"/>'
    yield text(x, bottom + 18, label, "small", "middle")


def _middle() -> float:
    return (LEFT + WIDTH - RIGHT) / 2
