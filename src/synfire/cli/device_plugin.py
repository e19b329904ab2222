"""`synfire device-plugin`: a node's chips as a resource of its kubelet."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Annotated

import typer

from synfire.base.durations import parse_duration
from synfire.base.errors import UserError
from synfire.base.signals import until_signal
from synfire.cli.output import AsJson, counted, print_json, say
from synfire.kubernetes.device_plugin.emulated import EmulatedChips
from synfire.kubernetes.device_plugin.plugin import Plugin, Settings
from synfire.kubernetes.device_plugin.report import Report, Sharing, labels, require_resource

SHORTEST_S = 1.0


def device_plugin(
    resource: Annotated[
        str, typer.Option("--resource", metavar="DOMAIN/NAME", help="What Pods ask for, and what labels begin with.")
    ] = "zj.com/darwin3",
    chips: Annotated[
        int, typer.Option("--chips", min=1, max=64, help="How many emulated darwin3 chips this node is to have.")
    ] = 1,
    row: Annotated[
        int | None,
        typer.Option("--row", min=1, help="Chips in a row of the board. Default: as square as can be."),
    ] = None,
    parts: Annotated[
        int,
        typer.Option(
            "--parts", min=1, max=575, help="As how many devices a chip is announced, for containers that share one."
        ),
    ] = 1,
    least_cores: Annotated[
        int | None,
        typer.Option(
            "--least-cores",
            min=1,
            help="Usable cores that a device stands for: with fewer it is Unhealthy. Default: nine tenths of a chip, or a part's share.",
        ),
    ] = None,
    socket_dir: Annotated[
        Path, typer.Option("--socket-dir", metavar="FOLDER", help="The kubelet's folder of plugins.")
    ] = Settings.sockets,
    chips_dir: Annotated[
        Path,
        typer.Option(
            "--chips-dir", metavar="FOLDER", help="Where each emulated chip has its folder: report, and faults."
        ),
    ] = Path("/var/run/synfire/darwin3"),
    features_file: Annotated[
        Path | None,
        typer.Option(
            "--features-file",
            metavar="FILE",
            help="Keep labels there, for Node Feature Discovery: a file in /etc/kubernetes/node-feature-discovery/features.d.",
        ),
    ] = None,
    test_every: Annotated[
        str, typer.Option("--test-every", metavar="TIME", help="How often chips are tested: 30s, 5m, seconds.")
    ] = "60s",
    print_labels: Annotated[
        bool, typer.Option("--labels", help="Test once, print `kubectl label node …`, and end.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Tell a node's kubelet of its darwin3 chips until Ctrl-C or SIGTERM: how many, which are healthy, which are near each other.

    The chips are emulated, and are called so. A Pod that asks for `zj.com/darwin3: 1` finds the chip's name in
    SYNFIRE_DARWIN3_CHIPS, and its report under /run/synfire/darwin3. With --json one line is printed at each registration.

    \b
    Examples:
      synfire device-plugin --chips 4
      synfire device-plugin --chips 4 --parts 5 --features-file /etc/kubernetes/node-feature-discovery/features.d/darwin3
      synfire device-plugin --chips 2 --chips-dir ./chips --labels
    """
    require_resource(resource)
    test_every_s = parse_duration(test_every, "--test-every")
    if test_every_s < SHORTEST_S:
        raise UserError(f"--test-every {test_every} is less than a second, which a test may take; ask for more")
    emulated = EmulatedChips(chips, chips_dir, row)
    if print_labels:
        _print_labels(emulated.test(), resource, as_json)
        return
    settings = Settings(resource, socket_dir, Sharing(parts, least_cores), features_file, test_every_s=test_every_s)
    asyncio.run(_serve(Plugin(emulated, settings, lambda reports: _tell(reports, resource, as_json))))


async def _serve(plugin: Plugin) -> None:
    """Until it is told to end, or cannot go on."""
    serving, told = asyncio.create_task(plugin.run()), asyncio.create_task(until_signal())
    done, _ = await asyncio.wait((serving, told), return_when=asyncio.FIRST_COMPLETED)
    for each in (serving, told):
        each.cancel()
    if serving in done:
        serving.result()
    await asyncio.gather(serving, told, return_exceptions=True)


def _tell(reports: tuple[Report, ...], resource: str, as_json: bool) -> None:
    if as_json:
        print_json({"resource": resource, "chips": [{"chip": each.chip, "cores": each.usable} for each in reports]})
        return
    usable = sum(each.usable for each in reports)
    say(f"registered {resource}: {counted(len(reports), 'emulated chip')}, {counted(usable, 'usable core')}")


def _print_labels(reports: tuple[Report, ...], resource: str, as_json: bool) -> None:
    found = labels(reports, resource)
    if as_json:
        print_json({"labels": found})
        return
    node = os.environ.get("NODE_NAME", "$NODE_NAME")
    say(f"kubectl label node {node} --overwrite " + " ".join(f"{name}={value}" for name, value in found.items()))
