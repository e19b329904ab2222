"""The operator `ALIF` against the zoo's own torch module, `training/alif.py`."""

from importlib.metadata import version

import numpy as np
import pytest

from synfire.graph import Graph, Synapse
from synfire.graph.reference import trace
from synfire.ops import Signal
from synfire.ops.add import Add
from synfire.ops.alif import ALIF
from synfire.ops.linear import Linear

pytestmark = pytest.mark.parity
torch = pytest.importorskip("torch", reason="the parity environment is not installed")
pytest.importorskip("spikingjelly", reason="SpikingJelly is not installed")
if version("spikingjelly").startswith("0."):
    pytest.skip("the zoo's module keeps its state as SpikingJelly 2.0 does", allow_module_level=True)


@pytest.mark.parametrize("seed", range(5))
def test_recurrent_adaptive_neurons_give_the_bits_of_the_trained_module(seed):
    """Recurrent weights are multiples of 1/16, so that their sums are exact in any order; all else is as it comes."""
    from alif import RecurrentALIF

    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    module = RecurrentALIF(8)
    with torch.no_grad():
        module.recurrent.weight.copy_(torch.round(module.recurrent.weight * 16) / 16)
    parameters = {name: value.detach().numpy() for name, value in module.named_parameters()}
    operators = {
        "again": Linear(parameters["recurrent.weight"], np.zeros(8, np.float32)), "sum": Add(),
        "n": ALIF(alpha=parameters["alpha"], rho=parameters["rho"], b0=module.b0, beta=module.beta),
    }  # fmt: skip
    synapses = (Synapse("x", "sum", 0), Synapse("again", "sum", 1), Synapse("sum", "n"), Synapse("n", "again", 0, 1))
    graph = Graph(operators, synapses, {"x": Signal((8,))}, {"y": "n"})
    x = (rng.standard_normal((100, 4, 8)) + 0.5).astype(np.float32)
    with torch.no_grad():
        theirs = module(torch.from_numpy(x)).numpy()
    ours = trace(graph, {"x": x})
    np.testing.assert_array_equal(ours.emitted["n"], theirs)
    np.testing.assert_array_equal(ours.states["n"]["u"], module.u.numpy())
    np.testing.assert_array_equal(ours.states["n"]["b"], module.b.numpy())
    assert theirs.sum() > 50
