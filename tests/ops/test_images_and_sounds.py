"""ImageDecode, WavDecode and LogMel on real files, and on broken ones."""

from __future__ import annotations

import io
import struct
import wave
import zlib
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from synfire.base.errors import UserError
from synfire.ops import Clock, Kind, Signal
from synfire.ops.image_decode import ImageDecode
from synfire.ops.log_mel import LogMel
from synfire.ops.wav_decode import WavDecode, read_wav

GREY = np.array([[0, 51, 255], [102, 153, 204]], np.uint8)
DECODE = ImageDecode(channels=1, height=2, width=3)


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)  # type: ignore[arg-type]
    return file.getvalue()


def batch(*files: bytes) -> np.ndarray:
    objects = np.empty(len(files), object)
    objects[:] = files
    return objects


def test_image_decode_gives_the_pixels_of_a_grey_png() -> None:
    pixels = DECODE.apply(batch(encoded(Image.fromarray(GREY))))
    assert pixels.tobytes() == (GREY[None, None] / 255).astype(np.float32).tobytes()


def test_image_decode_inverts_dark_ink_on_white_paper() -> None:
    inverted = ImageDecode(channels=1, height=2, width=3, invert=True)
    assert (
        inverted.decode(encoded(Image.fromarray(255 - GREY))).tobytes()
        == DECODE.decode(encoded(Image.fromarray(GREY))).tobytes()
    )


def test_image_decode_reads_colours_channels_first() -> None:
    colour = Image.new("RGB", (2, 2), (255, 0, 51))
    pixels = ImageDecode(channels=3, height=2, width=2).decode(encoded(colour))
    assert pixels[:, 0, 0].tolist() == [1.0, 0.0, np.float32(0.2)]


def test_image_decode_reads_jpeg() -> None:
    flat = encoded(Image.new("L", (8, 8), 128), "JPEG")
    assert np.abs(ImageDecode(channels=1, height=8, width=8).decode(flat) - 128 / 255).max() < 0.01


def test_image_decode_scales_sixteen_bits_instead_of_clipping() -> None:
    deep = Image.fromarray(np.array([[0, 257 * 51, 65535]], np.uint16))
    assert ImageDecode(channels=1, height=1, width=3).decode(encoded(deep))[0, 0].tolist() == [0, np.float32(0.2), 1]


@pytest.mark.parametrize("invert", [False, True])
def test_image_decode_shows_nothing_where_the_image_is_transparent(invert: bool) -> None:
    clear = Image.fromarray(np.array([[[200, 200, 200, 0]]], np.uint8), "RGBA")
    assert ImageDecode(channels=1, height=1, width=1, invert=invert).decode(encoded(clear)).tolist() == [[[0.0]]]


def test_image_decode_resizes_by_its_rule() -> None:
    halves = np.repeat(np.array([[0, 255]], np.uint8), 2, axis=1)
    assert ImageDecode(channels=1, height=1, width=2, resample="box").decode(
        encoded(Image.fromarray(halves))
    ).tolist() == [[[0, 1]]]


def test_image_decode_obeys_exif_rotation() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn 90° clockwise to see it upright
    file = encoded(Image.fromarray(np.array([[0, 255]], np.uint8)), exif=exif)
    assert ImageDecode(channels=1, height=2, width=1).decode(file)[0, :, 0].tolist() == [0, 1]


@pytest.mark.parametrize(
    ("file", "cure"),
    [
        (b"", "neither PNG nor JPEG"),
        (b"hello", "neither PNG nor JPEG"),
        (b"\x89PNG\r\n\x1a\n" + struct.pack(">I4s5xI", 5, b"IHDR", zlib.crc32(b"IHDR" + bytes(5))), "damaged"),
        (encoded(Image.fromarray(GREY), "GIF"), "neither PNG nor JPEG"),
        (encoded(Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8)))[:400], "damaged"),
        (encoded(Image.new("L", (64, 64)), "JPEG")[:200], "damaged|neither"),
    ],
)
def test_image_decode_says_what_is_wrong_with_a_file(file: bytes, cure: str) -> None:
    with pytest.raises(UserError, match=cure):
        DECODE.apply(batch(file))


def outcome(file: bytes) -> str:
    """What comes of a file: its pixels' shape, or the message."""
    try:
        return str(DECODE.decode(file).shape)
    except UserError as error:
        return str(error)


def test_image_decode_survives_every_cut_and_flipped_byte() -> None:
    whole = encoded(Image.fromarray(GREY))
    broken = [whole[:cut] for cut in range(len(whole))]
    broken += [whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :] for at in range(len(whole))]
    outcomes = {outcome(file) for file in broken}
    assert len(outcomes) > 2
    assert all(each == "(1, 2, 3)" or "; send" in each for each in outcomes)


def test_image_decode_refuses_a_decompression_bomb_before_unpacking_it() -> None:
    bomb = encoded(Image.new("1", (5000, 5000)))
    assert len(bomb) < 10_000
    with pytest.raises(UserError, match="send a smaller one"):
        DECODE.decode(bomb)


def wav_file(samples: np.ndarray, rate: int = 8000, width: int = 2, channels: int = 1) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(channels)
        out.setsampwidth(width)
        out.setframerate(rate)
        out.writeframes(samples.tobytes())
    return file.getvalue()


def riff(coding: int, bits: int, data: bytes, channels: int = 1, extra: bytes = b"") -> bytes:
    frame = channels * bits // 8
    header = struct.pack("<HHIIHH", coding, channels, 8000, 8000 * frame, frame, bits) + extra
    body = b"WAVEfmt " + struct.pack("<I", len(header)) + header + b"data" + struct.pack("<I", len(data)) + data
    return b"RIFF" + struct.pack("<I", len(body)) + body


@pytest.mark.parametrize(
    "file",
    [
        wav_file(np.array([64, 128, 192], np.uint8), width=1),
        wav_file(np.array([-16384, 0, 16384], "<i2")),
        wav_file(np.array([0, 0, 0xC0, 0, 0, 0, 0, 0, 0x40], np.uint8), width=3),
        wav_file(np.array([-(2**30), 0, 2**30], "<i4"), width=4),
        riff(3, 32, np.array([-0.5, 0, 0.5], "<f4").tobytes()),
        riff(3, 64, np.array([-0.5, 0, 0.5], "<f8").tobytes()),
        riff(0xFFFE, 16, np.array([-16384, 0, 16384], "<i2").tobytes(), extra=struct.pack("<HHIH14x", 22, 16, 0, 1)),
    ],
    ids=["8 bits", "16 bits", "24 bits", "32 bits", "float", "double", "extensible"],
)
def test_wav_decode_reads_every_sample_format(file: bytes) -> None:
    assert WavDecode(8000, 5).decode(file).tolist() == [-0.5, 0, 0.5, 0, 0]
    assert WavDecode(8000, 2).decode(file).tolist() == [-0.5, 0]


def test_wav_decode_mixes_channels_down() -> None:
    stereo = np.array([[16384, 0], [-16384, -16384]], "<i2")
    assert WavDecode(8000, 2).decode(wav_file(stereo, channels=2)).tolist() == [0.25, -0.5]


@pytest.mark.parametrize(
    ("file", "cure"),
    [
        (b"", "not a RIFF WAVE file"),
        (b"RIFF\0\0\0\0AVI ", "not a RIFF WAVE file"),
        (b"RIFF\0\0\0\0WAVE", "no format or no data chunk"),
        (wav_file(np.zeros(9, "<i2"))[:-3], "promises 18 bytes and has 15; send the whole file"),
        (wav_file(np.zeros(9, "<i2"), rate=44100), "44100 samples a second, this model hears 8000; resample"),
        (riff(6, 8, b"abc"), "coding 6 with 8 bits"),
        (riff(1, 16, b"abc"), "end within a sample"),
        (riff(1, 16, b""), "0 samples"),
        (riff(1, 16, b"ab", channels=2), "1 samples for 2 channels"),
        (riff(3, 32, np.array([np.nan], "<f4").tobytes()), "NaN"),
    ],
)
def test_wav_decode_says_what_is_wrong_with_a_file(file: bytes, cure: str) -> None:
    with pytest.raises(UserError, match=cure):
        WavDecode(8000, 4).decode(file)


def test_read_wav_agrees_with_the_standard_library() -> None:
    samples = np.random.default_rng(0).integers(-(2**15), 2**15, 500).astype("<i2")
    rate, read = read_wav(wav_file(samples, rate=16000))
    assert rate == 16000
    assert np.array_equal(read[:, 0], samples / 32768.0)


SPEECH = {"sample_rate_hz": 8000, "n_fft": 256, "frames": 48, "window_s": 0.025, "hop_s": 0.016, "floor": 1e-4}


@pytest.mark.parametrize("length", [100, 6216, 9000])
def test_log_mel_equals_the_trainings_features(features: ModuleType, length: int) -> None:
    rng = np.random.default_rng(length)
    samples = rng.integers(-(2**15), 2**15, length) / 32768.0
    mean, deviation = rng.normal(size=(2, 40)).astype(np.float32)
    mel = LogMel(mean, np.abs(deviation) + np.float32(0.1), **SPEECH)  # type: ignore[arg-type]
    expected = features.log_mel(
        samples, SPEECH["sample_rate_hz"] * 1.0, bands=40, **{k: v for k, v in SPEECH.items() if k != "sample_rate_hz"}
    )
    expected = (expected - mean) / mel.deviation
    assert mel.apply(samples[None].astype(np.float32))[0].tobytes() == expected.tobytes()
    rebuilt = LogMel.build(mel.attributes(), mel.parameters())
    assert rebuilt.step({}, samples[None].astype(np.float32))[1][0].tobytes() == expected.tobytes()


def test_log_mel_of_silence_is_the_logarithm_of_its_floor() -> None:
    mel = LogMel(np.zeros(4), np.ones(4), sample_rate_hz=8000, n_fft=256, frames=2)
    assert np.array_equal(mel.apply(np.zeros((1, 10), np.float32))[0], np.full((2, 4), np.log(1e-4), np.float32))


def test_log_mel_refuses_a_window_longer_than_its_transform() -> None:
    with pytest.raises(UserError, match="it is 200"):
        LogMel(np.zeros(4), np.ones(4), sample_rate_hz=8000, n_fft=128, frames=2)


def test_decoders_take_one_file_per_request() -> None:
    with pytest.raises(UserError, match="before the encoder"):
        DECODE.infer(Signal((), Kind.BYTES))
    with pytest.raises(UserError, match="scalar of bytes"):
        DECODE.infer(Signal((2,), Kind.BYTES, Clock.REQUEST))
