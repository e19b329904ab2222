"""`synfire infer`: one request, here or at a running gateway."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from synfire.base.errors import UserError
from synfire.cli.inputs import read_inputs
from synfire.cli.models import AllowOption, DiscretisationOption, DtOption, Reading, find_all
from synfire.cli.output import AsJson, print_json, say, table
from synfire.cli.served import MetadataClient
from synfire.deploy.planning import ENGINE
from synfire.deploy.whole import engine_of
from synfire.engines.engine import ENGINES
from synfire.engines.samples import steps_of
from synfire.graph import Graph, flatten
from synfire.graph.passes import simplify
from synfire.ops import Array, Clock, Signal
from synfire.wire.batch_axis import batch_first
from synfire.zoo import PictureFile, digit_inputs, held_out_digits, picture_file
from synfire.zoo.digits import HELD_OUT
from synfire.zoo.samples import UNIT_RANGE


def infer(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A model as for `show`; with --url, its name there.")],
    file: Annotated[
        Path | None, typer.Option("--input", "-i", metavar="FILE", help="PNG, JPEG, WAV, .npy, .npz, or an event file.")
    ] = None,
    digit: Annotated[
        int | None, typer.Option("--digit", min=0, max=HELD_OUT - 1, help="Send that held-out digit of scikit-learn's.")
    ] = None,
    url: Annotated[str | None, typer.Option("--url", help="Ask the gateway there instead of computing here.")] = None,
    discretisation: DiscretisationOption = None,
    dt_s: DtOption = None,
    allow: AllowOption = None,
    as_json: AsJson = False,
) -> None:
    """Send one request and print the label and the scores. Without --url it is computed in this process.

    An .npz names its arrays after the model's inputs; an .npy is the only input. Either may leave out the batch axis.

    \b
    Examples:
      synfire infer svgg-digits --digit 7
      synfire infer svgg-mnist --input three.png --url http://127.0.0.1:8000
      synfire infer srnn-spoken --input seven.wav --json
    """
    if (file is None) == (digit is None):
        raise UserError("say what to send: either --input FILE or --digit N")
    if url is None:
        (found,) = find_all([model], Reading(discretisation, dt_s, allow))
        graph = simplify(flatten(found.graph))
        sent = _Sent(file, digit, str(graph.metadata.get("input", "")))
        inputs, truth = sent.inputs(graph.inputs, picture_file(graph))
        outputs: Mapping[str, Array] = run_here(graph, inputs, engine_of(graph) if graph.whole else ENGINE)
        labels = list(graph.metadata.get("labels", ()))
    else:
        with MetadataClient(url) as client:
            served, signals = client.served(model), client.inputs(model)
            sent = _Sent(file, digit, served.request)
            inputs, truth = sent.inputs(signals, None if digit is None else served.picture_file)
            answered = client.infer(model, batch_first(signals, inputs, served.batches)).outputs
            outputs = answered if served.batches else {name: array[None] for name, array in answered.items()}
            labels = served.labels
    _print(model, answer(outputs, labels), labels, truth, as_json)


def run_here(graph: Graph, inputs: Mapping[str, Array], engine: str = ENGINE) -> dict[str, Array]:
    """The outputs of a flat graph, batch first, computed by an engine in this process; a readout gives its last value."""
    program = ENGINES[engine]().build(graph)
    batch = next((array.shape[1 if graph.inputs[name].timed else 0] for name, array in inputs.items()), 1)
    steps = graph.steps or steps_of(graph, inputs)
    _, outputs = program.run(program.initial_state(batch), inputs, steps)
    clocks = {name: signal.clock for name, signal in graph.output_signals().items()}
    return {
        name: array[-1]
        if clocks[name] is Clock.RUNNING
        else array.swapaxes(0, 1)
        if clocks[name] is Clock.STEP
        else array
        for name, array in outputs.items()
    }


def answer(outputs: Mapping[str, Array], labels: list[Any]) -> dict[str, Any]:
    """The outputs of one sample in plain data, and the label where an output is a score per class."""
    plain: dict[str, Any] = {"outputs": {name: _plain(array[0]) for name, array in outputs.items()}}
    numbers = (array for array in outputs.values() if array.dtype.kind == "f")
    scores = next((array[0] for array in numbers if array.ndim == 2 and array.shape[1] > 1), None)
    if scores is not None:
        best = int(np.argmax(scores))
        plain["label"] = labels[best] if best < len(labels) else best
        plain["scores"] = [round(float(each), 6) for each in scores]
    return plain


def _plain(array: Array) -> Any:
    """As JSON has it: bytes as text."""
    values = np.asarray(array)
    if values.dtype == object:
        values = np.array([each.decode(errors="replace") for each in values.flat]).reshape(values.shape)
    return values.tolist()


@dataclass(frozen=True)
class _Sent:
    """What a user wants to send: a file, or a digit by its number. `convention` is what the model says of its input."""

    file: Path | None
    digit: int | None
    convention: str

    def inputs(self, signals: Mapping[str, Signal], reads: PictureFile | None) -> tuple[dict[str, Array], int | None]:
        """The request's arrays as graphs take them, and the true label where it is known."""
        if self.file is not None:
            return read_inputs(self.file, signals, UNIT_RANGE in self.convention), None
        images, labels = held_out_digits()
        return digit_inputs(signals, images[self.digit or 0], reads), int(labels[self.digit or 0])


def _print(model: str, found: dict[str, Any], labels: list[Any], truth: int | None, as_json: bool) -> None:
    if as_json:
        print_json({"model": model, **found, **({} if truth is None else {"truth": truth})})
        return
    if "label" not in found:
        for name, values in found["outputs"].items():
            say(f"{name}: {values}")
        return
    say(f"{model} says {found['label']}" + ("" if truth is None else f" (it is {truth})"))
    scores = sorted(enumerate(found["scores"]), key=lambda each: -each[1])
    rows = [(labels[number] if number < len(labels) else number, f"{score:.4f}") for number, score in scores]
    say(table("", ("-class", "-score"), rows))
