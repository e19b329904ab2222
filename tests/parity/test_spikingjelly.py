"""Imported graphs equal SpikingJelly, of either version, spike for spike."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.parity
pytest.importorskip("spikingjelly", reason="needs the parity environment: torch and SpikingJelly")

import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402
from spikingjelly.activation_based import functional, layer, neuron  # noqa: E402
from torch import nn  # noqa: E402

from synfire.formats import read_bundle, write_bundle  # noqa: E402
from synfire.formats.spikingjelly import from_module, module_state  # noqa: E402
from synfire.graph import reference  # noqa: E402
from synfire.testing.spikingjelly import Parity, check_module, multi_step  # noqa: E402

STEPS, BATCH = 4, 3
VERSION_1 = not hasattr(layer, "SpikingSelfAttention")


def seeded(build: Callable[[], Any], seed: int = 0) -> Any:
    """The net with random weights and statistics under which its layers spike, in evaluation mode."""
    torch.manual_seed(seed)
    net = build()
    for module in net.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.running_mean.normal_(0.0, 0.2)
            module.running_var.uniform_(0.1, 0.6)
            if module.affine:
                module.weight.data.uniform_(1.0, 2.0)
                module.bias.data.normal_(0.3, 0.4)
        elif isinstance(module, (nn.Conv2d, nn.Conv1d, nn.Linear)):
            module.weight.data.normal_(0.0, 1.6 / module.weight[0].numel() ** 0.5)
            if module.bias is not None:
                module.bias.data.normal_(0.3, 0.4)
    return net.eval()


def checked(net: Any, shape: tuple[int, ...], steps: int = STEPS, **options: Any) -> Parity:
    """Import, compare on random images, and make sure that the comparison was one of nets that spike."""
    graph = from_module(net, steps=steps, input_shape=shape, **options)
    whole = (steps, *shape) if options.get("encoder") == "sequence" else shape
    x = np.random.default_rng(1).random((BATCH, *whole), np.float32)
    parity = check_module(net, graph, x)
    silent = [each.layer for each in parity.forced if not 0 < each.spikes < each.places]
    assert parity.forced, "no neuron layer was compared"
    assert not silent, f"layers {silent} never fire or always do, so equality there means nothing"
    return parity


def conv_net(*neurons: Any, mode: str = "m") -> Any:
    first, second = neurons
    return nn.Sequential(
        layer.Conv2d(2, 6, 3, padding=1, step_mode=mode), layer.BatchNorm2d(6, step_mode=mode), first,
        layer.MaxPool2d(2, step_mode=mode), layer.Flatten(step_mode=mode), layer.Dropout(0.5, step_mode=mode),
        layer.Linear(6 * 16, 10, step_mode=mode), second, layer.Linear(10, 5, step_mode=mode),
    )  # fmt: skip


NEURONS = {
    "IF hard": lambda mode: neuron.IFNode(step_mode=mode),
    "IF soft": lambda mode: neuron.IFNode(v_reset=None, step_mode=mode),
    "IF below zero": lambda mode: neuron.IFNode(v_threshold=0.75, v_reset=-0.25, step_mode=mode),
    "LIF hard": lambda mode: neuron.LIFNode(step_mode=mode),
    "LIF soft": lambda mode: neuron.LIFNode(v_reset=None, step_mode=mode),
    "LIF hard without decay": lambda mode: neuron.LIFNode(tau=1.7, decay_input=False, step_mode=mode),
    "LIF soft without decay": lambda mode: neuron.LIFNode(tau=1.7, decay_input=False, v_reset=None, step_mode=mode),
    "LIF below zero": lambda mode: neuron.LIFNode(tau=3.3, v_threshold=0.6, v_reset=-0.1, step_mode=mode),
    "PLIF hard": lambda mode: neuron.ParametricLIFNode(init_tau=2.6, step_mode=mode),
    "PLIF soft without decay": lambda mode: neuron.ParametricLIFNode(init_tau=1.4, decay_input=False, v_reset=None, step_mode=mode),
}  # fmt: skip


@pytest.mark.parametrize("mode", ["m", "s"])
@pytest.mark.parametrize("name", NEURONS)
def test_neurons_fire_as_the_source_does(name: str, mode: str) -> None:
    net = seeded(lambda: conv_net(NEURONS[name](mode), NEURONS[name](mode), mode=mode))
    assert multi_step(net) == (mode == "m")
    parity = checked(net, (2, 8, 8))
    assert [each.flips for each in parity.end_to_end] == [0, 0]


LAYERS = {
    "strided, dilated, grouped convolution": lambda: layer.Conv2d(
        4, 6, (3, 2), stride=(2, 1), padding=(1, 2), dilation=(1, 2), groups=2
    ),
    "same padding": lambda: layer.Conv2d(4, 3, (4, 3), padding="same"),
    "normalisation without gain": lambda: layer.BatchNorm2d(4, affine=False),
    "threshold-dependent normalisation": lambda: layer.ThresholdDependentBatchNorm2d(0.5, 0.8, 4),
    "average pool": lambda: layer.AvgPool2d(3, 2, 1, ceil_mode=True, count_include_pad=False),
    "max pool": lambda: layer.MaxPool2d(3, 2, 1, ceil_mode=True),
    "adaptive pool": lambda: layer.AdaptiveAvgPool2d((3, None)),
    "identity": nn.Identity,
}


@pytest.mark.parametrize("name", LAYERS)
def test_layers_before_a_neuron_compute_what_the_source_does(name: str) -> None:
    if VERSION_1 and name == "threshold-dependent normalisation":
        pytest.skip("SpikingJelly 0.0.0.0.14's tdBN does not run beside today's torch")

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.front = LAYERS[name]()
            self.spikes = neuron.LIFNode(v_threshold=0.4)
            self.head = layer.AdaptiveAvgPool2d(1)

        def forward(self, x: Any) -> Any:
            return torch.flatten(self.head(self.spikes(self.front(x))), 2)

    net = seeded(Net)
    functional.set_step_mode(net, "m")
    if name == "normalisation without gain":
        net.front.running_mean.fill_(-0.4)
    checked(net, (4, 9, 8))


def test_one_dimensional_layers_compute_what_the_source_does() -> None:
    def build() -> Any:
        return nn.Sequential(
            layer.Conv1d(2, 6, 3, stride=2, padding=1), layer.BatchNorm1d(6), neuron.LIFNode(), layer.MaxPool1d(2),
            layer.Conv1d(6, 4, 2, dilation=2), neuron.IFNode(), layer.AvgPool1d(2), layer.AdaptiveAvgPool1d(2), layer.Flatten(),
            layer.Linear(8, 5),
        )  # fmt: skip

    net = seeded(build)
    functional.set_step_mode(net, "m")
    checked(net, (2, 24))


def in_steps(stateful: bool, *modules: Any) -> Any:
    """A StepModeContainer in multi-step mode: the versions order its arguments differently."""
    first = [] if VERSION_1 else ["s"]
    container = layer.StepModeContainer(stateful, *first, *modules)
    container.step_mode = "m"
    return container


def test_containers_hand_on_time_as_the_source_does() -> None:
    def build() -> Any:
        return nn.Sequential(
            layer.SeqToANNContainer(nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.MaxPool2d(2)),
            neuron.LIFNode(step_mode="m"),
            layer.MultiStepContainer(nn.Conv2d(4, 4, 3, padding=1), neuron.IFNode(v_reset=None), nn.Flatten()),
            in_steps(False, nn.Linear(64, 12)),
            in_steps(True, neuron.LIFNode()),
            layer.Linear(12, 5, step_mode="m"),
        )  # fmt: skip

    checked(seeded(build), (2, 8, 8))


def test_recurrent_containers_feed_spikes_back_one_step_late() -> None:
    def build() -> Any:
        return nn.Sequential(
            layer.Linear(6, 12, step_mode="m"),
            neuron.LIFNode(step_mode="m"),
            layer.LinearRecurrentContainer(neuron.LIFNode(v_threshold=0.7), 12, 12, step_mode="m"),
            layer.LinearRecurrentContainer(
                nn.Sequential(nn.Linear(12, 7), neuron.IFNode()), 12, 7, bias=False, step_mode="m"
            ),
            layer.ElementWiseRecurrentContainer(neuron.LIFNode(v_threshold=0.4), lambda y, x: x + y, step_mode="m"),
            layer.Linear(7, 5, step_mode="m"),
        )

    parity = checked(seeded(build), (6,), steps=8, encoder="sequence")
    assert len(parity.forced) == 4


class Custom(nn.Module):
    """A forward with the calls that people write: residuals, concatenation, reshapes, functional pools, a mean over time."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = layer.Conv2d(2, 6, 3, padding=1, step_mode="m")
        self.lif1 = neuron.LIFNode(step_mode="m")
        self.conv2 = layer.Conv2d(6, 6, 3, padding=1, step_mode="m")
        self.lif2 = neuron.LIFNode(step_mode="m", v_threshold=0.3)
        self.position = nn.Parameter(torch.randn(1, 1, 6, 1, 1) * 0.1)
        self.gate = neuron.IFNode(step_mode="m")
        self.mix = nn.Linear(12, 12)
        self.lif3 = neuron.LIFNode(step_mode="m")
        self.head = nn.Linear(12, 5)

    def forward(self, x: Any) -> Any:
        T, N, C, _H, _W = x.shape
        assert C == 2
        a = self.lif1(self.conv1(x))
        b = self.lif2(self.conv2(a) * 0.5 + self.position)
        c = a * (1.0 - b)
        d = torch.cat((c, self.gate(a + (1 - b)) * a), dim=2)
        d = F.avg_pool2d(d.flatten(0, 1), 2).view(T, N, 12, -1)
        first, second = d.chunk(2, dim=2)
        d = torch.cat([second, first], 2).transpose(-1, -2)
        d = self.lif3(torch.sub(0.2, self.mix(d) / 2, alpha=-1.5) - 0.1)
        d = d.permute(0, 1, 3, 2).contiguous().mean(-1)
        return self.head(d.mean(0))


def test_custom_modules_are_followed_through_their_forward() -> None:
    parity = checked(seeded(Custom), (2, 8, 8))
    assert [each.layer for each in parity.forced] == ["lif1", "lif2", "gate", "lif3"]


class DotAttention(nn.Module):
    """Spiking attention as people write it by hand, head by head, on (time, batch, token, channel)."""

    def __init__(self, channels: int = 8, heads: int = 2) -> None:
        super().__init__()
        self.heads = heads
        self.q, self.k, self.v = (nn.Linear(channels, channels) for _ in range(3))
        self.q_lif, self.k_lif, self.v_lif = (neuron.LIFNode(step_mode="m", v_threshold=0.3) for _ in range(3))
        self.attn_lif = neuron.LIFNode(step_mode="m", v_threshold=0.5)
        self.head = nn.Linear(channels, 5)

    def by_head(self, x: Any) -> Any:
        T, B, N, C = x.shape
        return x.reshape(T, B, N, self.heads, C // self.heads).permute(0, 1, 3, 2, 4).contiguous()

    def forward(self, x: Any) -> Any:
        T, B, N, C = x.shape
        q, k, v = (
            self.by_head(self.q_lif(self.q(x))),
            self.by_head(self.k_lif(self.k(x))),
            self.by_head(self.v_lif(self.v(x))),
        )
        y = ((q @ k.transpose(-2, -1)) @ v) * 0.125
        y = y.transpose(2, 3).reshape(T, B, N, C)
        return self.head(self.attn_lif(y).mean(2))


def test_attention_written_by_hand_is_followed() -> None:
    checked(seeded(DotAttention, seed=3), (6, 8))


def test_a_module_that_repeats_its_image_over_time_gets_a_constant_current() -> None:
    class Static(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = conv_net(neuron.LIFNode(step_mode="m"), neuron.LIFNode(step_mode="m"))

        def forward(self, x: Any) -> Any:
            return self.net(x.unsqueeze(0).repeat(STEPS, 1, 1, 1, 1)).mean(0)

    net = seeded(Static)
    graph = from_module(net, steps=STEPS, input_shape=(2, 8, 8), encoder="module")
    assert graph.operators["repeat"].kind == "ConstantCurrent"
    assert graph.operators["mean"].kind == "MeanRate"
    x = np.random.default_rng(1).random((BATCH, 2, 8, 8), np.float32)
    functional.reset_net(net)
    with torch.no_grad():
        theirs = net(torch.from_numpy(x)).numpy()
    assert np.allclose(reference.run(graph, {"input": x})["output"], theirs, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("readout", "expected"),
    [("mean", lambda y: y.mean(0)), ("sum", lambda y: y.sum(0)), ("last", lambda y: y[-1]), ("none", lambda y: y)],
)
def test_steps_may_stream_in_and_be_read_out_as_asked(readout: str, expected: Callable[[Any], Any]) -> None:
    def build() -> Any:
        return nn.Sequential(layer.Linear(6, 8, step_mode="m"), neuron.LIFNode(step_mode="m"))

    net = seeded(build)
    graph = from_module(net, steps=STEPS, input_shape=(6,), encoder="steps", readout=readout)
    x = np.random.default_rng(1).random((STEPS, BATCH, 6), np.float32)
    functional.reset_net(net)
    with torch.no_grad():
        theirs = expected(net(torch.from_numpy(x))).numpy()
    assert theirs.any()
    assert np.array_equal(reference.run(graph, {"input": x})["output"], theirs)


@pytest.mark.parametrize(("reduce", "kind"), [(lambda x: x.sum(0), "SpikeCount"), (lambda x: x[-1], "Last")])
def test_a_net_may_read_itself_out(reduce: Callable[[Any], Any], kind: str) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = layer.Linear(6, 8, step_mode="m")
            self.lif = neuron.LIFNode(step_mode="m")

        def forward(self, x: Any) -> Any:
            return reduce(self.lif(self.fc(x)))

    graph = from_module(seeded(Net), steps=STEPS, input_shape=(6,))
    assert list(graph.operators.values())[-1].kind == kind
    checked(seeded(Net), (6,))


def small_vgg() -> Any:
    import torchvision_shim  # noqa: F401
    from spikingjelly.activation_based.model import spiking_vgg

    with torch.device("meta"):
        net = spiking_vgg.SpikingVGG([], batch_norm=True, spiking_neuron=neuron.LIFNode)
    net.features = net.make_layers([8, "M", 12, 12, "M"], True, None, neuron.LIFNode)
    net.avgpool = layer.AdaptiveAvgPool2d((2, 2))
    net.classifier = nn.Sequential(layer.Linear(48, 20), neuron.LIFNode(), layer.Dropout(), layer.Linear(20, 10))
    functional.set_step_mode(net, "m")
    return net


def resnet(module: str, cls: str, block: str, **options: Any) -> Callable[[], Any]:
    def build() -> Any:
        import importlib

        import torchvision_shim  # noqa: F401

        home = importlib.import_module(f"spikingjelly.activation_based.model.{module}")
        net = getattr(home, cls)(
            getattr(home, block), [1, 1, 1, 1], num_classes=10, spiking_neuron=neuron.IFNode, **options
        )
        functional.set_step_mode(net, "m")
        return net

    return build


def plif_net() -> Any:
    from spikingjelly.activation_based.model.parametric_lif_net import MNISTNet

    net = MNISTNet(channels=4, spiking_neuron=neuron.ParametricLIFNode, init_tau=2.0)
    functional.set_step_mode(net, "m")
    return net


MODELS = {
    "spiking VGG": (small_vgg, (3, 16, 16)),
    "spiking ResNet": (resnet("spiking_resnet", "SpikingResNet", "BasicBlock"), (3, 16, 16)),
    "spiking ResNet with bottlenecks": (resnet("spiking_resnet", "SpikingResNet", "Bottleneck"), (3, 16, 16)),
    "SEW-ResNet ADD": (resnet("sew_resnet", "SEWResNet", "BasicBlock", cnf="ADD"), (3, 16, 16)),
    "SEW-ResNet AND": (resnet("sew_resnet", "SEWResNet", "BasicBlock", cnf="AND"), (3, 16, 16)),
    "SEW-ResNet IAND": (resnet("sew_resnet", "SEWResNet", "BasicBlock", cnf="IAND"), (3, 16, 16)),
    "parametric LIF net with voting": (plif_net, (1, 28, 28)),
}


@pytest.mark.parametrize("name", MODELS)
def test_models_of_both_versions_equal_the_source(name: str) -> None:
    build, shape = MODELS[name]
    checked(seeded(build), shape, steps=2)


def spikformer() -> Any:
    from spikingjelly.activation_based.model.spikformer import Spikformer

    return Spikformer(
        T=2,
        in_channels=2,
        img_size_h=16,
        img_size_w=16,
        patch_size=4,
        num_classes=10,
        embed_dims=32,
        num_heads=4,
        depths=2,
    )


def spike_driven_transformer() -> Any:
    from spikingjelly.activation_based.model.spike_driven_transformer import SpikeDrivenTransformer

    return SpikeDrivenTransformer(
        T=2, in_channels=2, num_classes=10, embed_dims=32, num_heads=4, depths=2, mlp_ratio=2.0, pooling_stat="0011"
    )


def ms_resnet(cls: str) -> Callable[[], Any]:
    def build() -> Any:
        from spikingjelly.activation_based.model import ms_resnet as home

        return getattr(home, cls)(
            T=2, in_channels=2, num_classes=10, layers=(1, 2, 1), base_channels=8, stem_kernel_size=3, stem_stride=1
        )

    return build


def qkformer() -> Any:
    from spikingjelly.activation_based.model.qkformer import QKFormer

    return QKFormer(T=2, in_channels=2, num_classes=10, embed_dims=32, num_heads=(2, 2, 2), depths=(1, 1, 1))


def maxformer() -> Any:
    from spikingjelly.activation_based.model.maxformer import MaxFormer

    return MaxFormer(T=2, in_channels=2, num_classes=10, embed_dims=32, depths=(1, 1, 1))


NEWER = {
    "QKFormer": (qkformer, 64),
    "Max-Former": (maxformer, 64),
    "Spikformer": (spikformer, 16),
    "Spike-driven Transformer": (spike_driven_transformer, 16),
    "MS-ResNet": (ms_resnet("MSResNet"), 16),
    "Max-ResNet": (ms_resnet("MaxResNet"), 16),
}


@pytest.mark.parametrize("name", NEWER)
def test_models_of_version_2_equal_the_source(name: str) -> None:
    if VERSION_1:
        pytest.skip("SpikingJelly 0.0.0.0.14 has neither transformers nor MS-ResNet")
    build, side = NEWER[name]
    checked(seeded(build), (2, side, side), steps=2)


def test_a_bundle_gives_the_source_its_weights_back(tmp_path: Any) -> None:
    def build() -> Any:
        return nn.Sequential(
            layer.Linear(6, 12, step_mode="m"), neuron.ParametricLIFNode(init_tau=2.6, step_mode="m"),
            layer.BatchNorm1d(12, step_mode="m"), layer.LinearRecurrentContainer(neuron.LIFNode(), 12, 12, step_mode="m"),
        )  # fmt: skip

    net = seeded(build)
    graph = from_module(net, steps=2, input_shape=(6,))
    write_bundle(graph, tmp_path / "net")
    state = module_state(read_bundle(tmp_path / "net"))
    expected = {name: value for name, value in net.state_dict().items() if not name.endswith("num_batches_tracked")}
    assert set(state) == set(expected)
    for name, value in expected.items():
        assert np.array_equal(state[name], value.numpy()), name


def test_modules_called_like_the_graphs_ends_keep_their_names() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.input = layer.Linear(6, 8, step_mode="m")
            self.encoder = neuron.LIFNode(step_mode="m")
            self.readout = layer.Linear(8, 5, step_mode="m")

        def forward(self, x: Any) -> Any:
            return self.readout(self.encoder(self.input(x)))

    graph = from_module(seeded(Net), steps=2, input_shape=(6,))
    assert list(graph.inputs) == ["graph_input"]
    assert {"input": "Linear", "encoder": "LIF", "readout": "Linear", "graph_readout": "MeanRate"}.items() <= {
        name: each.kind for name, each in graph.operators.items()
    }.items()
    checked(seeded(Net), (6,))


def test_a_net_of_one_layer_has_a_named_operator() -> None:
    graph = from_module(seeded(lambda: layer.Linear(6, 5, step_mode="m")), steps=2, input_shape=(6,))
    assert set(graph.operators) == {"encoder", "net", "readout"}
    assert set(module_state(graph)) == {"weight", "bias"}
