"""llama.cpp's engine: what it refuses, and what it asks the server."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace

import pytest

from synfire.base.errors import PermanentError, UserError
from synfire.engines import ENGINES
from synfire.engines.language import child
from synfire.engines.language.server import body_of
from synfire.formats import load
from synfire.graph import Graph, Synapse
from synfire.ops import Kind, Signal
from synfire.ops.language_model import Generation, LanguageModel, Sent
from synfire.ops.lif import LIF
from synfire.plan.plan import stage_graph
from synfire.testing.language_models import write_tiny_language_model


def build(graph):
    return ENGINES["llama.cpp"].installed().build(stage_graph(graph, graph.order()))


def test_a_graph_of_neurons_is_refused():
    graph = Graph({"lif": LIF()}, (Synapse("x", "lif"),), {"x": Signal((3,), Kind.VALUE)}, {"y": "lif"})
    with pytest.raises(UserError, match="a language model from a GGUF file"):
        ENGINES["llama.cpp"]().build(graph)


def test_a_missing_package_is_named_with_its_extra(graph, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'synfire\[llama\]'"):
        build(graph)


def test_weights_that_llama_cpp_cannot_load_are_an_error_with_its_words(tmp_path):
    pytest.importorskip("xllamacpp", reason="needs the extra `llama`")
    path = write_tiny_language_model(tmp_path / "odd.gguf")
    path.write_bytes(path.read_bytes().replace(b"blk.1.ffn_down.weight", b"blk.1.ffn_gown.weight"))
    with pytest.raises(PermanentError, match=r"cannot load .*odd.gguf.*last words"):
        build(load(path)).warm()


def test_weights_that_are_gone_or_changed_are_told(tmp_path):
    path = write_tiny_language_model(tmp_path / "tiny.gguf", seed=5)
    program = build(load(path))
    write_tiny_language_model(path, seed=6)
    with pytest.raises(UserError, match="has changed since"):
        program.warm()
    path.unlink()
    with pytest.raises(UserError):
        program.warm()


def test_weights_are_found_where_they_were_read_last(tmp_path):
    pytest.importorskip("xllamacpp", reason="needs the extra `llama`")
    path = write_tiny_language_model(tmp_path / "tiny.gguf", seed=7)
    program = build(load(path))
    shutil.copy(path, tmp_path / "copy.gguf")
    path.unlink()
    load(tmp_path / "copy.gguf")
    program.warm()
    assert program.fileno() >= 0
    program.rest()


def test_every_choice_of_a_token_is_named():
    body = body_of(Generation("x", 5, 0.5, seed=-1, stop=("a",), logprobs=0, logit_bias={3: -100.0}), 64)
    assert {
        "temperature": 0.5,
        "top_k": 0,
        "min_p": 0.0,
        "n_predict": 5,
        "seed": 0xFFFFFFFF,
        "n_probs": 1,
    }.items() <= body.items()
    assert body["logit_bias"] == [[3, -100.0]]
    assert "stop" not in body, "stop words are found here, so that whole tokens are held back"


def test_what_was_sent_goes_before_what_is_made():
    sent = Sent(" so it", (4, "é"), 3, 2)
    assert body_of(Generation("x", 5, sent=sent), 64)["prompt"] == ["x", 4, "é"]
    assert body_of(Generation((1, 2), 5, sent=sent), 64)["prompt"] == [1, 2, 4, "é"]
    assert body_of(Generation("x", 5, sent=sent), 64)["n_predict"] == 2
    again = body_of(Generation("x", 5, sent=sent), 64, again=True)
    assert (again["prompt"], again["n_predict"]) == ("x", 5)


def test_memory_is_what_weights_and_all_streams_take(graph):
    model = graph.operators["model"]
    assert isinstance(model, LanguageModel)
    assert model.memory_bytes == model.weight_bytes + model.context * model.streams * model.token_bytes
    assert replace(model, streams=model.streams + 1).memory_bytes > model.memory_bytes


def test_engines_leave_a_core_to_others(monkeypatch):
    monkeypatch.delenv(child.CORES, raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3})
    assert child.granted_cores() == (1, 2, 3)
    monkeypatch.setenv(child.CORES, "2")
    assert child.granted_cores() == (2, 3)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
    monkeypatch.setenv(child.CORES, "2")
    with pytest.raises(PermanentError, match="from 1 to 1"):
        child.granted_cores()


def test_folders_of_dead_workers_are_swept(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    dead, alive = tmp_path / "synfire-engine-999999999-x", tmp_path / f"synfire-engine-{os.getpid()}-x"
    dead.mkdir()
    alive.mkdir()
    child._sweep()
    assert [each.name for each in tmp_path.iterdir()] == [alive.name]
