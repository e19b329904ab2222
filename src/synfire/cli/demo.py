"""`synfire demo`: the whole thing on real digits."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from synfire.base.errors import PermanentError
from synfire.cli.options import ApartOption, Granularity, GranularityOption, WorkersOption
from synfire.cli.output import ERRORS, AsJson, print_json, say, table
from synfire.deploy.planning import Planned, plan_models
from synfire.deploy.serving import Background, serving_in_background
from synfire.devices import DEVICES
from synfire.ops import Array
from synfire.plan.costs import format_bytes, format_seconds
from synfire.wire.client import Client
from synfire.zoo import digit_inputs, find, held_out_digits, names, picture_file

DATA = "-digits"
"""The zoo's models whose held-out data comes with scikit-learn."""

BUDGET_S = 20.0
"""Sending stops for a model when its share of this has passed: a slow machine then sees fewer digits, not a long wait."""


@dataclass(frozen=True)
class Result:
    """What one model answered."""

    planned: Planned
    right: int
    seconds: Array

    def row(self, hop_bytes: float) -> dict[str, Any]:
        plan = self.planned.plan
        return {
            "model": plan.model,
            "family": str(self.planned.graph.metadata.get("family", plan.model.partition("-")[0])),
            "digits": len(self.seconds),
            "accuracy": self.right / len(self.seconds),
            "p50_s": float(np.quantile(self.seconds, 0.5)),
            "p95_s": float(np.quantile(self.seconds, 0.95)),
            "stages": len(plan.stages),
            "workers": len(plan.workers),
            "hop_bytes": hop_bytes,
        }


def demo(
    digits: Annotated[
        int, typer.Option("--digits", min=1, max=360, help="Held-out digits to send to each model.")
    ] = 360,
    granularity: GranularityOption = Granularity.OPERATOR,
    workers: WorkersOption = 2,
    apart: ApartOption = True,
    as_json: AsJson = False,
) -> None:
    """Serve a model of each family operator by operator and send it real handwritten digits over HTTP.

    The digits are held out: no model was trained on them. Bytes per hop are what crossed from worker to worker, per
    frame, as encoded.

    \b
    Examples:
      synfire demo
      synfire demo --digits 50 --granularity block --json
    """
    models = [name for name in names() if name.endswith(DATA)]
    if not models:
        raise PermanentError("this installation holds no digits models; install synfire again")
    images, labels = held_out_digits()
    with _progress(as_json) as progress:
        task = progress.add_task("measuring and planning", total=digits * len(models))
        planned = plan_models([find(name) for name in models], granularity, workers, apart=apart)
        progress.update(task, description="starting workers")
        with serving_in_background(planned) as running:
            results = []
            for each in planned:
                progress.update(task, description=each.model.name)
                answers = _ask(running, each, images[:digits], BUDGET_S / len(models))
                results.append(_result(each, labels, _advancing(answers, progress, task)))
            sent = _hop_bytes(running, planned)
    rows = [result.row(sent[result.planned.model.name]) for result in results]
    _print(rows, as_json)


def _ask(running: Background, planned: Planned, images: Array, budget_s: float) -> Iterator[tuple[int, float]]:
    """Send one digit after the other; yield each answer's label and how long it took."""
    file, output = picture_file(planned.graph), next(iter(planned.graph.outputs))
    name, started_s = planned.model.name, time.perf_counter()
    with Client(running.addresses.url) as client:
        client.infer(name, digit_inputs(planned.graph.inputs, images[0], file))  # compiles, opens connections
        for image in images:
            inputs = digit_inputs(planned.graph.inputs, image, file)
            before_s = time.perf_counter()
            scores = client.infer(name, inputs).outputs[output]
            now_s = time.perf_counter()
            yield int(scores[0].argmax()), now_s - before_s
            if now_s - started_s > budget_s:
                return


def _advancing(answers: Iterator[tuple[int, float]], progress: Progress, task: Any) -> Iterator[tuple[int, float]]:
    for each in answers:
        progress.advance(task)
        yield each


def _result(planned: Planned, labels: Array, answers: Iterator[tuple[int, float]]) -> Result:
    found = list(answers)
    right = sum(said == truth for (said, _), truth in zip(found, labels.tolist(), strict=False))
    return Result(planned, right, np.array([seconds for _, seconds in found]))


def _hop_bytes(running: Background, planned: Sequence[Planned]) -> dict[str, float]:
    """Mean encoded bytes of the frames that left each model's stages for another worker; 0 when none did."""
    found = {each.model.name: [0, 0] for each in planned}
    for description in running.describe().values():
        for stage in description.stages:
            for link in stage.links:
                if link.encoded_bytes and link.receiver != "gateway":
                    found[stage.model][0] += link.encoded_bytes
                    found[stage.model][1] += link.frames
    return {model: size / frames if frames else 0.0 for model, (size, frames) in found.items()}


def _progress(as_json: bool) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=ERRORS, transient=True, disable=as_json)


def _print(rows: Sequence[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        print_json({"models": list(rows)})
        return
    cpu = DEVICES["cpu"].describe()
    cells = [
        (
            row["model"], f"{row['accuracy']:.1%}", format_seconds(row["p50_s"]),
            format_seconds(row["p95_s"]), row["stages"], row["workers"], format_bytes(row["hop_bytes"]),
        )
        for row in rows
    ]  # fmt: skip
    columns = ("model", "-accuracy", "-p50", "-p95", "-stages", "-workers", "-bytes/hop")
    say(table(f"{rows[0]['digits']} real held-out digits each, answered over HTTP", columns, cells))
    say(f"measured on {cpu.model}, {cpu.cores} cores; serve one yourself: synfire serve {rows[0]['model']}")
