"""Which engine runs a whole model, on which worker, and whether there is memory for it; before anything is loaded."""

from __future__ import annotations

from pathlib import Path

import pytest

from synfire.base.errors import UnknownName, UserError
from synfire.deploy import whole
from synfire.deploy.profiles import choose, listed
from synfire.deploy.whole import memory_of, plan_wholes
from synfire.engines.language.environment import Environment
from synfire.engines.language.llama import LlamaEngine
from synfire.engines.language.transformers import TORCH_BYTES, TransformersEngine
from synfire.engines.profiles.machine import WORKER_BYTES, Machine
from synfire.engines.profiles.offers import Fit
from synfire.ops.language_model import LanguageModel
from synfire.testing.language_folders import write_tiny_adapter, write_tiny_folder
from synfire.testing.language_models import write_tiny_language_model
from synfire.zoo import Model, find

ROOMY = Machine(workers=2, cores=2, free_bytes=10**10)


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As if torch, transformers and llama.cpp were there, and nothing else. Nothing is loaded in these tests."""
    monkeypatch.setenv("SYNFIRE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(Environment, "missing", lambda self: () if "torch" in self.packages else self.packages)
    monkeypatch.setattr(Environment, "folder", lambda self, package: None)
    monkeypatch.setattr("synfire.engines.language.foreign.gpus", list)
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *_: object())


@pytest.fixture
def folder(tmp_path: Path) -> Model:
    return find(str(write_tiny_folder(tmp_path / "tiny")))


@pytest.fixture
def file(tmp_path: Path) -> Model:
    return find(str(write_tiny_language_model(tmp_path / "tiny.gguf")))


def adapter(tmp_path: Path, name: str) -> Model:
    return find(str(write_tiny_adapter(tmp_path / name, "tiny", seed=len(name))))


def test_each_model_has_a_worker_of_its_own_and_adapters_that_of_their_model(
    folder: Model, file: Model, tmp_path: Path
) -> None:
    models = [folder, file, adapter(tmp_path, "one"), adapter(tmp_path, "other")]
    planned = plan_wholes(models, None, 3)
    assert [each.plan.workers for each in planned] == [("worker-3",), ("worker-4",), ("worker-3",), ("worker-3",)]
    assert [each.plan.engine for each in planned] == ["transformers", "llama.cpp", "transformers", "transformers"]


def test_weights_that_are_shared_are_counted_once(
    folder: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = memory_of(folder.graph, "transformers")
    monkeypatch.setattr(whole, "free_bytes", lambda: one + 1)
    assert plan_wholes([folder, adapter(tmp_path, "one")], one)
    monkeypatch.setattr(whole, "free_bytes", lambda: one - 1)
    with pytest.raises(UserError, match=r"tiny\+one .* are free"):
        plan_wholes([folder, adapter(tmp_path, "one")], None)
    with pytest.raises(UserError, match=r"model tiny takes .* to run, and a worker may hold"):
        plan_wholes([folder], one - 1)


def test_memory_is_that_of_the_engine(folder: Model) -> None:
    model = folder.graph.operator("model")
    assert isinstance(model, LanguageModel)
    parameters = folder.graph.metadata["language"]["parameters"]
    cache = model.context * model.streams * model.token_bytes
    assert TransformersEngine.whole_bytes(folder.graph) == 4 * parameters + cache + TORCH_BYTES
    assert LlamaEngine.whole_bytes(folder.graph) == model.memory_bytes


def test_profiles_of_a_whole_model_are_those_that_run_it_and_then_the_others_with_their_reasons(folder: Model) -> None:
    found = listed(folder, ROOMY).offers
    assert [(each.profile.name, each.fit) for each in found[:1]] == [("transformers-float32", Fit.RUNNABLE)]
    assert found[0].profile.requires.memory_bytes == memory_of(folder.graph) + WORKER_BYTES
    others = {each.profile.engine: each for each in found[1:]}
    assert others["llama.cpp"].fit is Fit.INCOMPATIBLE
    assert "GGUF" in others["llama.cpp"].remark


def test_a_precision_is_named_by_what_the_file_holds(file: Model) -> None:
    assert listed(file, ROOMY).offers[0].profile.name == "llama.cpp-f32"


def test_a_profile_may_be_named_by_its_goal_its_name_or_its_id(file: Model) -> None:
    here = listed(file, ROOMY)
    usual = here.offers[0].profile
    for wanted in ("auto", "latency", "throughput", usual.name, usual.id[:8]):
        assert choose([here], [wanted])["tiny"] == usual
    with pytest.raises(UnknownName, match=r"llama\.cpp-f32"):
        choose([here], ["llama.cpp-q4"])
    with pytest.raises(UserError, match="transformers-float32 of tiny is incompatible: it runs"):
        choose([here], ["transformers-float32"])


@pytest.mark.parametrize(
    ("machine", "words"),
    [
        (Machine(2, 2, 10**6), "stop other models"),
        (Machine(2, 2, 10**10, 10**5), "a worker may hold 100 kB: allow more with --memory"),
    ],
)
def test_a_profile_that_memory_does_not_suffice_for_says_what_would_help(
    folder: Model, machine: Machine, words: str
) -> None:
    (low,) = [
        each for each in listed(folder, machine).offers if each.fit is Fit.LOW and each.profile.engine == "transformers"
    ]
    assert words in low.remark


def test_an_engine_for_operators_runs_no_whole_model(file: Model) -> None:
    with pytest.raises(UserError, match="engine cpu runs operators, and no whole model"):
        plan_wholes([file], None, engines={"tiny": "cpu"})
