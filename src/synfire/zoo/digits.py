"""scikit-learn's handwritten digits, 8×8, and how one becomes a digit as MNIST's are."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np

from synfire.base.errors import UserError
from synfire.ops import Array

HELD_OUT = 360
"""The last digits after the shuffle that training uses: no model of the zoo has seen them."""

_FILE = "datasets/data/digits.csv.gz"
"""Where scikit-learn has them: rows of 64 pixels and a label. Its own loader would load scipy, too: 80 MB, and a second."""

MNIST_SIDE, _BOX = 28, 20

_PALEST, _DARKEST = 0.15, 0.85
"""Enlarging blurs a stroke; what lies between these levels is spread over all of them, so that strokes are crisp again.

Chosen by trial on these digits; a model that has seen neither them nor this rule answers nine of ten or more.
"""

WRITTEN = (
    "004BF80000DGBD7003GC048006G504800790097004A02F2001GCEA00004EE100",
    "001AFB70005GGGB0006GGG6000CGGC0002GGG60002CGC000009GG700003CG200",
    "009GGD1000CDEG7000006G400000DE10001AG600007G800002FGC700009EGG20",
    "02CGF50009D6CD0000009E000019G700001AFA0000004G3005849G3003DGE600",
    "0008F100001ED11000AF3FB007G71G8009GDEG5001AFGE000001GA00000AF400",
    "00CCEF1001FB650006FC400006B8D60000001D000000093002616E3001BGD800",
    "001BA00000DA000003D0000005B0000005ECC70000GC5BA000AB4AC0001CGC30",
    "02AGC0000CECG5000204G710004FGGA001GGC52000FC100001E4000000G30000",
    "006EG60006GG8F0007EECE0000DAG600004GA00000BDG20000F5F400008GF100",
    "01EGF40004G9BF3006G18G2002EAFG60003B8F5000001G500033BF1000DGE400",
)
"""The digits 0 to 9, each as somebody wrote it: 8×8 levels from 0 to 16, a letter or figure each, of a base of 17."""


def held_out_digits() -> tuple[Array, Array]:
    """360 handwritten digits that no model was trained on: images `(360, 8, 8)` in [0, 1], labels `(360,)`.

    Raises `UserError` without scikit-learn, which brings them.
    """
    file = _place()
    if file is None:
        raise UserError("the digits come with scikit-learn; install it: pip install 'synfire[digits]'")
    if not file.is_file():
        raise UserError(f"this scikit-learn has no digits at {file}; install it again: pip install 'synfire[digits]'")
    rows = np.loadtxt(file, delimiter=",")
    chosen = rows[np.random.default_rng(0).permutation(len(rows))[-HELD_OUT:]]
    return (chosen[:, :-1].reshape(-1, 8, 8) / 16).astype(np.float32), chosen[:, -1].astype(np.int64)


def digits_are_here() -> bool:
    """Whether `held_out_digits` finds them."""
    file = _place()
    return file is not None and file.is_file()


def _place() -> Path | None:
    """Where scikit-learn has the digits, or would have them; None where it is not installed."""
    found = importlib.util.find_spec("sklearn")
    return Path(found.origin).parent / _FILE if found is not None and found.origin is not None else None


def written(digit: int) -> Array:
    """One of the `WRITTEN` digits, `(8, 8)` in [0, 1]."""
    levels = [int(each, 17) for each in WRITTEN[digit]]
    return np.array(levels, np.float32).reshape(8, 8) / 16


def as_mnist(digit: Array) -> Array:
    """The 8×8 digit as MNIST's were made: scaled into a box of 20×20, its centre of mass in the middle of 28×28."""
    from PIL import Image

    grown = Image.fromarray(digit.astype(np.float32), mode="F").resize((_BOX, _BOX), Image.Resampling.LANCZOS)
    strokes = np.clip((np.asarray(grown) - _PALEST) / (_DARKEST - _PALEST), 0, 1)
    top, left = (_offset(strokes.sum(axis=axis)) for axis in (1, 0))
    picture = np.zeros((MNIST_SIDE, MNIST_SIDE), np.float32)
    picture[top : top + _BOX, left : left + _BOX] = strokes
    return picture


def _offset(mass: Array) -> int:
    """Where the box begins along an axis, so that the middle of its `mass` is the picture's, or as near as it fits."""
    middle = float(mass @ np.arange(_BOX) / max(mass.sum(), 1e-6))
    return int(np.clip(round((MNIST_SIDE - 1) / 2 - middle), 0, MNIST_SIDE - _BOX))
