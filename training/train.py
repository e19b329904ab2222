"""Train one model of the zoo: `python training/train.py svgg-digits --seed 0 --out zoo`.

Writes NAME.safetensors (the state dict) and NAME.json (what the model card needs).
"""

import argparse
import json
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch._dynamo
import torch.nn.functional as F
from alif import RecurrentALIF
from data import DATASETS, Dataset, Samples
from models import build
from recipes import RECIPES, Jitter, Recipe
from safetensors.torch import load_file, save_file
from spikingjelly.activation_based import functional, neuron
from torch import Tensor, nn


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", choices=sorted(RECIPES))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("zoo"))
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of torch")
    parser.add_argument("--fuse", action="store_true", help="compile the neurons while training (needs a C++ compiler)")
    parser.add_argument("--start", type=Path, help="begin with these weights: a second cycle of the learning rate")
    parser.add_argument("--epochs", type=int, help="instead of the recipe's")
    parser.add_argument("--steps", type=int, help="instead of the recipe's")
    parser.add_argument("--rate", type=float, help="highest learning rate, instead of the recipe's")
    parser.add_argument("--plain", action="store_true", help="leave the training samples as they are: no jitter")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    train(arguments, changed(RECIPES[arguments.name], arguments))


def changed(recipe: Recipe, arguments: argparse.Namespace) -> Recipe:
    named = {field: getattr(arguments, field) for field in ("epochs", "steps", "rate") if getattr(arguments, field)}
    return replace(recipe, **named, jitter=None if arguments.plain else recipe.jitter)


def train(arguments: argparse.Namespace, recipe: Recipe) -> None:
    name, out = arguments.name, arguments.out
    torch.manual_seed(arguments.seed)
    dataset = DATASETS[recipe.dataset]()
    net = build(name)
    past: dict[str, Any] = {"command": "", "epochs": 0, "train_seconds": 0}
    if arguments.start:
        net.load_state_dict(load_file(arguments.start))
        past = json.loads(arguments.start.with_suffix(".json").read_text())
    started = time.monotonic()
    with fused(net) if arguments.fuse else nullcontext():
        fit(net, dataset, recipe, out)
    elapsed_s = time.monotonic() - started
    accuracy, spike_rate = evaluate(net, dataset.test, recipe, rates=True)
    out.mkdir(parents=True, exist_ok=True)
    save_file({key: value.contiguous() for key, value in stored(net).items()}, out / f"{name}.safetensors")
    card = {
        "name": name,
        "family": name.split("-")[0],
        "dataset": recipe.dataset,
        "encoding": recipe.encoding,
        "seed": arguments.seed,
        "command": f"{past['command']} && {command(arguments)}" if arguments.start else command(arguments),
        "T": recipe.steps,
        "test_accuracy": accuracy,
        "test_samples": len(dataset.test),
        "train_samples": len(dataset.train),
        "epochs": past["epochs"] + recipe.epochs,
        "train_seconds": round(past["train_seconds"] + elapsed_s, 1),
        "parameters": sum(parameter.numel() for parameter in net.parameters()),
        "spike_rate": spike_rate,
        **({"base": recipe.base} if recipe.base else {}),
        **({"normalisation": dataset.statistics} if dataset.statistics else {}),
    }
    (out / f"{name}.json").write_text(json.dumps(card, indent=2) + "\n")
    print(f"{name}: held-out accuracy {accuracy:.4f} after {elapsed_s:.0f} s")


def command(arguments: argparse.Namespace) -> str:
    """What to type to train this again; `--out` and `--threads`, which change nothing in it, are left out."""
    words = ["python training/train.py", arguments.name, f"--seed {arguments.seed}"]
    words += [f"--{flag}" for flag in ("fuse", "plain") if getattr(arguments, flag)]
    words += [
        f"--{field} {getattr(arguments, field)}" for field in ("epochs", "steps", "rate") if getattr(arguments, field)
    ]
    if arguments.start:
        words.append(f"--start zoo/{arguments.start.name}")
    return " ".join(words)


def fit(net: nn.Module, dataset: Dataset, recipe: Recipe, out: Path) -> None:
    if recipe.base:
        net, dataset, recipe = readout_only(net, dataset, recipe, out)
    optimizer = torch.optim.AdamW(net.parameters(), lr=recipe.rate, weight_decay=recipe.weight_decay)
    batches = math.ceil(len(dataset.train) / recipe.batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.rate, recipe.epochs * batches)
    for epoch in range(recipe.epochs):
        started = time.monotonic()
        net.train()
        loss_sum = 0.0
        for chosen in torch.randperm(len(dataset.train)).split(recipe.batch):
            x = dataset.train.x[chosen]
            if recipe.jitter:
                x = jittered(x, recipe.jitter)
            steps = F.dropout(encode(x, recipe), recipe.dropout)
            functional.reset_net(net)
            loss = F.cross_entropy(net(steps).mean(0), dataset.train.y[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            project(net)
            loss_sum += loss.item()
        accuracy, _ = evaluate(net, dataset.test, recipe)
        print(f"epoch {epoch}: loss {loss_sum / batches:.4f}, held-out {accuracy:.4f}, "
              f"{time.monotonic() - started:.0f} s", flush=True)  # fmt: skip


@contextmanager
def fused(net: nn.Module) -> Iterator[None]:
    """Compile each neuron's element-wise steps into one loop; SpikingJelly's own forward is back afterwards."""
    torch._dynamo.config.recompile_limit = 256
    neurons = [module for module in net.modules() if isinstance(module, neuron.BaseNode)]
    for module in neurons:
        module.forward = torch.compile(module.forward)
    try:
        yield
    finally:
        for module in neurons:
            del module.forward


@torch.no_grad()
def readout_only(net: nn.Module, dataset: Dataset, recipe: Recipe, out: Path) -> tuple[nn.Module, Dataset, Recipe]:
    """Load a trained backbone, and hand back the readout with the backbone's spikes as its data set.

    The backbone, batch statistics included, is not touched: it runs once over the data, and only the readout is trained.
    """
    weights = load_file(out / f"{recipe.base}.safetensors")
    net.load_state_dict({key: value for key, value in weights.items() if not key.startswith("head.")}, strict=False)
    net.eval()
    *backbone, head = net.children()
    through = nn.Sequential(*backbone)

    def spikes(part: Samples) -> Samples:
        batches = []
        for x in part.x.split(250):
            functional.reset_net(through)
            batches.append(through(encode(x, recipe)).transpose(0, 1))
        return Samples(torch.cat(batches), part.y)

    return head, Dataset(spikes(dataset.train), spikes(dataset.test)), replace(recipe, encoding="frames")


def stored(net: nn.Module) -> dict[str, Tensor]:
    """The state dict without BatchNorm's batch counters, which nothing reads after training."""
    return {key: value for key, value in net.state_dict().items() if not key.endswith("num_batches_tracked")}


def encode(x: Tensor, recipe: Recipe) -> Tensor:
    """A batch of samples `(batch, …)` as `(time, batch, …)`."""
    match recipe.encoding:
        case "constant":
            return x.expand(recipe.steps, *x.shape)
        case "bernoulli":
            return torch.bernoulli(x.expand(recipe.steps, *x.shape))
        case "frames":
            return x.transpose(0, 1).contiguous()
        case "rows":
            return x.squeeze(1).transpose(0, 1).contiguous()
    raise ValueError(f"unknown encoding {recipe.encoding!r}")


def jittered(x: Tensor, jitter: Jitter) -> Tensor:
    """Turn, shift and zoom each sample `(batch, …, height, width)`; binary frames stay binary."""
    planes = x.reshape(len(x), -1, *x.shape[-2:])

    def draw(limit: float) -> Tensor:
        return (torch.rand(len(x)) * 2 - 1) * limit

    angle, zoom = draw(math.radians(jitter.degrees)), 1 + draw(jitter.zoom)
    cos, sin = angle.cos() * zoom, angle.sin() * zoom
    right, down = (draw(jitter.shift) * 2 / side for side in (planes.shape[-1], planes.shape[-2]))
    affine = torch.stack([torch.stack([cos, -sin, right], 1), torch.stack([sin, cos, down], 1)], 1)
    grid = F.affine_grid(affine, list(planes.shape), align_corners=False)
    mode = "nearest" if x.dim() == 5 else "bilinear"
    return F.grid_sample(planes, grid, mode=mode, align_corners=False).reshape(x.shape)


def project(net: nn.Module) -> None:
    for module in net.modules():
        if isinstance(module, RecurrentALIF):
            module.project()


@torch.no_grad()
def evaluate(net: nn.Module, test: Samples, recipe: Recipe, rates: bool = False) -> tuple[float, dict[str, float]]:
    """Accuracy, and each spiking layer's mean spikes per neuron and step, on held-out samples."""
    net.eval()
    totals: dict[str, list[float]] = {}
    hooks = watch(net, totals) if rates else []
    right = 0
    for chosen in torch.arange(len(test)).split(250):
        functional.reset_net(net)
        answer = net(encode(test.x[chosen], recipe)).mean(0).argmax(1)
        right += int((answer == test.y[chosen]).sum())
    functional.reset_net(net)
    for hook in hooks:
        hook.remove()
    return right / len(test), {name: round(spikes / places, 5) for name, (spikes, places) in totals.items()}


def watch(net: nn.Module, totals: dict[str, list[float]]) -> list[torch.utils.hooks.RemovableHandle]:
    """Add each spiking layer's spikes, and the places where one could be, to `totals[layer path]`."""

    def count(name: str, spikes: Tensor) -> None:
        total = totals.setdefault(name, [0.0, 0])
        total[0] += float(spikes.sum())
        total[1] += spikes.numel()

    return [
        module.register_forward_hook(lambda _module, _inputs, spikes, name=name: count(name, spikes))
        for name, module in net.named_modules()
        if isinstance(module, neuron.BaseNode | RecurrentALIF)
    ]


if __name__ == "__main__":
    main()
