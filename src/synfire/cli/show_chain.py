"""`synfire show` of a chain: its steps, what each does, and where its inputs come from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from synfire.base.errors import UserError
from synfire.chains import Joined, Step
from synfire.chains.drawing import drawing
from synfire.chains.ordering import needs
from synfire.cli.chains import as_few, chains_among, joined
from synfire.cli.models import Reading, find_all
from synfire.cli.output import print_json, say, table


def show_chain(reference: str, svg: Path | None, as_json: bool) -> None:
    """Show the chain in a file, checked against its models, which are found but not served."""
    named = chains_among([reference])
    models = find_all(named.models, Reading(), named.wanted_by)
    found = joined(named.chains, models)
    number = next(number for number, each in enumerate(found) if each.chain == named.chains[0])
    chain, few = found[number], as_few(found, models)[0][number]
    if svg is not None:
        _write(svg, drawing(chain))
    if as_json:
        print_json({**description(chain, few), "svg": str(svg) if svg else None})
        return
    _print(chain, few)
    if svg is not None:
        say(f"picture: {svg}")


def description(joined: Joined, few: Joined) -> dict[str, Any]:
    """A chain in plain data; `few` is what is served of it, where steps that can be one are."""
    chain = joined.chain
    return {
        "chain": chain.name,
        "description": chain.description,
        "inputs": {name: str(signal) for name, signal in joined.inputs.items()},
        "outputs": {name: f"{source}: {joined.outputs[name]}" for name, source in chain.outputs.items()},
        "streams": joined.streams,
        "by_sample": joined.by_sample,
        "models": list(chain.called),
        "served_as": list(few.order),
        "steps": [_step(joined, chain.step(name)) for name in joined.order],
    }


def _step(joined: Joined, step: Step) -> dict[str, Any]:
    return {
        "name": step.name,
        "does": str(step.does),
        "inputs": {name: str(source) for name, source in step.inputs.items()},
        "after": list(needs(step)),
        "gives": {name: str(signal) for name, signal in joined.gives[step.name].items()},
        "when": step.when,
        "timeout_s": step.timeout_s,
        "retries": step.retries,
    }


def _print(joined: Joined, few: Joined) -> None:
    told = description(joined, few)
    say(
        f"{told['chain']}: {told['description'] or 'a chain'}; {len(told['steps'])} steps, models {', '.join(told['models']) or 'none'}"
    )
    for direction in ("inputs", "outputs"):
        for name, what in told[direction].items():
            say(f"{direction[:-1]} {name}: {what}")
    rows = [
        (
            each["name"], each["does"], ", ".join(f"{name} = {source}" for name, source in each["inputs"].items()),
            ", ".join(f"{name}: {signal}" for name, signal in each["gives"].items()), each["when"],
        )
        for each in told["steps"]
    ]  # fmt: skip
    say(table("", ("step", "does", "inputs", "gives", "when"), rows))
    if len(told["served_as"]) < len(rows):
        say(
            f"served as {' → '.join(told['served_as'])}: steps that hand each other values over time steps are one model"
        )


def _write(file: Path, text: str) -> None:
    try:
        file.write_text(text)
    except OSError as error:
        raise UserError(f"cannot write {file}: {error.strerror}; choose another --svg FILE") from error
