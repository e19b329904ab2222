"""The engine `onnxruntime`: whole ONNX models, by ONNX Runtime, in the worker's own process.

Such a model has a worker of its own, so a crash within the runtime ends that worker and nothing else, and is healed as any lost worker is; a
process between would add a hop to every request and protect nobody more. It computes with as many threads as the worker is granted, and these
sleep between requests.
"""

from __future__ import annotations

import importlib.util
import mmap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from synfire.base.errors import PermanentError, UserError
from synfire.base.log import LOGGER
from synfire.engines.engine import ENGINES, Program
from synfire.engines.streaming import WholeEngine
from synfire.formats.weights import located
from synfire.graph import Graph
from synfire.ops import Array, Kind, Signal, State
from synfire.ops.onnx_model import OnnxModel
from synfire.store.files import explained

PACKAGE, EXTRA = "onnxruntime", "onnx"
MOST_OPSET = 26
"""The newest set of ONNX's own operators that the version in our extra runs."""

_LIKE = {"rtol": 1e-3, "atol": 1e-4}
_CALLERS_FAULTS = ("InvalidArgument", "Fail", "RuntimeException")


class OnnxProgram(Program):
    """A model in a session of ONNX Runtime. All its outputs are computed at once."""

    def __init__(self, graph: Graph, models: Mapping[str, OnnxModel]) -> None:
        super().__init__(graph)
        self._model = next(iter(models.values()))
        first = next(iter(models))
        self._feeds = {s.source: self._model.takes[s.port][0] for s in graph.arriving(first)}
        self._fetches = {name: models[source].gives[0] for name, source in graph.outputs.items()}
        self._threads = 1
        self._session: Any = None
        self.joins = False

    def initial_state(self, batch: int) -> State:
        """It keeps none."""
        return {}

    def grant(self, threads: int) -> None:
        self._threads = threads

    def warm(self) -> None:
        """Load the model, and find out whether samples of one batch are computed each by itself.

        Raises `UserError` for a file that is gone or changed, and for a model that ONNX Runtime refuses.
        """
        if self._session is None:
            self._session = _session(self._model, self._threads)
            self.joins = self._model.batched and self._apart()

    def run(self, state: State, inputs: Mapping[str, Array], steps: int) -> tuple[State, dict[str, Array]]:
        """The model's outputs. Raises `UserError` for inputs that the model refuses."""
        self.warm()
        feeds = {self._feeds[name]: self._fed(array) for name, array in inputs.items()}
        try:
            found = self._session.run(list(self._fetches.values()), feeds)
        except Exception as error:  # the runtime's errors have no common class of their own
            raise _refusal(self._model, error) from error
        batch = len(next(iter(inputs.values())))
        pairs = zip(self._fetches, found, strict=True)
        return {}, {name: self._given(name, np.asarray(array), batch) for name, array in pairs}

    def _fed(self, array: Array) -> Array:
        """An input as the runtime takes it: without the axis of a batch that it does not know, and texts as such."""
        own = array if self._model.batched else array.reshape(array.shape[1:])
        return _texts(own) if own.dtype == object else own

    def _given(self, name: str, array: Array, batch: int) -> Array:
        """An output as its signal has it. Raises `PermanentError` where it is not as the file says."""
        signal = self.outputs[name]
        own = array if self._model.batched else array[None]
        if own.dtype.kind in "OUS" and signal.kind is Kind.BYTES:
            own = _bytes(own)
        fits = own.ndim == 1 + len(signal.shape) and all(
            wanted in (-1, size) for wanted, size in zip(signal.shape, own.shape[1:], strict=True)
        )
        if own.dtype != signal.kind.dtype or not fits or len(own) != batch:
            raise PermanentError(
                f"output {name!r} of {self._model.weights[0][0]} came as {array.dtype} of shape {list(array.shape)}, and the file says "
                f"{signal}; infer the model's shapes anew (onnx.shape_inference.infer_shapes), and save it again"
            )
        return own

    def _apart(self) -> bool:
        """Whether two samples get together what each gets alone: the first axis may count something else than samples."""
        rng = np.random.default_rng(0)
        drawn = {name: _draw(signal, rng) for name, signal in self.inputs.items()}
        try:
            both = self.run({}, drawn, 1)[1]
            alone = [self.run({}, {name: array[n : n + 1] for name, array in drawn.items()}, 1)[1] for n in range(2)]
        except (UserError, PermanentError) as error:  # drawn numbers may mean nothing to it
            LOGGER.info("requests to %s are computed one by one: %s", self._model.weights[0][0], error)
            return False
        return all(_like(both[name], np.concatenate([each[name] for each in alone])) for name in both)


def _session(model: OnnxModel, threads: int) -> Any:
    """A session of the model. Its file and those with its weights lie anywhere, each known by its digest, so these are given as they are
    mapped: by path ONNX Runtime takes them from the model's own folder alone. Raises `UserError` for one that is gone or changed."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # what goes wrong is raised
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    (_, digest), *others = model.weights
    file = located(digest)
    with ExitStack() as mapped:
        beside = {name: mapped.enter_context(_mapped(located(wanted))) for name, wanted in others}
        if beside:
            names, contents = list(beside), list(beside.values())
            options.add_external_initializers_from_files_in_memory(names, contents, [len(each) for each in contents])
        try:
            return onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise UserError(f"ONNX Runtime {onnxruntime.__version__} refuses {file}: {error}") from error


@contextmanager
def _mapped(file: Path) -> Iterator[mmap.mmap]:
    """A file's bytes, read when they are looked at."""
    with (
        explained(file, "read"),
        file.open("rb") as opened,
        mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as found,
    ):
        yield found


def _refusal(model: OnnxModel, error: Exception) -> UserError | PermanentError:
    said = f"{model.weights[0][0]}: {error}"
    if type(error).__name__ in _CALLERS_FAULTS:
        return UserError(f"the model does not take these inputs: {said}")
    return PermanentError(f"ONNX Runtime failed: {said}; ask again")


def _texts(array: Array) -> Array:
    """Bytes as texts. Raises `UserError` for those that are no UTF-8."""
    try:
        return np.array([each.decode() for each in array.flat], object).reshape(array.shape)
    except UnicodeDecodeError as error:
        raise UserError(f"a string is no UTF-8 ({error}); the model takes text: send it in that encoding") from error


def _bytes(array: Array) -> Array:
    found = np.empty(array.size, object)
    found[:] = [str(each).encode() for each in array.flat]
    return found.reshape(array.shape)


def _draw(signal: Signal, rng: np.random.Generator) -> Array:
    """Two samples of numbers that mean something to most models, other ones each time."""
    shape = (2, *signal.shape)
    if signal.kind is Kind.BYTES:
        return np.full(shape, b"a", object)
    numbers = rng.random(shape) if signal.kind.dtype.kind == "f" else rng.integers(0, 2, shape)
    return numbers.astype(signal.kind.dtype)


def _like(one: Array, other: Array) -> bool:
    if one.shape != other.shape or one.dtype.kind not in "fc":
        return bool(np.array_equal(one, other))
    return bool(np.allclose(one, other, equal_nan=True, **_LIKE))


class OnnxRuntimeEngine(WholeEngine):
    """ONNX models, whole, on the processor."""

    name = "onnxruntime"
    format = "onnx"

    @classmethod
    def refusal(cls, graph: Graph) -> str:
        models = [each for each in graph.operators.values() if isinstance(each, OnnxModel)]
        if len(models) != len(graph.operators) or not _alike(models):
            return "it runs one ONNX model, whole, and nothing else"
        opset = dict(models[0].opset).get("", 0)
        if opset > MOST_OPSET:
            return (
                f"the model is written in version {opset} of ONNX's operators, and it knows those up to {MOST_OPSET}; export the "
                f"model with opset_version={MOST_OPSET} or less"
            )
        if importlib.util.find_spec(PACKAGE) is None:
            return f"the package {PACKAGE} is not installed: pip install 'synfire[{EXTRA}]'"
        return ""

    def build(self, graph: Graph) -> Program:
        """Raises `UserError` for any other graph, and where the package is missing."""
        refusal = self.refusal(graph)
        if refusal:
            raise UserError(f"engine {self.name} cannot run this stage: {refusal}")
        return OnnxProgram(graph, {name: each for name, each in graph.operators.items() if isinstance(each, OnnxModel)})


def _alike(models: Sequence[OnnxModel]) -> bool:
    """Whether they are the outputs of one model."""
    return all(
        (each.weights, each.takes, each.batched) == (one.weights, one.takes, one.batched)
        for one in models[:1]
        for each in models
    )


ENGINES.add(OnnxRuntimeEngine.name, OnnxRuntimeEngine)
