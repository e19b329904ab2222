"""What cannot be imported is refused, with the module, the call, and the cure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.parity
pytest.importorskip("spikingjelly", reason="needs the parity environment: torch and SpikingJelly")

import torch  # noqa: E402
from spikingjelly.activation_based import encoding, layer, neuron  # noqa: E402
from torch import nn  # noqa: E402

from synfire.base.errors import LossyImport, UserError  # noqa: E402
from synfire.formats.spikingjelly import from_module, module_state  # noqa: E402
from synfire.graph import Graph, Synapse  # noqa: E402
from synfire.ops import Clock, Kind, Signal  # noqa: E402
from synfire.ops.lif import LIF  # noqa: E402


class Calling(nn.Module):
    """Linear, neuron, then whatever `call` does with the spikes."""

    def __init__(self, call: Callable[[Any], Any]) -> None:
        super().__init__()
        self.fc = layer.Linear(4, 4, step_mode="m")
        self.lif = neuron.LIFNode(step_mode="m")
        self.call = call

    def forward(self, x: Any) -> Any:
        return self.call(self.lif(self.fc(x)))


class Block(nn.Module):
    def __init__(self, inner: Any) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Any) -> Any:
        return self.inner(x)


def refused(net: Any, shape: tuple[int, ...] = (4,), **options: Any) -> str:
    with pytest.raises(UserError) as caught:
        from_module(net.eval(), **{"steps": 4, "input_shape": shape, **options})
    return str(caught.value)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda x: torch.fft.fft(x), ["the call of fft", "module 'inner'", "docs/formats-spikingjelly.md"]),
        (lambda x: x.sigmoid(), ["the call of sigmoid", "module 'inner'"]),
        (lambda x: x.add_(1.0), ["the call of add_"]),
        (lambda x: x.mean(1), ["the call of mean", "time or batch axis"]),
        (lambda x: x.mean(), ["the call of mean", "name the axes"]),
        (lambda x: x.transpose(0, 2), ["moves the time or batch axis", "keep (time, batch) in front"]),
        (lambda x: x.reshape(-1, 2), ["mixes time or batch into the values"]),
        (lambda x: x.flatten(1), ["mixes time or batch into the values"]),
        (lambda x: list(x)[-1], ["Python loop", "multi-step layers"]),
        (lambda x: x if x.sum() > 0 else -x, ["all axes, batch included"]),
        (lambda x: x if x[..., 0] else -x, ["control flow depends on the values"]),
        (lambda x: 1.0 / x, ["the call of truediv", "constants only"]),
        (lambda x: x + torch.randn(4, 1, 4), ["may not differ over time or batch"]),
        (lambda x: x.half(), ["the call of half"]),
        (lambda x: x.to(torch.float64), ["torch.float64", "float32"]),
        (lambda x: x.T, [".T of a tensor"]),
        (lambda x: (x, x), ["something else than one tensor"]),
        (lambda x: x[::2], ["time or batch axis"]),
        (lambda x: x[:, :, ::2], ["slices without a step"]),
        (lambda x: x.unsqueeze(0), ["new axis before the batch"]),
        (lambda x: x.repeat(2, 1, 1), ["only repeats one value per request"]),
        (lambda x: nn.functional.dropout(x), ["evaluation mode"]),
        (lambda x: x.no_such_method(), ["no_such_method"]),
    ],
)
def test_an_unsupported_call_is_named_with_its_module(call: Callable[[Any], Any], words: list[str]) -> None:
    message = refused(Block(Calling(call)))
    for word in words:
        assert word in message, message


def test_an_error_of_the_forward_itself_is_told_as_such() -> None:
    def broken(x: Any) -> Any:
        raise RuntimeError("the author's own check")

    assert "cannot be followed: the author's own check" in refused(Block(Calling(broken)))


@pytest.mark.parametrize(
    ("module", "words"),
    [
        (lambda: neuron.QIFNode(step_mode="m"), ["QIFNode '1'", "converters={type: function}"]),
        (lambda: layer.SynapseFilter(step_mode="m"), ["SynapseFilter '1'"]),
        (lambda: nn.ReLU(), ["ReLU '1'", "no operator"]),
        (lambda: nn.LSTM(4, 4), ["LSTM '1'"]),
        (lambda: encoding.PoissonEncoder(step_mode="m"), ["PoissonEncoder '1'", "encoder='bernoulli'"]),
        (lambda: layer.GroupNorm(2, 4, step_mode="m"), ["the call of group_norm", "module '1'"]),
        (lambda: neuron.LIFNode(step_mode="s"), ["LIFNode '1' is in single-step mode", "set_step_mode(net, 'm')"]),
        (lambda: nn.Conv1d(4, 4, 1), ["Conv1d '1'", "whose time it would not see"]),
        (lambda: nn.BatchNorm1d(4), ["BatchNorm1d '1'", "set_step_mode(net, 'm')"]),
        (lambda: layer.BatchNorm1d(4, track_running_stats=False, step_mode="m"), ["no running statistics"]),
        (lambda: layer.Conv2d(4, 4, 3, step_mode="m"), ["Conv2d '1' needs 3 axes per sample", "check input_shape"]),
        (lambda: layer.Linear(5, 4, step_mode="m"), ["Linear", "'1'", "takes 5 inputs"]),
    ],
)  # fmt: skip
def test_an_unsupported_module_is_named_with_its_path(module: Callable[[], Any], words: list[str]) -> None:
    message = refused(nn.Sequential(layer.Linear(4, 4, step_mode="m"), module(), neuron.LIFNode(step_mode="m")))
    for word in words:
        assert word in message, message


def test_a_neuron_in_multi_step_mode_needs_a_sequence() -> None:
    inner = nn.Sequential(nn.Linear(4, 4), neuron.LIFNode())
    net = layer.MultiStepContainer(inner)
    inner[1].step_mode = "m"
    assert "batch it would take for time" in refused(net)


def test_a_padding_that_is_not_zeros_is_refused() -> None:
    net = nn.Sequential(layer.Conv2d(1, 2, 3, padding=1, padding_mode="reflect", step_mode="m"))
    assert "pads by 'reflect'" in refused(net, (1, 8, 8))


def test_one_neuron_layer_called_twice_is_refused() -> None:
    class Twice(Calling):
        def forward(self, x: Any) -> Any:
            return self.lif(self.lif(self.fc(x)))

    assert "LIFNode 'lif' is called more than once" in refused(Twice(lambda x: x))


def test_a_synaptic_layer_may_be_called_twice() -> None:
    class Shared(Calling):
        def forward(self, x: Any) -> Any:
            return self.fc(self.lif(self.fc(x)))

    graph = from_module(Shared(lambda x: x).eval(), steps=2, input_shape=(4,))
    assert [name for name in graph.operators if name.startswith("fc")] == ["fc", "fc_2"]
    assert set(module_state(graph)) == {"fc.weight", "fc.bias"}


def test_a_net_in_training_mode_is_refused() -> None:
    with pytest.raises(UserError, match=r"training mode.*call net\.eval\(\) first"):
        from_module(Calling(lambda x: x), steps=4, input_shape=(4,))


def test_a_membrane_set_by_hand_is_refused() -> None:
    net = Calling(lambda x: x)
    net.lif.set_reset_value("v", 0.3)
    assert "starts from a membrane set by set_reset_value" in refused(net)


def test_another_precision_is_a_loss_that_must_be_named() -> None:
    net = Calling(lambda x: x).double().eval()
    with pytest.raises(LossyImport, match=r"fc\.weight computes in float64.*allow='precision'"):
        from_module(net, steps=4, input_shape=(4,))
    graph = from_module(net, steps=4, input_shape=(4,), allow={"precision"})
    assert graph.operators["fc"].weight.dtype == np.float32  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("options", "word"), [({"encoder": "rate"}, "choose one of constant"), ({"readout": "max"}, "choose one of mean")]
)
def test_unknown_settings_are_answered_with_the_known(options: dict[str, Any], word: str) -> None:
    assert word in refused(Calling(lambda x: x), **options)


def test_what_is_no_module_is_refused() -> None:
    with pytest.raises(UserError, match=r"takes a torch\.nn\.Module, got dict"):
        from_module({}, steps=4, input_shape=(4,))


def test_a_state_dict_is_only_had_from_an_imported_graph() -> None:
    own = Graph({"n": LIF()}, (Synapse("x", "n"),), {"x": Signal((2,), Kind.VALUE, Clock.STEP)}, {"y": "n"})
    with pytest.raises(UserError, match="not imported from SpikingJelly"):
        module_state(own)


def test_a_module_of_ones_own_is_converted_by_a_function_of_ones_own() -> None:
    class Halve(nn.Module):
        def forward(self, x: Any) -> Any:
            return torch.sigmoid(x)

    def halve(context: Any, module: Any, name: str, x: Any) -> Any:
        from synfire.ops.scale import Scale

        return context.sketch.add(name, Scale(0.5), x)

    net = nn.Sequential(layer.Linear(4, 4, step_mode="m"), Halve(), neuron.LIFNode(step_mode="m")).eval()
    graph = from_module(net, steps=4, input_shape=(4,), converters={Halve: halve})
    assert graph.operators["1"].kind == "Scale"
