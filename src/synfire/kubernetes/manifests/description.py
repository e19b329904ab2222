"""What is to be rendered: frozen data."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from synfire.base.errors import UserError

HTTP, GRPC, JOIN, LINK = 8000, 8001, 7000, 7001
"""The gateway's ports, the door at which workers join, and where a worker listens for frames."""

RESOURCES = {"cpu": "", "darwin3": "zj.com/darwin3", "cuda": "nvidia.com/gpu"}
"""The extended resource of each device class; processors have none."""

OLDEST = (1, 20)
BUDGETS_V1 = (1, 21)
"""From this release on, disruption budgets are `policy/v1`; 1.20 has `policy/v1beta1` alone, and 1.25 no longer has that."""

LEAST_TOKEN = 32
"""Characters of a token that workers join with."""

_DNS_LABEL = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_VERSION = re.compile(r"v?(\d+)\.(\d+)(\..*)?")
_QUALIFIED = re.compile(r"[a-z0-9][-a-z0-9.]*/[A-Za-z0-9][-\w.]*")
_LONGEST_NAME = 40


@dataclass(frozen=True)
class Keys:
    """What is secret: the key that callers show (empty: none), and the token that workers join with."""

    api_key: str
    join_token: str


@dataclass(frozen=True)
class Board:
    """The emulated chips of each node that has them, and how its device plugin announces them: as how many `parts` each, each of which stands for
    so many usable cores; None: as the plugin has it. `row` is how many stand in a row; None: as square as can be."""

    chips: int = 1
    parts: int = 1
    least_cores: int | None = None
    row: int | None = None


@dataclass(frozen=True)
class Placing:
    """On which nodes Pods may be, by the nodes' labels and taints, and how they rank."""

    node_selector: Mapping[str, str] = field(default_factory=dict)
    tolerations: tuple[Mapping[str, Any], ...] = ()
    priority_class: str = ""


@dataclass(frozen=True)
class Pool:
    """Worker Pods of one kind, which join the deployment.

    `role` is `workers` or `spares`; empty: whichever is needed, as in plain manifests. `cpu_request` is what each asks of its node
    where that is less than the `cpus` it computes with. `cache` names a claim from which they start warm.
    """

    name: str
    count: int
    role: str = ""
    device: str = "cpu"
    resource: str = ""
    cpus: int = 1
    cpu_request: str = ""
    memory_bytes: int = 2**30
    placing: Placing = field(default_factory=Placing)
    cache: str = ""
    shares_nodes: bool = False
    image: str = ""

    @property
    def asked(self) -> str:
        """The extended resource that each needs; empty for none."""
        return self.resource or RESOURCES[self.device]


@dataclass(frozen=True)
class Description:
    """A deployment.

    `workers` run in the gateway's Pod and are what plans name at first; `spares` are Pods of their own, which join. `memory_bytes`
    is what one worker may hold, `cpus` what it computes with. `secret` names a Secret that is there already; empty: one is
    rendered. `storage_bytes` is a volume for the store and the ledger; None: they go with the Pod. `cache` is a claim that has both
    from elsewhere. `priority` makes a PriorityClass. `cpu_request` is what the gateway's Pod asks of its node; empty: a processor for each
    worker, and one. `board` is what chips a node has, where `device` is darwin3; `log` is `SYNFIRE_LOG`. `options` are further
    words for `synfire serve`. `serving_memory_bytes` is all that the gateway's Pod may hold; None: by the processes in it. `placing` is where that
    Pod may be, and those of Jobs. Raises `UserError` for what cannot be.
    """

    models: tuple[str, ...]
    image: str
    name: str = "synfire"
    namespace: str = ""
    gateways: int = 1
    workers: int = 1
    spares: int = 2
    cpus: int = 1
    memory_bytes: int = 2**30
    device: str = "cpu"
    resource: str = ""
    secret: str = ""
    keyed: bool = True
    storage_bytes: int | None = None
    cache: str = ""
    priority: int | None = None
    shares_nodes: bool = False
    cpu_request: str = ""
    board: Board = Board()
    log: str = "json"
    await_models: str = ""
    options: tuple[str, ...] = ()
    serving_memory_bytes: int | None = None
    placing: Placing = field(default_factory=Placing)

    def __post_init__(self) -> None:
        for noun, text in (("name", self.name), ("namespace", self.namespace or "default")):
            if not _DNS_LABEL.fullmatch(text) or len(text) > _LONGEST_NAME:
                raise UserError(
                    f"--{noun} {text!r}: Kubernetes takes small letters, digits and hyphens, a letter first; give up to {_LONGEST_NAME}"
                )
        if not self.image or re.search(r"\s", self.image):
            raise UserError(f"--image {self.image!r} is no image; write it like registry.example/synfire:0.1.0")
        if self.device not in RESOURCES:
            raise UserError(f"there is no device class {self.device!r}; use one of {', '.join(RESOURCES)}")
        if self.resource and not _QUALIFIED.fullmatch(self.resource):
            raise UserError(
                f"--resource {self.resource!r} is no extended resource; write DOMAIN/NAME, such as zj.com/darwin3"
            )
        if self.resource and self.device == "cpu":
            raise UserError(
                f"--resource {self.resource} is for a device, and processors have none; name one with --device"
            )

    @property
    def asked(self) -> str:
        """The extended resource that each worker needs; empty for none."""
        return self.resource or RESOURCES[self.device]

    @property
    def pool(self) -> Pool:
        """The only pool of plain manifests."""
        return Pool(
            "workers",
            self.spares,
            device=self.device,
            resource=self.resource,
            cpus=self.cpus,
            memory_bytes=self.memory_bytes,
            shares_nodes=self.shares_nodes,
        )

    @property
    def secret_name(self) -> str:
        return self.secret or f"{self.name}-keys"


def release(text: str) -> tuple[int, int]:
    """A release of Kubernetes. Raises `UserError` for one that is none, or too old."""
    found = _VERSION.fullmatch(text)
    version = (int(found[1]), int(found[2])) if found else (0, 0)
    if version < OLDEST:
        raise UserError(f"--kubernetes {text!r} is no release from 1.20 on; write it like 1.31")
    return version
