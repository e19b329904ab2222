"""`synfire show`: a model's operators, and its picture."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from synfire.base.errors import UserError
from synfire.chains import is_chain
from synfire.cli.models import Accept, AcceptOption, AllowOption, DiscretisationOption, DtOption, Reading, find_all
from synfire.cli.options import ApartOption, Granularity, GranularityOption, ModelArgument, WorkersOption
from synfire.cli.output import AsJson, print_json, say, table
from synfire.cli.picture import picture
from synfire.cli.show_chain import show_chain
from synfire.cli.show_weights import show_weights
from synfire.deploy.planning import plan_models
from synfire.graph import Graph, flatten
from synfire.hub.files import is_weights
from synfire.plan.costs import format_bytes


def show(
    model: ModelArgument,
    svg: Annotated[
        Path | None, typer.Option("--svg", metavar="FILE", help="Draw graph, stages and workers into FILE.")
    ] = None,
    granularity: GranularityOption = Granularity.BLOCK,
    workers: WorkersOption = 2,
    apart: ApartOption = True,
    discretisation: DiscretisationOption = None,
    dt_s: DtOption = None,
    allow: AllowOption = None,
    accept: AcceptOption = Accept.TENSOR,
    modelfile: Annotated[
        bool, typer.Option("--modelfile", help="Of a model of weights: print the Modelfile that makes it again.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show a model: its operators, the signals between them, parameters and digests; of a model of weights, what it is made of; of a
    chain, its steps.

    The digests are short: equal structure digests can share code and spares, equal content digests weights too.

    \b
    Examples:
      synfire show svgg-digits
      synfire show svgg-digits --svg svgg.svg --granularity operator --workers 2
      synfire show ./my-bundle --json
      synfire show net.nir --discretisation norse --dt-s 0.0001
      synfire show bard --modelfile
      synfire show ./chain.toml --svg chain.svg
    """
    if is_chain(model):
        show_chain(model, svg, as_json)
        return
    if is_weights(model) and svg is None:
        show_weights(model, modelfile, as_json)
        return
    if modelfile:
        raise UserError(f"{model} is a graph, and has no Modelfile; leave --modelfile out")
    (found,) = find_all([model], Reading(discretisation, dt_s, allow, accept))
    graph = flatten(found.graph)
    if svg is not None:
        (planned,) = plan_models([found], granularity, workers, apart=apart)
        _write(svg, picture(planned.graph, planned.plan))
    if as_json:
        print_json(
            {"model": found.name, "source": found.source, **description(graph), "svg": str(svg) if svg else None}
        )
        return
    _print(found.name, graph)
    if svg is not None:
        say(f"picture: {svg}")


def description(graph: Graph) -> dict[str, Any]:
    """A flat graph in plain data."""
    return {
        "inputs": {name: str(signal) for name, signal in graph.inputs.items()},
        "outputs": {name: str(signal) for name, signal in graph.output_signals().items()},
        "steps": graph.steps,
        "parameters": sum(_parameters(graph, name) for name in graph.order()),
        "parameter_bytes": sum(graph.operator(name).parameter_bytes for name in graph.order()),
        "structural_digest": graph.structural_digest(),
        "content_digest": graph.content_digest(),
        "metadata": dict(graph.metadata),
        "operators": [_operator(graph, name) for name in graph.order()],
    }


def _operator(graph: Graph, name: str) -> dict[str, Any]:
    operator = graph.operator(name)
    return {
        "name": name,
        "kind": operator.kind,
        "from": [s.source + (f" (delayed {s.delay_steps})" if s.delay_steps else "") for s in graph.arriving(name)],
        "signal": str(graph.signals()[name]),
        "parameters": _parameters(graph, name),
        "structural_digest": operator.structural_digest(*graph.signals_into(name)),
        "content_digest": operator.content_digest(),
    }


def _parameters(graph: Graph, name: str) -> int:
    return sum(int(array.size) for array in graph.operator(name).parameters().values())


def _print(name: str, graph: Graph) -> None:
    whole = description(graph)
    steps = f"{whole['steps']} time steps" if whole["steps"] else "time steps set by the request"
    say(
        f"{name}: {len(whole['operators'])} operators, {whole['parameters']:,} parameters "
        f"({format_bytes(whole['parameter_bytes'])}), {steps}"
    )
    for direction in ("inputs", "outputs"):
        for port, signal in whole[direction].items():
            say(f"{direction[:-1]} {port}: {signal}")
    rows = [
        (
            each["name"], each["kind"], ", ".join(each["from"]), each["signal"], f"{each['parameters']:,}",
            each["structural_digest"][:8], each["content_digest"][:8],
        )
        for each in whole["operators"]
    ]  # fmt: skip
    say(table("", ("operator", "kind", "from", "emits", "-parameters", "structure", "content"), rows))


def _write(file: Path, text: str) -> None:
    try:
        file.write_text(text)
    except OSError as error:
        raise UserError(f"cannot write {file}: {error.strerror}; choose another --svg FILE") from error
