"""How each model of the zoo is trained: one row per name."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Jitter:
    """Random affine change of each training sample, one per sample."""

    degrees: float = 0.0
    shift: float = 0.0
    """Largest shift along each axis, in pixels."""
    zoom: float = 0.0
    """Largest change of size, as a fraction."""


@dataclass(frozen=True)
class Recipe:
    dataset: str
    encoding: str
    """How a sample becomes T steps: `constant`, `bernoulli`, `frames` (it has a time axis), `rows` (of an image)."""
    steps: int
    epochs: int
    rate: float
    """Highest learning rate of the one-cycle schedule."""
    batch: int = 64
    weight_decay: float = 1e-4
    dropout: float = 0.0
    """Share of the input spikes dropped in training."""
    jitter: Jitter | None = None
    base: str | None = None
    """The model whose weights are loaded and frozen; only `head` is trained."""


TINY = Jitter(degrees=4, shift=0.25, zoom=0.04)
SMALL = Jitter(degrees=8, shift=0.5, zoom=0.08)
LIGHT = Jitter(degrees=5, shift=1, zoom=0.05)
MEDIUM = Jitter(degrees=8, shift=1.5, zoom=0.08)

RECIPES: dict[str, Recipe] = {
    "svgg-digits": Recipe("digits", "constant", steps=4, epochs=30, rate=5e-3, jitter=SMALL),
    "sresnet-digits": Recipe("digits", "constant", steps=4, epochs=30, rate=5e-3, jitter=SMALL),
    "scnn-digits": Recipe("digits", "constant", steps=4, epochs=30, rate=5e-3, jitter=SMALL),
    "srnn-digits": Recipe("digits", "rows", steps=8, epochs=120, rate=5e-3, weight_decay=1e-2, jitter=TINY),
    "sgnn-digits": Recipe("digit-graph", "bernoulli", steps=16, epochs=30, rate=5e-3),
    "stransformer-digits": Recipe("digits", "constant", steps=4, epochs=40, rate=5e-3, jitter=SMALL),
    "svgg-mnist": Recipe("mnist", "constant", steps=4, epochs=6, rate=5e-3, batch=128),
    "sresnet-mnist": Recipe("mnist", "constant", steps=4, epochs=8, rate=5e-3, batch=128),
    "scnn-mnist": Recipe("mnist", "constant", steps=4, epochs=6, rate=5e-3, batch=128),
    "stransformer-mnist": Recipe("mnist", "constant", steps=4, epochs=9, rate=5e-3, batch=128, jitter=LIGHT),
    "scnn-nmnist": Recipe("nmnist", "frames", steps=10, epochs=24, rate=3e-3, batch=50, jitter=MEDIUM),
    "srnn-spoken": Recipe("spoken", "frames", steps=48, epochs=60, rate=3e-3),
    "sgnn-cora": Recipe(
        "cora", "bernoulli", steps=32, epochs=100, rate=1e-2, batch=140, weight_decay=5e-2, dropout=0.7
    ),
    "svgg-mnist-parity": Recipe("mnist-parity", "constant", steps=4, epochs=6, rate=1e-2, batch=128, base="svgg-mnist"),
    "svgg-mnist-size": Recipe("mnist-size", "constant", steps=4, epochs=6, rate=1e-2, batch=128, base="svgg-mnist"),
}
