"""What fits a machine, and what of it a user's words mean."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from nets import chain

from synfire.base.errors import PermanentError, UnknownName, UserError
from synfire.devices import Description
from synfire.devices.cuda import Cuda
from synfire.devices.darwin3.allotted import CORES
from synfire.engines.cpu import CpuEngine
from synfire.engines.profiles.machine import Machine
from synfire.engines.profiles.offers import Fit, Offer, chosen, offers, profile_of
from synfire.engines.profiles.profile import THROUGHPUT
from synfire.graph import Graph
from synfire.graph.passes import simplify
from synfire.plan import Costs
from synfire.zoo import load

ROOMY = Machine(workers=2, cores=2, free_bytes=10**10)


def costs(graph: Graph, operator_s: float = 1e-5) -> Costs:
    return Costs(operator_s=dict.fromkeys(graph.operators, operator_s), steps=graph.steps or 1)


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever the tests run."""

    def refuse(self: Cuda) -> Description:
        raise PermanentError("this machine has no GPU; use cpu")

    monkeypatch.setattr(Cuda, "describe", refuse)


def offered(graph: Graph | None = None, machine: Machine = ROOMY, operator_s: float = 1e-5) -> dict[str, Offer]:
    graph = graph or chain()
    return {each.profile.name: each for each in offers("net", graph, costs(graph, operator_s), machine)}


def test_a_small_model_has_one_profile_an_engine_and_the_exact_compiled_one_is_the_first() -> None:
    found = offered()
    assert list(found) == ["cpu-float32", "reference-float32", "cpu-bf16", "cpu-int8", "cuda-float32", "darwin3-int8"]
    assert [each.fit for each in found.values()] == [*[Fit.RUNNABLE] * 4, Fit.INCOMPATIBLE, Fit.RUNNABLE]
    assert [each.profile.exact for each in found.values()] == [True, True, False, False, True, False]
    assert profile_of("net", chain(), CpuEngine) == found["cpu-float32"].profile


def test_without_a_gpu_cuda_is_incompatible_with_what_its_device_says() -> None:
    refused = offered()["cuda-float32"]
    assert (refused.fit, refused.remark) == (Fit.INCOMPATIBLE, "this machine has no GPU; use cpu")


def test_with_a_gpu_cuda_is_runnable_and_says_what_runs_on_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Cuda, "describe", lambda self: Description("cuda", "stand-in", 1, 10**9))
    assert offered()["cuda-float32"].fit is Fit.RUNNABLE
    found = {each.profile.name: each for each in offers("t", *_zoo("sgnn-digits"), ROOMY)}["cuda-float32"]
    assert found.fit is Fit.RUNNABLE
    assert found.remark == "neighbours: runs on the host: there is no GPU kernel for KNearestAggregation"


def test_heavy_models_of_one_step_have_another_plan_for_throughput_where_cores_are_left() -> None:
    """Two workers have twice as many requests in hand, and none of them is done sooner."""
    many = Machine(workers=2, cores=8, free_bytes=10**10)
    found = offered(chain(steps=1), many, operator_s=0.01)
    assert found["cpu-float32-throughput"].profile.goal == THROUGHPUT
    assert found["cpu-float32-throughput"].profile.requires.workers == 2
    assert found["cpu-float32-throughput"].requests_s > 1.5 * found["cpu-float32"].requests_s
    lone = Machine(workers=2, cores=1, free_bytes=10**10)
    assert "cpu-float32-throughput" not in offered(chain(steps=1), lone, operator_s=0.01)


@pytest.mark.slow
def test_a_chip_takes_what_it_can_and_says_what_it_leaves() -> None:
    found = {each.profile.name: each for each in offers("t", *_zoo("stransformer-digits"), ROOMY)}["darwin3-int8"]
    assert found.fit is Fit.RUNNABLE
    assert "stays on the processor: " in found.remark


def _zoo(name: str) -> tuple[Graph, Costs]:
    graph = simplify(load(name))
    return graph, costs(graph)


@pytest.mark.slow
def test_a_chip_that_refuses_a_stage_of_what_it_takes_is_incompatible() -> None:
    found = {each.profile.name: each for each in offers("t", *_zoo("stransformer-mnist"), ROOMY)}["darwin3-int8"]
    assert found.fit is Fit.INCOMPATIBLE
    assert "blocks.0.attn.residual: it reads analog values" in found.remark


@pytest.mark.slow
def test_a_chip_without_the_cores_for_a_stage_is_incompatible(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CORES, "5")
    found = {each.profile.name: each for each in offers("t", *_zoo("svgg-digits"), ROOMY)}["darwin3-int8"]
    assert found.fit is Fit.INCOMPATIBLE
    assert "takes 7 cores, and no worker has so much left: worker-1 5 cores" in found.remark


def test_a_chip_that_takes_nothing_is_incompatible() -> None:
    graph = chain(0)
    found = offered(graph)
    assert found["darwin3-int8"].fit is Fit.INCOMPATIBLE
    assert "none of its neurons" in found["darwin3-int8"].remark
    assert found["cpu-int8"].fit is Fit.INCOMPATIBLE
    assert "no synapse of it reads spikes" in found["cpu-int8"].remark


def test_too_little_free_memory_is_said_with_what_helps() -> None:
    found = offered(machine=Machine(workers=2, cores=2, free_bytes=10**6))
    assert found["cpu-float32"].fit is Fit.LOW
    assert "1 MB are free: stop other models" in found["cpu-float32"].remark


def test_workers_that_may_hold_too_little_are_said_with_what_helps() -> None:
    found = offered(machine=Machine(workers=2, cores=2, free_bytes=10**10, limit_bytes=1000))
    assert found["cpu-float32"].fit is Fit.LOW
    assert "add workers, raise their limit" in found["cpu-float32"].remark
    assert found["darwin3-int8"].fit is Fit.LOW
    assert "raise the workers' limit, or add workers" in found["darwin3-int8"].remark


def test_whole_bytes_need_less_memory() -> None:
    found = offered()
    assert found["cpu-int8"].profile.requires.memory_bytes < found["cpu-float32"].profile.requires.memory_bytes


@pytest.mark.parametrize("word", ["auto", "latency", "throughput", "cpu-float32"])
def test_words_mean_an_exact_profile(word: str) -> None:
    assert chosen(list(offered().values()), word).name == "cpu-float32"


def test_throughput_means_the_plan_for_it_where_there_is_one() -> None:
    many = Machine(workers=2, cores=8, free_bytes=10**10)
    found = list(offered(chain(steps=1), many, operator_s=0.01).values())
    assert chosen(found, "throughput").name == "cpu-float32-throughput"
    assert chosen(found, "latency").name == "cpu-float32"


def test_the_first_digits_of_an_id_name_a_profile() -> None:
    found = offered()
    wanted = found["cpu-int8"].profile
    assert chosen(list(found.values()), wanted.id[:8].upper()) == wanted


def test_fewer_digits_than_four_name_nothing() -> None:
    found = offered()
    with pytest.raises(UnknownName, match=r"no profile of net named .*known: auto, cpu-bf16, cpu-float32, cpu-int8"):
        chosen(list(found.values()), found["cpu-int8"].profile.id[:3])


def test_a_profile_that_does_not_run_here_is_refused_with_the_reason() -> None:
    with pytest.raises(UserError, match=r"cuda-float32 of net is incompatible: .*no GPU; use cpu"):
        chosen(list(offered().values()), "cuda-float32")


def test_a_machine_without_room_has_no_usual_profile() -> None:
    tight = Machine(workers=2, cores=2, free_bytes=10**6)
    with pytest.raises(UserError, match="no exact profile of net runs here: cpu-float32: it needs"):
        chosen(list(offered(machine=tight).values()), "auto")


def test_this_machine_has_cores_and_memory() -> None:
    here = Machine.here(3, 5)
    assert (here.workers, here.limit_bytes) == (3, 5)
    assert here.cores >= 1
    assert here.free_bytes > 10**6
