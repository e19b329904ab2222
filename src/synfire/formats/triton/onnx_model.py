"""An ONNX file of a repository, as a graph: as it is read anywhere else, and checked against its configuration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from synfire.base.errors import UserError
from synfire.formats.format import FORMATS
from synfire.formats.triton.config import Config, ConfigTensor
from synfire.formats.triton.reading import FILE
from synfire.graph import Graph
from synfire.ops.onnx_model import OnnxModel
from synfire.ops.tensor_model import Tensor


def read_onnx_model(path: Path, config: Config) -> Graph:
    """The model, with the outputs that are configured, all where none are. Raises `UserError` for a file that cannot be served, and for
    tensors that are configured otherwise than they are."""
    graph: Graph = FORMATS["onnx"].read(path)
    models = {name: each for name, each in graph.operators.items() if isinstance(each, OnnxModel)}
    one = next(iter(models.values()))
    where = f"{path.parents[1] / FILE}"
    rows = (-1,) if config.max_batch_size else ()
    takes = {each[0]: each for each in one.takes}
    _check(f"{where}: input", config.inputs, takes, rows)
    _check(f"{where}: output", config.outputs, {name: models[of].gives for name, of in graph.outputs.items()}, rows)
    missing = set(takes) - {each.name for each in config.inputs} if config.inputs else set()
    if missing:
        raise UserError(
            f"{where} names no input {', '.join(sorted(missing))}, which {path.name} takes; name all, or none"
        )
    return _only(graph, [each.name for each in config.outputs])


def _check(where: str, wanted: Sequence[ConfigTensor], there: Mapping[str, Tensor], rows: tuple[int, ...]) -> None:
    for each in wanted:
        if each.name not in there:
            raise UserError(f"{where} {each.name!r} is not in the model; there are {', '.join(there)}")
        _, kind, shape = there[each.name]
        dims = (*rows, *each.dims)
        if (
            kind != each.kind
            or len(dims) != len(shape)
            or any(has not in (-1, says) for says, has in zip(dims, shape, strict=True))
        ):
            raise UserError(
                f"{where} {each.name!r} is {each.kind} of shape {list(dims)}, with the batch where max_batch_size is above 0, and the "
                f"model has {kind} of shape {list(shape)}; mend the configuration"
            )


def _only(graph: Graph, outputs: Sequence[str]) -> Graph:
    """The graph without the outputs that are not asked for."""
    if not outputs:
        return graph
    kept = {graph.outputs[name] for name in outputs}
    return Graph(
        {name: each for name, each in graph.operators.items() if name in kept},
        tuple(each for each in graph.synapses if each.target in kept),
        graph.inputs,
        {name: graph.outputs[name] for name in outputs},
        graph.metadata,
    )
