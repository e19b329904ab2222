"""The expert's net as an ONNX graph, unrolled over its time steps, in onnxruntime and in OpenVINO."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import onnxruntime
import openvino
import torch

from synfire.bench.baselines.baseline import THREADS, Baseline, Call, kept, threads
from synfire.bench.baselines.compiled import tensors
from synfire.bench.baselines.net import Net
from synfire.bench.frameworks import Case
from synfire.ops import Array


class OnnxRuntime(Baseline):
    """onnxruntime's processor provider with all optimisations. Settings: one thread or two."""

    name = "onnxruntime"

    def settings(self, case: Case) -> Iterator[tuple[str, Call]]:
        file, names = _exported(case), list(case.graph.outputs)
        for number in THREADS:
            options = onnxruntime.SessionOptions()
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
            options.intra_op_num_threads, options.inter_op_num_threads = number, 1
            session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
            yield threads(number), _session_call(session, _float32(case), names)


class OpenVino(Baseline):
    """OpenVINO's processor plugin under its latency hint, tensors shared with numpy. Settings: one thread or two.

    In float32: by itself it would compute in bfloat16 where the processor can, which is another model.
    """

    name = "openvino"

    def settings(self, case: Case) -> Iterator[tuple[str, Call]]:
        file, names = _exported(case), list(case.graph.outputs)
        for number in THREADS:
            hints = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": number, "INFERENCE_PRECISION_HINT": "f32"}
            request = openvino.Core().compile_model(file, "CPU", hints).create_infer_request()
            yield threads(number), _request_call(request, _float32(case), names)


def _exported(case: Case) -> Path:
    """The net's file: time is folded into the batch, neurons and cycles are unrolled."""
    names = {"input_names": list(case.graph.inputs), "output_names": list(case.graph.outputs)}

    def make(file: Path) -> None:
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it warns of optional packages
        net = Net(case.graph, case.steps, case.batch).eval()
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # of the exporter, about its own calls
            torch.onnx.export(net, tensors(case), dynamo=True, verbose=False, **names).save(file)

    return kept(case, f"{names} {torch.__version__}", ".onnx", make)


def _session_call(session: onnxruntime.InferenceSession, inputs: Mapping[str, Array], names: list[str]) -> Call:
    return lambda: dict(zip(names, session.run(names, inputs), strict=True))


def _request_call(request: openvino.InferRequest, inputs: Mapping[str, Array], names: list[str]) -> Call:
    def call() -> dict[str, Array]:
        found = request.infer(inputs, share_inputs=True, share_outputs=True)
        return {name: found[name] for name in names}

    return call


def _float32(case: Case) -> dict[str, Array]:
    return {name: np.ascontiguousarray(case.inputs[name], np.float32) for name in case.graph.inputs}
