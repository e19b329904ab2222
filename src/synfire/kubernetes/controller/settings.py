"""What a namespace asks of its deployment as a whole: the ConfigMap `synfire`, which somebody makes there, above what the controller was told."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct

from synfire.base.errors import UserError
from synfire.kubernetes.controller.observed import Document, Settings
from synfire.kubernetes.controller.quantities import bytes_of
from synfire.kubernetes.manifests.description import Placing
from synfire.kubernetes.resources.kinds import Name, Quantity, Toleration

NAME = "synfire"

LEAST_MEMORY = 256 * 2**20
"""Bytes with which a serving Pod comes to serve at all; a size without its unit is noticed."""

Form = TypeVar("Form")
NodeSelector = dict[str, str]
Tolerations = Annotated[tuple[Toleration, ...], Meta(max_length=32)]


class Asked(Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """The keys of the ConfigMap; what is left out is as the controller has it. `node_selector` and `tolerations` are YAML, or JSON, in a text."""

    gateways: Annotated[int, Meta(ge=1, le=16)] | None = None
    storage: Quantity | None = None
    cpu_request: Annotated[str, Meta(pattern=r"^[0-9]+m?$")] | None = None
    memory: Quantity | None = None
    node_selector: str = ""
    tolerations: str = ""
    priority_class_name: Name = ""
    log: Literal["debug", "info", "warning", "error", "json"] | None = None


def settled(settings: Settings, found: Document | None) -> tuple[Settings, str]:
    """The settings of a namespace with that ConfigMap, and what is wrong with it: then they are the controller's."""
    if found is None:
        return settings, ""
    try:
        return _settled(settings, msgspec.convert(found.get("data") or {}, Asked, strict=False)), ""
    except (msgspec.ValidationError, UserError) as error:
        keys = ", ".join(each.encode_name for each in msgspec.structs.fields(Asked))
        return settings, f"ConfigMap {NAME} cannot be read: {error}; mend it, its keys are {keys}"


def _settled(settings: Settings, asked: Asked) -> Settings:
    """Raises `UserError` for a value that is none."""
    bears = _read(asked.tolerations, "tolerations", Tolerations, "[{key: dedicated, operator: Exists}]")
    placing = Placing(
        _read(asked.node_selector, "nodeSelector", NodeSelector, "{disk: fast}") or {},
        tuple(map(msgspec.to_builtins, bears or ())),
        asked.priority_class_name,
    )
    return replace(
        settings,
        gateways=asked.gateways or settings.gateways,
        storage_bytes=bytes_of(asked.storage) if asked.storage else settings.storage_bytes,
        cpu_request=asked.cpu_request or settings.cpu_request,
        log=asked.log or settings.log,
        memory_bytes=_memory(asked.memory) if asked.memory else settings.memory_bytes,
        placing=placing,
    )


def _memory(text: str) -> int:
    found = bytes_of(text)
    if found < LEAST_MEMORY:
        raise UserError(f"memory {text} is less than 256Mi, with which nothing is served; write it like 2Gi")
    return found


def _read(text: str, key: str, form: type[Form], example: str) -> Form | None:
    """What a text says in YAML, of which JSON is a part; None where it says nothing. Raises `UserError`."""
    try:
        return msgspec.yaml.decode(text, type=form | None, strict=True)
    except msgspec.MsgspecError as error:
        words = " ".join(str(error).split())
        raise UserError(f"{key} is no YAML or JSON of that form ({words}); write it like {example}") from error
