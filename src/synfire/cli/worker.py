"""`synfire worker`: one worker of this machine in a deployment of another."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer
import uvloop

from synfire.base.children import OF_WORKERS
from synfire.base.errors import UnknownName, UserError
from synfire.cli import early
from synfire.cli.ending import cancelled_at_sigterm
from synfire.cli.output import AsJson, print_json, say
from synfire.control.state import HOST, ROLES
from synfire.deploy.join.agent import Agent, Offer
from synfire.deploy.join.place import parse_place
from synfire.deploy.join.secret import MAKE_ONE, VARIABLE, credential_of, given_token, write_credential
from synfire.deploy.process import Announcement, loaded
from synfire.devices import DEVICES
from synfire.plan.costs import parse_bytes
from synfire.store.kept import KeptBlobs
from synfire.wire.links.tls import hold
from synfire.wire.messages import Joined
from synfire.worker.settings import Settings

_IN_POD = "KUBERNETES_SERVICE_HOST"
"""Kubernetes sets it in every container."""


def worker(
    join: Annotated[
        str,
        typer.Option(
            "--join",
            metavar="HOST:PORT",
            help="The door of the deployment, as `serve --join` tells it.",
            show_default=False,
        ),
    ],
    token: Annotated[
        str | None, typer.Option("--token", help=f"The deployment's token. Better: --token-file, or {VARIABLE}.")
    ] = None,
    token_file: Annotated[Path | None, typer.Option("--token-file", help="A file that holds the token.")] = None,
    name: Annotated[
        str | None, typer.Option("--name", help="The worker's name in the deployment. Default: this host's.")
    ] = None,
    device: Annotated[
        str | None,
        typer.Option("--device", help="A device that it brings beside the processor: cuda, or darwin3 (emulated)."),
    ] = None,
    address: Annotated[
        str,
        typer.Option(
            "--address",
            metavar="HOST",
            help="Where the deployment's machines reach this one. Default: where it calls the door from.",
        ),
    ] = "",
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="The port that it listens at; 0 finds a free one.")
    ] = 0,
    http: Annotated[
        str,
        typer.Option(
            "--http",
            metavar="HOST:PORT",
            help="Where it answers the Open Inference Protocol itself, to whoever reaches that; empty: nowhere.",
        ),
    ] = "127.0.0.1:0",
    group: Annotated[
        str | None,
        typer.Option("--group", help="What it shares its fate with, a rack for instance. Default: this host's name."),
    ] = None,
    role: Annotated[
        str,
        typer.Option(
            "--role", help="What it is for: a host, on which models begin, or a spare, which takes over alone."
        ),
    ] = HOST,
    threads: Annotated[
        int | None,
        typer.Option(
            "--threads",
            min=1,
            max=256,
            help="How many threads it computes with. Default: this machine's cores but one.",
        ),
    ] = None,
    memory: Annotated[
        str | None,
        typer.Option(
            "--memory", metavar="SIZE", help="What it may hold, such as 512MB. Default: this machine's memory."
        ),
    ] = None,
    keep: Annotated[
        str | None,
        typer.Option(
            "--keep", metavar="SIZE", help="What this machine keeps of weights that were sent to it. Default: 16 GiB."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Run one worker here, in the foreground, for a deployment on another machine: `synfire serve … --join` prints this command.

    Ctrl-C or SIGTERM drains it: its stages move first, and no call is lost. When the deployment is away it waits, and joins again. When that is
    upgraded a fresh one is begun here beside it, and takes its place. With --json one line is printed each time that one has joined: name,
    deployment, address, url, group, device, role, pid.

    \b
    Examples:
      synfire worker --join 10.0.0.1:7000 --token-file ./token
      synfire worker --join 10.0.0.1:7000 --token-file ./token --device darwin3 --name chip-7 --group rack-2
      synfire worker --join 10.0.0.1:7000 --token-file ./token --role spare
      SYNFIRE_JOIN_TOKEN=… synfire worker --join serve.example:7000 --address 10.0.0.7 --port 7001
    """
    secret = given_token(token, token_file)
    if not secret:
        raise UserError(
            f"a worker joins with the deployment's token, and none is given: use --token, --token-file or {VARIABLE}; `synfire serve "
            f"… --join` prints it, or takes one that you make with: {MAKE_ONE}"
        )
    here = socket.gethostname()
    if role not in ROLES:
        raise UnknownName.among("role", role, ROLES)
    limit_bytes = parse_bytes(memory) if memory else None
    joined = _brought(device, group or here, role, threads, limit_bytes, _stays(port, http, os.environ))
    credential = credential_of(secret)
    door = parse_place(join, "--join")
    with tempfile.TemporaryDirectory(prefix="synfire-") as folder:
        file = write_credential(credential, Path(folder))
        kept_bytes = parse_bytes(keep) if keep else Settings.kept_bytes
        KeptBlobs().prune(kept_bytes)
        offer = Offer(name or here, door, joined, file, address, port, http, kept_bytes=kept_bytes)
        hold(credential)
        code = uvloop.run(_run(offer, as_json))
    raise typer.Exit(code)


def _brought(
    device: str | None, group: str, role: str, threads: int | None, limit_bytes: int | None, stays: str
) -> Joined:
    """What this machine offers, or as much of it as was asked for. Raises `UnknownName` for a device that there is none of,
    `PermanentError` where it is not here, `UserError` where it may use a number of cores that is none."""
    processor = DEVICES["cpu"].describe()
    if device is not None:
        DEVICES[device].describe()
    named = device if device not in (None, "cpu") else ""
    cores = processor.cores if threads is None else threads + 1  # one of them is left to links and heartbeats
    memory_bytes = min(limit_bytes or processor.memory_bytes, processor.memory_bytes)
    device_cores = DEVICES[named].room() if named else None
    return Joined(group, named or "", cores, memory_bytes, role=role, stays=stays, device_cores=device_cores)


def _stays(port: int, http: str, environment: Mapping[str, str]) -> str:
    """Why no other worker can be begun here beside this one, to take its place at an upgrade; empty where one can."""
    if _IN_POD in environment:
        return "it runs in a Pod, whose code does not change; replace the Pod, by a rollout of another image"
    fixed = [f"--port {port}"] if port else []
    fixed += [f"--http {http}"] if http and not http.endswith(":0") else []
    if fixed:
        return (
            f"no other can listen where it does ({', '.join(fixed)}); begin another one elsewhere, and drain this one"
        )
    return ""


async def _run(offer: Offer, as_json: bool) -> int:
    def told(deployment: str, said: Announcement) -> None:
        if as_json:
            print_json(
                {
                    "name": said.name,
                    "deployment": deployment,
                    "address": said.addresses[0],
                    "url": said.http,
                    "group": offer.joined.group,
                    "device": offer.joined.device or "cpu",
                    "role": offer.joined.role,
                    "pid": said.pid,
                }
            )
        else:
            say(
                f"worker {said.name} has joined deployment {deployment} at {offer.place}; it listens at {said.addresses[0]}"
            )

    with cancelled_at_sigterm(), early.template(OF_WORKERS) as template:
        agent = Agent(offer, told, await loaded(template), template.renew)
        for each in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(each, agent.leave)
        return await agent.run()
