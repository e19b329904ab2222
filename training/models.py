"""The zoo's networks, as SpikingJelly modules.

`build(name)` returns a network in multi-step mode: input `(time, batch, …)`, output logits `(time, batch, class)` per
step; the answer is their mean over time. Trained weights go in with `load_state_dict`. Each network ends in a Linear
readout called `head`, which is all that a fine-tuned variant trains.
"""

from collections import OrderedDict
from collections.abc import Callable

import torchvision_shim  # noqa: F401  (before sew_resnet)
from alif import RecurrentALIF
from spikingjelly.activation_based import layer, neuron, surrogate
from spikingjelly.activation_based.model.ms_resnet import MSResNet
from spikingjelly.activation_based.model.sew_resnet import BasicBlock
from spikingjelly.activation_based.model.spike_driven_transformer import SpikeDrivenTransformer
from spikingjelly.activation_based.model.spikformer import SpikformerBlock, SpikformerConv2dBNLIF
from torch import Tensor, nn


def lif(step_mode: str = "m") -> neuron.LIFNode:
    return neuron.LIFNode(tau=2.0, surrogate_function=surrogate.ATan(), detach_reset=True, step_mode=step_mode)


def plif() -> neuron.ParametricLIFNode:
    return neuron.ParametricLIFNode(init_tau=2.0, surrogate_function=surrogate.ATan(), detach_reset=True, step_mode="m")


def soft_if() -> neuron.IFNode:
    return neuron.IFNode(v_reset=None, surrogate_function=surrogate.ATan(), detach_reset=True, step_mode="m")


def linear(inputs: int, outputs: int, bias: bool = True) -> layer.Linear:
    return layer.Linear(inputs, outputs, bias=bias, step_mode="m")


def conv(inputs: int, outputs: int, kernel: int, padding: int, spiking: Callable[[], nn.Module]) -> list[nn.Module]:
    return [
        layer.Conv2d(inputs, outputs, kernel, padding=padding, bias=False, step_mode="m"),
        layer.BatchNorm2d(outputs, step_mode="m"),
        spiking(),
    ]


def dense(inputs: int, outputs: int, spiking: Callable[[], nn.Module]) -> list[nn.Module]:
    return [linear(inputs, outputs, bias=False), layer.BatchNorm1d(outputs, step_mode="m"), spiking()]


def chain(**parts: nn.Module | list[nn.Module]) -> nn.Sequential:
    """Named parts, one after the other; a list becomes a Sequential."""
    return nn.Sequential(
        OrderedDict((name, nn.Sequential(*part) if isinstance(part, list) else part) for name, part in parts.items())
    )


def svgg(stages: tuple[tuple[int, ...], ...], flat: int, hidden: int, classes: int = 10) -> nn.Sequential:
    """Spiking VGG: stages of 3x3 Conv + BN + LIF, each closed by a 2x2 max pool; Linear + BN + LIF; Linear."""
    features: list[nn.Module] = []
    channels = 1
    for stage in stages:
        for width in stage:
            features += conv(channels, width, 3, 1, lif)
            channels = width
        features.append(layer.MaxPool2d(2, 2, step_mode="m"))
    features.append(layer.Flatten(step_mode="m"))
    return chain(features=features, classifier=dense(flat, hidden, lif), head=linear(hidden, classes))


def scnn(
    first: list[nn.Module], second: list[nn.Module], flat: int, hidden: int, spiking: Callable[[], nn.Module]
) -> nn.Sequential:
    """LeNet-like: two convolutions, each followed by 2x2 average pooling; Linear + BN + neuron; Linear."""
    features = [
        *first,
        layer.AvgPool2d(2, 2, step_mode="m"),
        *second,
        layer.AvgPool2d(2, 2, step_mode="m"),
        layer.Flatten(step_mode="m"),
    ]
    return chain(features=features, classifier=dense(flat, hidden, spiking), head=linear(hidden, 10))


def sew_resnet(widths: tuple[int, ...]) -> nn.Sequential:
    """SEW-ResNet (doi:10.48550/arXiv.2102.04159), connection ADD, one block of two convolutions per stage."""
    blocks: list[nn.Module] = []
    channels = widths[0]
    for stage, width in enumerate(widths):
        stride = 1 if stage == 0 else 2
        down = None
        if stride != 1:
            down = nn.Sequential(
                layer.Conv2d(channels, width, 1, stride=stride, bias=False, step_mode="m"),
                layer.BatchNorm2d(width, step_mode="m"),
            )
        block = BasicBlock(channels, width, stride, down, cnf="ADD", spiking_neuron=lif)
        for part in (block.conv1, block.bn1, block.conv2, block.bn2):
            part.step_mode = "m"
        blocks.append(block)
        channels = width
    return chain(
        stem=conv(1, widths[0], 3, 1, lif),
        blocks=blocks,
        pool=layer.AdaptiveAvgPool2d((1, 1), step_mode="m"),
        flatten=layer.Flatten(step_mode="m"),
        head=linear(channels, 10),
    )


class MSResNetSteps(MSResNet):
    """SpikingJelly's MS-ResNet (arXiv:2112.08954) that answers every step instead of their mean."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer3(self.layer2(self.layer1(self.stem(x))))
        return self.head(self.avgpool(self.head_lif(x)).flatten(2))


class SpikeDrivenTransformerSteps(SpikeDrivenTransformer):
    """SpikingJelly's Spike-driven Transformer (arXiv:2307.01694) that answers every step instead of their mean."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch_embed(x)
        for block in self.blocks:
            x = block(x)
        return self.head(self.head_lif(x.flatten(3).mean(-1)))


class SmallSpikformer(nn.Module):
    """Spikformer (arXiv:2209.15425) of SpikingJelly's own blocks behind a stem for 8x8 images: 16 tokens."""

    def __init__(self, channels: int, depth: int, heads: int, mlp_ratio: float) -> None:
        super().__init__()
        settings = {"surrogate_function": surrogate.ATan()}
        self.stem = nn.Sequential(
            SpikformerConv2dBNLIF(1, channels // 2, 3, padding=1, **settings),
            SpikformerConv2dBNLIF(channels // 2, channels, 3, padding=1, pool=True, **settings),
        )
        self.positional_encoding = SpikformerConv2dBNLIF(channels, channels, 3, padding=1, **settings)
        self.blocks = nn.Sequential(
            *(SpikformerBlock(channels, heads, mlp_ratio=mlp_ratio, **settings) for _ in range(depth))
        )
        self.head = linear(channels, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = self.blocks(x + self.positional_encoding(x))
        return self.head(x.flatten(3).mean(-1))


def srnn_digits() -> nn.Sequential:
    """Row by row: Linear + BN + LIF, then LIF neurons whose spikes return through a Linear; Linear."""
    hidden = 128
    return chain(
        encoder=dense(8, hidden, lif),
        recurrent=layer.LinearRecurrentContainer(lif("s"), hidden, hidden, step_mode="m"),
        head=linear(hidden, 10),
    )


def srnn_spoken() -> nn.Sequential:
    """Two layers of recurrent adaptive neurons over log-mel frames; Linear."""
    return chain(
        input1=linear(40, 128), alif1=RecurrentALIF(128), input2=linear(128, 128), alif2=RecurrentALIF(128),
        head=linear(128, 10),
    )  # fmt: skip


def ms_resnet_mnist() -> MSResNetSteps:
    return MSResNetSteps(
        in_channels=1, num_classes=10, layers=(1, 1, 1), base_channels=32, stem_kernel_size=5, stem_stride=2
    )


def spike_driven_mnist() -> SpikeDrivenTransformerSteps:
    return SpikeDrivenTransformerSteps(
        in_channels=1, num_classes=10, embed_dims=64, num_heads=4, depths=2, mlp_ratio=2.0, pooling_stat="1100",
        tau=2.0, detach_reset=True, surrogate_function=surrogate.ATan(),
    )  # fmt: skip


def svgg_mnist(classes: int = 10) -> nn.Sequential:
    return svgg(((16,), (32, 32), (64,)), flat=64 * 3 * 3, hidden=128, classes=classes)


BUILDERS: dict[str, Callable[[], nn.Module]] = {
    "svgg-digits": lambda: svgg(((16, 16), (32, 32)), flat=32 * 2 * 2, hidden=64),
    "sresnet-digits": lambda: sew_resnet((16, 32)),
    "scnn-digits": lambda: scnn(conv(1, 12, 5, 2, soft_if), conv(12, 24, 3, 1, soft_if), 24 * 2 * 2, 64, soft_if),
    "srnn-digits": srnn_digits,
    "sgnn-digits": lambda: chain(hidden=dense(64, 128, lif), head=linear(128, 10)),
    "stransformer-digits": lambda: SmallSpikformer(channels=32, depth=1, heads=4, mlp_ratio=2.0),
    "svgg-mnist": svgg_mnist,
    "sresnet-mnist": ms_resnet_mnist,
    "scnn-mnist": lambda: scnn(conv(1, 16, 5, 2, soft_if), conv(16, 32, 5, 0, soft_if), 32 * 5 * 5, 128, soft_if),
    "stransformer-mnist": spike_driven_mnist,
    "scnn-nmnist": lambda: scnn(conv(2, 12, 5, 2, plif), conv(12, 24, 5, 0, plif), 24 * 6 * 6, 128, plif),
    "srnn-spoken": srnn_spoken,
    "sgnn-cora": lambda: chain(hidden=[linear(1433, 128), lif()], head=linear(128, 7)),
    "svgg-mnist-parity": lambda: svgg_mnist(classes=2),
    "svgg-mnist-size": lambda: svgg_mnist(classes=2),
}


def build(name: str) -> nn.Module:
    """The untrained network of a zoo name."""
    if name not in BUILDERS:
        raise SystemExit(f"no model is called {name!r}; choose one of: {', '.join(BUILDERS)}")
    return BUILDERS[name]()
