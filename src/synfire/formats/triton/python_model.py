"""A `model.py` with Triton's class, as a graph."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from synfire.base.errors import UserError
from synfire.formats.python_function import function_graph
from synfire.formats.triton.config import TYPES, Config, ConfigTensor
from synfire.functions.describing import described
from synfire.graph import Graph

_CLASS = "TritonPythonModel"
_FORMATS = {kind: name for name, kind in TYPES.items()}


def read_python(path: Path, config: Config, name: str, version: int) -> Graph:
    """The model, with what is configured and what it adds to that itself. Raises `UserError` for a file that cannot be loaded, and where
    it is not said what the model takes and gives."""
    said = described({"module": "triton.describing", "path": str(path.absolute()), "config": _told(config, name, path)})
    found: dict[str, Any] = said["config"]
    rows = [-1] if found["max_batch_size"] else []
    takes, gives = (_tensors(path, found, side, rows) for side in ("input", "output"))
    args = {
        "model_config": json.dumps(found),
        "model_instance_kind": "CPU",
        "model_instance_device_id": "0",
        "model_instance_name": f"{name}_0",
        "model_repository": str(path.absolute().parents[1]),
        "model_version": str(version),
        "model_name": name,
    }
    triton = json.dumps({"args": args, "company": "dynamic_batching" in found}, sort_keys=True)
    batched = bool(rows) and all(-1 not in shape[1:] for *_, shape in (*takes, *gives))
    described_as = {"takes": takes, "gives": gives, "files": said["files"]}
    return function_graph(path.absolute(), _CLASS, described_as, triton, batched)


def _tensors(path: Path, config: Mapping[str, Any], side: str, rows: Sequence[int]) -> list[tuple[str, str, list[int]]]:
    tensors = config.get(side, [])
    if not tensors:
        raise UserError(
            f"{path}: nobody says what the model's {side}s are; name them in config.pbtxt, or in its auto_complete_config"
        )
    unknown = [each["name"] for each in tensors if each["data_type"] not in TYPES]
    if unknown:
        raise UserError(f"{path}: {side} {unknown[0]!r} is of a type that is not served; types are {', '.join(TYPES)}")
    return [(each["name"], TYPES[each["data_type"]], [*rows, *each["dims"]]) for each in tensors]


def _told(config: Config, name: str, path: Path) -> dict[str, Any]:
    """The configuration as Triton tells it to a model."""
    told: dict[str, Any] = {
        "name": name,
        "platform": "",
        "backend": "python",
        "version_policy": {"latest": {"num_versions": 1}},
        "max_batch_size": config.max_batch_size,
        "input": [_tensor(each) for each in config.inputs],
        "output": [_tensor(each) for each in config.outputs],
        "instance_group": [{"name": name, "kind": "KIND_CPU", "count": 1}],
        "default_model_filename": path.name,
        "parameters": {key: {"string_value": value} for key, value in config.parameters.items()},
    }
    return told | ({"dynamic_batching": {}} if config.company else {})


def _tensor(tensor: ConfigTensor) -> dict[str, Any]:
    return {"name": tensor.name, "data_type": _FORMATS[tensor.kind], "dims": list(tensor.dims)}
