"""Log-mel spectrogram."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from synfire.base.errors import UserError
from synfire.ops.axes import require_request
from synfire.ops.exact_decimal import exact
from synfire.ops.operator import Stateless, operator, require_kind
from synfire.ops.signal import Array, Kind, Signal, require_shape


@operator
@dataclass(frozen=True, eq=False)
class LogMel(Stateless):
    """Y[t, b] = (ln(Σ_f filter[b, f] · |FFT(x_t)[f]|² + floor) − mean[b]) / deviation[b], `(frames, band)`.

    With L = round(window_s · rate) and P = round(hop_s · rate), the samples are cut or filled with zeros at the end to
    (frames − 1)·P + L; x_t[n] = X[t·P + n] · (0.5 − 0.5 cos(2π n / L)) for n < L, with zeros up to `n_fft`. The filters are
    triangles of peak 1 whose corners are equally spaced in mel(f) = 2595 log₁₀(1 + f / 700) from 0 Hz to half the rate.
    The spectrogram is computed in float64 and rounded to float32, then normalised in float32 by `mean` and `deviation`,
    one of each per band. X is mono samples in [−1, 1), as WavDecode gives.
    """

    mean: Array
    deviation: Array
    sample_rate_hz: int
    n_fft: int
    frames: int
    window_s: float = 0.025
    hop_s: float = 0.01
    floor: float = 1e-4

    def check(self) -> None:
        if self.mean.ndim != 1 or self.mean.shape != self.deviation.shape or not self.mean.size:
            raise UserError(f"LogMel.mean {self.mean.shape} and deviation {self.deviation.shape} must both be (band,)")
        if not (self.deviation > 0).all() or not self.floor > 0:
            raise UserError("LogMel.deviation and floor must be positive")
        if min(self.sample_rate_hz, self.frames, self.hop) < 1 or not 1 <= self.window <= self.n_fft:
            raise UserError(
                f"LogMel needs a rate, frames and hop ≥ 1 and a window of 1 to n_fft={self.n_fft} samples; it is {self.window}"
            )

    @property
    def bands(self) -> int:
        return self.mean.size

    @property
    def window(self) -> int:
        """Samples in a window."""
        return round(exact(self.window_s) * self.sample_rate_hz)

    @property
    def hop(self) -> int:
        """Samples from a window's start to the next."""
        return round(exact(self.hop_s) * self.sample_rate_hz)

    @property
    def samples(self) -> int:
        """Samples that are read."""
        return (self.frames - 1) * self.hop + self.window

    def infer(self, *inputs: Signal) -> Signal:
        (x,) = inputs
        require_request("LogMel", x)
        require_shape("LogMel", x, 1)
        require_kind("LogMel", x, Kind.VALUE)
        return x.with_(shape=(self.frames, self.bands))

    def apply(self, *inputs: Array) -> Array:
        return np.stack([(self.spectrogram(each) - self.mean) / self.deviation for each in inputs[0]])

    def spectrogram(self, samples: Array) -> Array:
        """`(frames, band)` of one recording, float32, before normalisation."""
        signal = np.zeros(self.samples)
        kept = min(len(samples), self.samples)
        signal[:kept] = samples[:kept]
        hann = 0.5 - 0.5 * np.cos(2.0 * np.pi * np.arange(self.window) / self.window)
        windows = np.lib.stride_tricks.sliding_window_view(signal, self.window)[:: self.hop] * hann
        power = np.abs(np.fft.rfft(windows, self.n_fft)) ** 2
        filters = mel_filters(self.bands, self.n_fft, self.sample_rate_hz)
        return np.log(power @ filters.T + exact(self.floor)).astype(np.float32)


@lru_cache(maxsize=16)
def mel_filters(bands: int, n_fft: int, sample_rate_hz: int) -> Array:
    """Triangular filters `(bands, n_fft // 2 + 1)` of peak 1, float64, read-only."""
    top_mel = 2595.0 * np.log10(1.0 + sample_rate_hz / 2.0 / 700.0)
    corners = 700.0 * (10.0 ** (np.linspace(0.0, top_mel, bands + 2) / 2595.0) - 1.0)
    frequencies = np.arange(n_fft // 2 + 1) * (sample_rate_hz / n_fft)
    low, peak, high = corners[:-2, None], corners[1:-1, None], corners[2:, None]
    filters = np.maximum(0.0, np.minimum((frequencies - low) / (peak - low), (high - frequencies) / (high - peak)))
    filters.flags.writeable = False
    return filters
