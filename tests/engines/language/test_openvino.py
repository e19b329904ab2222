"""The engine `openvino`: what it reads, what it converts, and the conformance suite.

The suite needs openvino-genai, in this environment or in the one that SYNFIRE_OPENVINO_PYTHON names, and for directories the converter in that
of SYNFIRE_OPENVINO_BUILD_PYTHON: `make openvino`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from synfire.base import paths
from synfire.base.errors import SynfireError, UserError
from synfire.engines import ENGINES
from synfire.engines.language import openvino, openvino_build
from synfire.engines.language.environment import Environment
from synfire.engines.language.openvino_build import BUILDER
from synfire.engines.streaming import StreamingProgram
from synfire.formats import load
from synfire.formats.gguf import read_gguf
from synfire.formats.gguf_model import language_graph
from synfire.graph import Graph
from synfire.ops.language_model import Generation, LanguageModel
from synfire.plan.plan import stage_graph
from synfire.testing.language_engines import CHECKS, answer, text_of
from synfire.testing.language_folders import write_tiny_adapter, write_tiny_folder
from synfire.testing.language_models import write_tiny_language_model

needs_openvino = pytest.mark.skipif(
    bool(openvino.ENVIRONMENT.missing()),
    reason=f"needs openvino-genai, here or in the environment that {openvino.ENVIRONMENT.variable} names",
)


def trained(name: str) -> Path:
    """One of the shared trained models; skips where there is none."""
    try:
        found = paths.data().parent / "models" / name
    except SynfireError as error:
        pytest.skip(str(error))
    if not found.exists():
        pytest.skip(f"there is no {found}")
    return found


def build(graph: Graph) -> StreamingProgram:
    made = ENGINES["openvino"].installed().build(stage_graph(graph, graph.order()))
    assert isinstance(made, StreamingProgram)
    return made


@pytest.fixture(scope="module")
def from_file() -> Iterator[StreamingProgram]:
    made = build(load(trained("tinyshake-5m-base-f16.gguf"), context=256, streams=3))
    yield made
    made.rest()


@pytest.fixture(scope="module")
def from_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StreamingProgram]:
    if BUILDER.missing():
        pytest.skip(f"needs optimum-intel and nncf in the environment that {BUILDER.variable} names")
    made = build(load(write_tiny_folder(tmp_path_factory.mktemp("folders") / "tiny"), streams=3))
    yield made
    made.rest()


@needs_openvino
@pytest.mark.slow
@pytest.mark.parametrize("check", CHECKS)
def test_openvino_conforms_with_a_file(check: str, from_file: StreamingProgram) -> None:
    CHECKS[check](from_file)


@needs_openvino
@pytest.mark.slow
@pytest.mark.parametrize("check", CHECKS)
def test_openvino_conforms_with_a_directory(check: str, from_folder: StreamingProgram) -> None:
    CHECKS[check](from_folder)


@needs_openvino
@pytest.mark.slow
def test_a_trained_model_says_what_it_says_elsewhere() -> None:
    program = build(load(trained("tinyshake-5m-chat-Q8_0.gguf"), streams=1))
    chat = "<|im_start|>user\nSpeak, what news?<|im_end|>\n<|im_start|>assistant\n"
    try:
        assert text_of(answer(program, Generation(chat, 16, 0.0))).startswith("I'll be a pub'd, and")
    finally:
        program.rest()


def told(**card: Any) -> Graph:
    """A graph of which so much is told."""
    model = LanguageModel("gguf", (("x.gguf", "0" * 64),), 1, 8)
    return language_graph(model, {"architecture": "llama", "precision": "Q8_0", "tokenizer": "gpt2", **card})


@pytest.mark.parametrize(
    ("card", "words"),
    [
        ({"architecture": "phi3"}, "architecture llama, qwen2, qwen3, and this has phi3; use llama.cpp"),
        ({"precision": "IQ2_XS"}, "precision .* and this has IQ2_XS"),
        ({"tokenizer": "llama"}, "tokenizer gpt2, and this has llama"),
    ],
)
def test_a_file_that_it_does_not_read_is_refused_with_the_reason(card: dict[str, str], words: str) -> None:
    refusal = ENGINES["openvino"].refusal(told(**card))
    assert re.search(words, refusal), refusal


def test_a_tiny_file_is_none_that_it_reads(tiny: Path) -> None:
    assert "this has F32" in ENGINES["openvino"].refusal(load(tiny))


def test_tokens_that_end_an_answer_are_known_by_their_numbers_and_by_their_names(tmp_path: Path) -> None:
    file = read_gguf(write_tiny_language_model(tmp_path / "tiny.gguf", more={"tokenizer.ggml.eot_token_id": 7}))
    assert openvino._tokens(file) == {
        "bos": [1],
        "ends": [2, 7],
        "vocabulary": len(file.metadata["tokenizer.ggml.tokens"]),
    }
    silent = read_gguf(write_tiny_language_model(tmp_path / "tiny.gguf", more={"tokenizer.ggml.add_bos_token": False}))
    assert openvino._tokens(silent)["bos"] == []


def test_what_is_missing_is_named_with_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(Environment, "missing", lambda self: self.packages)
    assert "openvino_genai not installed" in ENGINES["openvino"].refusal(told())
    folder = load(write_tiny_folder(tmp_path / "tiny", seed=9))
    refusal = ENGINES["openvino"].refusal(folder)
    assert "has to be converted first" in refusal
    assert BUILDER.variable in refusal
    with pytest.raises(UserError, match=r"optimum.intel and nncf not installed"):
        openvino_build.build((("config.json", "0" * 64),), lambda *_: None)
    assert "merge this one" in ENGINES["openvino"].refusal(load(write_tiny_adapter(tmp_path / "lora", "tiny")))


@pytest.fixture
def converter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An environment whose converter writes down that it was called; it has version 1."""
    home = tmp_path / "env"
    home.mkdir()
    script(home / "python", 'case "$*" in *find_spec*) echo;; *) echo "$(cat version)";; esac', home)
    script(home / "optimum-cli", 'for into; do :; done; echo x >> calls; cp calls "$into/openvino_model.xml"', home)
    (home / "version").write_text("1")
    monkeypatch.setenv(BUILDER.variable, str(home / "python"))
    monkeypatch.setenv("SYNFIRE_CACHE", str(tmp_path / "cache"))
    return home


def script(path: Path, body: str, home: Path) -> None:
    path.write_text(f"#!/bin/sh\ncd {home}\n{body}\n")
    path.chmod(0o755)


def test_a_directory_is_converted_once_and_kept(
    converter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph, said = load(write_tiny_folder(tmp_path / "tiny")), []
    files = graph.operator("model").weights  # type: ignore[attr-defined]
    openvino.OpenVinoEngine.build_ahead(graph, lambda what, share: said.append((what, share)))
    assert said == [("converting to int8", 0.1), ("converted to int8", 1.0)]
    found = openvino_build.built(files)
    assert found is not None
    assert openvino_build.build(files, lambda *_: pytest.fail("it is converted again")) == found
    assert (converter / "calls").read_text() == "x\n"
    monkeypatch.setattr(Environment, "missing", lambda self: self.packages)
    assert openvino_build.built(files) == found, "without a converter nothing is found any more"


def test_what_the_converter_refuses_is_told_with_its_words(converter: Path, tmp_path: Path) -> None:
    script(converter / "optimum-cli", 'echo "unknown architecture wobble" >&2; exit 1', converter)
    files = load(write_tiny_folder(tmp_path / "tiny")).operator("model").weights  # type: ignore[attr-defined]
    with pytest.raises(UserError, match=r"(?s)cannot be converted for OpenVINO.*unknown architecture wobble"):
        openvino_build.build(files, lambda *_: None)
    assert openvino_build.built(files) is None
    assert not list((tmp_path / "cache" / "openvino").iterdir()), "something is left behind"
