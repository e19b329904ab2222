"""The data sets: held-out split, features and encoding of each.

Real data is read from the directory in `SYNFIRE_DATA`, else from `shared/data` beside the repository. The digits come
with scikit-learn. Held-out samples: digits, the last 360 of the 1797 after one shuffle by `numpy.random.default_rng(0)`;
MNIST and N-MNIST, their test sets; spoken digits, takes 0 to 4 of each speaker and digit; Cora, the Planetoid split.
"""

import os
import wave
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import features
import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor

HELD_OUT_DIGITS = 360
NEIGHBOURS = 8
EVENT_STEP_S = 0.03
SPEECH = {
    "sample_rate_hz": 8000.0, "window_s": 0.025, "hop_s": 0.016, "n_fft": 256, "bands": 40, "frames": 48, "floor": 1e-4,
}  # fmt: skip


@dataclass(frozen=True)
class Samples:
    """Inputs `(sample, …)` and class numbers `(sample,)`."""

    x: Tensor
    y: Tensor

    def __len__(self) -> int:
        return len(self.y)


@dataclass(frozen=True)
class Dataset:
    train: Samples
    test: Samples
    statistics: dict[str, list[float]] | None = None


def data_root() -> Path:
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    root = Path(os.environ.get("SYNFIRE_DATA", beside))
    if not root.is_dir():
        raise SystemExit(f"no data at {root}: set SYNFIRE_DATA to the directory that holds mnist/, nmnist/, …")
    return root


def samples(x: np.ndarray, y: np.ndarray) -> Samples:
    return Samples(torch.from_numpy(np.ascontiguousarray(x)), torch.from_numpy(y.astype(np.int64)))


def digit_rows() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Pixels 0…16 as whole numbers `(sample, 64)`: train x, train y, held-out x, held-out y."""
    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(y))
    train, test = order[:-HELD_OUT_DIGITS], order[-HELD_OUT_DIGITS:]
    pixels = x.astype(np.int64)
    return pixels[train], y[train], pixels[test], y[test]


def digits() -> Dataset:
    """8x8 images `(sample, 1, 8, 8)` in [0, 1]."""
    train_x, train_y, test_x, test_y = digit_rows()

    def image(pixels: np.ndarray) -> np.ndarray:
        return (pixels.reshape(-1, 1, 8, 8) / 16).astype(np.float32)

    return Dataset(samples(image(train_x), train_y), samples(image(test_x), test_y))


def digit_graph() -> Dataset:
    """Digits aggregated over their 8 nearest training digits `(sample, 64)`: probabilities for the Bernoulli encoder."""
    train_x, train_y, test_x, test_y = digit_rows()
    degrees = features.knn_degrees(train_x, NEIGHBOURS)
    train = features.knn_aggregate(train_x, train_x, degrees, NEIGHBOURS, 1 / 16, skip_self=True)
    test = features.knn_aggregate(test_x, train_x, degrees, NEIGHBOURS, 1 / 16)
    return Dataset(samples(train, train_y), samples(test, test_y))


def mnist() -> Dataset:
    """28x28 images `(sample, 1, 28, 28)` in [0, 1]."""
    stored = np.load(data_root() / "mnist" / "mnist.npz")

    def split(part: str) -> Samples:
        return samples((stored[f"x_{part}"][:, None] / 255).astype(np.float32), stored[f"y_{part}"])

    return Dataset(split("train"), split("test"))


def parity() -> Dataset:
    """MNIST with class 1 for odd digits, 0 for even ones."""
    return relabel(mnist(), lambda y: y % 2)


def size() -> Dataset:
    """MNIST with class 1 for digits from 5 on, else 0."""
    return relabel(mnist(), lambda y: (y >= 5).long())


def relabel(dataset: Dataset, rule: Callable[[Tensor], Tensor]) -> Dataset:
    return Dataset(*(Samples(part.x, rule(part.y)) for part in (dataset.train, dataset.test)))


def nmnist() -> Dataset:
    """Event frames `(sample, time, 2, 34, 34)`, ten steps of 30 ms."""
    stored = np.load(data_root() / "nmnist" / "nmnist.npz")

    def split(part: str) -> Samples:
        offsets = stored[f"{part}_offsets"]
        t_us, x, y, p = (stored[f"{part}_{name}"] for name in ("t_us", "x", "y", "p"))
        frames = [
            features.event_frames(t_us[a:b], x[a:b], y[a:b], p[a:b], EVENT_STEP_S, steps=10, height=34, width=34)
            for a, b in pairwise(offsets)
        ]
        return samples(np.stack(frames).astype(np.float32), stored[f"{part}_labels"])

    return Dataset(split("train"), split("test"))


def read_wav(path: Path) -> np.ndarray:
    """Mono 16-bit samples as float64 in [−1, 1)."""
    with wave.open(str(path)) as file:
        return np.frombuffer(file.readframes(file.getnframes()), "<i2") / 32768.0


def spoken() -> Dataset:
    """Log-mel frames `(sample, time, band)`, each band normalised by the training split's mean and deviation."""
    paths = sorted((data_root() / "spoken-digits" / "recordings").glob("*.wav"))
    x = np.stack([features.log_mel(read_wav(path), **SPEECH) for path in paths])
    names = [path.stem.split("_") for path in paths]
    y = np.array([int(digit) for digit, _, _ in names])
    test = np.array([int(take) < 5 for _, _, take in names])
    mean, deviation = x[~test].mean((0, 1)), x[~test].std((0, 1))
    x = (x - mean) / deviation
    return Dataset(
        samples(x[~test], y[~test]),
        samples(x[test], y[test]),
        {"mean": mean.tolist(), "deviation": deviation.tolist()},
    )


def cora() -> Dataset:
    """Cora's word vectors aggregated over two hops `(node, 1433)`: probabilities for the Bernoulli encoder."""
    stored = np.load(data_root() / "citation-graphs" / "cora.npz")
    h = features.graph_aggregate(stored["x"], stored["edge_index"], hops=2)
    return Dataset(*(samples(h[stored[part]], stored["y"][stored[part]]) for part in ("train", "test")))


DATASETS: dict[str, Callable[[], Dataset]] = {
    "digits": digits,
    "digit-graph": digit_graph,
    "mnist": mnist,
    "mnist-parity": parity,
    "mnist-size": size,
    "nmnist": nmnist,
    "spoken": spoken,
    "cora": cora,
}
