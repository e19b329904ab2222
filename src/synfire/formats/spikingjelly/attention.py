"""SpikingJelly 2.0's attention modules, each as the operators of its paper."""

from __future__ import annotations

from typing import Any

from spikingjelly.activation_based import layer

from synfire.base.errors import UserError
from synfire.formats.spikingjelly import shapes
from synfire.formats.spikingjelly.convert import SEQUENCE, Context, Converter, described
from synfire.formats.spikingjelly.sketch import Held, under
from synfire.ops.add import Add
from synfire.ops.multiply import Multiply
from synfire.ops.self_attention import CHANNELS_FIRST, SelfAttention
from synfire.ops.slice import Slice
from synfire.ops.token_sum import TokenSum


def spiking_self_attention(context: Context, module: Any, name: str, x: Held) -> Held:
    """SpikingSelfAttention on `(time, batch, channel, token)`: LIF(BN(W_p · LIF((Q Kᵀ) V · 0.125))).

    Q, K and V are thirds of one layer's channels; the inner LIF sees `(head, channel of the head, token)`, which is the
    same order of numbers as `(channel, token)`.
    """
    _require(module, name, x, 2)
    sketch, channels = context.sketch, x.signal.shape[0]
    qkv = context.call(module.qkv_lif, context.call(module.qkv_conv_bn, x))
    if qkv.signal.shape[0] != 3 * channels:
        raise UserError(f"{described(module, name)} was sharded over devices; import the whole module")
    parts = [
        sketch.add(under(name, letter), Slice(i * channels, (i + 1) * channels), qkv) for i, letter in enumerate("qkv")
    ]
    mixed = sketch.add(
        under(name, "attention"), SelfAttention(module.num_heads, float(module.scale), CHANNELS_FIRST), *parts
    )
    return context.call(module.proj_lif, context.call(module.proj_conv_bn, context.call(module.attn_lif, mixed)))


def spike_driven_self_attention(context: Context, module: Any, name: str, x: Held) -> Held:
    """SpikeDrivenSelfAttention on `(time, batch, channel, height, width)`: x + BN(W_p · (Q ⊙ LIF(Σ_tokens K ⊙ V))).

    Each channel of a head has one sum over the tokens, so heads change nothing but the layout and are left out.
    """
    _require(module, name, x, 3)
    sketch, channels = context.sketch, x.signal.shape[0]
    spikes = context.call(module.shortcut_lif, x)
    q, k, v = (
        context.call(neuron, context.call(norm, context.call(conv, spikes)))
        for conv, norm, neuron in (
            (module.q_conv, module.q_bn, module.q_lif),
            (module.k_conv, module.k_bn, module.k_lif),
            (module.v_conv, module.v_bn, module.v_lif),
        )
    )
    both = sketch.add(under(name, "k_and_v"), Multiply(), k, v)
    tokens = shapes.flatten(sketch, under(name, "tokens"), both, 3)
    mask = context.call(module.attn_lif, sketch.add(under(name, "sum"), TokenSum(axis=1, keepdims=True), tokens))
    mask = shapes.reshape(sketch, under(name, "mask"), mask, (*mask.shape[:2], channels, 1, 1))
    gated = sketch.add(under(name, "q_and_mask"), Multiply(), q, mask)
    return sketch.add(
        under(name, "residual"), Add(), context.call(module.proj_bn, context.call(module.proj_conv, gated)), x
    )


def converters() -> dict[type, Converter]:
    """Each attention module's exact class, where this SpikingJelly has it."""
    known: dict[str, Converter] = {
        "SpikingSelfAttention": spiking_self_attention,
        "SpikeDrivenSelfAttention": spike_driven_self_attention,
    }
    return {getattr(layer, name): each for name, each in known.items() if hasattr(layer, name)}


def _require(module: Any, name: str, x: Held, ndim: int) -> None:
    if x.lead != SEQUENCE or len(x.signal.shape) != ndim:
        raise UserError(
            f"{described(module, name)} takes a (time, batch, …) sequence of samples with {ndim} axes, got {shapes.spelled(x)}"
        )
