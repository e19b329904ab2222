"""A NIR file as it lies on disk: HDF5 groups to nodes and edges, without interpretation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from synfire.base.errors import UserError
from synfire.ops.signal import Array

Edge = tuple[str, str]

_LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class Node:
    """One NIR node: its type (`LIF`, …) and its fields as the file holds them; strings are decoded."""

    name: str
    type: str
    fields: Mapping[str, Any]

    def error(self, message: str) -> UserError:
        """A `UserError` that says where it happened."""
        return UserError(f"NIR node {self.name!r} ({self.type}): {message}")

    def array(self, name: str, default: float | None = None) -> Array:
        """A finite numeric field in the file's own number format; absent fields take `default`, if there is one."""
        if name not in self.fields:
            if default is None:
                raise self.error(f"the field {name!r} is missing; export the model again")
            return np.asarray(default)
        value = np.asarray(self.fields[name])
        if value.dtype.kind not in "fiu":
            raise self.error(f"the field {name!r} has dtype {value.dtype}; it must hold real numbers")
        if not np.isfinite(value).all():
            raise self.error(f"the field {name!r} holds NaN or infinity; train or export the model again")
        if np.any(np.abs(value) > _LARGEST):
            raise self.error(
                f"the field {name!r} holds numbers beyond float32, with which synfire computes; scale them"
            )
        return value

    def integers(self, name: str, count: int) -> tuple[int, ...]:
        """An integer field as `count` numbers; a single number stands for all of them."""
        value = self.array(name)
        if np.any(value != np.trunc(value)) or value.size not in (1, count):
            raise self.error(f"the field {name!r} is {value.tolist()}; it must be {count} whole numbers, or one")
        return tuple(int(each) for each in np.broadcast_to(value.ravel(), (count,)))


@dataclass(frozen=True)
class Sheet:
    """One NIRGraph: nodes by name (nested graphs too) and directed edges, in the file's order."""

    nodes: Mapping[str, Node | Sheet]
    edges: tuple[Edge, ...]
    metadata: Mapping[str, Any] = field(default_factory=dict)


def read_hdf5(path: str | Path) -> tuple[Sheet, str]:
    """The graph in a NIR file, and the NIR version that wrote it.

    Raises `UserError` for a missing, foreign, truncated or malformed file, naming the part.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"there is no file {path}; give the path of a .nir file")
    try:
        path.open("rb").close()  # of a file that may not be read HDF5 says what it says of a damaged one
        with h5py.File(path, "r") as file:
            return _read_root(file, path)
    except UserError:
        raise
    except PermissionError as error:
        raise UserError(f"{path} cannot be read: no permission; give this user the right to read it") from error
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, MemoryError) as error:
        raise UserError(
            f"{path} cannot be read as HDF5, which NIR files are ({error}); it is truncated, damaged or of another "
            "format: export or copy it again"
        ) from error


def _read_root(file: Any, path: Path) -> tuple[Sheet, str]:
    if not isinstance(file.get("node"), h5py.Group):
        raise UserError(f"{path} is HDF5 but holds no group 'node', so it is not a NIR file; write it with nir.write")
    version = _value(file["version"]) if isinstance(file.get("version"), h5py.Dataset) else "unknown"
    root = _read_node(file["node"], "")
    if isinstance(root, Node):
        raise UserError(f"{path} holds a single {root.type} node; synfire reads graphs: wrap it in a NIRGraph")
    return root, str(version)


def _read_node(group: Any, name: str) -> Node | Sheet:
    kind = group.get("type")
    if not isinstance(kind, h5py.Dataset):
        raise UserError(f"NIR node {name or 'at the root'!r} has no type; export the model again")
    if _value(kind) == "NIRGraph":
        return _read_graph(group, name)
    fields = {key: _value(item) for key, item in group.items() if isinstance(item, h5py.Dataset) and key != "type"}
    return Node(name, str(_value(kind)), fields)


def _read_graph(group: Any, name: str) -> Sheet:
    where = f"the NIR graph {name!r}" if name else "the NIR graph"
    if not isinstance(group.get("nodes"), h5py.Group) or not isinstance(group.get("edges"), h5py.Dataset):
        raise UserError(f"{where} lacks nodes or edges; export the model again")
    nodes = {}
    for key, item in group["nodes"].items():
        if not isinstance(item, h5py.Group):
            raise UserError(f"{where} holds {key!r}, which is no node; export the model again")
        nodes[_text(key)] = _read_node(item, f"{name}.{_text(key)}" if name else _text(key))
    return Sheet(nodes, _edges(group["edges"][()], where), _metadata(group.get("metadata")))


def _edges(value: Array, where: str) -> tuple[Edge, ...]:
    if value.size == 0:
        return ()
    if value.ndim != 2 or value.shape[1] != 2 or value.dtype.kind not in "OSU":
        raise UserError(f"{where} has edges of shape {value.shape}; they must be pairs of node names")
    return tuple((_text(source), _text(target)) for source, target in value)


def _metadata(group: Any) -> dict[str, Any]:
    if not isinstance(group, h5py.Group):
        return {}
    found = {key: _value(item) for key, item in group.items() if isinstance(item, h5py.Dataset)}
    return {
        key: value.tolist() if isinstance(value, (np.ndarray, np.generic)) else value for key, value in found.items()
    }


def _value(dataset: Any) -> Any:
    value = dataset[()]
    return _text(value) if isinstance(value, (bytes, str)) else value


def _text(value: Any) -> str:
    return value.decode("utf8", "replace") if isinstance(value, bytes) else str(value)
