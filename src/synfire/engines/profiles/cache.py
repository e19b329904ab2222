"""Small records under SYNFIRE_CACHE: what was measured once is not measured again."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import msgspec

from synfire.base.errors import TemporaryError, UserError
from synfire.base.log import LOGGER
from synfire.store.files import write_atomically

T = TypeVar("T")


def recalled(file: Path, kind: type[T]) -> T | None:
    """The record in the file; None where there is none, or, with a warning, where it is damaged."""
    try:
        return msgspec.json.decode(file.read_bytes(), type=kind)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, msgspec.DecodeError) as error:
        LOGGER.warning("what was measured, in %s, cannot be read (%s); measuring again", file, error)
        return None


def keep(file: Path, record: msgspec.Struct) -> None:
    """Keep the record; a cache that cannot be written costs time, no more."""
    try:
        write_atomically(file, msgspec.json.encode(record))
    except (UserError, TemporaryError) as error:
        LOGGER.warning(
            "what was measured cannot be kept (%s); set SYNFIRE_CACHE to a folder that can be written", error
        )
