"""Whose run folders and emulated hosts are whose: a deployment claims its own, so that what a killed one left can be told, and
removed."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from synfire.base import paths
from synfire.base.errors import UnknownName, UserError
from synfire.base.log import LOGGER
from synfire.base.processes import born
from synfire.deploy import network
from synfire.store.files import write_atomically

_CLAIM = ".claim"
_LONGEST = 80


class Claim(msgspec.Struct, frozen=True):
    """The process that runs a deployment. `born` tells it from a later one with the same number. Where it `lasts`, what is left when that
    is killed is kept for the next one, see `take`."""

    pid: int
    born: str
    lasts: bool = False

    @property
    def alive(self) -> bool:
        """Whether the process still runs."""
        return born(self.pid) == self.born


@contextmanager
def claimed(deployment: str, lasts: bool = False) -> Iterator[None]:
    """Claim what the deployment with this id makes for this process, for as long as the block lasts; a claim that `lasts` also tells others to
    keep it when the process is killed.

    What dead deployments left behind is removed first, whether others were to keep it or not.
    """
    sweep(kept_too=True)
    claim = _claim(deployment, lasts)
    try:
        yield
    finally:
        claim.unlink(missing_ok=True)


def left_behind() -> list[str]:
    """The deployments whose process was killed, and of which what is left was kept."""
    return [file.stem for file in sorted(_claims().glob(f"*{_CLAIM}")) if _is_left(_read(file))]


def take(deployment: str) -> Path | None:
    """Claim what is left of a deployment for this process, in place of the one that was killed; its folder. None where another one was
    faster, or nothing is left."""
    claim = _claims() / f"{deployment}{_CLAIM}"
    taken = claim.with_suffix(f".{os.getpid()}")
    try:
        claim.rename(taken)  # one process alone can do that
    except FileNotFoundError:
        return None
    if not _is_left(_read(taken)):
        taken.rename(claim)
        return None
    folder = next((each.absolute() for each in _folders(deployment) if each.is_dir()), None)
    if folder is not None:
        _claim(deployment, lasts=True)
    taken.unlink()
    return folder


def make_folder(deployment: str) -> Path:
    """The deployment's folder for sockets: under SYNFIRE_HOME, or in the system's temporary folder where that path is too long.

    Raises `UserError` when it cannot be made.
    """
    wanted, other = _folders(deployment)
    if len(os.fsencode(wanted.absolute())) > _LONGEST:
        wanted = other
    try:
        wanted.mkdir(parents=True, mode=0o700)
    except OSError as error:
        raise UserError(
            f"cannot make {wanted} for the deployment's sockets: {error.strerror}; set SYNFIRE_HOME to a folder that can be "
            "written"
        ) from error
    return wanted.absolute()


def remove_folder(folder: Path) -> None:
    """Remove a deployment's folder, with whatever is left in it; one that is not there is no error."""
    shutil.rmtree(folder, ignore_errors=True)


def folder_of(deployment: str) -> Path:
    """The folder of a deployment that runs. Raises `UnknownName` when there is none."""
    found = [folder for folder in _folders(deployment) if folder.is_dir()]
    if not found:
        raise UnknownName(f"deployment {deployment} has no folder for its sockets: it has ended, or runs elsewhere")
    return found[0].absolute()


def running_folders() -> Iterator[Path]:
    """The folders of all deployments that are claimed."""
    for file in sorted(_claims().glob(f"*{_CLAIM}")):
        yield from (folder for folder in _folders(file.stem) if folder.is_dir())


def sweep(kept_too: bool = False) -> None:
    """Remove the run folders of claims whose process is gone, and emulated hosts that nobody needs; what nobody claimed is left
    alone, and so is, but for `kept_too`, what is kept for another process."""
    try:
        network.sweep()
    except UserError as error:
        LOGGER.warning("emulated hosts of a deployment that has ended are left: %s", error)
    for file in sorted(_claims().glob(f"*{_CLAIM}")):
        claim = _read(file)
        if not kept_too and _is_left(claim):
            continue
        if claim is None or not claim.alive:
            for folder in _folders(file.stem):
                shutil.rmtree(folder, ignore_errors=True)
            file.unlink(missing_ok=True)


def _claim(deployment: str, lasts: bool) -> Path:
    """Write the claim of this process; its file."""
    file = _claims() / f"{deployment}{_CLAIM}"
    write_atomically(file, msgspec.json.encode(Claim(os.getpid(), born(os.getpid()), lasts)))
    return file


def _is_left(claim: Claim | None) -> bool:
    return claim is not None and claim.lasts and not claim.alive


def _claims() -> Path:
    return paths.home() / "run"


def _folders(deployment: str) -> tuple[Path, Path]:
    """Where a deployment's sockets can be; the second is for where the first is too long a path."""
    return _claims() / deployment, Path(tempfile.gettempdir()) / f"synfire-{deployment}"


def _read(file: Path) -> Claim | None:
    try:
        return msgspec.json.decode(file.read_bytes(), type=Claim)
    except (msgspec.DecodeError, FileNotFoundError):
        return None
