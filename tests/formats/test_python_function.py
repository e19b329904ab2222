"""A Python file is read as one of the functions that it declares, without being run in this process."""

from __future__ import annotations

import os
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from synfire.base.errors import UserError
from synfire.cli.imports import import_model
from synfire.formats import load, write_bundle
from synfire.formats.bundle import store_graph
from synfire.ops import Clock, Kind, Signal
from synfire.ops.python_function import PythonFunction
from synfire.store import BlobStore, Catalog
from synfire.zoo import find

Write = Callable[..., Path]

HALF = """
    from synfire import operator

    @operator
    def half(x: float) -> float:
        return x / 2
"""
BOTH = """
    from typing import Annotated, NamedTuple
    import numpy as np
    from numpy.typing import NDArray
    from synfire import operator

    class Both(NamedTuple):
        first: Annotated[NDArray[np.float32], "n"]
        second: str

    @operator
    def both(x: Annotated[NDArray[np.float32], "n", 3], text: str) -> Both:
        return Both(x[:, 0], text)
"""


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    monkeypatch.setenv("SYNFIRE_CACHE", str(tmp_path / "cache"))

    def written(name: str = "own.py", *, text: str) -> Path:
        (tmp_path / name).write_text(textwrap.dedent(text))
        return tmp_path / name

    return written


def test_a_function_is_one_operator_for_each_of_its_outputs(write: Write) -> None:
    graph = load(write(text=BOTH))
    assert dict(graph.inputs) == {
        "x": Signal((-1, 3), Kind.FLOAT32, Clock.REQUEST),
        "text": Signal((), Kind.BYTES, Clock.REQUEST),
    }
    assert graph.output_signals() == {
        "first": Signal((-1,), Kind.FLOAT32, Clock.REQUEST),
        "second": Signal((), Kind.BYTES, Clock.REQUEST),
    }
    assert {graph.operator(name).kind for name in graph.operators} == {"PythonFunction"}
    assert graph.whole
    assert not graph.batches


def test_it_has_another_digest_when_its_file_or_what_that_imports_has_changed(write: Write) -> None:
    write("other.py", text="FACTOR = 2\n")
    text = HALF.replace("from synfire", "from other import FACTOR\n    from synfire")
    digests = [load(write(text=text)).content_digest(), load(write(text=text)).content_digest()]
    write("other.py", text="FACTOR = 3\n")
    digests.append(load(write(text=text)).content_digest())
    digests.append(load(write(text=text + "    # more\n")).content_digest())
    assert digests[0] == digests[1]
    assert len(set(digests)) == 3


def test_a_change_within_the_same_second_counts(write: Write) -> None:
    """Python's own bytecode of a file is taken for up to date where second and size are."""
    path = write(text=HALF)
    assert set(load(path).inputs) == {"x"}
    before = path.stat()
    write(text=HALF.replace("x", "y"))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert set(load(path).inputs) == {"y"}


def test_the_file_is_not_run_in_this_process(write: Write) -> None:
    load(write("unheard_of.py", text="import sys\nprint('said')\nsys.stderr.write('too')\n" + textwrap.dedent(HALF)))
    assert "unheard_of" not in sys.modules


def test_one_of_several_functions_is_named_behind_a_colon(write: Write) -> None:
    path = write(text=HALF + HALF.replace("half", "quarter"))
    with pytest.raises(UserError, match=r"declares half, quarter; say which one: own.py:half"):
        load(path)
    with pytest.raises(UserError, match=r"declares no operator 'third'; it declares half, quarter"):
        load(f"{path}:third")
    model = find(f"{path}:quarter")
    (operator,) = model.graph.operators.values()
    assert isinstance(operator, PythonFunction)
    assert (model.name, operator.function) == ("quarter", "quarter")
    assert find(str(write(text=HALF))).name == "own"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x = 1\n", "declares no operator; put @operator before a function"),
        ("import nowhere_at_all\n", r"cannot be loaded: ModuleNotFoundError: .*nowhere_at_all.* \(own.py, line 1,"),
        ("def f(:\n", r"cannot be loaded: SyntaxError: .*own.py, line 1"),
        ("raise SystemExit(3)\n", r"cannot be loaded: SystemExit: 3 \(own.py, line 1"),
        (
            "import os, sys\nsys.stderr.write('adieu')\nos._exit(3)\n",
            r"ends the process that loads it \(code 3\): adieu",
        ),
        (HALF.replace("x: float", "x: dict"), "operator half, parameter 'x' is dict, which cannot travel"),
    ],
)
def test_a_file_that_is_of_no_use_is_refused_with_the_reason(write: Write, text: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        load(write(text=text))


def test_code_is_run_from_no_bundle_and_from_no_store(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SYNFIRE_HOME", str(tmp_path / "home"))
    graph = load(write(text=HALF))
    write_bundle(graph, tmp_path / "bundle")
    with pytest.raises(UserError, match="bundle has the Python function half, which is only ever run from a file"):
        load(tmp_path / "bundle")
    Catalog().add("stored", store_graph(graph, BlobStore()))
    with pytest.raises(UserError, match="stored has the Python function half, which is only ever run from a file"):
        find("stored")
    with pytest.raises(UserError, match=r"own.py has the Python function half, .*; serve that file instead"):
        import_model(write(text=HALF))


def test_a_file_that_is_not_there_is_told_as_such(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"there is no file or folder .*gone.py:half; check the path"):
        load(f"{tmp_path}/gone.py:half")


def test_a_python_that_does_not_run_is_named(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYNFIRE_FUNCTIONS_PYTHON", "/nowhere/python")
    with pytest.raises(UserError, match=r"cannot be loaded by /nowhere/python: .*; SYNFIRE_FUNCTIONS_PYTHON names"):
        load(write(text=HALF))
