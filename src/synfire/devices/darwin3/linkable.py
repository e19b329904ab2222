"""What linking is given: images with their slots bound."""

from __future__ import annotations

from dataclasses import dataclass

from synfire.devices.darwin3.image import OperatorImage

DENSITY = 0.1
"""Spikes per neuron and step that placing assumes where nobody measured."""

PieceName = tuple[str, int]
"""Operator and number of the piece."""


@dataclass(frozen=True)
class Linkable:
    """An image with its slots bound: `sources[i]` is who feeds slot i, an operator linked with it or an input of the stage.

    `exported` operators send their spikes outside as well. `density` is their spikes per neuron and step.
    """

    image: OperatorImage
    sources: tuple[str, ...]
    exported: bool = False
    density: float = DENSITY
