"""Where compiled functions are kept: checked before they run, compiled again where they are damaged, and done without where
nothing can be kept.

numba's own files say nothing of their content. One that a full disk or a failing one has cut short ends the program, and one
with a flipped bit runs.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import pickle
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
from numba.core import caching, serialize

from synfire.base.log import LOGGER

_DIGEST_BYTES = hashlib.sha256().digest_size

_told: set[str] = set()


def keeping(dispatcher: Any, function: Callable[..., Any]) -> Any:
    """The compiled function, which from now on finds its machine code in numba's cache folder, and leaves it there."""
    try:
        dispatcher._cache = _Kept(function)
    except RuntimeError:  # numba has tried all places that it knows
        _tell(f"machine code cannot be kept in {numba.config.CACHE_DIR}")
    return dispatcher


class _Kept(caching.FunctionCache):  # type: ignore[misc]
    """A function's cache. What goes wrong with it costs the time to compile, and no more."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)
        self._cache_file = _Files(
            Path(self._cache_path), self._impl.filename_base, (numba.__version__, self._impl.locator.get_source_stamp())
        )

    def save_overload(self, sig: Any, data: Any) -> None:
        try:
            super().save_overload(sig, data)
        except OSError as error:
            _tell(f"machine code cannot be kept in {self._cache_path} ({error.strerror or error})")


class _Files:
    """A file for each signature and processor: what it was made from, the digest of the rest, and that."""

    def __init__(self, folder: Path, name: str, source: tuple[object, ...]) -> None:
        self._folder = folder
        self._name = name
        self._source = source

    def load(self, key: Any) -> Any:
        """What was kept for it; None where that is nothing, was made from other source, or, with a warning, is damaged."""
        file = self._file(key)
        try:
            found = file.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            LOGGER.warning("machine code in %s cannot be read (%s); compiling it again", file, error)
            return None
        made_from, digest, data = (
            found[:_DIGEST_BYTES],
            found[_DIGEST_BYTES : 2 * _DIGEST_BYTES],
            found[2 * _DIGEST_BYTES :],
        )
        if hashlib.sha256(made_from + data).digest() != digest:
            LOGGER.warning("machine code in %s is damaged; compiling it again", file)
            return None
        return pickle.loads(data) if made_from == self._made_from(key) else None

    def save(self, key: Any, data: Any) -> None:
        """Readers see what was there, or all of this. Raises `OSError`."""
        made_from, content = self._made_from(key), serialize.dumps(data)
        handle, name = tempfile.mkstemp(dir=self._folder, prefix=".new-")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(made_from + hashlib.sha256(made_from + content).digest() + content)
            Path(name).replace(self._file(key))
        except BaseException:
            with contextlib.suppress(OSError):
                Path(name).unlink()
            raise

    def flush(self) -> None:
        """Forget what there is, as numba does before it compiles a function anew."""
        for each in self._folder.glob(f"{self._name}.*.code"):
            each.unlink(missing_ok=True)

    def _file(self, key: Any) -> Path:
        signature, processor, _ = key
        told = hashlib.sha256(repr((signature, processor)).encode()).hexdigest()
        return self._folder / f"{self._name}.{told[:16]}.code"

    def _made_from(self, key: Any) -> bytes:
        return hashlib.sha256(repr((self._source, key)).encode()).digest()


def unkept() -> str:
    """Why not all machine code of this process is kept; empty where it is."""
    return "; ".join(sorted(_told))


def _tell(what: str) -> None:
    """Once for each place: there are a hundred functions."""
    if what not in _told:
        _told.add(what)
        LOGGER.warning("%s; every start compiles it again: set SYNFIRE_CACHE to a folder that can be written", what)
