"""`synfire deploy kubernetes --render`: a deployment as Kubernetes manifests."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Annotated

import typer

from synfire.base.errors import UnknownName, UserError
from synfire.cli.output import ERRORS, AsJson, counted, print_json, say
from synfire.devices.darwin3.limits import chip
from synfire.kubernetes.device_plugin.report import Sharing
from synfire.kubernetes.manifests import Board, Description, documents, files
from synfire.kubernetes.manifests import controller as controllers
from synfire.kubernetes.manifests.controller import ControllerDescription
from synfire.kubernetes.manifests.description import release
from synfire.kubernetes.manifests.writing import fresh_keys, keys_of, to_yaml, write
from synfire.plan.costs import parse_bytes

TARGETS = ("kubernetes",)

CONTROLLER = "controller.yaml"
"""The file of the controller's documents."""

OWN = {
    *(
        "--host",
        "--port",
        "--grpc-port",
        "--join",
        "--join-token-file",
        "--gateways",
        "--workers",
        "--spares",
        "--threads",
    ),
    *("--memory", "--device", "--json", "--hosts", "-w"),
}
"""Options of `serve` that the manifests set themselves."""


def deploy(
    target: Annotated[str, typer.Argument(metavar="TARGET", help="Where to: kubernetes.")],
    models: Annotated[
        list[str] | None,
        typer.Argument(metavar="[MODEL...]", help="Models as for `serve`, of the zoo or of the store in the volume."),
    ] = None,
    controller: Annotated[
        bool,
        typer.Option(
            "--controller",
            help="The controller instead of a deployment, with its custom resources: it makes deployments.",
        ),
    ] = False,
    only: Annotated[
        str,
        typer.Option(
            "--only", metavar="NAMESPACE", help="With --controller: work in that namespace alone. Default: all."
        ),
    ] = "",
    render: Annotated[
        bool, typer.Option("--render", help="Write manifests, and ask no cluster anything. There is no other way yet.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="FOLDER",
            help="A kustomize base and overlays go there; without it, one stream of documents to standard output.",
        ),
    ] = None,
    name: Annotated[str, typer.Option("--name", help="What the objects are called.")] = "synfire",
    namespace: Annotated[
        str, typer.Option("--namespace", help="Their namespace. Default: kubectl's; the controller's: synfire-system.")
    ] = "",
    image: Annotated[
        str | None, typer.Option("--image", help="The image that every container runs. Default: synfire:VERSION.")
    ] = None,
    gateways: Annotated[
        int, typer.Option("--gateways", min=1, max=16, help="Processes that answer callers, in one Pod.")
    ] = 1,
    workers: Annotated[
        int,
        typer.Option("--workers", min=1, max=64, help="Workers in the gateways' Pod: those that plans name at first."),
    ] = 1,
    spares: Annotated[
        int,
        typer.Option("--spares", min=0, max=256, help="Workers that are Pods and join, each on a node of its own."),
    ] = 2,
    cpus: Annotated[int, typer.Option("--cpus", min=1, max=256, help="Processors of each worker.")] = 1,
    memory: Annotated[str, typer.Option("--memory", metavar="SIZE", help="What each worker may hold.")] = "1GiB",
    device: Annotated[
        str, typer.Option("--device", help="What workers compute with: cpu, cuda or darwin3 (emulated).")
    ] = "cpu",
    resource: Annotated[
        str,
        typer.Option(
            "--resource", metavar="DOMAIN/NAME", help="What Pods ask for. Default: nvidia.com/gpu, zj.com/darwin3."
        ),
    ] = "",
    chips: Annotated[
        int | None,
        typer.Option(
            "--chips",
            min=1,
            max=64,
            help="Emulated darwin3 chips of each node that has the label zj.com/darwin3=true, by the device plugin. Default: 1 with "
            "--device darwin3, no plugin with --controller.",
        ),
    ] = None,
    parts: Annotated[
        int | None,
        typer.Option(
            "--parts", min=1, max=575, help="As how many devices the plugin announces each of these chips. Default: 1."
        ),
    ] = None,
    least_cores: Annotated[
        int | None,
        typer.Option(
            "--least-cores",
            min=1,
            max=575,
            help="Usable cores that such a device stands for. Default: nine tenths of a chip, or a part's share.",
        ),
    ] = None,
    row: Annotated[
        int | None,
        typer.Option("--row", min=1, max=64, help="Chips in a row of a node's board. Default: as square as can be."),
    ] = None,
    secret: Annotated[
        str,
        typer.Option(
            "--secret",
            metavar="NAME",
            help="A Secret of the cluster with api-key and join-token. Default: one is made.",
        ),
    ] = "",
    keyless: Annotated[bool, typer.Option("--keyless", help="Let everyone in who reaches the Service.")] = False,
    storage: Annotated[
        str | None,
        typer.Option(
            "--storage", metavar="SIZE", help="A volume for the store and the ledger. Default: they go with the Pod."
        ),
    ] = None,
    priority: Annotated[
        int | None,
        typer.Option(
            "--priority", min=-1_000_000_000, max=1_000_000_000, help="Make a PriorityClass of that value for the Pods."
        ),
    ] = None,
    share_nodes: Annotated[
        bool,
        typer.Option(
            "--share-nodes",
            help="Let workers share nodes where there are too few: a spare may then go with what it protects.",
        ),
    ] = False,
    option: Annotated[
        list[str] | None,
        typer.Option("--option", metavar="WORDS", help="Further options for `serve`: '--profile throughput'."),
    ] = None,
    kubernetes: Annotated[
        str,
        typer.Option(
            "--kubernetes",
            metavar="RELEASE",
            help="Without --out: for which release; 1.20 has other disruption budgets.",
        ),
    ] = "1.21",
    as_json: AsJson = False,
) -> None:
    """Render a deployment as plain Kubernetes manifests: a Pod of gateways and controller, and worker Pods that join it. Or, with
    --controller, what makes such deployments of custom resources.

    Nothing is applied. Keys are drawn once for a folder, and stay as they are when it is rendered again.

    \b
    Examples:
      synfire deploy kubernetes svgg-digits --render | kubectl apply -f -
      synfire deploy kubernetes svgg-digits srnn-digits --render --spares 3 --out ./manifests
      synfire deploy kubernetes svgg-mnist --render --device darwin3 --image registry.example/synfire:0.1.0 --out ./manifests
      synfire deploy kubernetes svgg-digits --render --secret my-keys --option '--granularity operator' --kubernetes 1.20
      synfire deploy kubernetes --controller --render --image registry.example/synfire:0.1.0 | kubectl apply -f -
      synfire deploy kubernetes --controller --render --chips 2 --parts 5 | kubectl apply -f -
    """
    if target not in TARGETS:
        raise UnknownName.among("target", target, TARGETS)
    if not render:
        raise UserError(
            "nothing is applied to a cluster by synfire yet: add --render, and give what it writes to kubectl"
        )
    board = _board(chips, parts, least_cores, row, controller or device == "darwin3", None if controller else 1)
    image = image or f"synfire:{version_of('synfire')}"
    if controller:
        words = tuple(word for each in option or () for word in shlex.split(each))
        described = ControllerDescription(
            image, namespace or ControllerDescription.namespace, only=only, board=board, options=words
        )
        _render_controller(described, models or (), out, as_json)
        return
    if not models:
        raise UserError("nothing is named that could be served; name MODELs, or render the --controller")
    description = Description(
        models=tuple(map(_within_reach, models)),
        image=image,
        name=name,
        namespace=namespace,
        gateways=gateways,
        workers=workers,
        spares=spares,
        cpus=cpus,
        memory_bytes=_size(memory, "--memory"),
        device=device,
        resource=resource,
        secret=secret,
        keyed=not keyless,
        storage_bytes=None if storage is None else _size(storage, "--storage"),
        priority=priority,
        shares_nodes=share_nodes,
        board=board or Board(),
        options=_words(option or ()),
    )
    if out is None:
        found = documents(description, None if secret else fresh_keys(), release(kubernetes))
        print_json({"documents": found}) if as_json else sys.stdout.write(to_yaml(found))
        if not secret:
            ERRORS.print("the Secret has new keys: keep what was written, or use --out or --secret", soft_wrap=True)
        return
    written = files(description, None if secret else keys_of(out))
    write(out, written)
    if as_json:
        print_json({"folder": str(out), "files": list(written)})
        return
    say(f"wrote {counted(len(written), 'file')} to {out}")
    say(f"apply them: kubectl apply -k {out}/overlays/{'device-plugin' if device == 'darwin3' else 'kubernetes-1.21'}")


def _render_controller(
    described: ControllerDescription, models: Sequence[str], out: Path | None, as_json: bool
) -> None:
    """The controller's documents, in one stream or one file."""
    if models:
        raise UserError(f"--controller serves no models; name {models[0]} in a SynfireModel")
    found = controllers.documents(described)
    if out is not None:
        write(out, {CONTROLLER: found})
        print_json({"folder": str(out), "files": [CONTROLLER]}) if as_json else say(f"wrote {out / CONTROLLER}")
    elif as_json:
        print_json({"documents": found})
    else:
        sys.stdout.write(to_yaml(found))


def _board(
    chips: int | None, parts: int | None, least_cores: int | None, row: int | None, wanted: bool, usual: int | None
) -> Board | None:
    """A node's chips; `usual` is how many there are where nobody says it. Raises `UserError` where nobody computes with chips, and for shares
    that no chip has."""
    given = {"--chips": chips, "--parts": parts, "--least-cores": least_cores, "--row": row}
    said = " ".join(f"{name} {value}" for name, value in given.items() if value is not None)
    if said and not wanted:
        raise UserError(f"{said}: nobody here computes with chips; add --device darwin3, or --controller")
    count = usual if chips is None else chips
    if count is None:
        if said:
            raise UserError(f"{said}: there is no device plugin without chips; say how many each node has with --chips")
        return None
    Sharing(parts or 1, least_cores).least(chip("darwin3").cores)
    return Board(count, parts or 1, least_cores, row)


def _within_reach(model: str) -> str:
    """A model that a container can find by its name. Raises `UserError` for a file of this machine."""
    reference = model.partition("=")[2] or model
    if reference.startswith(("/", ".", "~")) or Path(reference).exists():
        raise UserError(
            f"{model!r} is a file here, and no container has it: import it into the store of the volume (--storage), and give its name"
        )
    if model.startswith("-"):
        raise UserError(f"{model!r} is no model; give options of `serve` with --option")
    return model


def _size(text: str, option: str) -> int:
    found = parse_bytes(text)
    if found < 2**20:
        raise UserError(f"{option} {text} is less than 1 MiB; write it like 512MB or 2GiB")
    return found


def _words(given: list[str] | tuple[str, ...]) -> tuple[str, ...]:
    """The words of `--option`. Raises `UserError` for those that the manifests set themselves."""
    try:
        words = tuple(word for each in given for word in shlex.split(each))
    except ValueError as error:
        raise UserError(f"--option {' '.join(given)!r} cannot be read: {error}; quote it as for a shell") from error
    if taken := [word for word in words if word.partition("=")[0] in OWN]:
        raise UserError(
            f"--option {taken[0]}: the manifests set that; use the option of `deploy` by that name, if there is one"
        )
    return words
