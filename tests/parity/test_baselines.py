"""The net that an expert would write in torch computes what synfire computes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

pytestmark = pytest.mark.parity
torch = pytest.importorskip("torch", reason="the parity environment is not installed (make parity)")

from synfire.base.errors import UserError  # noqa: E402
from synfire.bench.baselines.net import Net  # noqa: E402
from synfire.bench.baselines.neuron import neuron  # noqa: E402
from synfire.bench.frameworks import Case, cases  # noqa: E402
from synfire.engines.engine import ENGINES  # noqa: E402
from synfire.graph import Graph, Synapse  # noqa: E402
from synfire.ops import Array, Clock, Kind, Operator, Signal  # noqa: E402
from synfire.ops.alif import ALIF  # noqa: E402
from synfire.ops.conv2d import Conv2d  # noqa: E402
from synfire.ops.if_ import IF  # noqa: E402
from synfire.ops.lif import LIF  # noqa: E402
from synfire.ops.mat_mul import MatMul  # noqa: E402
from synfire.ops.parametric_lif import ParametricLIF  # noqa: E402
from synfire.testing.parity import neuron_layers  # noqa: E402
from synfire.zoo import names  # noqa: E402


def answered(case: Case) -> tuple[dict[str, Array], dict[str, Array]]:
    """(synfire's answers, the net's)."""
    program = ENGINES["cpu"]().build(case.graph)
    net = Net(case.graph, case.steps, case.batch).eval()
    with torch.inference_mode():
        found = net(*(torch.from_numpy(case.inputs[name].astype(np.float32)) for name in case.graph.inputs))
    theirs = {name: each.numpy() for name, each in zip(case.graph.outputs, found, strict=True)}
    return program.run(program.initial_state(case.batch), case.inputs, case.steps)[1], theirs


@pytest.mark.parametrize("model", names())
def test_a_zoo_model_spikes_as_in_synfire(model: str) -> None:
    for case in cases([model]):
        layers = neuron_layers(case.graph)
        outputs = {**case.graph.outputs, **{name: name for name in layers}}
        ours, theirs = answered(replace(case, graph=replace(case.graph, outputs=outputs)))
        assert all(ours[name].shape == theirs[name].shape for name in ours)
        assert layers
        spikes = sum(np.count_nonzero(ours[name]) for name in layers)
        assert sum(np.count_nonzero(ours[name] != theirs[name]) for name in layers) <= 1e-3 * spikes
        assert all(np.array_equal(ours[n][-1].argmax(-1), theirs[n][-1].argmax(-1)) for n in case.graph.outputs)


NEURONS = [
    IF(), IF(reset="soft"), LIF(tau=3.0), LIF(tau=2.0, reset="soft"), LIF(decay_input=False, v_reset=-0.5, strict=True),
    LIF(decay_input=False, reset="soft"), LIF(tau=np.linspace(1.5, 4, 6, dtype=np.float32)), ParametricLIF(inv_tau=0.3),
    ParametricLIF(decay_input=False, v_reset=0.25), ALIF(b0=0.5),
]  # fmt: skip


@pytest.mark.parametrize("operator", NEURONS, ids=lambda operator: operator.kind)
@pytest.mark.parametrize("delay_steps", [0, 2])
def test_every_neuron_spikes_as_in_synfire(operator: Operator, delay_steps: int) -> None:
    current = np.random.default_rng(0).uniform(-0.5, 2, (12, 3, 6)).astype(np.float32)
    graph = Graph(
        {"n": operator}, (Synapse("x", "n", 0, delay_steps),), {"x": Signal((6,), Kind.VALUE, Clock.STEP)}, {"y": "n"}
    )
    ours, theirs = answered(Case("one", graph, {"x": current}, 3, "random"))
    assert 0 < ours["y"].mean() < 1
    assert np.mean(ours["y"] != theirs["y"]) < 0.01


def test_uneven_padding_is_padded() -> None:
    rng = np.random.default_rng(0)
    operator = Conv2d(rng.normal(size=(4, 2, 3, 3)).astype(np.float32), np.zeros(4, np.float32), padding=(1, 0, 0, 2))
    graph = Graph({"c": operator}, (Synapse("x", "c"),), {"x": Signal((2, 5, 5), Kind.VALUE, Clock.STEP)}, {"y": "c"})
    ours, theirs = answered(Case("one", graph, {"x": rng.normal(size=(1, 1, 2, 5, 5)).astype(np.float32)}, 1, "random"))
    np.testing.assert_allclose(ours["y"], theirs["y"], atol=1e-5)


def test_an_operator_without_torch_code_is_named() -> None:
    value = Signal((2, 2), Kind.VALUE, Clock.STEP)
    graph = Graph({"m": MatMul()}, (Synapse("a", "m"), Synapse("b", "m", 1)), {"a": value, "b": value}, {"y": "m"})
    with pytest.raises(UserError, match="MatMul"):
        Net(graph, 1, 1)
    assert neuron(MatMul()) is None
