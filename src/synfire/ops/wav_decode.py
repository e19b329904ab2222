"""From a WAV file to samples."""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np

from synfire.base.errors import UserError
from synfire.ops.axes import require_request
from synfire.ops.operator import Stateless, operator, require_kind
from synfire.ops.samples import each_sample
from synfire.ops.signal import Array, Kind, Signal

_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE


@operator
@dataclass(frozen=True, eq=False)
class WavDecode(Stateless):
    """Y[n] = sample n in [−1, 1), `(samples,)`; X is the file's bytes: RIFF WAVE, PCM of 8, 16, 24, 32 bits or float.

    Whole numbers are divided by 2^(bits − 1), channels are averaged, and the end is cut or filled with zeros to `samples`.
    The file's rate must be `sample_rate_hz`: resampling is not the decoder's to guess. Raises `UserError` at a step for
    bytes that are no such file.
    """

    sample_rate_hz: int
    samples: int

    def check(self) -> None:
        if self.sample_rate_hz < 1 or self.samples < 1:
            raise UserError("WavDecode needs sample_rate_hz and samples ≥ 1")

    def infer(self, *inputs: Signal) -> Signal:
        (x,) = inputs
        require_request("WavDecode", x)
        require_kind("WavDecode", x, Kind.BYTES)
        if x.shape:
            raise UserError(f"WavDecode takes one file per request, got {x}; send a scalar of bytes")
        return Signal((self.samples,), Kind.VALUE, x.clock)

    def apply(self, *inputs: Array) -> Array:
        return np.stack(each_sample(self.decode, inputs[0]))

    def decode(self, data: bytes) -> Array:
        """One file's samples `(samples,)`, float32."""
        rate, channels = read_wav(data)
        if rate != self.sample_rate_hz:
            raise UserError(
                f"the WAV file has {rate} samples a second, this model hears {self.sample_rate_hz}; resample it"
            )
        mono = channels.mean(axis=1).astype(np.float32)
        if not np.isfinite(mono).all():
            raise UserError("the WAV file holds NaN or infinite samples; record or convert it again")
        fixed = np.zeros(self.samples, np.float32)
        fixed[: mono.size] = mono[: self.samples]
        return fixed


def read_wav(data: bytes) -> tuple[int, Array]:
    """Rate in hertz and samples `(n, channel)` in float64 of a WAV file. Raises `UserError` for anything else."""
    chunks = _chunks(data)
    if b"fmt " not in chunks or b"data" not in chunks or len(chunks[b"fmt "]) < 16:
        raise UserError(
            "the WAV file has no format or no data chunk; it is cut off or not audio: send a whole WAV file"
        )
    header = chunks[b"fmt "]
    coding, channels, rate, _, _, bits = struct.unpack_from("<HHIIHH", header)
    if coding == _EXTENSIBLE and len(header) >= 26:
        coding = struct.unpack_from("<H", header, 24)[0]
    if channels < 1 or rate < 1:
        raise UserError(f"the WAV header says {channels} channels at {rate} Hz; send a valid WAV file")
    samples = _numbers(coding, bits, chunks[b"data"])
    if not samples.size or samples.size % channels:
        raise UserError(f"the WAV file holds {samples.size} samples for {channels} channels; send a whole WAV file")
    return rate, samples.reshape(-1, channels)


def _chunks(data: bytes) -> dict[bytes, bytes]:
    if len(data) < 12 or data[:4] != b"RIFF" or data[8:12] != b"WAVE":
        raise UserError(f"the {len(data)} bytes received are not a RIFF WAVE file; send WAV")
    found: dict[bytes, bytes] = {}
    at = 12
    while at + 8 <= len(data):
        name, size = data[at : at + 4], struct.unpack_from("<I", data, at + 4)[0]
        if at + 8 + size > len(data):
            raise UserError(
                f"the WAV file is cut off: its {name.decode('ascii', 'replace')!r} chunk promises {size} bytes and has "
                f"{len(data) - at - 8}; send the whole file"
            )
        found.setdefault(name, data[at + 8 : at + 8 + size])
        at += 8 + size + size % 2
    return found


def _numbers(coding: int, bits: int, raw: bytes) -> Array:
    if (coding, bits) not in _READERS:
        known = ", ".join(f"{'PCM' if code == _PCM else 'float'} {width}" for code, width in _READERS)
        raise UserError(f"the WAV file uses coding {coding} with {bits} bits; supported are {known}: convert it")
    if len(raw) % (bits // 8):
        raise UserError(
            f"the WAV file's {len(raw)} bytes of data end within a sample of {bits} bits; send the whole file"
        )
    if (coding, bits) == (_PCM, 24):
        return _pcm24(raw)
    dtype, offset, scale = _READERS[coding, bits]
    return (np.frombuffer(raw, dtype).astype(np.float64) - offset) / scale


def _pcm24(raw: bytes) -> Array:
    """24-bit numbers become the upper bytes of 32-bit ones, which keeps their sign."""
    wide = np.zeros((len(raw) // 3, 4), np.uint8)
    wide[:, 1:] = np.frombuffer(raw, np.uint8).reshape(-1, 3)
    return wide.reshape(-1).view("<i4").astype(np.float64) / 2.0**31


_READERS: dict[tuple[int, int], tuple[str, float, float]] = {
    (_PCM, 8): ("u1", 128.0, 2.0**7),
    (_PCM, 16): ("<i2", 0.0, 2.0**15),
    (_PCM, 24): ("", 0.0, 2.0**23),
    (_PCM, 32): ("<i4", 0.0, 2.0**31),
    (_FLOAT, 32): ("<f4", 0.0, 1.0),
    (_FLOAT, 64): ("<f8", 0.0, 1.0),
}
