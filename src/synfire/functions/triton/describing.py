"""Tells what a `model.py` takes and gives: what is configured, and what it adds to that itself."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from synfire.base.errors import UserError
from synfire.functions.source import beside, told
from synfire.functions.triton.backend_utils import ModelConfig
from synfire.functions.triton.loading import model_class


def main(order: dict[str, Any]) -> None:
    """Print the configuration, completed by the model where it has `auto_complete_config`, and the files that it is made of; or why
    that cannot be told."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what the file prints is no part of it
    path = Path(order["path"])
    try:
        said: dict[str, Any] = {"config": _completed(path, order["config"])}
        said["files"] = [str(each) for each in beside(path.parent)]
    except UserError as error:
        said = {"error": str(error)}
    json.dump(said, out)
    out.flush()
    os._exit(0)  # whatever threads the file has begun


def _completed(path: Path, config: dict[str, Any]) -> dict[str, Any]:
    complete = getattr(model_class(path), "auto_complete_config", None)
    if complete is None:
        return config
    try:
        found = complete(ModelConfig(config))
    except BaseException as error:
        raise UserError(f"{path}: auto_complete_config failed: {told(error, path.parent)}") from error
    if not isinstance(found, ModelConfig):
        raise UserError(
            f"{path}: auto_complete_config gave {type(found).__name__}; return the configuration that it was given"
        )
    return found.as_dict()
