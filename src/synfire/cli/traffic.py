"""`synfire traffic`: which models answer a name, in which shares, and how they compare."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Any

import msgspec
import typer

from synfire.base.errors import SynfireError, UnknownName, UserError
from synfire.base.log import LOGGER
from synfire.cli import runs
from synfire.cli.moves import DeploymentOption
from synfire.cli.operator_report import Hosting, Operated, operated
from synfire.cli.output import AsJson, print_json, say, table
from synfire.cli.runs import Run
from synfire.cli.traffic_report import Compared, compared
from synfire.deploy.door import NAME, ask
from synfire.deploy.folders import folder_of
from synfire.deploy.traffic import as_served, check_rule
from synfire.graph import Graph
from synfire.plan.costs import format_seconds
from synfire.wire.messages import Steer
from synfire.wire.traffic import Rule, TrafficCount, cleared, rule_of, summed
from synfire.zoo import Model, find

SHADOW, OPERATOR = "shadow", "operator"
"""The words of `--traffic` behind which the shadow stands, and the operators in which the sides differ."""

ORDER_S = 60.0
"""How long a change may take: models of the store that a rule names are read first."""

QUICK_S = 5.0


def traffic(
    name: Annotated[
        str | None,
        typer.Argument(metavar="[NAME]", help="What callers call. None: tell of all names that answer by a rule."),
    ] = None,
    sides: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[MODEL=PERCENT]...",
            help="The models that answer it, as `ps` shows them, with shares that sum to 100; models alone get equal shares.",
        ),
    ] = None,
    shadow: Annotated[
        str | None,
        typer.Option(
            "--shadow",
            metavar="MODEL[=PERCENT]",
            help="A model that gets copies of all calls, or of so many percent. Its answers are compared, and dropped.",
        ),
    ] = None,
    operators: Annotated[
        list[str] | None,
        typer.Option(
            "--operator",
            metavar="OPERATOR",
            help="Share calls of this operator: the models differ in it, and in nothing else. Give it for each of several. Models that differ in more are refused.",
        ),
    ] = None,
    no_shadow: Annotated[bool, typer.Option("--no-shadow", help="No model gets copies any more.")] = False,
    clear: Annotated[bool, typer.Option("--clear", help="The name answers by no rule any more.")] = False,
    deployment: DeploymentOption = None,
    as_json: AsJson = False,
) -> None:
    """Have a name answered by one model, or shared by several; or tell how those compare.

    With models the rule is changed at every gateway, while calls go on: none is lost, and sessions stay where they began. Calls of one session, else of one `Synfire-Caller` (an HTTP header), else of one request id are answered by the same model. What is not named (sides, a shadow, operators) stays as it is.

    Without models the sides are compared: calls by how they ended, times, and, of a shadow, how many answers were the same.

    \b
    Examples:
      synfire traffic prod net@1
      synfire traffic prod net@1=90 net@2=10
      synfire traffic prod --shadow net@3
      synfire traffic net net@1=90 net@2=10 --operator fc2
      synfire traffic prod
      synfire traffic prod --clear
    """
    run = runs.one(deployment)
    if sides or shadow or no_shadow or clear or operators:
        _steer(run, _changed(run, name, sides or (), shadow, no_shadow, clear, operators), as_json)
        return
    if name is not None and name not in {each.name for each in run.rules}:
        raise UnknownName.among("name that answers by a rule", name, [each.name for each in run.rules])
    found = [each for each in counts_of(run) if name in (None, each.rule.name)]
    did = operators_of(run) if any(each.rule.operators for each in found) else {}
    if as_json:
        told = [{**_plain(each), "operators": msgspec.to_builtins(did.get(each.rule.name, []))} for each in found]
        print_json({"deployment": run.id, "names": told})
        return
    if not found:
        say(f"every name of deployment {run.id} is a model's; share one with: synfire traffic NAME MODEL=PERCENT…")
    for each in found:
        _print(each, did.get(each.rule.name, []))


def rules_of(given: Sequence[str], models: Sequence[Model], store: bool) -> tuple[Rule, ...]:
    """`NAME MODEL=PERCENT… [shadow MODEL] [operator OPERATOR…]` as rules, checked against the models that are to be served, and, with `store`, those of the
    store. Raises `UserError` for one that is none, or does not fit."""
    graphs = {each.name: each.graph for each in models}
    versions = {each.name: each.version for each in models}

    def graph_of(model: str) -> Graph:
        if model not in graphs and not store:
            raise UnknownName.among("served model", model, graphs)
        return graphs[model] if model in graphs else find(model).graph

    rules = [as_served(_of_words(each), versions) for each in given]
    for rule in rules:
        check_rule(rule, graph_of)
        if [each.name for each in rules].count(rule.name) > 1:
            raise UserError(f"--traffic names {rule.name} twice; give it one rule")
    return tuple(rules)


def counts_of(run: Run) -> list[TrafficCount]:
    """What the sides of all names did, at all gateways together; those are left out that do not answer."""
    from synfire.wire.client import Client  # `serve` takes rules alone from here, and would load httpx for 0.1 s

    told: list[TrafficCount] = [TrafficCount(each) for each in run.rules]
    for url in (role.url for role in run.roles if role.url and role.alive):
        try:
            with Client(url, QUICK_S) as client:
                told += msgspec.json.decode(client.get("/api/traffic"), type=list[TrafficCount])
        except SynfireError as error:
            LOGGER.warning("what the gateway at %s counted is left out: %s", url, error)
    rules = {each.name: each for each in run.rules}
    return [TrafficCount(rules[name], sides) for name, sides in summed(told).items() if name in rules]


def operators_of(run: Run) -> dict[str, list[Operated]]:
    """What the operators did in which the sides of names differ, by these names."""
    from synfire.wire.client import Client

    with Client(run.url, QUICK_S) as client:
        plans = msgspec.json.decode(client.get("/api/plans"))
        workers = msgspec.json.decode(client.get("/api/workers"), type=list[Hosting])
    return {each.name: operated(each, plans, workers) for each in run.rules if each.operators}


def _of_words(text: str) -> Rule:
    """A rule in one argument."""
    name, *words = text.split() or [""]
    part, parts = "", {"": list[str]()}
    for word in words:
        if word in (SHADOW, OPERATOR):
            part, parts[word] = word, []
        else:
            parts[part].append(word)
    sides, shadow, operators = parts[""], parts.get(SHADOW, []), parts.get(OPERATOR, [])
    if not all(parts.values()) or len(shadow) > 1:
        raise UserError(
            f"--traffic {text!r} is no rule; write 'NAME MODEL=PERCENT…', such as 'prod net@1=90 net@2=10', with 'shadow MODEL' behind it "
            "where one is to get copies, and 'operator OPERATOR' where the models differ in that alone"
        )
    return rule_of(name, sides, shadow[0] if shadow else None, operators)


def _changed(
    run: Run,
    name: str | None,
    sides: Sequence[str],
    shadow: str | None,
    no_shadow: bool,
    clear: bool,
    operators: Sequence[str] | None,
) -> Rule:
    """The rule that is asked for, with what is left open as it is."""
    if name is None:
        raise UserError("say which name: synfire traffic NAME …")
    if clear + no_shadow + bool(shadow) > 1 or (clear and (sides or operators)):
        raise UserError(
            "--clear, --shadow and --no-shadow each say something else; give one of them, and --clear alone"
        )
    if clear:
        return cleared(name)
    known = next((each for each in run.rules if each.name == name), None)
    if not sides and known is None:
        raise UserError(
            f"{name} answers by no rule yet; say which models answer it: synfire traffic {name} MODEL=PERCENT…"
        )
    words = sides or [str(each) for each in known.sides] if known is not None else sides
    kept = str(known.shadow) if known is not None and known.shadow is not None and not no_shadow else None
    at = operators or (known.operators if known is not None else ())
    return rule_of(name, words, shadow or kept, at)


def _steer(run: Run, rule: Rule, as_json: bool) -> None:
    told = ask(f"unix:{folder_of(run.deployment) / NAME}", run.deployment, Steer(rule), ORDER_S)
    if as_json:
        print_json({"deployment": run.id, "name": rule.name, "told": told})
        return
    say(told)


def _plain(count: TrafficCount) -> dict[str, Any]:
    return {
        "rule": msgspec.to_builtins(count.rule),
        "sides": [msgspec.to_builtins(each) for each in compared(count)],
    }


COLUMNS = (
    "model",
    "-share",
    "-calls",
    "-errors",
    "-samples",
    "-mean",
    "-p50",
    "-p95",
    "the same",
    "agreed",
    "left out",
)


OPERATORS = ("model", "operators", "stage", "worker", "-samples", "-computed")


def _print(count: TrafficCount, did: Sequence[Operated]) -> None:
    say(f"{count.rule.name}{count.rule.place}:")
    say(table("", _columns(count), list(_rows(count))))
    if did:
        say(table("", OPERATORS, [_operator_row(each) for each in did]))


def _operator_row(each: Operated) -> tuple[object, ...]:
    """Of one stage; what it computed is told for a sample."""
    took = format_seconds(each.mean_s) if each.mean_s is not None else ""
    return each.model, ", ".join(each.operators), each.stage, each.worker, each.samples, took


def _columns(count: TrafficCount) -> tuple[str, ...]:
    """Those of shadows only where there is one."""
    return COLUMNS if any(each.shadow for each in compared(count)) else COLUMNS[:-3]


def _rows(count: TrafficCount) -> Iterator[tuple[object, ...]]:
    width = len(_columns(count))
    for each in compared(count):
        times = [format_seconds(s) if s is not None else "" for s in (each.mean_s, each.p50_s, each.p95_s)]
        named = f"{each.model} (shadow)" if each.shadow else each.model
        shown = (named, f"{each.percent:g} %", each.calls, each.errors, each.samples, *times, *_agreement(each))
        yield shown[:width]


def _agreement(each: Compared) -> tuple[str, str, str]:
    """How far a shadow's answers were the callers'; nothing for a side."""
    if not each.shadow or each.equal_share is None or each.agreed_share is None:
        return "", "", ""
    return f"{each.equal_share:.2%} of {each.compared}", f"{each.agreed_share:.2%}", str(each.left_out)
