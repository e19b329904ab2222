"""Whose run folders are whose: a deployment claims its own, so that what a killed one left can be told, and removed."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from synfire.base import paths
from synfire.base.processes import born
from synfire.store.files import write_atomically

_CLAIM = ".claim"


class Claim(msgspec.Struct, frozen=True):
    """The process that runs a deployment. `born` tells it from a later one with the same number."""

    pid: int
    born: str

    @property
    def alive(self) -> bool:
        """Whether the process still runs."""
        return born(self.pid) == self.born


@contextmanager
def claimed(deployment: str) -> Iterator[None]:
    """Claim the run folders of the deployment with this id for this process, for as long as the block lasts.

    What dead deployments left behind is removed first.
    """
    sweep()
    claim = _claims() / f"{deployment}{_CLAIM}"
    write_atomically(claim, msgspec.json.encode(Claim(os.getpid(), born(os.getpid()))))
    try:
        yield
    finally:
        claim.unlink(missing_ok=True)


def sweep() -> None:
    """Remove the run folders of claims whose process is gone; what nobody claimed is left alone."""
    for file in sorted(_claims().glob(f"*{_CLAIM}")):
        claim = _read(file)
        if claim is None or not claim.alive:
            for folder in _folders(file.stem):
                shutil.rmtree(folder, ignore_errors=True)
            file.unlink(missing_ok=True)


def _claims() -> Path:
    return paths.home() / "run"


def _folders(deployment: str) -> tuple[Path, Path]:
    """Where a deployment's sockets can be: see `LocalDeployment`, which takes the second where the first is too long."""
    return _claims() / deployment, Path(tempfile.gettempdir()) / f"synfire-{deployment}"


def _read(file: Path) -> Claim | None:
    try:
        return msgspec.json.decode(file.read_bytes(), type=Claim)
    except (msgspec.DecodeError, FileNotFoundError):
        return None
