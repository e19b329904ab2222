"""Norse's neurons, as `synfire bench frameworks` compares with them, spike as SpikingJelly's and synfire's."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest

pytestmark = pytest.mark.parity
torch = pytest.importorskip("torch", reason="the parity environment is not installed (make parity)")
pytest.importorskip("spikingjelly", reason="the parity environment is not installed (make parity)")
pytest.importorskip("norse", reason="Norse is not installed (tests/parity/requirements-nir.txt)")

from synfire.base.errors import UserError  # noqa: E402
from synfire.bench.contenders import entered, named  # noqa: E402
from synfire.bench.frameworks import OURS, Case, cases, compared  # noqa: E402
from synfire.engines.engine import ENGINES  # noqa: E402
from synfire.graph import Graph, Synapse  # noqa: E402
from synfire.ops import Array, Clock, Kind, Operator, Signal  # noqa: E402
from synfire.ops.alif import ALIF  # noqa: E402
from synfire.ops.if_ import IF  # noqa: E402
from synfire.ops.lif import LIF  # noqa: E402
from synfire.ops.mat_mul import MatMul  # noqa: E402
from synfire.ops.parametric_lif import ParametricLIF  # noqa: E402
from synfire.testing.norse import norse_neuron  # noqa: E402
from synfire.testing.parity import compare_neurons, neuron_layers, require_parity  # noqa: E402
from synfire.zoo import names  # noqa: E402

LACKING = {"scnn-digits": "IF", "scnn-mnist": "IF", "srnn-spoken": "ALIF"}
"""What Norse has no counterpart of: an IF that subtracts its threshold, an adaptive neuron that does."""


def everything(case: Case, framework: str) -> dict[str, Array]:
    """What each operator puts out in a framework."""
    outputs = {name: name for name in case.graph.order()}
    calls = entered(replace(case.graph, outputs=outputs), case.inputs, named(framework)).calls
    return {name: np.asarray(array, np.float32) for name, array in calls[f"{framework}/1"]().items()}


@pytest.mark.parametrize("model", [name for name in names() if name not in LACKING])
def test_norses_net_spikes_as_spikingjellys_and_synfires(model: str) -> None:
    for case in cases([model]):
        assert case.data == "held out" or not model.endswith("-digits")
        theirs, source = everything(case, "norse"), everything(case, "spikingjelly")
        layers = neuron_layers(case.graph)
        recorded = {name: (theirs[case.graph.arriving(name)[0].source], theirs[name]) for name in layers}
        require_parity(compare_neurons(case.graph, recorded))
        spikes = sum(np.count_nonzero(source[name]) for name in layers)
        assert spikes
        assert sum(np.count_nonzero(theirs[name] != source[name]) for name in layers) <= 1e-3 * spikes
        rows = compared(case, 1, named("norse"))
        assert {row["framework"] for row in rows} == {OURS, "norse"}
        assert all(row["same_predictions"] == 1.0 for row in rows)


@pytest.mark.parametrize("model", LACKING)
def test_a_net_that_norse_cannot_express_has_a_row_that_says_so(model: str) -> None:
    case = next(iter(cases([model])))
    row = compared(case, 1, named("norse"))[-1]
    assert row["refused"] == f"Norse has no counterpart of this {LACKING[model]}"
    assert "speedup" not in row


NEURONS = [
    IF(), IF(v_reset=-0.25, strict=True), LIF(tau=3.0), LIF(tau=2.0, reset="soft"), LIF(decay_input=False, v_reset=-0.5, strict=True),
    LIF(decay_input=False, reset="soft"), LIF(tau=np.linspace(1.5, 4, 6, dtype=np.float32)), ParametricLIF(inv_tau=0.3),
    ParametricLIF(decay_input=False, v_reset=0.25),
]  # fmt: skip


@pytest.mark.parametrize("operator", NEURONS, ids=lambda operator: operator.kind)
@pytest.mark.parametrize("single_step", [False, True])
def test_every_neuron_spikes_as_in_synfire(operator: Operator, single_step: bool) -> None:
    current = np.random.default_rng(0).uniform(-0.5, 2, (12, 3, 6)).astype(np.float32)
    assert_same_spikes(operator, current, single_step)


@pytest.mark.parametrize("strict", [False, True])
def test_a_membrane_at_the_threshold_fires_as_in_synfire(strict: bool) -> None:
    current = np.tile(np.array([1.0, 2.0, 0.5], np.float32), (4, 1, 1))
    spikes = assert_same_spikes(LIF(tau=2.0, strict=strict), current, False)
    assert spikes[0].tolist() == [[0.0, 0.0 if strict else 1.0, 0.0]]


def assert_same_spikes(operator: Operator, current: Array, single_step: bool) -> Array:
    value = Signal(current.shape[2:], Kind.VALUE, Clock.STEP)
    graph = Graph({"n": operator}, (Synapse("x", "n"),), {"x": value}, {"y": "n"})
    program = ENGINES["reference"]().build(graph)
    ours = program.run(program.initial_state(current.shape[1]), {"x": current}, len(current))[1]["y"]
    neuron = norse_neuron(operator, single_step)
    neuron.single_step = single_step
    given = torch.from_numpy(current)
    with torch.inference_mode():
        found = torch.stack([neuron(each) for each in given]) if single_step else neuron(given)
    theirs: Array = found.numpy()
    assert np.array_equal(ours, theirs)
    assert 0 < theirs.mean() < 1
    return theirs


def test_a_state_is_forgotten_between_requests() -> None:
    neuron = norse_neuron(LIF(tau=2.0), True)
    neuron.single_step = True
    current = torch.full((1, 3), 1.5)
    assert [float(neuron(current).sum()) for _ in range(2)] == [0.0, 3.0]
    neuron.reset()
    assert float(neuron(current).sum()) == 0.0


def test_what_norse_lacks_is_named() -> None:
    with pytest.raises(UserError, match="Norse has no counterpart of this ALIF"):
        norse_neuron(ALIF(b0=0.5), False)
    assert norse_neuron(MatMul(), False) is None


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch compiles with g++")
def test_a_compiled_net_gives_the_same_answers_with_one_thread_and_with_all() -> None:
    case = next(iter(cases(["sgnn-digits"])))
    rows = [row for row in compared(case, 1, named("norse compiled")) if row["framework"] != OURS]
    assert [row["threads"] for row in rows] == [str(each) for each in sorted({1, torch.get_num_threads()})]
    assert all(row["same_predictions"] == 1.0 and row["max_difference"] < 1e-3 for row in rows)
