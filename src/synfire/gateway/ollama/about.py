"""What Ollama's clients are told of models: those of the store, those that are loaded, and one of them in full."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np

from synfire.base.errors import UnknownName
from synfire.formats.gguf import read_gguf
from synfire.gateway.dataplane import DataPlane
from synfire.gateway.language.card import Card, card_of, is_language, operator_of
from synfire.gateway.language.stored import Listed, stored_models
from synfire.gateway.language.thinking import CLOSING, thinks
from synfire.gateway.model import Model
from synfire.gateway.ollama.writers import timestamp
from synfire.hub.create import modelfile_of
from synfire.hub.files import ModelFiles, stored
from synfire.hub.pieces import Described
from synfire.store import ModelName, ModelStore

FOR_EVER_S = 100 * 365.25 * 86400
"""When a model goes that stays for good, as Ollama writes it: in so long a time."""


class Details(msgspec.Struct, frozen=True):
    format: str = ""
    family: str = ""
    families: tuple[str, ...] = ()
    parameter_size: str = ""
    quantization_level: str = ""
    parent_model: str = ""


class Tag(msgspec.Struct, frozen=True):
    """A model that can be called; `size` is that of its files, in bytes."""

    name: str
    model: str
    modified_at: str
    size: int
    digest: str
    details: Details


class Tags(msgspec.Struct, frozen=True):
    models: list[Tag]


class Running(msgspec.Struct, frozen=True):
    """A model that is loaded: it takes `size` bytes of memory, and goes at `expires_at`, if nobody calls it."""

    name: str
    model: str
    size: int
    digest: str
    details: Details
    expires_at: str
    size_vram: int
    context_length: int


class RunningList(msgspec.Struct, frozen=True):
    models: list[Running]


class Shown(msgspec.Struct, frozen=True):
    """A model in full. `parameters` are lines, as a Modelfile has them; `model_info` is what its file says of it."""

    details: Details
    model_info: dict[str, Any]
    capabilities: tuple[str, ...]
    modified_at: str
    modelfile: str = ""
    parameters: str = ""
    template: str = ""
    system: str = ""
    license: str = ""
    messages: tuple[dict[str, str], ...] = ()


def whole_name(name: str) -> str:
    """The name with its tag, as Ollama always has it."""
    return str(ModelName.parse(name)) if ModelName.suits(name) else name


async def tags(plane: DataPlane) -> Tags:
    """All models that can be called: those of the store, and those that are always there."""
    listed = await stored_models(plane.on_demand)
    known = {each.name for each in listed}
    named = [*((model.name, model) for model in plane.models), *plane.ruled]
    lasting = [(name, model) for name, model in named if is_language(model) and name not in known]
    return Tags([*map(_tag, listed), *(_lasting(*each) for each in lasting)])


async def running(plane: DataPlane) -> RunningList:
    """The models that are loaded now."""
    listed = {each.name: each for each in await stored_models(plane.on_demand)}
    found = [model for model in plane.models if is_language(model)]
    return RunningList([_running(plane, model, listed.get(model.name)) for model in found])


async def show(plane: DataPlane, name: str, verbose: bool) -> Shown:
    """A model in full, loaded or not. Raises `UnknownName`."""
    store = plane.on_demand.store if plane.on_demand is not None else ModelStore()
    spoken = ModelName.parse(name) if ModelName.suits(name) else None
    if spoken is not None and plane.on_demand is not None and store.find(spoken) is not None:
        return await asyncio.to_thread(_stored, store, spoken, verbose)
    model = plane.model(name)
    card = card_of(model)
    info = {"general.architecture": card.architecture, "general.parameter_count": card.parameters}
    if card.trained_context:
        info[f"{card.architecture}.context_length"] = card.trained_context
    template = card.template or card.chat_template or ""
    capable = ("completion", *(("tools",) if "tools" in template else ()), *(("thinking",) if thinks(card) else ()))
    return Shown(_details(card), info, capable, timestamp(0.0), template=template, system=card.system or "")


def _stored(store: ModelStore, name: ModelName, verbose: bool) -> Shown:
    files, tagged = stored(name, store), store.one(name)
    if files.is_adapter:
        raise UnknownName(f"{name} is an adapter alone; make a model with it: FROM a model, ADAPTER {name}")
    template = files.template or files.chat_template or ""
    return Shown(
        details_of(files.described),
        _info(files, verbose),
        (
            "completion",
            *(("tools",) if "tools" in template.lower() else ()),
            *(("thinking",) if CLOSING in template else ()),
        ),
        timestamp(tagged.added_s),
        str(modelfile_of(files)),
        _lines(files.params),
        template,
        files.system or "",
        "\n".join(files.licenses),
        tuple({"role": each.role, "content": each.content} for each in files.messages),
    )


def _info(files: ModelFiles, verbose: bool) -> dict[str, Any]:
    """What a GGUF file says of itself; long lists only where that is wanted."""
    if not files.is_gguf:
        described = files.described
        return {"general.architecture": described.model_family, "general.parameter_count": described.parameters}
    file = read_gguf(files.weights)
    found = {key: _plain(each, verbose) for key, each in file.metadata.items()}
    return {**found, "general.parameter_count": file.parameters}


def _plain(value: Any, whole: bool) -> Any:
    """The value as JSON has it: a list only where it is wanted whole."""
    if isinstance(value, (str, int, float)):
        return value
    return list(value.tolist() if isinstance(value, np.ndarray) else value) if whole else None


def _lines(params: Mapping[str, Any]) -> str:
    pairs = [(key, each) for key, value in params.items() for each in (value if isinstance(value, list) else [value])]
    return "\n".join(f"{key:<30} {msgspec.json.encode(each).decode()}" for key, each in pairs)


def details_of(described: Described) -> Details:
    """What is known of weights, in Ollama's words."""
    family = described.model_family
    return Details(described.model_format, family, (family,), described.model_type, described.file_type)


def _details(card: Card) -> Details:
    return Details("gguf", card.architecture, (card.architecture,), _short(card.parameters), card.precision)


def _tag(listed: Listed) -> Tag:
    name = whole_name(listed.name)
    return Tag(name, name, timestamp(listed.added_s), listed.bytes, listed.digest, details_of(listed.described))


def _lasting(called: str, model: Model) -> Tag:
    name, operator = whole_name(called), operator_of(model)
    digest = next(iter(dict(operator.weights).values()))
    return Tag(name, name, timestamp(0.0), operator.weight_bytes, digest, _details(card_of(model)))


def _running(plane: DataPlane, model: Model, listed: Listed | None) -> Running:
    name, operator = whole_name(model.name), operator_of(model)
    until_s = plane.on_demand.until_s(model.name) if plane.on_demand is not None else math.inf
    tag = _tag(listed) if listed is not None else _lasting(model.name, model)
    return Running(
        name,
        name,
        operator.memory_bytes,
        tag.digest,
        tag.details,
        timestamp(min(until_s, time.time() + FOR_EVER_S)),
        0,
        operator.context,
    )


def _short(count: int) -> str:
    for unit, size in (("B", 10**9), ("M", 10**6), ("K", 10**3)):
        if count >= size:
            return f"{count / size:.1f}{unit}"
    return str(count)
