"""Which version of whatever computes this is."""

from __future__ import annotations

import functools
import hashlib
from importlib.metadata import version
from pathlib import Path

import synfire


@functools.cache
def engines_version() -> str:
    """The source files of operators, graphs, devices, engines and of inputs that are made up, and the compiler: what was measured of others is measured again.

    Files are known by their size and the time of their last change, since this is asked at every start.
    """
    digest = hashlib.sha256(version("numba").encode())
    root = Path(synfire.__file__).parent
    for folder in ("ops", "graph", "devices", "engines", "zoo"):
        for file in sorted((root / folder).rglob("*.py")):
            found = file.stat()
            digest.update(f"{file} {found.st_size} {found.st_mtime_ns}".encode())
    return digest.hexdigest()
