"""Engines that are servers of their own: all but the servers, which need GPUs. What stands in for them speaks as they do."""

from __future__ import annotations

import os
import select
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from synfire.base.errors import PermanentError, UserError
from synfire.engines import ENGINES
from synfire.engines.language import foreign
from synfire.engines.language.environment import Environment
from synfire.engines.language.foreign import ForeignEngine, ForeignProgram, Launch
from synfire.engines.language.openai_server import body_of
from synfire.formats import load
from synfire.graph import Graph
from synfire.ops.language_model import Generation, LanguageModel, Sent
from synfire.plan.plan import stage_graph
from synfire.testing.language_engines import CHECKS, answer, process_of, text_of
from synfire.testing.language_folders import write_tiny_adapter, write_tiny_folder

NAMES = ("vllm", "tensorrt-llm", "lmdeploy")


def stand_in(tells: bool) -> Launch:
    script = str(Path(__file__).with_name("stand_in.py"))
    return Launch("stand-in", "json", ("{python}", script, "{port}", "{context}", str(int(tells))))


def program(graph: Graph, launch: Launch) -> ForeignProgram:
    model = graph.operator("model")
    assert isinstance(model, LanguageModel)
    return ForeignProgram(stage_graph(graph, graph.order()), model, launch)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Graph:
    return load(write_tiny_folder(tmp_path_factory.mktemp("folders") / "tiny"), streams=3)


@pytest.fixture(scope="module", params=[True, False], ids=["as vllm", "plain"])
def program_here(request: pytest.FixtureRequest, folder: Graph) -> Iterator[ForeignProgram]:
    made = program(folder, stand_in(request.param))
    yield made
    made.rest()


@pytest.mark.parametrize("check", CHECKS)
def test_a_server_with_openais_api_conforms(check: str, program_here: ForeignProgram) -> None:
    CHECKS[check](program_here)


def test_a_server_ends_with_the_process_that_began_it(folder: Graph) -> None:
    made = program(folder, stand_in(True))
    assert text_of(answer(made, Generation("w1 w2", 3, 0.0)))
    pid = process_of(made)
    (server,) = [
        int(each) for task in Path(f"/proc/{pid}/task").glob("*/children") for each in task.read_text().split()
    ]
    ended = os.pidfd_open(server)
    try:
        made.rest()
        assert not Path(f"/proc/{pid}").exists()
        told_s = 60  # it is told to end, and takes as long as it has to wait for a processor
        assert select.select([ended], [], [], told_s)[0]
    finally:
        os.close(ended)


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (("/nowhere/server",), "cannot be started"),
        (("{python}", "-c", "print('no GPU here'); raise SystemExit(3)"), "no GPU here"),
    ],
)
def test_a_server_that_does_not_start_is_told_with_its_words(
    folder: Graph, command: tuple[str, ...], words: str
) -> None:
    made = program(folder, replace(stand_in(True), command=command))
    with pytest.raises(PermanentError, match=words):
        made.warm()


@pytest.mark.parametrize("name", NAMES)
def test_commands_name_the_model_the_port_and_the_limits(
    name: str, folder: Graph, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = ENGINES[name]
    assert issubclass(engine, ForeignEngine)
    monkeypatch.setenv(engine.launch.home.variable, "/opt/env/bin/python")
    model = folder.operator("model")
    assert isinstance(model, LanguageModel)
    command = engine.launch.filled(model)
    assert command[0].startswith("/opt/env/bin/")
    assert {"{port}", "127.0.0.1", str(model.context), str(model.streams)} <= set(command)
    assert any(Path(each).is_dir() and (Path(each) / "config.json").is_file() for each in command)


@pytest.mark.parametrize("name", NAMES)
def test_what_stands_against_an_engine_is_said(
    name: str, folder: Graph, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    engine = ENGINES[name]
    assert issubclass(engine, ForeignEngine)
    monkeypatch.setattr(foreign, "gpus", list)
    assert "it needs an NVIDIA GPU" in engine.refusal(folder)
    monkeypatch.setattr(foreign, "gpus", lambda: ["0000:01:00.0"])
    monkeypatch.setattr(Environment, "missing", lambda self: self.packages)
    assert engine.launch.home.variable in engine.refusal(folder)
    with pytest.raises(UserError, match=engine.launch.package):
        engine().build(folder)
    monkeypatch.setattr(Environment, "missing", lambda self: ())
    assert engine.refusal(folder) == ""
    write_tiny_folder(tmp_path / "tiny")
    assert "merge this one" in engine.refusal(load(write_tiny_adapter(tmp_path / "lora", "tiny")))


def test_a_request_says_all_that_differs_from_a_servers_defaults() -> None:
    wanted = Generation("x", None, 0.5, top_k=3, seed=4, logit_bias={7: -1.0}, logprobs=0, repeat_penalty=1.2)
    body: dict[str, Any] = body_of(wanted, False)
    assert body["max_tokens"] is None
    assert (body["top_k"], body["seed"], body["logprobs"], body["repetition_penalty"]) == (3, 4, 1, 1.2)
    assert body["logit_bias"] == {"7": -1.0}
    assert "min_p" not in body


def test_an_answer_goes_on_as_text_or_as_tokens_but_never_as_both() -> None:
    sent = Sent(" so it", (4, 9), 2, 1)
    assert body_of(Generation("x", 5, sent=sent), False) | {"prompt": "x so it", "max_tokens": 3} == body_of(
        Generation("x", 5, sent=sent), False
    )
    assert body_of(Generation((1, 2), 5, sent=sent), False)["prompt"] == (1, 2, 4, 9)
    assert body_of(Generation("x", 5, sent=sent), True)["prompt"] == "x"
    with pytest.raises(PermanentError, match="had not told its tokens"):
        body_of(Generation((1, 2), 5, sent=Sent(" so", (" so",), 1, 2)), False)
