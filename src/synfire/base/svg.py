"""What all pictures share: their colours, their style, and how a page and a text are written as SVG."""

from __future__ import annotations

from collections.abc import Iterable
from xml.sax.saxutils import escape

COLOURS = ("#4e79a7", "#f28e2b", "#59a14f", "#b07aa1", "#76b7b2", "#e15759", "#edc948", "#9c755f")
"""One a worker, or a curve; each is readable on white and on black."""

STYLE = """
text { font: 13px ui-sans-serif, system-ui, sans-serif; fill: #24292f; }
.small { font-size: 11px; fill: #57606a; } .title { font-size: 16px; font-weight: 600; }
.wire { stroke: #808891; fill: none; stroke-width: 1.4; } .delayed { stroke-dasharray: 4 3; }
.node { fill: #808891; } .grid { stroke: #808891; stroke-opacity: 0.25; }
@media (prefers-color-scheme: dark) { text { fill: #e6edf3; } .small { fill: #9da7b1; } }
"""


def colour(i: int) -> str:
    """The colour of the i-th worker or curve; after the last one they begin again."""
    return COLOURS[i % len(COLOURS)]


def text(x: float, y: float, words: str, style: str = "", anchor: str = "start") -> str:
    """Words at a place, in pixels; `style` is a class of `STYLE`."""
    return f'<text x="{number(x)}" y="{number(y)}" class="{style}" text-anchor="{anchor}">{escape(words)}</text>'


def page(title: str, width: float, height: float, left: float, body: Iterable[str]) -> str:
    """A whole picture: its title, `left` pixels from the edge, and what stands in it."""
    w, h = number(width), number(height)
    label = escape(title, {'"': "&quot;"})
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {w} {h}" width="{w}" height="{h}" role="img" '
        f'aria-label="{label}">'
    )
    return "\n".join([head, f"<style>{STYLE}</style>", text(left, 28, title, "title"), *body, "</svg>"]) + "\n"


def number(value: float) -> str:
    """A length with a tenth of a pixel, where it has one."""
    return f"{value:.1f}".removesuffix(".0")
