"""What a namespace asks of its deployment as a whole: the ConfigMap `synfire`, which somebody makes there, above what the controller was told."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from synfire.kubernetes.controller.observed import Document, Settings
from synfire.kubernetes.controller.quantities import bytes_of
from synfire.kubernetes.resources.kinds import Quantity

NAME = "synfire"


class Asked(Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """The keys of the ConfigMap; what is left out is as the controller has it."""

    gateways: Annotated[int, Meta(ge=1, le=16)] | None = None
    storage: Quantity | None = None
    cpu_request: Annotated[str, Meta(pattern=r"^[0-9]+m?$")] | None = None
    log: Literal["debug", "info", "warning", "error", "json"] | None = None


def settled(settings: Settings, found: Document | None) -> tuple[Settings, str]:
    """The settings of a namespace with that ConfigMap, and what is wrong with it: then they are the controller's."""
    if found is None:
        return settings, ""
    try:
        asked = msgspec.convert(found.get("data") or {}, Asked, strict=False)
    except msgspec.ValidationError as error:
        keys = ", ".join(each.encode_name for each in msgspec.structs.fields(Asked))
        return settings, f"ConfigMap {NAME} cannot be read: {error}; mend it, its keys are {keys}"
    given = {name: value for name, value in msgspec.structs.asdict(asked).items() if value is not None}
    if storage := given.pop("storage", None):
        given["storage_bytes"] = bytes_of(storage)
    return replace(settings, **given), ""
