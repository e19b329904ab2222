"""Make the zoo's bundles out of trained weights: `python training/export.py svgg-digits --weights zoo`.

Reads NAME.safetensors and NAME.json as train.py wrote them, imports the network, joins its pre-processing, and writes
`src/synfire/zoo/NAME/` (graph.json, tensors.safetensors, card.md, card.json).
"""

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import data
import features
import numpy as np
import torch
from alif import RecurrentALIF
from models import build
from recipes import RECIPES, Recipe
from safetensors.torch import load_file
from spikingjelly.activation_based import functional
from torch import nn

from synfire.formats import write_bundle
from synfire.formats.spikingjelly import from_module
from synfire.formats.spikingjelly.convert import Context, require_memory, require_once
from synfire.formats.spikingjelly.sketch import Held
from synfire.graph import Graph, Synapse, reference
from synfire.ops import Array, Clock, Encoder, Kind, Operator, Signal
from synfire.ops.add import Add
from synfire.ops.alif import ALIF
from synfire.ops.bernoulli import Bernoulli
from synfire.ops.constant_current import ConstantCurrent
from synfire.ops.event_frames import EventFrames
from synfire.ops.flatten import Flatten
from synfire.ops.k_nearest_aggregation import KNearestAggregation
from synfire.ops.linear import Linear
from synfire.ops.log_mel import LogMel
from synfire.ops.neighbourhood_aggregation import NeighbourhoodAggregation
from synfire.ops.reshape import Reshape
from synfire.ops.sequence import Sequence
from synfire.ops.wav_decode import WavDecode

ZOO = Path(__file__).resolve().parents[1] / "src" / "synfire" / "zoo"
DIGITS = [str(digit) for digit in range(10)]
CORA = [
    "Theory", "Reinforcement_Learning", "Genetic_Algorithms", "Neural_Networks", "Probabilistic_Methods", "Case_Based",
    "Rule_Learning",
]  # fmt: skip


@dataclass(frozen=True)
class FrontEnd:
    """What a request holds, the operators that turn it into what the network sees, and the encoder.

    The operators form a chain, whose first reads each of the request's signals at a port of its own, in their order.
    """

    request: dict[str, Signal]
    encoder: Encoder
    seen: tuple[int, ...]
    """The shape of one sample at one step, as the network sees it."""
    operators: dict[str, Operator] = field(default_factory=dict)
    about: str = ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="models; all whose weights are there, when none is named")
    parser.add_argument("--weights", type=Path, default=Path("zoo"))
    parser.add_argument("--out", type=Path, default=ZOO)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    names = arguments.names or [name for name in RECIPES if (arguments.weights / f"{name}.json").exists()]
    for name in names:
        export(name, arguments.weights, arguments.out)


def export(name: str, weights: Path, out: Path) -> None:
    trained = json.loads((weights / f"{name}.json").read_text())
    recipe = RECIPES[name]
    net = load(name, weights)
    front = FRONT_ENDS[recipe.dataset](trained)
    graph = imported(net, front, labels(recipe))
    accuracy = measured_accuracy(net, recipe, front, trained)
    card = card_of(name, trained, front, graph, accuracy)
    source = {**graph.metadata["source"], "training": {key: trained[key] for key in ("command", "seed", "epochs")}}
    shown = ("family", "dataset", "labels", "accuracy", "spike_rate", "steps", "command", "seed", "input")
    graph = replace(graph, metadata={"name": name, **{key: card[key] for key in shown}, "source": source})
    write_bundle(graph, out / name, overwrite=True)
    (out / name / "card.json").write_text(json.dumps(card, indent=2) + "\n")
    (out / name / "card.md").write_text(card_text(card))
    size = sum(file.stat().st_size for file in (out / name).iterdir())
    print(f"{name}: {len(graph.operators)} operators, {size / 1e3:.0f} kB, held-out accuracy {accuracy:.4f}")


def load(name: str, weights: Path) -> nn.Module:
    """The trained network in evaluation mode."""
    net = build(name)
    missing, unexpected = net.load_state_dict(load_file(weights / f"{name}.safetensors"), strict=False)
    wrong = [key for key in missing if not key.endswith("num_batches_tracked")] + unexpected
    if wrong:
        raise SystemExit(f"{name}.safetensors does not fit the network: {', '.join(wrong)}; train it again")
    return net.eval()


def imported(net: nn.Module, front: FrontEnd, names: list[str]) -> Graph:
    """The network's graph behind its front end, with a mean over time as readout."""
    graph = from_module(
        net, steps=front.encoder.steps, input_shape=front.seen, encoder=front.encoder, labels=names,
        converters={RecurrentALIF: recurrent_alif},
    )  # fmt: skip
    return joined(front, graph)


def joined(front: FrontEnd, graph: Graph) -> Graph:
    """`graph`, whose input is what the encoder reads, behind the front end's operators."""
    chain = list(front.operators)
    arriving = [Synapse(name, chain[0], port) for port, name in enumerate(front.request) if chain]
    before = [*arriving, *(Synapse(a, b) for a, b in pairwise(chain))]
    last = chain[-1] if chain else "input"
    after = [replace(s, source=last) if s.source == "input" else s for s in graph.synapses]
    return replace(
        graph,
        operators={**front.operators, **graph.operators},
        synapses=(*before, *after),
        inputs=front.request,
    )


def recurrent_alif(context: Context, module: RecurrentALIF, name: str, x: Held) -> Held:
    """RecurrentALIF: the spikes of one step come back through `recurrent` at the next."""
    require_memory(module, name, x)
    require_once(context, module, name)
    sketch = context.sketch
    back = Held(f"{name}.recurrent", x.signal, x.lead, x.steps)
    current = sketch.add(f"{name}.current", Add(), x, back, delays=(0, 1))
    alpha, rho = (parameter.detach().numpy() for parameter in (module.alpha, module.rho))
    spikes = sketch.add(name, ALIF(alpha, rho, float(module.b0), float(module.beta)), current)
    weight = module.recurrent.weight.detach().numpy()
    sketch.add(f"{name}.recurrent", Linear(weight, np.zeros(len(weight), np.float32)), spikes)
    sketch.remember(name, spikes.source, alpha="alpha", rho="rho")
    sketch.remember(f"{name}.recurrent", f"{name}.recurrent", weight="weight")
    return spikes


def image(side: int, encoder: Encoder) -> FrontEnd:
    return FrontEnd(
        {"input": Signal((1, side, side), Kind.VALUE, Clock.REQUEST)}, encoder, (1, side, side),
        about=f"a grey image (1, {side}, {side}), values in [0, 1]",
    )  # fmt: skip


def digits(trained: dict[str, Any]) -> FrontEnd:
    steps = trained["T"]
    if trained["encoding"] == "constant":
        return image(8, ConstantCurrent(steps))
    plain = image(8, ConstantCurrent(steps))
    return replace(plain, encoder=Sequence(steps), seen=(8,), operators={"rows": Reshape((8, 8))})


def digit_graph(trained: dict[str, Any]) -> FrontEnd:
    rows, _, _, _ = data.digit_rows()
    aggregation = KNearestAggregation(rows, features.knn_degrees(rows, data.NEIGHBOURS), data.NEIGHBOURS, 1 / 16)
    plain = image(8, ConstantCurrent(1))
    operators = {"pixels": Flatten(), "neighbours": aggregation}
    return replace(plain, encoder=Bernoulli(trained["T"]), seen=(64,), operators=operators)


def mnist(trained: dict[str, Any]) -> FrontEnd:
    return image(28, ConstantCurrent(trained["T"]))


def nmnist(trained: dict[str, Any]) -> FrontEnd:
    frames = EventFrames(trained["T"], 34, 34, data.EVENT_STEP_S)
    return FrontEnd(
        {"input": Signal((-1, 4), Kind.INDEX, Clock.REQUEST)}, Sequence(trained["T"]), (2, 34, 34), {"frames": frames},
        about="the events of a recording, rows (t in microseconds, x, y, polarity), in order of time",
    )  # fmt: skip


def spoken(trained: dict[str, Any]) -> FrontEnd:
    mean, deviation = (np.array(trained["normalisation"][key], np.float32) for key in ("mean", "deviation"))
    rate = int(data.SPEECH["sample_rate_hz"])
    mel = LogMel(
        mean, deviation, rate, int(data.SPEECH["n_fft"]), int(data.SPEECH["frames"]), data.SPEECH["window_s"],
        data.SPEECH["hop_s"], data.SPEECH["floor"],
    )  # fmt: skip
    return FrontEnd(
        {"input": Signal((), Kind.BYTES, Clock.REQUEST)}, Sequence(trained["T"]), (mel.bands,),
        {"wav": WavDecode(rate, mel.samples), "log_mel": mel},
        about=f"the bytes of a WAV file with {rate} samples a second",
    )  # fmt: skip


def cora(trained: dict[str, Any]) -> FrontEnd:
    """Inductive: the graph is the caller's and comes with the request, so the bundle holds nothing of the data set."""
    words = np.load(data.data_root() / "citation-graphs" / "cora.npz")["x"].shape[1]
    request = {
        "features": Signal((-1, words), Kind.VALUE, Clock.REQUEST),
        "edges": Signal((-1, 2), Kind.INDEX, Clock.REQUEST),
        "degrees": Signal((-1,), Kind.INDEX, Clock.REQUEST),
    }
    return FrontEnd(
        request, Bernoulli(trained["T"]), (words,), {"neighbours": NeighbourhoodAggregation(hops=2, clip=True)},
        about=f"a paper and its surroundings in a citation graph, which is the caller's and not stored here: features (n, "
        f"{words}), the words (1 or 0) of the paper in row 0 and of all within two citations of it; edges (m, 2), the "
        "citations among these rows, each once; degrees (n,), how many each has in the whole graph "
        "(synfire.zoo.neighbourhood cuts all three out of a graph)",
    )  # fmt: skip


FRONT_ENDS: dict[str, Callable[[dict[str, Any]], FrontEnd]] = {
    "digits": digits, "digit-graph": digit_graph, "mnist": mnist, "mnist-parity": mnist, "mnist-size": mnist,
    "nmnist": nmnist, "spoken": spoken, "cora": cora,
}  # fmt: skip


def labels(recipe: Recipe) -> list[str]:
    named = {"mnist-parity": ["even", "odd"], "mnist-size": ["0 to 4", "5 to 9"], "cora": CORA}
    return named.get(recipe.dataset, DIGITS)


@torch.no_grad()
def measured_accuracy(net: nn.Module, recipe: Recipe, front: FrontEnd, trained: dict[str, Any]) -> float:
    """Held-out accuracy of what is served: as trained, but for a random encoder, whose spikes are then synfire's own."""
    if not isinstance(front.encoder, Bernoulli):
        return float(trained["test_accuracy"])
    test = data.DATASETS[recipe.dataset]().test
    right = 0
    for chosen in torch.arange(len(test)).split(100):
        spikes = encoded(front.encoder, test.x[chosen].numpy())
        functional.reset_net(net)
        right += int((net(torch.from_numpy(spikes)).mean(0).argmax(1) == test.y[chosen]).sum())
    functional.reset_net(net)
    return right / len(test)


def encoded(encoder: Encoder, x: Array) -> Array:
    """`(steps, batch, …)` float32 spikes for what the encoder reads."""
    signal = Signal(x.shape[1:], Kind.VALUE, Clock.REQUEST)
    synapses = (Synapse("input", "encoder"),)
    graph = Graph({"encoder": encoder}, synapses, {"input": signal}, {"output": "encoder"})
    return reference.run(graph, {"input": x})["output"].astype(np.float32)


def card_of(name: str, trained: dict[str, Any], front: FrontEnd, graph: Graph, accuracy: float) -> dict[str, Any]:
    return {
        "name": name,
        **{key: trained[key] for key in ("family", "dataset", "encoding")},
        "labels": graph.metadata["labels"],
        "input": front.about,
        "steps": trained["T"],
        "accuracy": accuracy,
        **{key: trained[key] for key in ("test_samples", "train_samples", "epochs", "train_seconds", "parameters")},
        "spike_rate": trained["spike_rate"],
        **{key: trained[key] for key in ("command", "seed")},
        **({"base": trained["base"]} if "base" in trained else {}),
        "source": {key: graph.metadata["source"][key] for key in ("framework", "version", "module")},
    }


SOURCES = {
    "digits": "scikit-learn's handwritten digits (UCI, CC BY 4.0), 8x8 pixels",
    "digit-graph": "scikit-learn's handwritten digits (UCI, CC BY 4.0) as a graph of 8 nearest neighbours",
    "mnist": "MNIST (CC BY-SA 3.0), 28x28 pixels",
    "mnist-parity": "MNIST (CC BY-SA 3.0), odd against even digits",
    "mnist-size": "MNIST (CC BY-SA 3.0), digits below 5 against those from 5 on",
    "nmnist": "N-MNIST (CC BY-SA 4.0), 1000 recordings to train on and 100 held out",
    "spoken": "the Free Spoken Digit Dataset (CC BY-SA 4.0), takes 0 to 4 held out",
    "cora": "the Cora citation graph in its Planetoid split",
}


def card_text(card: dict[str, Any]) -> str:
    rates = "\n".join(f"| `{layer}` | {rate:.4f} |" for layer, rate in card["spike_rate"].items())
    base = f"Its backbone is that of `{card['base']}`, frozen; only `head` was trained.\n\n" if "base" in card else ""
    return f"""# {card["name"]}

A spiking network of the family {card["family"]}, {card["parameters"]} parameters, {card["steps"]} time steps.

{base}| | |
|---|---|
| data | {SOURCES[card["dataset"]]} |
| request | {card["input"]} |
| classes | {", ".join(card["labels"])} |
| held-out accuracy | {card["accuracy"]:.4f} on {card["test_samples"]} samples |
| training | {card["train_samples"]} samples, {card["epochs"]} epochs, {card["train_seconds"]} s, seed {card["seed"]} |
| command | `{card["command"]}` |
| imported from | {card["source"]["framework"]} {card["source"]["version"]} |

Spikes per neuron and time step on the held-out samples:

| layer | rate |
|---|---|
{rates}
"""


if __name__ == "__main__":
    main()
