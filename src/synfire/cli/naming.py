"""`synfire cp` and `synfire rm`: what stored models are called, and whether they stay."""

from __future__ import annotations

from typing import Annotated

import typer

from synfire.base.errors import SynfireError, UserError
from synfire.cli import runs
from synfire.cli.output import AsJson, counted, print_json, say
from synfire.hub.garbage import references
from synfire.hub.pull import check_free
from synfire.plan.costs import format_bytes
from synfire.store import ModelName, ModelStore
from synfire.store.layers import GGUF
from synfire.store.models import Removed
from synfire.zoo import names as zoo_names


def cp(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="A model in the store: NAME[:TAG], or a graph's NAME[@N].")
    ],
    to: Annotated[str, typer.Argument(metavar="NAME[:TAG]", help="Another name for it.")],
    as_json: AsJson = False,
) -> None:
    """Give a stored model another name, too. Nothing is copied: both names stand for the same files.

    \b
    Examples:
      synfire cp shake:q8 shake:latest
      synfire cp net@1 net-before --json
    """
    store = ModelStore()
    check_free(ModelName.parse(to))
    if _is_graph(model, store):
        with store.adding():
            made = str(store.catalog.add(to, store.catalog.find(model).manifest))
    else:
        made = str(store.copy(ModelName.parse(model), ModelName.parse(to)).name)
    if as_json:
        print_json({"model": model, "copy": made})
        return
    say(f"{made} stands for what {model} stands for")


def rm(
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL...", help="Models in the store: NAME[:TAG], or a graph's NAME[@N], the newest version."
        ),
    ],
    as_json: AsJson = False,
) -> None:
    """Remove models from the store, and the files that no other model needs.

    \b
    Examples:
      synfire rm shake:q8
      synfire rm net@1 bard --json
    """
    store = ModelStore()
    for each in models:
        _check_removable(each, store)
    freed = {each: _remove(each, store) for each in models}
    if as_json:
        print_json(
            {"removed": [{"model": each, "blobs": one.blobs, "bytes": one.bytes} for each, one in freed.items()]}
        )
        return
    for each, one in freed.items():
        say(f"removed {each}: {counted(one.blobs, 'file')} of {format_bytes(one.bytes)}")


def _is_graph(model: str, store: ModelStore) -> bool:
    """Whether it names an imported graph."""
    name = model.partition("@")[0]
    return store.catalog.path.exists() and name in {each.name for each in store.catalog.entries()}


def _check_removable(model: str, store: ModelStore) -> None:
    if model in zoo_names():
        raise UserError(f"{model!r} is a model of the zoo, which comes with synfire and stays")
    known = _served_as(model, store)
    for run in runs.running():
        if known & {each for one in run.models for each in (one.name, one.source)}:
            unload = f", or, where a call has loaded it, unload it: synfire stop {model}" if run.store else ""
            raise UserError(
                f"{model} is served by the deployment {run.id}; stop that first: synfire stop {run.id}{unload}"
            )


def _served_as(model: str, store: ModelStore) -> set[str]:
    """What a deployment that serves it may call it, or where its weights come from."""
    if _is_graph(model, store) or not ModelName.suits(model):
        return {model}
    name = ModelName.parse(model)
    found = store.find(name)
    try:
        weights = store.manifest(found.manifest).of(GGUF) if found else ()
    except SynfireError:  # a damaged manifest is a reason to remove the model
        weights = ()
    return {str(name), name.short, *(str(store.blobs.path(layer.sha256)) for layer in weights)}


def _remove(model: str, store: ModelStore) -> Removed:
    if _is_graph(model, store):
        return store.remove_graph(model, references)
    return store.remove(ModelName.parse(model), references)
