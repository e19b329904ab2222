"""`synfire spares`: how many warm spares a fleet needs, and why."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Annotated, Any

import typer

from synfire.base.errors import UserError
from synfire.cli.models import AllowOption, DiscretisationOption, DtOption, Reading, find_all
from synfire.cli.options import ApartOption, Granularity, GranularityOption, WorkersOption
from synfire.cli.output import AsJson, counted, print_json, say, table
from synfire.deploy.planning import plan_models
from synfire.plan.lifetimes import Played, play
from synfire.plan.spares import Odds, Rates, Sizing, deal, dedicated, failed_units, shared, size, spares_for

YEAR_H = 8766.0

LINES = 8
"""Rows of the table above the answer's own; fewer spares than these are of no interest."""

MOST_DIGITS = 11
"""Behind the point of a percentage; rounding would show more as a hundred."""

BRACKETS = (
    (73_000.0, "a memory upset a chip, assuming 10 FIT per Mbit on 1.37 Gbit of SRAM"),
    (50_000.0, "an accelerator interrupted: 419 stops in 54 days on 16,384 GPUs, Llama 3's training"),
    (730.0, "a memory upset a chip, assuming 1000 FIT per Mbit"),
)
"""Mean hours to failure that bracket the assumption: none is published for Darwin3."""

ASSUMED = (
    "--mttf-h, --mttr-h and --standby are assumptions, not measurements: no failure rate is published for Darwin3; give "
    "your own where you know them",
    "units fail independently and live and wait exponentially: a rack that takes several units with it is not in here",
    "a spare takes over at once: an adoption's milliseconds are nothing beside a repair",
)


@dataclass(frozen=True)
class Fleet:
    """What is to be kept served: slots by model, and on how many workers their plans put them (`None`: no plans)."""

    models: dict[str, int]
    workers: int | None = None

    @property
    def slots(self) -> int:
        return sum(self.models.values())

    @property
    def each(self) -> list[int]:
        return list(self.models.values())


def spares(
    models: Annotated[
        list[str] | None,
        typer.Argument(metavar="[MODEL...]", help="Models as for `show`: their plans' stages are the slots."),
    ] = None,
    target: Annotated[
        float, typer.Option("--target", help="Per cent of the time in which every slot is to be served.")
    ] = 99.99,
    count: Annotated[
        int | None, typer.Option("--models", min=1, max=100, help="Without MODEL: how many models. Default: 6.")
    ] = None,
    operators: Annotated[
        int | None,
        typer.Option("--operators", min=1, max=1000, help="Without MODEL: slots of each model. Default: 10."),
    ] = None,
    mttf_h: Annotated[float, typer.Option("--mttf-h", help="Assumed mean hours in service to a failure.")] = 2000.0,
    mttr_h: Annotated[float, typer.Option("--mttr-h", help="Assumed mean hours to repair a failed unit.")] = 24.0,
    standby: Annotated[
        float, typer.Option("--standby", help="Assumed failure rate of a spare, as a share of one in service (0 to 1).")
    ] = 0.3,
    crews: Annotated[
        int | None, typer.Option("--crews", help="Units repaired at a time; without it, all that are failed.")
    ] = None,
    simulate: Annotated[bool, typer.Option("--simulate", help="Check the formula by a seeded simulation.")] = False,
    seed: Annotated[int, typer.Option("--seed", min=0, help="The simulation's seed.")] = 0,
    granularity: GranularityOption = Granularity.AUTO,
    workers: WorkersOption = 2,
    apart: ApartOption = False,
    discretisation: DiscretisationOption = None,
    dt_s: DtOption = None,
    allow: AllowOption = None,
    as_json: AsJson = False,
) -> None:
    """Say how many warm spares keep every slot served, shared by all models or dedicated to each, and why.

    A slot is what one unit serves: a stage on a worker or on cores of its own. Rates are assumptions unless you give yours.

    \b
    Examples:
      synfire spares --target 99.99
      synfire spares --models 6 --operators 10 --mttf-h 2000 --mttr-h 24 --crews 2 --simulate
      synfire spares svgg-digits scnn-digits --granularity operator --apart --json
    """
    rates = Rates(mttf_h, mttr_h, standby, crews)
    reading = Reading(discretisation, dt_s, allow)
    if models:
        if count or operators:
            raise UserError("MODEL takes its slots from its plan; leave out --models and --operators, or MODEL")
        fleet = _planned(models, reading, granularity, workers, apart)
    else:
        if (granularity, workers, apart, reading.options) != (Granularity.AUTO, 2, False, {}):
            raise UserError("options of a plan, such as --granularity and --workers, need a MODEL; name one or more")
        fleet = Fleet({f"model-{i}": operators or 10 for i in range(count or 6)})
    sizing = size(fleet.each, target / 100, rates)
    played = play(fleet.slots, sizing.spares, rates, seed) if simulate else None
    if as_json:
        print_json(_plain(fleet, target, rates, sizing, played))
    else:
        _print(fleet, target, rates, sizing, played)


def _planned(models: Sequence[str], reading: Reading, granularity: str, workers: int, apart: bool) -> Fleet:
    plans = [each.plan for each in plan_models(find_all(models, reading), granularity, workers, apart=apart)]
    if len({plan.model for plan in plans}) < len(plans):
        raise UserError("two of the models have one name; give one of them another with NAME=PATH")
    used = {worker for plan in plans for worker in plan.workers}
    return Fleet({plan.model: len(plan.stages) for plan in plans}, len(used))


def _print(fleet: Fleet, target: float, rates: Rates, sizing: Sizing, played: Played | None) -> None:
    say(
        f"{counted(sizing.spares, 'warm spare')}, shared by {counted(len(fleet.models), 'model')} with "
        f"{counted(fleet.slots, 'slot')}, {'keeps' if sizing.spares == 1 else 'keep'} every slot served "
        f"{_percent(sizing.odds.short)} of the time (target {target:.10g} %)"
    )
    for line in (*_reasons(fleet, rates, sizing), *([_agreement(sizing, played)] if played else ())):
        say(f"  · {line}")
    say("")
    say(table("", ("-spares", "-shared", "-short a year", "-dedicated", "-short a year"), _rows(fleet, rates, sizing)))
    say("")
    for line in (*ASSUMED, *(_bracket(**each) for each in _brackets(fleet, target, rates))):
        say(f"  · {line}")


def _reasons(fleet: Fleet, rates: Rates, sizing: Sizing) -> list[str]:
    failed = failed_units(fleet.slots, sizing.spares, rates)
    crews = f"by {counted(rates.crews, 'crew')}" if rates.crews else "each by a crew of its own"
    found = [
        f"a unit fails every {rates.mttf_h:g} h in service, a spare {rates.standby:g} times as often, and repairs take "
        f"{rates.mttr_h:g} h, {crews}: {_mean(float(failed @ range(len(failed))))} failed on average, "
        f"and more than {sizing.spares} at once {_share(sizing.odds.short)} of the time"
    ]
    if sizing.spares:
        fewer = shared(fleet.slots, sizing.spares - 1, rates)
        found.append(
            f"one spare less would keep every slot served {_percent(fewer.short)} of the time: below the target"
        )
    if len(fleet.models) > 1:
        found += _compared(fleet, rates, sizing)
    if fleet.workers is not None and fleet.workers < fleet.slots:
        found.append(
            f"the plans put these {fleet.slots} stages on {counted(fleet.workers, 'worker')}, where stages fall together; "
            "what is counted here gives every stage a unit of its own"
        )
    return found


def _compared(fleet: Fleet, rates: Rates, sizing: Sizing) -> list[str]:
    """What spares of their own would give the models. Where crews are few it matters that these come with the pools."""
    crews = f" with {counted(rates.crews, 'crew')} to each model" if rates.crews else ""
    same = f"the same {counted(sizing.spares, 'spare')} ({_dealt(fleet, sizing.same)}) would give"
    found = [f"dedicated to the models{crews}, {same} {_percent(sizing.same_odds.short)}"] if sizing.spares else []
    enough = f"{sum(sizing.enough)} ({_dealt(fleet, sizing.enough)}): {_percent(sizing.enough_odds.short)}"
    return [*found, f"dedicated spares{crews} reach the target with {enough}"]


def _agreement(sizing: Sizing, played: Played) -> str:
    """What the simulation says of the formula."""
    agrees = played.low <= sizing.odds.served <= played.high
    return (
        f"simulated for {played.hours:.2g} h with seed {played.seed}: {_percent(1 - played.served)} "
        f"({played.outages} outages; 95 % interval {_percent(1 - played.low)} to {_percent(1 - played.high)}); "
        + ("the formula lies within" if agrees else "the formula lies outside, as 1 seed in 20 does by chance")
    )


def _rows(fleet: Fleet, rates: Rates, sizing: Sizing) -> list[tuple[object, ...]]:
    """From few spares to as many as dedicated ones need."""
    numbers = list(range(max(0, sizing.spares - LINES), sizing.spares + 1))
    if sum(sizing.enough) > sizing.spares:
        numbers.append(sum(sizing.enough))
    rows: list[tuple[object, ...]] = []
    for number in numbers:
        pool = shared(fleet.slots, number, rates)
        own = dedicated(fleet.each, deal(fleet.each, number, rates), rates)
        rows.append((number, _percent(pool.short), _a_year(pool.short), _percent(own.short), _a_year(own.short)))
    return rows


def _brackets(fleet: Fleet, target: float, rates: Rates) -> list[dict[str, Any]]:
    """How many spares it would be (`None`: out of reach) if units failed as often as each of `BRACKETS`."""
    found: list[dict[str, Any]] = []
    for mttf_h, meaning in BRACKETS:
        try:
            needed: int | None = spares_for(fleet.slots, target / 100, replace(rates, mttf_h=mttf_h))
        except UserError:
            needed = None
        found.append({"mttf_h": mttf_h, "meaning": meaning, "spares": needed})
    return found


def _bracket(mttf_h: float, meaning: str, spares: int | None) -> str:
    needed = "no number of spares reaches the target with so few crews" if spares is None else counted(spares, "spare")
    return f"at --mttf-h {mttf_h:.0f} ({meaning}): {needed}"


def _dealt(fleet: Fleet, dealt: Sequence[int]) -> str:
    """`1 a model`, model by model, or for many models how many get how many."""
    if len(set(dealt)) == 1:
        return f"{dealt[0]} a model"
    if len(dealt) <= 4:
        return ", ".join(f"{model} {number}" for model, number in zip(fleet.models, dealt, strict=True))
    return ", ".join(f"{number} for each of {count} models" for number, count in Counter(dealt).items())


def _percent(short: float) -> str:
    """All but the share `short` in per cent, to two figures of what is short, rounded down: never more than is so."""
    digits = max(2, math.ceil(-math.log10(max(short, 1e-15))) - 1)
    if digits > MOST_DIGITS:
        return f"> 99.{'9' * MOST_DIGITS} %"
    return f"{math.floor((1 - short) * 10 ** (digits + 2) + 1e-6) / 10**digits:.{digits}f} %"


def _share(share: float) -> str:
    return f"{100 * share:.2g} %" if share >= 1e-6 else "less than 0.0001 %"


def _mean(units: float) -> str:
    return f"{units:.2g} units are" if units >= 1e-3 else "less than a thousandth of a unit is"


def _a_year(short: float) -> str:
    """The share `short` of a year, as a time."""
    hours = short * YEAR_H
    units = (("d", 24.0), ("h", 1.0), ("min", 1 / 60), ("s", 1 / 3600), ("ms", 1 / 3.6e6))
    if hours < units[-1][1]:
        return "< 1 ms" if hours else "none"
    unit, size = next((each for each in units if hours >= each[1]), units[-1])
    return f"{hours / size:.2g} {unit}" if hours / size < 99.5 else f"{hours / size:.0f} {unit}"


def _plain(fleet: Fleet, target: float, rates: Rates, sizing: Sizing, played: Played | None) -> dict[str, Any]:
    return {
        "models": fleet.models,
        "slots": fleet.slots,
        "workers": fleet.workers,
        "target_percent": target,
        "rates": asdict(rates),
        "assumptions": list(ASSUMED),
        "brackets": _brackets(fleet, target, rates),
        "spares": sizing.spares,
        "served": sizing.odds.served,
        "short": sizing.odds.short,
        "short_h_per_year": sizing.odds.short * YEAR_H,
        "dedicated_same": _dedicated(sizing.same, sizing.same_odds),
        "dedicated_needed": _dedicated(sizing.enough, sizing.enough_odds),
        "reasons": _reasons(fleet, rates, sizing),
        "simulated": asdict(played) if played else None,
    }


def _dedicated(by_model: Sequence[int], odds: Odds) -> dict[str, Any]:
    return {"spares": sum(by_model), "by_model": list(by_model), "served": odds.served}
