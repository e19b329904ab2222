"""Writing files so that a reader sees the old content or the new, and saying clearly why one cannot be written."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from synfire.base.errors import TemporaryError, UserError


def write_atomically(path: Path, content: bytes, lasting: bool = True) -> None:
    """Write `content` to `path` through a temporary file in the same folder, then renamed; forced to disk where it is `lasting`,
    so that it is there after a failure of the machine, too.

    Raises `UserError` for a folder that may not be written, `TemporaryError` for a full disk.
    """
    with explained(path, "write"):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=".new-")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                if lasting:
                    os.fsync(file.fileno())
            Path(name).chmod(0o644)
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        if lasting:
            sync_folder(path.parent)


@contextmanager
def explained(path: Path, verb: str) -> Iterator[None]:
    """Turn an `OSError` of the block into one that says what could not be done, where, and what to do."""
    try:
        yield
    except OSError as error:
        raise _explanation(error, path, verb) from error


def _explanation(error: OSError, path: Path, verb: str) -> UserError | TemporaryError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return TemporaryError(
            f"cannot {verb} {path}: no space left there; free some, or point SYNFIRE_HOME at another disk", 60.0
        )
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return UserError(
            f"cannot {verb} {path}: no permission; give this user the right to {verb} it, or point SYNFIRE_HOME at a folder of yours"
        )
    if error.errno in (errno.ENOTDIR, errno.EISDIR):
        return UserError(f"cannot {verb} {path}: a file is where a folder should be, or the reverse; move it away")
    return UserError(f"cannot {verb} {path}: {error.strerror or error}; check the path and the disk")


def sync_folder(folder: Path) -> None:
    """Force to disk which files the folder has."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
