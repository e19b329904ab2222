"""The engine `transformers`: the conformance suite, the same answers as llama.cpp's, and adapters on one model.

It needs torch and transformers, in this environment or in the one that SYNFIRE_TRANSFORMERS_PYTHON names: `make transformers`.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import safetensors.numpy

from synfire.base.errors import PermanentError, UserError
from synfire.engines import ENGINES
from synfire.engines.language.environment import Environment
from synfire.engines.language.transformers import ENVIRONMENT
from synfire.engines.streaming import StreamingProgram
from synfire.formats import load
from synfire.ops.language_model import Generation
from synfire.plan.plan import stage_graph
from synfire.testing.language_engines import CHECKS, answer, answered, process_of, text_of
from synfire.testing.language_folders import write_tiny_adapter, write_tiny_folder
from synfire.testing.language_models import SPECIAL, WORDS, write_tiny_language_model

PROMPT = (SPECIAL.index("<s>"), *(len(SPECIAL) + 256 + WORDS.index(word) for word in ("the", "king", "said")))
"""As tokens, since the tokenizers of the two engines part words otherwise."""

GREEDY = Generation(PROMPT, 48, 0.0, ignore_eos=True)

needs_torch = pytest.mark.skipif(
    bool(ENVIRONMENT.missing()),
    reason=f"needs torch and transformers, here or in the environment that {ENVIRONMENT.variable} names",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_folder(tmp_path_factory.mktemp("folders") / "tiny")


def build(path: Path, streams: int = 2, **options: Any) -> StreamingProgram:
    graph = load(path, streams=streams, **options)
    made = ENGINES["transformers"].installed().build(stage_graph(graph, graph.order()))
    assert isinstance(made, StreamingProgram)
    return made


@pytest.fixture(scope="module")
def program(folder: Path) -> Iterator[StreamingProgram]:
    made = build(folder, 3)  # so that nobody else shares its process
    yield made
    made.rest()


def test_an_architecture_that_transformers_does_not_know_is_named(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables = tmp_path / "transformers" / "models" / "auto"
    tables.mkdir(parents=True)
    (tables / "auto_mappings.py").write_text(
        'NAMES = (\n    ("llama", "LlamaConfig"),\n    ("qwen3", "Qwen3Config"),\n)\n'
    )
    monkeypatch.setattr(Environment, "missing", lambda self: ())
    monkeypatch.setattr(Environment, "folder", lambda self, package: tmp_path / package)
    engine, graph = ENGINES["transformers"], load(folder)
    assert engine.refusal(graph) == ""
    odd = shutil.copytree(folder, tmp_path / "odd")
    config = json.loads((odd / "config.json").read_text())
    (odd / "config.json").write_text(json.dumps({**config, "model_type": "lama"}))
    refusal = engine.refusal(load(odd))
    assert "knows no architecture 'lama' (did you mean 'llama'?): correct model_type in config.json" in refusal
    monkeypatch.setattr(Environment, "folder", lambda self, package: tmp_path / "elsewhere")
    assert engine.refusal(load(odd)) == "", "where nobody can tell, it is tried"


@needs_torch
@pytest.mark.slow
@pytest.mark.parametrize("check", CHECKS)
def test_transformers_conforms(check: str, program: StreamingProgram) -> None:
    CHECKS[check](program)


@needs_torch
@pytest.mark.slow
def test_greedy_answers_are_those_of_llama_cpp(program: StreamingProgram, tmp_path: Path) -> None:
    pytest.importorskip("xllamacpp", reason="needs the extra `llama`")
    graph = load(write_tiny_language_model(tmp_path / "tiny.gguf"), streams=1)
    other = ENGINES["llama.cpp"].installed().build(stage_graph(graph, graph.order()))
    assert isinstance(other, StreamingProgram)
    try:
        wanted = answer(other, GREEDY)
    finally:
        other.rest()
    found = answer(program, GREEDY)
    assert text_of(found) == text_of(wanted)
    assert [token for each in found for token in each.tokens] == [token for each in wanted for token in each.tokens]


@needs_torch
@pytest.mark.slow
def test_an_answer_has_the_same_bits_whatever_is_asked_beside_it(program: StreamingProgram) -> None:
    alone = answer(program, Generation("the queen", 24, 0.0, ignore_eos=True, logprobs=1))
    others = {f"other {n}": Generation("the sword " * (n + 1), 30, 1.0, seed=n, ignore_eos=True) for n in range(2)}
    beside = answered(program, {"one": Generation("the queen", 24, 0.0, ignore_eos=True, logprobs=1), **others})["one"]
    assert [score for each in beside for score in each.scores] == [score for each in alone for score in each.scores]


@needs_torch
@pytest.mark.slow
def test_texts_and_tokens_are_told(program: StreamingProgram) -> None:
    (told,) = answer(program, Generation("the king said", task="tokenize"))
    assert told.tokens == PROMPT
    assert text_of(answer(program, Generation(PROMPT[1:], task="detokenize"))).strip() == "the king said"


@needs_torch
@pytest.mark.slow
def test_adapters_share_the_model_and_answer_each_by_itself(folder: Path, tmp_path: Path) -> None:
    one = build(write_tiny_adapter(tmp_path / "one", "tiny", seed=1), base=str(folder))
    two = build(write_tiny_adapter(tmp_path / "two", "tiny", seed=2), base=str(folder))
    plain = build(folder)
    try:
        texts = [text_of(answer(each, GREEDY)) for each in (plain, one, two)]
        assert len(set(texts)) == 3, "an adapter changes nothing"
        assert len({process_of(each) for each in (plain, one, two)}) == 1, "they do not share a process"
        assert [text_of(answer(each, GREEDY)) for each in (two, plain, one)] == [texts[2], texts[0], texts[1]]
        pid = process_of(plain)
        plain.rest()
        assert text_of(answer(one, GREEDY)) == texts[1], "an adapter's process ended with another program"
        one.rest()
        two.rest()
        assert not Path(f"/proc/{pid}").exists()
    finally:
        for each in (plain, one, two):
            each.rest()


@needs_torch
@pytest.mark.slow
def test_an_adapter_adds_what_its_matrices_say(folder: Path, tmp_path: Path) -> None:
    """The same as a model into whose weights it was merged."""
    adapter = write_tiny_adapter(tmp_path / "lora", "tiny")
    merged = write_tiny_folder(tmp_path / "merged")
    weights, pairs = (
        safetensors.numpy.load_file(file)
        for file in (merged / "model.safetensors", adapter / "adapter_model.safetensors")
    )
    for name in [each for each in pairs if each.endswith("lora_A.weight")]:
        layer = name.removeprefix("base_model.model.").removesuffix(".lora_A.weight")
        weights[f"{layer}.weight"] += 2 * pairs[name.replace("lora_A", "lora_B")] @ pairs[name]
    safetensors.numpy.save_file(weights, merged / "model.safetensors", {"format": "pt"})
    programs = build(adapter, base=str(folder)), build(merged)
    try:
        one, other = (text_of(answer(each, GREEDY)) for each in programs)
        assert one == other
    finally:
        for each in programs:
            each.rest()


@needs_torch
@pytest.mark.slow
def test_an_architecture_that_nobody_knows_is_named_with_its_directory(folder: Path, tmp_path: Path) -> None:
    strange = write_tiny_folder(tmp_path / "strange")
    config = json.loads((strange / "config.json").read_text())
    (strange / "config.json").write_text(
        json.dumps({**config, "model_type": "wobble", "architectures": ["WobbleForCausalLM"]})
    )
    with pytest.raises(PermanentError, match=r"cannot load .*strange.*wobble"):
        build(strange).warm()


@needs_torch
@pytest.mark.slow
def test_an_adapter_of_a_kind_that_is_not_known_is_refused_by_name(folder: Path, tmp_path: Path) -> None:
    odd = build(write_tiny_adapter(tmp_path / "odd", "tiny", more={"use_dora": True}), base=str(folder))
    with pytest.raises(UserError, match=r"use_dora.*merge it into its model"):
        odd.warm()


def test_it_runs_nothing_but_a_directory_of_weights(graph: Any) -> None:
    assert "nothing else" in ENGINES["transformers"].refusal(graph)


def test_packages_that_are_missing_are_named_with_what_to_do(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Environment, "missing", lambda self: self.packages)
    with pytest.raises(
        UserError, match=rf"torch and transformers not installed.*torch==2.13.0.*{ENVIRONMENT.variable}"
    ):
        build(folder)


def test_an_interpreter_that_does_not_run_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENVIRONMENT.variable, "/nowhere/python")
    with pytest.raises(PermanentError, match=f"{ENVIRONMENT.variable} is /nowhere/python"):
        build(folder)
