"""`synfire serve` of Python files and of Triton's repositories, in real processes that are killed."""

from __future__ import annotations

import os
import signal
import textwrap
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from served import serving

from synfire.base.processes import born
from synfire.cli.repositories import unfolded

FUNCTION = """
    import os
    from synfire import operator

    @operator
    def shout(text: str, times: int) -> str:
        return text.upper() * times + f" {os.getpid()}"
"""
MODEL = """
    import os
    import triton_python_backend_utils as pb_utils

    class TritonPythonModel:
        def execute(self, requests):
            return [self.answer(pb_utils.get_input_tensor_by_name(each, "x").as_numpy()) for each in requests]

        def answer(self, x):
            return pb_utils.InferenceResponse([pb_utils.Tensor("y", x + os.getpid() // (1 << 30))])

        def finalize(self):
            open(__file__ + ".finalized", "w").close()
"""
CONFIG = """
    input { name: "x" data_type: TYPE_INT64 dims: -1 }
    output { name: "y" data_type: TYPE_INT64 dims: -1 }
    version_policy { all { } }
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "own.py").write_text(textwrap.dedent(FUNCTION))
    for version in (1, 2):
        (tmp_path / f"repository/same/{version}").mkdir(parents=True)
        (tmp_path / f"repository/same/{version}/model.py").write_text(textwrap.dedent(MODEL))
    (tmp_path / "repository/same/config.pbtxt").write_text(CONFIG)
    return tmp_path


def asked(url: str, model: str, **tensors: Any) -> Any:
    """What a model answers with its only output."""
    types = {str: "BYTES", int: "INT64"}
    inputs = [
        {"name": name, "datatype": types[type(value)], "shape": [], "data": [value]}
        if not isinstance(value, list)
        else {"name": name, "datatype": "INT64", "shape": [len(value)], "data": value}
        for name, value in tensors.items()
    ]
    answered = httpx.post(f"{url}/v2/models/{model}/infer", json={"inputs": inputs}, timeout=60)
    assert answered.status_code == 200, answered.text
    return answered.json()["outputs"][0]["data"]


@pytest.mark.slow
def test_functions_and_repositories_are_served_and_outlive_whatever_is_killed(folder: Path) -> None:
    with serving([f"loud={folder}/own.py:shout", f"{folder}/repository"]) as (_, ready):
        url = ready["url"]
        index = {(each["name"], each["version"]) for each in httpx.post(f"{url}/v2/repository/index").json()}
        assert index == {("loud", "1"), ("same", "1"), ("same", "2")}
        assert asked(url, "same/versions/1", x=[1, 2, 3]) == [1, 2, 3]
        (said,) = asked(url, "loud", text="ab", times=2)
        text, child = said.split()
        assert text == "ABAB"
        with ThreadPoolExecutor(8) as callers:
            calls = [callers.submit(asked, url, "loud", text=str(n), times=1) for n in range(200)]
            os.kill(int(child), signal.SIGKILL)
            for worker in ready["workers"]:
                os.kill(worker["pid"], signal.SIGKILL)
            answers = [each.result()[0].split() for each in calls]
        assert [answer for answer, _ in answers] == [str(n) for n in range(200)]
        assert asked(url, "same", x=[4]) == [4]
    left = [pid for pid in {int(child), *(int(pid) for _, pid in answers)} if born(pid)]
    assert not left, "processes of functions outlive the deployment"
    assert (folder / "repository/same/2/model.py.finalized").exists()


def test_a_repository_is_what_it_holds_and_has_no_name_itself(folder: Path, run: Callable[..., Any]) -> None:
    repository = folder / "repository"
    assert unfolded(["net", f"a={folder}/own.py", str(repository)]) == [
        "net",
        f"a={folder}/own.py",
        f"same@1={repository}/same/1",
        f"same@2={repository}/same/2",
    ]
    ran = run("serve", f"name={repository}", "--json")
    assert ran.code == 2
    assert "a repository holds models of names of their own; leave name= out" in ran.json["error"]


def test_what_a_function_takes_and_gives_is_shown(folder: Path, run: Callable[..., Any]) -> None:
    ran = run("show", f"{folder}/own.py")
    assert ran.code == 0
    assert "input text: bytes scalar per request" in ran.out
    assert "PythonFunction" in ran.out
