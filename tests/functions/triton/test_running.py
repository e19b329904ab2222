"""A `model.py` as Triton's documentation has it is run as it is, and what is not there says so."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from synfire.base.errors import UserError
from synfire.functions.triton import backend_utils as pb_utils
from synfire.functions.triton.running import triton_runner

MODEL = """
    import json
    import numpy as np
    import triton_python_backend_utils as pb_utils

    class TritonPythonModel:
        def initialize(self, args):
            self.args = args
            config = json.loads(args["model_config"])
            self.type = pb_utils.triton_string_to_numpy(pb_utils.get_output_config_by_name(config, "sum")["data_type"])
            self.calls = 0

        def execute(self, requests):
            self.calls += 1
            return [self.answer(request) for request in requests]

        def answer(self, request):
            what = pb_utils.get_input_tensor_by_name(request, "what").as_numpy().ravel()[0].decode()
            x = pb_utils.get_input_tensor_by_name(request, "x").as_numpy()
            if what == "error":
                return pb_utils.InferenceResponse(error=pb_utils.TritonError("no answer to that"))
            if what == "refuse":
                return pb_utils.InferenceResponse(error=pb_utils.TritonError("not so", pb_utils.TritonError.INVALID_ARG))
            if what == "raise":
                raise pb_utils.TritonModelException("all of it failed")
            if what == "ask":
                return pb_utils.InferenceRequest(model_name="other").exec()
            if what == "nothing":
                return None
            total = x.sum(axis=1, keepdims=True).astype(np.float64 if what == "other type" else self.type)
            outputs = [pb_utils.Tensor("sum", total)]
            if what != "one output":
                said = f"{self.args['model_name']} {self.args['model_version']} {what} {self.calls}"
                outputs.append(pb_utils.Tensor("said", np.array([[said]] * len(x), np.object_)))
            return pb_utils.InferenceResponse(output_tensors=outputs)

        def finalize(self):
            open(__file__ + ".finalized", "w").close()
"""
CONFIG = {
    "max_batch_size": 4,
    "input": [{"name": "x", "data_type": "TYPE_FP32", "dims": [2]}, {"name": "what", "data_type": "TYPE_STRING", "dims": [1]}],
    "output": [{"name": "sum", "data_type": "TYPE_FP32", "dims": [1]}, {"name": "said", "data_type": "TYPE_STRING", "dims": [1]}],
}  # fmt: skip


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (tmp_path / "model.py").write_text(textwrap.dedent(MODEL))
    before = set(sys.modules)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path / "model.py"
    for name in {"model", "triton_python_backend_utils"} & (set(sys.modules) - before):
        del sys.modules[name]


@pytest.fixture
def run(path: Path) -> Iterator[Any]:
    args = {"model_config": json.dumps(CONFIG), "model_name": "net", "model_version": "2"}
    with ExitStack() as at_end:
        yield triton_runner(path, json.dumps({"args": args, "company": True}), at_end)


def asked(what: str, rows: int = 1) -> dict[str, Any]:
    return {"x": np.ones((rows, 2), np.float32), "what": np.array([[what.encode()]] * rows, object)}


def test_a_company_of_requests_is_executed_at_once_and_each_has_its_answer(run: Any) -> None:
    one, two = run([asked("one"), asked("two", 3)])
    assert one["sum"].tolist() == [[2.0]]
    assert one["said"].tolist() == [[b"net 2 one 1"]]
    assert two["sum"].tolist() == [[2.0]] * 3
    assert two["said"].tolist() == [[b"net 2 two 1"]] * 3


def test_an_error_in_a_response_is_that_requests_own(run: Any) -> None:
    error, refused, one = run([asked("error"), asked("refuse"), asked("one")])
    assert isinstance(error, pb_utils.TritonModelException)
    assert str(error) == "no answer to that"
    assert isinstance(refused, UserError)
    assert str(refused) == "not so"
    assert one["sum"].tolist() == [[2.0]]


def test_what_execute_raises_is_of_all_its_requests(run: Any) -> None:
    found = run([asked("one"), asked("raise")])
    assert [str(each) for each in found] == ["all of it failed"] * 2


def test_a_batch_that_is_too_large_is_refused_and_never_handed_over(run: Any) -> None:
    large, one = run([asked("one", 5), asked("one")])
    assert isinstance(large, UserError)
    assert str(large) == "the batch is 5, and max_batch_size 4; split the request"
    assert one["said"].tolist() == [[b"net 2 one 1"]]
    (unlike,) = run([asked("one") | {"x": np.ones((2, 2), np.float32)}])
    assert "the inputs differ in their batch: {'x': 2, 'what': 1}; make them equal" in str(unlike)


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("nothing", "execute gave NoneType; give an InferenceResponse for each request"),
        ("one output", "the response has no output 'said'; its outputs are sum"),
        ("other type", "output 'sum' came as float64 of shape [1, 1], and its configuration says TYPE_FP32 of shape"),
        ("ask", "a request has no exec when models are served by synfire: a model cannot ask another one"),
    ],
)
def test_an_answer_that_is_none_is_told(run: Any, what: str, words: str) -> None:
    (found,) = run([asked(what)])
    assert words in str(found)


def test_a_model_is_finalized_at_the_end(path: Path) -> None:
    args = {"model_config": json.dumps(CONFIG), "model_name": "net", "model_version": "2"}
    with ExitStack() as at_end:
        triton_runner(path, json.dumps({"args": args}), at_end)
        assert not Path(f"{path}.finalized").exists()
    assert Path(f"{path}.finalized").exists()


def test_a_model_that_cannot_be_initialised_is_told_with_the_line(path: Path) -> None:
    args = {"model_config": json.dumps(CONFIG | {"output": []}), "model_name": "net", "model_version": "2"}
    with (
        ExitStack() as at_end,
        pytest.raises(UserError, match=r"initialize failed: TypeError: .*\(model.py, line 10, in"),
    ):
        triton_runner(path, json.dumps({"args": args}), at_end)


def test_number_formats_go_by_tritons_names() -> None:
    for name in ("TYPE_BOOL", "TYPE_INT8", "TYPE_UINT64", "TYPE_FP16", "TYPE_FP64", "TYPE_STRING"):
        assert pb_utils.numpy_to_triton_type(pb_utils.triton_string_to_numpy(name)) == name
    assert pb_utils.Tensor("x", np.zeros(2, np.float32)).triton_dtype() == "TYPE_FP32"
    assert pb_utils.triton_string_to_numpy("TYPE_BF16") is None
    with pytest.raises(pb_utils.TritonModelException, match="complex64 is no number format that is served"):
        pb_utils.numpy_to_triton_type(np.complex64)


def test_what_is_not_there_says_so_by_its_name() -> None:
    with pytest.raises(AttributeError, match=r"MetricFamily is not there when models are served by synfire"):
        pb_utils.MetricFamily  # noqa: B018
    with pytest.raises(AttributeError, match="Tensors does not exist"):
        pb_utils.Tensors  # noqa: B018
    with pytest.raises(AttributeError, match=r"tensors have no to_dlpack .* take as_numpy\(\)"):
        pb_utils.Tensor("x", np.zeros(1)).to_dlpack()
    with pytest.raises(pb_utils.TritonModelException, match="tensor 'x' is made of a numpy array, and got list"):
        pb_utils.Tensor("x", [1])


def test_the_folder_of_functions_imports_nothing_else_of_synfire() -> None:
    code = (
        "import sys, synfire.functions.process, synfire.functions.triton.describing, synfire.functions.describing\n"
        "print(*sorted(name for name in sys.modules if name.startswith('synfire.')))"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    allowed = {"synfire.base", "synfire.base.errors"}
    assert {name for name in said if not name.startswith("synfire.functions")} == allowed
