"""`pull`: a model from wherever it is into the store, once, whole, under a name."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from synfire.base.errors import SynfireError, TemporaryError, UserError
from synfire.hub.download import Away
from synfire.hub.source import Into, Source, source_of
from synfire.store import Layer, ModelName, Tagged
from synfire.store.incoming import file_digest
from synfire.store.locks import locked
from synfire.zoo import names as zoo_names

TRIES = 3
"""How often it is fetched where blobs are removed at the same time."""


@dataclass(frozen=True)
class Pulled:
    """What a pull brought. `kept` says why nothing was fetched and the copy in the store serves; empty where it was fetched."""

    model: Tagged
    changed: bool
    kept: str = ""


def pull(text: str, into: Into, name: ModelName | None = None, replacing: bool = False) -> Pulled:
    """Bring the model that `text` names into the store, under `name` or a name made of it.

    `text` is what a source recognises, or the name of a model that was pulled, to get it again. A place that is away does no harm where
    the store has the model from there. A name that stands for a model from elsewhere is kept, unless it is `replacing`.

    Raises what the source raises; `UserError` for a name that is taken.
    """
    text, name = _again(text, name, into)
    source = source_of(text)
    origin = source.canonical(text)
    chosen = name or source.called(text)
    check_free(chosen)
    with locked(_lock(into, chosen)):
        before = into.store.find(chosen)
        if before and before.source != origin and not replacing:
            raise UserError(
                f"{chosen} is in the store, from {before.source}; take another --name, or --replace to have the new one in its place"
            )
        if before:
            _drop_damaged(before, into)
        return _pulled(source, text, origin, chosen, before, into)


def check_free(name: ModelName) -> None:
    """Raise `UserError` where a model of the zoo, which is found first, has this name."""
    if name.name in zoo_names():
        raise UserError(f"{name.name!r} is a model of the zoo, which is found first; choose another name")


def _again(text: str, name: ModelName | None, into: Into) -> tuple[str, ModelName | None]:
    """For the name of a model that is there, where it came from."""
    if ModelName.suits(text):
        known = into.store.find(ModelName.parse(text))
        if known and known.source:
            return known.source, name or known.name
    return text, name


def _lock(into: Into, name: ModelName) -> Path:
    return into.store.home / "locks" / f"pull-{hashlib.sha256(str(name).encode()).hexdigest()}"


def _whole(model: Tagged, into: Into) -> bool:
    return model.manifest in into.store.blobs and not into.store.missing(into.store.manifest(model.manifest))


def _drop_damaged(model: Tagged, into: Into) -> None:
    """Delete the blobs of a model that do not hold what was stored, so that they are fetched again: pulling is the cure."""
    blobs = into.store.blobs
    try:
        manifest = into.store.manifest(model.manifest)
    except SynfireError:
        blobs.delete(model.manifest)
        return
    for layer in manifest.blobs:
        if layer.sha256 in blobs and (not into.store.has(layer) or _digest(layer, into) != layer.sha256):
            blobs.delete(layer.sha256)


def _digest(layer: Layer, into: Into) -> str:
    into.watcher.begin(f"checking {layer.name or layer.media_type.rpartition('.')[2]}", layer.size)
    try:
        return file_digest(into.store.blobs.path(layer.sha256), into.watcher.advance)
    finally:
        into.watcher.end()


def _pulled(source: Source, text: str, origin: str, name: ModelName, before: Tagged | None, into: Into) -> Pulled:
    try:
        for _ in range(TRIES):
            model = into.store.commit(name, source.fetch(text, into), origin)
            if model is not None:
                return Pulled(model, before is None or before.manifest != model.manifest)
    except Away as error:
        if before is None or before.source != origin or not _whole(before, into):
            raise
        return Pulled(before, False, str(error))
    raise TemporaryError(
        f"blobs of {name} were removed while it was pulled, {TRIES} times; try again when nothing is removed"
    )
