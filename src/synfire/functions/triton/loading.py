"""A `model.py` with Triton's class, loaded as Triton's Python backend loads it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from synfire.base.errors import UserError
from synfire.functions.source import load
from synfire.functions.triton import backend_utils

CLASS = "TritonPythonModel"


def model_class(path: Path) -> Any:
    """The file's class. Raises `UserError` where it has none, or none that can `execute`."""
    sys.modules["triton_python_backend_utils"] = backend_utils  # also where a copy of NVIDIA's lies beside it
    found = getattr(load(path), CLASS, None)
    if not callable(getattr(found, "execute", None)):
        raise UserError(
            f"{path} has no class {CLASS} with a method execute; define it, as Triton's Python backend wants it"
        )
    return found
