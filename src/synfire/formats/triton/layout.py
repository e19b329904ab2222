"""Triton's model repository: a folder for each model, with its configuration and a folder for each version of it, called by its number.

repository/
  NAME/
    config.pbtxt        may be missing where the model's own file says enough
    1/model.onnx        or model.py, or the file that the configuration names
    2/model.onnx
"""

from __future__ import annotations

import re
from pathlib import Path

from synfire.base.errors import UserError
from synfire.formats.triton.config import Config
from synfire.formats.triton.reading import FILE, read_config

ENSEMBLE = "ensemble"
ONNX, PYTHON = "onnxruntime", "python"
FILES = {ONNX: "model.onnx", PYTHON: "model.py"}
"""What a version's file is called for each backend, where the configuration names no other."""


def is_model(folder: Path) -> bool:
    """Whether the folder is that of a model."""
    if not folder.is_dir():
        return False
    return (folder / FILE).is_file() or any(
        (each / name).is_file() for each in _versions(folder) for name in FILES.values()
    )


def is_served(path: Path) -> bool:
    """Whether the path is that of a model's folder, or of a version's folder in it."""
    return is_model(path) or (path.name.isdecimal() and path.is_dir() and is_model(path.absolute().parent))


def is_triton(path: Path) -> bool:
    """Whether the path is that of a repository, of a model's folder, or of a version's folder in it."""
    return is_served(path) or is_repository(path)


def is_repository(folder: Path) -> bool:
    """Whether the folder holds models, and is none itself."""
    return folder.is_dir() and not is_model(folder) and any(is_model(each) for each in folder.iterdir())


def is_ensemble(folder: Path) -> bool:
    """Whether the model in a folder is a composition of others. Raises `UserError` for a configuration that cannot be read."""
    return (folder / FILE).is_file() and configured(folder).backend == ENSEMBLE


def references(repository: Path) -> list[str]:
    """What a repository serves, as it would be named one by one: `NAME@VERSION=PATH`, and `NAME=PATH` for an ensemble. Raises `UserError` for
    what cannot be served."""
    found = []
    for folder in sorted(each for each in repository.iterdir() if is_model(each)):
        if is_ensemble(folder):
            found.append(f"{folder.name}={folder}")
        else:
            found += [f"{folder.name}@{version}={folder / str(version)}" for version in served(folder)]
    return found


def configured(folder: Path) -> Config:
    """What is configured for the model in a folder. Raises `UserError` as `read_config` does, and for a model of another name."""
    config = read_config(folder)
    if config.name and config.name != folder.name:
        raise UserError(
            f"{folder / FILE} is of a model called {config.name!r}, and its folder {folder.name!r}; call both the same"
        )
    return config


def served(folder: Path) -> list[int]:
    """The versions that the model's policy chooses, in ascending order. Raises `UserError` where there are none."""
    there = sorted(int(each.name) for each in _versions(folder))
    found = configured(folder).policy.chosen(there)
    if not found:
        said = f"there are {there}" if there else "there are none"
        raise UserError(
            f"{folder} has no version that is served ({said}); put one in a folder called by its number, such as {folder / '1'}"
        )
    return found


def file_of(folder: Path, version: int, config: Config) -> tuple[Path, str]:
    """A version's file, and the backend that runs it. Raises `UserError` for a backend that there is not, and a file that is missing."""
    place = folder / str(version)
    there = [backend for backend, name in FILES.items() if (place / name).is_file()]
    backend = config.backend or _BY_SUFFIX.get(Path(config.file).suffix, "") or next(iter(there), "")
    if backend not in FILES:
        wanted = f"backend {backend!r}" if backend else "a model of no backend that is named"
        raise UserError(f"{folder}: {wanted} is not served; the backends here are {', '.join(FILES)}, and {ENSEMBLE}")
    path = place / (config.file or FILES[backend])
    if not path.is_file():
        raise UserError(f"{path} is missing; put the model there, or name its file in default_model_filename")
    return path, backend


_BY_SUFFIX = {".onnx": ONNX, ".py": PYTHON}


def _versions(folder: Path) -> list[Path]:
    """The folders of its versions; none where nobody may look into it."""
    try:
        return [each for each in folder.iterdir() if re.fullmatch(r"[1-9][0-9]*", each.name) and each.is_dir()]
    except PermissionError:
        return []
