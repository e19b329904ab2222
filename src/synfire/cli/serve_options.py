"""What `synfire serve` takes beside its models: where it listens, and what it does when something is lost."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from synfire.cli import nim
from synfire.deploy.network import MOST_HOSTS
from synfire.worker.settings import Twice

HostOption = Annotated[str, typer.Option("--host", help="Address to listen on; 0.0.0.0 for all.")]
PortOption = Annotated[
    int,
    typer.Option("--port", min=0, max=65535, envvar=[nim.PORT, nim.HTTP_PORT], help="HTTP port; 0 finds a free one."),
]
GrpcPortOption = Annotated[
    int,
    typer.Option(
        "--grpc-port",
        min=-1,
        max=65535,
        envvar=nim.GRPC_PORT,
        help="gRPC port; 0 finds a free one, -1 leaves gRPC out.",
    ),
]
GatewaysOption = Annotated[
    int, typer.Option("--gateways", min=1, max=16, help="How many processes answer callers, all at the same ports.")
]
ThreadsOption = Annotated[
    int | None,
    typer.Option(
        "--threads",
        min=1,
        max=256,
        help="How many threads each worker computes with. Default: the cores, but for one, shared evenly by the workers.",
    ),
]
SparesOption = Annotated[
    int, typer.Option("--spares", min=0, max=64, help="Warm workers kept ready to take over from lost ones.")
]
MostWorkersOption = Annotated[
    int | None,
    typer.Option("--most-workers", min=1, help="How many workers may run at a time, spares included. Default: any."),
]
PriorityOption = Annotated[
    list[str] | None,
    typer.Option(
        "--priority",
        metavar="MODEL=N",
        help="When workers are lost and there is no room for all, models with the lowest N are stopped first; those of the store, too, make room for others by N. Default: 0.",
    ),
]
TwiceOption = Annotated[
    Twice,
    typer.Option(
        "--twice",
        help="What is computed twice and compared, which takes twice the computing and finds bits that flip meanwhile: stages on "
        "devices, everything (always), or nothing (never).",
    ),
]
ReplicasOption = Annotated[
    list[str] | None,
    typer.Option(
        "--replicas",
        metavar="[MODEL[.STAGE]=]N",
        help="So many copies of a model, or of each: a call goes to the one with the least to do, and to another when that is lost. So many of a "
        "stage, as `plan` names it; with N..M as many of these as its work takes; with 0..M it sleeps when nobody has called for 5 minutes, or as long as "
        "0..M@TIME says, and the next call wakes it.",
    ),
]
RateOption = Annotated[
    list[str] | None,
    typer.Option(
        "--rate",
        metavar="MODEL=N",
        help="Requests a second that each copy of a model is to bear, with --device darwin3: no chip is given more of them than its events a second "
        "allow. Without it nobody looks at these.",
    ),
]
WarmUpOption = Annotated[
    int,
    typer.Option(
        "--warm-up",
        min=0,
        max=100,
        help="How many requests are made to a whole model before it is called ready; none to functions of the user's.",
    ),
]
HostsOption = Annotated[
    int,
    typer.Option(
        "--hosts",
        min=0,
        max=MOST_HOSTS,
        help="Put workers on so many emulated hosts: network namespaces, for `fault link-partition`. Takes root.",
    ),
]
JoinOption = Annotated[
    str | None,
    typer.Option(
        "--join",
        metavar="[HOST:]PORT",
        help="Open a door here at which workers of other machines join, with `synfire worker`; port 0 finds a free one.",
    ),
]
JoinTokenFileOption = Annotated[
    Path | None,
    typer.Option(
        "--join-token-file",
        help="A file with the token that they have to have, of 32 characters or more; or set SYNFIRE_JOIN_TOKEN. Default: a new one, told at "
        "the start.",
    ),
]
StoreOption = Annotated[
    bool,
    typer.Option(
        "--store",
        help="Serve the models of weights in the store, too: each is loaded when somebody calls it. Without MODEL that is so.",
    ),
]
AwaitModelsOption = Annotated[
    str,
    typer.Option(
        "--await-models",
        metavar="TIME",
        envvar="SYNFIRE_AWAIT_MODELS",
        help="For how long at the most a name that nothing answers gets 503 in place of 404, until `POST /api/deployment/told` says that all models were "
        "asked for by HTTP: 2m, 90s, seconds; 0 not at all.",
    ),
]
KeepAliveOption = Annotated[
    str,
    typer.Option(
        "--keep-alive",
        metavar="TIME",
        envvar="SYNFIRE_KEEP_ALIVE",
        help="How long a model of the store stays loaded after its last call: 5m, 90s, seconds; 0 not at all, below 0 for ever.",
    ),
]
MemoryModelsOption = Annotated[
    str | None,
    typer.Option(
        "--memory-models",
        metavar="SIZE",
        help="What the store's loaded models may take together; those that were called the longest ago make room. Default: what is free.",
    ),
]
MemoryModelOption = Annotated[
    str | None,
    typer.Option(
        "--memory-model",
        metavar="SIZE",
        help="What one of the store's models may take; a larger one is refused before it is loaded. Default: what all may.",
    ),
]
MostModelsOption = Annotated[
    int | None,
    typer.Option("--most-models", min=1, help="How many of the store's models may be loaded at a time. Default: any."),
]
ParallelOption = Annotated[
    int | None,
    typer.Option(
        "--parallel",
        min=1,
        max=256,
        envvar="SYNFIRE_PARALLEL",
        help="How many answers each of the store's models makes at a time; memory is set aside for each. More wait. Default: 8.",
    ),
]
TrafficOption = Annotated[
    list[str] | None,
    typer.Option(
        "--traffic",
        metavar="RULE",
        help="A name that several models answer, or one of another name, in the words of `synfire traffic`: 'NAME MODEL=PERCENT… [shadow MODEL] [operator OPERATOR…]'.",
    ),
]
ServiceOption = Annotated[
    list[str] | None,
    typer.Option(
        "--service",
        metavar="MODEL.STAGE=URL",
        help="A stage, as `plan` names it, that the model at URL computes: any Open Inference Protocol server's.",
    ),
]
