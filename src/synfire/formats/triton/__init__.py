"""Models as Triton Inference Server keeps them in its repositories: a folder for each, with a configuration and versions."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from synfire.base.errors import UserError
from synfire.base.log import LOGGER
from synfire.formats.format import FORMATS, Format
from synfire.formats.triton.config import Config
from synfire.formats.triton.layout import (
    ENSEMBLE,
    PYTHON,
    configured,
    file_of,
    is_model,
    is_repository,
    is_triton,
    references,
    served,
)
from synfire.formats.triton.onnx_model import read_onnx_model
from synfire.formats.triton.python_model import read_python
from synfire.graph import Graph

__all__ = ["TritonModel", "is_repository", "references"]


class TritonModel(Format):
    """A model of a repository, ONNX or Python: the newest version that is served, or the one whose folder is named."""

    name = "triton"
    looks_like = (
        "a model's folder of a Triton model repository, with config.pbtxt or 1/model.onnx, or a version's folder in it"
    )

    def recognises(self, path: Path) -> bool:
        return is_triton(path)

    def read(self, path: Path) -> Graph:
        """The model. What its configuration says without effect is told in the log.

        Raises `UserError`, with the line of the configuration, for what is not understood or not served.
        """
        path = path.absolute()
        if is_repository(path):
            models = ", ".join(sorted(each.name for each in path.iterdir() if is_model(each)))
            raise UserError(
                f"{path} is a repository of several models ({models}); name one of these folders, or serve it whole"
            )
        folder, version = (path, None) if is_model(path) else (path.parent, int(path.name))
        config = configured(folder)
        if config.backend == ENSEMBLE:
            raise UserError(
                f"{folder} is an ensemble, which is made of other models; serve the repository {folder.parent}"
            )
        number = served(folder)[-1] if version is None else version
        return _read(folder, number, config)


def _read(folder: Path, version: int, config: Config) -> Graph:
    path, backend = file_of(folder, version, config)
    for remark in config.remarks:
        LOGGER.warning("%s", remark)
    graph = read_python(path, config, folder.name, version) if backend == PYTHON else read_onnx_model(path, config)
    return replace(graph, metadata={**graph.metadata, **_told(config)})


def _told(config: Config) -> dict[str, int]:
    """What of the configuration is no part of the model itself."""
    told = {"most_samples": config.max_batch_size, "replicas": config.instances if config.instances > 1 else 0}
    return {name: value for name, value in told.items() if value}


FORMATS.add(TritonModel.name, TritonModel())
