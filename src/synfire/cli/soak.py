"""`synfire soak`: a day of life in minutes."""

from __future__ import annotations

import random
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, NoReturn

import typer
import uvloop

from synfire.base.errors import UnknownName
from synfire.bench.soak import Soak, Violation, random_schedule
from synfire.bench.soak.disk import own_disk
from synfire.bench.soak.report import progress, summary, told
from synfire.bench.soak.served import Served
from synfire.bench.soak.strokes import possible
from synfire.cli.ending import cancelled_at_sigterm
from synfire.cli.output import ERRORS, AsJson, print_json, say
from synfire.zoo import names

TOLD_LOOKS = 5
"""It is said how far it is when processes have been counted so many times."""

_STORY = "story.txt"


def soak(
    models: Annotated[
        list[str] | None, typer.Argument(metavar="[MODEL...]", help="Models of the zoo; without one, all for digits.")
    ] = None,
    minutes: Annotated[
        float, typer.Option("--minutes", min=0.1, help="How long it lasts; starting and resting come on top.")
    ] = 15.0,
    seed: Annotated[
        int | None, typer.Option("--seed", min=0, help="Decides whatever is random; a new one each time if left out.")
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option("--only", metavar="KIND", help="Let faults of this kind alone come.")
    ] = None,
    planned: Annotated[
        bool, typer.Option("--plan", help="Print what would happen, and when; nothing is started.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Serve models, let random loads and faults come over them, and check throughout that everything holds.

    Every request must be answered once, by the right bits, or by an error that something excuses; memory stays bounded;
    no process, socket, shared memory or file is left over. The deployment has a SYNFIRE_HOME of its own. A run that fails
    prints its seed and what happened, keeps the log, and exits with 1.

    \b
    Examples:
      synfire soak
      synfire soak --minutes 1 --seed 7
      synfire soak svgg-digits --minutes 5 --only worker-kill --json
      synfire soak --seed 7 --plan
    """
    chosen = models or [name for name in names() if name.endswith("-digits")]
    seed = random.SystemRandom().randrange(2**31) if seed is None else seed
    with _folder() as (folder, has_disk):
        schedule = random_schedule(seed, 60 * minutes, chosen, _kinds(only or (), possible(has_disk)))
        if planned:
            return say(str(schedule))
        again = " ".join(
            [
                "synfire soak",
                *chosen,
                f"--minutes {minutes:g} --seed {seed}",
                *(f"--only {kind}" for kind in only or ()),
            ]
        )
        run = Soak(schedule, Served(folder, folder / "home", schedule.arrangement), _told_now_and_then)
        try:
            uvloop.run(_run(run))
        except Violation as violation:
            _fail(run, violation, folder, again, as_json)
    found = summary(run)
    return print_json(found) if as_json else say("\n".join(told(found)))


async def _run(run: Soak) -> None:
    with cancelled_at_sigterm():
        await run.run()


@contextmanager
def _folder() -> Iterator[tuple[Path, bool]]:
    """A folder of the soak's own, and whether its `home` is a disk of its own. It is kept where a story is left in it."""
    folder = Path(tempfile.mkdtemp(prefix="synfire-soak-"))
    (folder / "home").mkdir()
    try:
        with own_disk(folder / "home") as has_disk:
            yield folder, has_disk
    finally:
        if not (folder / _STORY).exists():
            shutil.rmtree(folder)


def _fail(run: Soak, violation: Violation, folder: Path, again: str, as_json: bool) -> NoReturn:
    """Say what did not hold, what had happened until then, and how to let it come `again`; then exit with 1."""
    seed = run.schedule.seed
    story = [
        *run.ledger.lines(),
        *(f"{count:10d}  {found}" for found, count in sorted(run.ledger.classes.items())),
        f"{run.ledger.now_s:8.2f} s  DOES NOT HOLD: {violation}",
    ]
    (folder / _STORY).write_text("\n".join([again, *story, ""]))
    if as_json:
        print_json({"error": str(violation), "seed": seed, "again": again, "logs": str(folder), "story": story})
    else:
        say("\n".join([*story, "", f"seed {seed}; again: {again}", f"log and story: {folder}"]))
    raise typer.Exit(1)


def _told_now_and_then(run: Soak) -> None:
    """How far it is, on standard error."""
    if run.looks % TOLD_LOOKS == 0:
        ERRORS.print(progress(run), markup=False, soft_wrap=True)


def _kinds(only: Sequence[str], able: Sequence[str]) -> Sequence[str]:
    for kind in only:
        if kind not in able:
            raise UnknownName.among("fault that a soak can let come here", kind, able)
    return only or able
