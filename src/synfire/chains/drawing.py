"""A chain as SVG: a box for each step, in columns by how soon it can run, and a wire for all that one reads of another."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from synfire.base.svg import colour, page, text
from synfire.chains.chain import REQUEST, Step
from synfire.chains.joined import Joined
from synfire.chains.ordering import needs

LEFT, TOP, GAP, HEIGHT, BETWEEN = 24, 64, 56, 48, 20
"""Margins, the space between columns, and a box's height and the space below it, in pixels."""

LETTER = 7.2
"""Width to reckon with, in pixels a character."""

ANSWER = "answer"


def drawing(joined: Joined) -> str:
    """The SVG of a chain."""
    columns = _columns(joined)
    words = _words(joined)
    places: dict[str, tuple[float, float, float]] = {}
    x = float(LEFT)
    for column in columns:
        width = max(len(line) for name in column for line in words[name]) * LETTER + 24
        for row, name in enumerate(column):
            places[name] = (x, TOP + row * (HEIGHT + BETWEEN), width)
        x += width + GAP
    height = TOP + max(map(len, columns)) * (HEIGHT + BETWEEN)
    told = f"{len(joined.order)} steps; models: {', '.join(joined.chain.called) or 'none'}"
    body = [text(LEFT, 46, told, "small"), *_wires(joined, places), *_boxes(words, places, columns)]
    return page(joined.chain.name, round(x - GAP + LEFT), round(height), LEFT, body)


def _columns(joined: Joined) -> list[list[str]]:
    """The request, then steps by the longest way to them, then the answer."""
    depth: dict[str, int] = {}
    for name in joined.order:
        depth[name] = 1 + max((depth[each] for each in needs(joined.chain.step(name))), default=0)
    steps = [[name for name in joined.order if depth[name] == level] for level in range(1, max(depth.values()) + 1)]
    return [[REQUEST], *steps, [ANSWER]]


def _words(joined: Joined) -> dict[str, tuple[str, str]]:
    """What stands in each box."""
    steps = {name: (name, _told(joined.chain.step(name))) for name in joined.order}
    return {REQUEST: (REQUEST, ", ".join(joined.inputs)), **steps, ANSWER: (ANSWER, ", ".join(joined.outputs))}


def _told(step: Step) -> str:
    return f"{step.does}, when {step.when}" if step.when else str(step.does)


def _boxes(
    words: Mapping[str, tuple[str, str]], places: Mapping[str, tuple[float, float, float]], columns: list[list[str]]
) -> Iterator[str]:
    for number, column in enumerate(columns):
        tint = colour(number)
        for name in column:
            x, y, width = places[name]
            yield (
                f'<rect x="{x:.0f}" y="{y:.0f}" width="{width:.0f}" height="{HEIGHT}" rx="6" fill="{tint}" fill-opacity="0.16" '
                f'stroke="{tint}" stroke-opacity="0.7"/>'
            )
            yield text(round(x) + 12, round(y) + 20, words[name][0])
            yield text(round(x) + 12, round(y) + 38, words[name][1], "small")


def _wires(joined: Joined, places: Mapping[str, tuple[float, float, float]]) -> Iterator[str]:
    pairs = dict.fromkeys(
        (place.step, step.name)
        for step in joined.chain.steps
        for source in step.inputs.values()
        for place in source.places
    )
    pairs |= dict.fromkeys((name, step.name) for step in joined.chain.steps for name in needs(step))
    pairs |= dict.fromkeys((place.step, ANSWER) for source in joined.chain.outputs.values() for place in source.places)
    for start, end in pairs:
        x, y, width = places[start]
        to_x, to_y, _ = places[end]
        from_x, middle = x + width, GAP / 2
        yield (
            f'<path class="wire" d="M{from_x:.0f} {y + HEIGHT / 2:.0f}C{from_x + middle:.0f} {y + HEIGHT / 2:.0f} '
            f'{to_x - middle:.0f} {to_y + HEIGHT / 2:.0f} {to_x - 3:.0f} {to_y + HEIGHT / 2:.0f}"/>'
        )
        yield f'<path class="node" d="M{to_x:.0f} {to_y + HEIGHT / 2:.0f}l-7 -3.5v7z"/>'
