"""From a PNG or JPEG file to pixels."""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from synfire.base.errors import UserError
from synfire.ops.axes import require_request
from synfire.ops.operator import Stateless, operator, require_kind
from synfire.ops.samples import each_sample
from synfire.ops.signal import Array, Kind, Signal

RESAMPLING = ("nearest", "box", "bilinear", "hamming", "bicubic", "lanczos")
_FORMATS = ("PNG", "JPEG")
_DAMAGE = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error)
_LEVELS = (np.arange(256) / 255).astype(np.float32)


@operator
@dataclass(frozen=True, eq=False)
class ImageDecode(Stateless):
    """Y[c, y, x] = pixel / 255 in [0, 1], `(channels, height, width)`; X is the file's bytes, PNG or JPEG.

    `channels` is 1 (grey, ITU-R 601 luma) or 3 (red, green, blue). An image of another size is resized by the rule
    `resample`; EXIF rotation is obeyed; transparent parts show nothing (0). `invert` gives 1 − pixel / 255, for dark digits on
    white paper. An image of more than `max_pixels` is refused before it is unpacked. Raises `UserError` at a step for
    bytes that are no such image.
    """

    channels: int
    height: int
    width: int
    resample: str = "bilinear"
    invert: bool = False
    max_pixels: int = 16_777_216

    def check(self) -> None:
        if self.channels not in (1, 3):
            raise UserError(f"ImageDecode.channels is {self.channels}; choose 1 (grey) or 3 (colour)")
        if min(self.height, self.width, self.max_pixels) < 1:
            raise UserError("ImageDecode needs height, width and max_pixels ≥ 1")
        if self.resample not in RESAMPLING:
            raise UserError(f"ImageDecode.resample is {self.resample!r}; choose one of {', '.join(RESAMPLING)}")

    def infer(self, *inputs: Signal) -> Signal:
        (x,) = inputs
        require_request("ImageDecode", x)
        require_kind("ImageDecode", x, Kind.BYTES)
        if x.shape:
            raise UserError(f"ImageDecode takes one file per request, got {x}; send a scalar of bytes")
        return Signal((self.channels, self.height, self.width), Kind.VALUE, x.clock)

    def apply(self, *inputs: Array) -> Array:
        return np.stack(each_sample(self.decode, inputs[0]))

    def decode(self, data: bytes) -> Array:
        """One file's pixels `(channels, height, width)`, float32."""
        from PIL import Image, ImageOps

        image = self._opened(data)
        try:
            image = _opaque(_eight_bit(ImageOps.exif_transpose(image)), 255 if self.invert else 0)
        except _DAMAGE as error:
            raise UserError(f"the image is damaged ({error}); send a whole PNG or JPEG file") from error
        image = image.convert("L" if self.channels == 1 else "RGB")
        if image.size != (self.width, self.height):
            image = image.resize((self.width, self.height), Image.Resampling[self.resample.upper()])
        levels = np.asarray(image).reshape(self.height, self.width, self.channels).transpose(2, 0, 1)
        return _LEVELS[255 - levels if self.invert else levels]

    def _opened(self, data: bytes) -> Any:
        """The image with its header read and its pixels still packed."""
        from PIL import Image, UnidentifiedImageError

        try:
            image = Image.open(io.BytesIO(data), formats=_FORMATS)
        except UnidentifiedImageError as error:
            raise UserError(f"the {len(data)} bytes received are neither PNG nor JPEG; send one of those") from error
        except Image.DecompressionBombError as error:
            raise UserError(f"the image is too large ({error}); send at most {self.max_pixels} pixels") from error
        except _DAMAGE as error:
            raise UserError(f"the image is damaged ({error}); send a whole PNG or JPEG file") from error
        if image.width * image.height > self.max_pixels:
            raise UserError(
                f"the image is {image.width}×{image.height}, more than {self.max_pixels} pixels; send a smaller one"
            )
        return image


def _eight_bit(image: Any) -> Any:
    """The image with 8 bits per channel: Pillow clips 16-bit grey at 255 instead of scaling it."""
    from PIL import Image

    if image.mode.startswith("I"):
        return Image.fromarray((np.asarray(image).astype(np.uint32) // 257).astype(np.uint8))
    return image


def _opaque(image: Any, background: int) -> Any:
    """The image laid over a grey `background` where it is transparent."""
    from PIL import Image

    if not image.has_transparency_data:
        return image
    below = Image.new("RGBA", image.size, (background, background, background, 255))
    return Image.alpha_composite(below, image.convert("RGBA"))
