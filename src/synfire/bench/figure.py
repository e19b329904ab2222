"""Plots as SVG, without a plotting library: curves over a logarithmic axis, and timelines."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

from synfire.plan.costs import format_seconds

WIDTH, LEFT, RIGHT = 720, 96, 24
"""Width of a figure, and what is left of and right of its plots, in pixels."""

PLOT, TOP, FOOT = 300, 56, 48
"""Height of a plot, of the title above it, and of the axis beneath it."""

ROW, LABEL = 20, 60
"""Height of a bar of a timeline with its gap, and width of what stands beside it."""

SHORTEST_S = 1e-6
"""Shorter times than this have no place on a logarithmic axis, and are drawn at its beginning."""

COLOURS = ("#4e79a7", "#f28e2b", "#59a14f", "#b07aa1", "#76b7b2", "#e15759", "#edc948", "#9c755f")
"""Each is readable on white and on black."""

STYLE = """
text { font: 12px ui-sans-serif, system-ui, sans-serif; fill: #24292f; }
.small { font-size: 11px; fill: #57606a; } .title { font-size: 15px; font-weight: 600; }
.axis { stroke: #808891; fill: none; } .grid { stroke: #808891; stroke-opacity: 0.25; }
@media (prefers-color-scheme: dark) { text { fill: #e6edf3; } .small { fill: #9da7b1; } }
"""


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
    body = [*_share_axis(), *scale.ticks(TOP, TOP + PLOT), _text(_middle(), TOP + PLOT + 38, axis, "small", "middle")]
    for i, (name, curve) in enumerate(curves.items()):
        body += _steps(scale, sorted(curve), COLOURS[i % len(COLOURS)])
        body += _key(i, f"{name} ({len(curve)})", COLOURS[i % len(COLOURS)])
    for limit in limits:
        x, y = scale.x(limit.seconds), _share_y(limit.share)
        body.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" fill="none" stroke="#e15759" stroke-width="2"/>')
        body.append(_text(x + 9, y + 14, limit.label, "small"))
    return _svg(title, TOP + PLOT + FOOT, body)


def timelines(title: str, charts: Mapping[str, Sequence[Span]]) -> str:
    """A chart under the other, each with its own scale: bars in the order in which they are given."""
    body, y = [], TOP
    for i, (name, spans) in enumerate(charts.items()):
        bottom = y + 18 + ROW * len(spans)
        scale = _Linear(max(span.end_s for span in spans))
        body += [_text(LEFT, y + 8, name), *scale.ticks(y + 18, bottom)]
        for row, span in enumerate(spans):
            body += _bar(scale, span, y + 18 + ROW * row, COLOURS[i % len(COLOURS)])
        y = bottom + FOOT
    return _svg(title, y, body)


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
        yield _text(LEFT - 8, y + 4, f"{percent} %", "small", "end")


def _steps(scale: _Logarithmic, ordered: Sequence[float], colour: str) -> Iterator[str]:
    path = f"M{scale.x(ordered[0]):.1f} {_share_y(0):.1f}"
    for i, value in enumerate(ordered):
        path += f"H{scale.x(value):.1f}V{_share_y((i + 1) / len(ordered)):.1f}"
    yield f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="2"/>'


def _key(i: int, name: str, colour: str) -> Iterator[str]:
    y = TOP + 18 + 18 * i
    yield f'<rect x="{LEFT + 12}" y="{y - 9}" width="16" height="4" fill="{colour}"/>'
    yield _text(LEFT + 34, y - 3, name)


def _bar(scale: _Linear, span: Span, y: float, colour: str) -> Iterator[str]:
    """The bar, its name on the left, and its length behind it, or before it where the plot ends."""
    x, end = scale.x(span.begin_s), scale.x(span.end_s)
    yield _text(LEFT - 8, y + 14, span.name, "small", "end")
    yield f'<rect x="{x:.1f}" y="{y + 4:.1f}" width="{max(1.0, end - x):.1f}" height="{ROW - 8}" fill="{colour}"/>'
    length = format_seconds(span.end_s - span.begin_s)
    if end < WIDTH - RIGHT - LABEL or x < LEFT + LABEL:
        yield _text(min(end, WIDTH - RIGHT - LABEL) + 6, y + 14, length, "small")
    else:
        yield _text(x - 6, y + 14, length, "small", "end")


def _tick(x: float, top: float, bottom: float, label: str) -> Iterator[str]:
    yield f'<path class="grid" d="M{x:.1f} {top}V{bottom}"/>'
    yield _text(x, bottom + 18, label, "small", "middle")


def _middle() -> float:
    return (LEFT + WIDTH - RIGHT) / 2


def _text(x: float, y: float, text: str, style: str = "", anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{style}" text-anchor="{anchor}">{escape(text)}</text>'


def _svg(title: str, height: float, body: Sequence[str]) -> str:
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" width="{WIDTH}" height="{height:.0f}" '
        f'role="img" aria-label="{escape(title, {chr(34): "&quot;"})}">'
    )
    return "\n".join([head, f"<style>{STYLE}</style>", _text(LEFT, 28, title, "title"), *body, "</svg>"]) + "\n"
