"""`synfire controller`: brings Kubernetes and the deployments in it to what custom resources ask for."""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
import socket
from contextlib import nullcontext, suppress
from dataclasses import replace
from importlib.metadata import version as version_of
from typing import TYPE_CHECKING, Annotated

import typer

from synfire.base.errors import UserError
from synfire.cli.output import AsJson, print_json, say
from synfire.deploy.join.place import parse_place
from synfire.kubernetes.controller.quantities import bytes_of

if TYPE_CHECKING:
    from synfire.kubernetes.controller.controller import Controller, Scope
    from synfire.kubernetes.controller.observed import Settings


def controller(
    image: Annotated[
        str | None, typer.Option("--image", help="The image of the Pods that it makes. Default: synfire:VERSION.")
    ] = None,
    namespace: Annotated[str, typer.Option("--namespace", help="Work in this namespace alone. Default: in all.")] = "",
    own_namespace: Annotated[
        str, typer.Option("--own-namespace", help="Where its lease lies. Default: the context's.")
    ] = "",
    identity: Annotated[
        str | None, typer.Option("--identity", help="What it is called in the lease. Default: this host and process.")
    ] = None,
    context: Annotated[
        str | None,
        typer.Option("--context", help="A context of KUBECONFIG. Default: the current one, or the Pod's own."),
    ] = None,
    gateways: Annotated[
        int, typer.Option("--gateways", min=1, max=16, help="Processes that answer callers, in each serving Pod.")
    ] = 1,
    storage: Annotated[
        str,
        typer.Option(
            "--storage",
            metavar="SIZE",
            help="A volume for each serving Pod's store and ledger, such as 5Gi. Default: they go with the Pod, or lie in a SynfireCache.",
        ),
    ] = "",
    keyless: Annotated[bool, typer.Option("--keyless", help="Let everyone in who reaches a deployment.")] = False,
    cpu_request: Annotated[
        str, typer.Option("--cpu-request", help="What a serving Pod asks of its node, such as 100m. Default: 1.")
    ] = "",
    option: Annotated[
        list[str] | None,
        typer.Option("--option", metavar="WORDS", help="Further options for `serve`: '--twice always'."),
    ] = None,
    reach: Annotated[
        str,
        typer.Option(
            "--reach",
            metavar="URL",
            help="Where the deployment of a namespace answers; {namespace} stands for its name.",
        ),
    ] = "http://synfire.{namespace}.svc:8000",
    health: Annotated[
        str,
        typer.Option(
            "--health", metavar="HOST:PORT", help="Answer /livez, /readyz and /metrics there. Default: nowhere."
        ),
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Watch SynfireModels, SynfirePools, SynfireCaches and SynfirePipelines, and bring about what they ask for.

    Several may run: the one that holds the lease acts, the others take over. It holds nothing that is not in Kubernetes or in the
    deployments themselves, so it can be killed at any moment.

    \b
    Examples:
      synfire controller --image registry.example/synfire:0.1.0
      synfire controller --namespace models --keyless --storage 5Gi
    """
    try:
        from synfire.kubernetes.controller.controller import Scope
        from synfire.kubernetes.controller.observed import Settings
    except ImportError as error:
        raise UserError(f"the controller needs lightkube ({error}): pip install 'synfire[kubernetes]'") from error
    settings = Settings(
        image or f"synfire:{version_of('synfire')}",
        gateways,
        not keyless,
        bytes_of(storage) if storage else None,
        cpu_request,
        tuple(word for each in option or () for word in shlex.split(each)),
    )
    if "{namespace}" not in reach and not namespace:
        raise UserError(f"--reach {reach} is one deployment's; write {{namespace}} where the namespace's name belongs")
    scope = Scope(own_namespace, namespace, identity or f"{socket.gethostname()}-{os.getpid()}", reach)
    place = parse_place(health, "--health") if health else None
    asyncio.run(_run(settings, scope, context, place, as_json))


async def _run(
    settings: Settings, scope: Scope, context: str | None, health: tuple[str, int] | None, as_json: bool
) -> None:
    from synfire.base import garbage
    from synfire.kubernetes.cluster.api import Api, configured
    from synfire.kubernetes.controller.controller import Controller

    async with Api(configured(context)) as api:
        own = replace(scope, own=scope.own or scope.namespace or api.namespace)
        working = Controller(api, settings, own, garbage.sort_out)
        _say(own, as_json)
        task = asyncio.ensure_future(_beside(working, health))
        for each in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(each, task.cancel)
        with suppress(asyncio.CancelledError):
            await task


async def _beside(working: Controller, health: tuple[str, int] | None) -> None:
    """The controller, and who answers for it."""
    from synfire.kubernetes.controller.health import answering

    async with answering(working, *health) if health else nullcontext():
        await working.run()


def _say(scope: Scope, as_json: bool) -> None:
    if as_json:
        print_json({"identity": scope.identity, "namespace": scope.namespace or "*", "lease": scope.own})
    else:
        where = scope.namespace or "all namespaces"
        say(f"controller {scope.identity} watches {where}; its lease lies in namespace {scope.own}")
