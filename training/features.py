"""From raw inputs to what the networks see: the zoo's pre-processing, as pure functions of numpy arrays."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]


def mel_filters(bands: int, n_fft: int, sample_rate_hz: float) -> NDArray[np.float64]:
    """Triangular filters `(bands, n_fft // 2 + 1)`, peak 1, not normalised.

    mel(f) = 2595 log10(1 + f / 700). The bands + 2 corners c_0 … c_{bands+1} are equally spaced in mel from 0 Hz to half
    the sample rate. Band i at frequency f: max(0, min((f − c_i) / (c_{i+1} − c_i), (c_{i+2} − f) / (c_{i+2} − c_{i+1}))).
    """
    top_mel = 2595.0 * np.log10(1.0 + sample_rate_hz / 2.0 / 700.0)
    corners = 700.0 * (10.0 ** (np.linspace(0.0, top_mel, bands + 2) / 2595.0) - 1.0)
    frequencies = np.arange(n_fft // 2 + 1) * (sample_rate_hz / n_fft)
    low, peak, high = corners[:-2, None], corners[1:-1, None], corners[2:, None]
    return np.maximum(0.0, np.minimum((frequencies - low) / (peak - low), (high - frequencies) / (high - peak)))


def log_mel(
    samples: NDArray[np.float64],
    sample_rate_hz: float,
    window_s: float,
    hop_s: float,
    n_fft: int,
    bands: int,
    frames: int,
    floor: float,
) -> Floats:
    """Log-mel spectrogram `(frames, bands)` of mono samples in [−1, 1), computed in float64, returned as float32.

    With L = round(window_s · rate) and P = round(hop_s · rate), the signal is cut or padded at its end with zeros to
    (frames − 1) · P + L samples. Frame t: x_t[n] = signal[t P + n] · (0.5 − 0.5 cos(2π n / L)) for n < L (periodic Hann),
    |FFT of x_t with zeros up to n_fft|², the mel filters, then ln(power + floor).
    """
    length, hop = round(window_s * sample_rate_hz), round(hop_s * sample_rate_hz)
    signal = np.zeros((frames - 1) * hop + length)
    kept = min(len(samples), len(signal))
    signal[:kept] = samples[:kept]
    hann = 0.5 - 0.5 * np.cos(2.0 * np.pi * np.arange(length) / length)
    windows = np.lib.stride_tricks.sliding_window_view(signal, length)[::hop] * hann
    power = np.abs(np.fft.rfft(windows, n_fft)) ** 2
    return np.log(power @ mel_filters(bands, n_fft, sample_rate_hz).T + floor).astype(np.float32)


def event_frames(
    t_us: NDArray[np.unsignedinteger],
    x: NDArray[np.unsignedinteger],
    y: NDArray[np.unsignedinteger],
    p: NDArray[np.unsignedinteger],
    dt_s: float,
    steps: int,
    height: int,
    width: int,
) -> NDArray[np.uint8]:
    """Binary frames `(steps, 2, height, width)`: 1 where an event of that polarity fell into the step, else 0.

    Event at t belongs to step ⌊(t − t_first) / dt⌋, in whole microseconds; events from step `steps` on are dropped.
    """
    frames = np.zeros((steps, 2, height, width), np.uint8)
    step = (t_us.astype(np.int64) - int(t_us[0])) // round(dt_s * 1e6)
    kept = step < steps
    frames[step[kept], p[kept], y[kept], x[kept]] = 1
    return frames


def nearest(query: NDArray[np.int64], reference: NDArray[np.int64], k: int, skip_self: bool = False) -> Integers:
    """Indices `(queries, k)` of the nearest reference rows by Euclidean distance; of equals, the lower index first.

    Rows are whole numbers, so squared distances are exact. `skip_self`: the queries are the reference rows themselves,
    and row i is not its own neighbour.
    """
    squared = ((query**2).sum(1)[:, None] + (reference**2).sum(1)[None, :]) - 2 * query @ reference.T
    if skip_self:
        np.fill_diagonal(squared, np.iinfo(np.int64).max)
    return np.argsort(squared, axis=1, kind="stable")[:, :k]


def knn_degrees(reference: NDArray[np.int64], k: int) -> Integers:
    """Degree, self loop included, of each row in the reference rows' own k-nearest-neighbour graph, made symmetric."""
    neighbours = nearest(reference, reference, k, skip_self=True)
    adjacency = np.eye(len(reference), dtype=bool)
    adjacency[np.arange(len(reference))[:, None], neighbours] = True
    return (adjacency | adjacency.T).sum(1)


def knn_aggregate(
    query: NDArray[np.int64],
    reference: NDArray[np.int64],
    degrees: Integers,
    k: int,
    scale: float,
    skip_self: bool = False,
) -> Floats:
    """One step of graph convolution for nodes that join a stored graph: `(queries, features)`.

    h_q = x_q / d_q + Σ_{j ∈ N(q)} x_j / √(d_q d_j), with d_q = k + 1, N(q) the k nearest reference rows, and d_j their
    stored degrees: the row of D̃^−½ Ã D̃^−½ X that q would have. x = rows · scale. Since each d_j ≥ k + 1, h stays within
    the range of x. Computed in float64, neighbours added nearest first, returned as float32.
    """
    neighbours = nearest(query, reference, k, skip_self)
    own = k + 1
    total = query * scale / own
    for rank in range(k):
        rows = neighbours[:, rank]
        total = total + (reference[rows] * scale) / np.sqrt(own * degrees[rows].astype(np.float64))[:, None]
    return total.astype(np.float32)


def graph_aggregate(x: Floats, edges: Integers, hops: int) -> Floats:
    """(D̃^−½ Ã D̃^−½)^hops X, clipped to [0, 1]: `(nodes, features)`; edges `(2, n)`, undirected, each given once.

    Ã = A + I, D̃ its degrees. Computed in float64: a node's own row first, then the edges in their order.
    """
    degrees = 1.0 + np.bincount(edges.ravel(), minlength=len(x))
    scale = 1.0 / np.sqrt(degrees)
    h = x.astype(np.float64)
    for _ in range(hops):
        scaled = h * scale[:, None]
        total = scaled.copy()
        np.add.at(total, edges[0], scaled[edges[1]])
        np.add.at(total, edges[1], scaled[edges[0]])
        h = total * scale[:, None]
    return np.clip(h, 0.0, 1.0).astype(np.float32)
