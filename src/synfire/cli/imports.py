"""`synfire import`: a model file becomes a stored, named, versioned model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from synfire.cli.output import AsJson, print_json, say
from synfire.formats import load, write_bundle
from synfire.formats.bundle import store_graph
from synfire.graph import flatten
from synfire.store import BlobStore, Catalog


def import_model(
    source: Annotated[Path, typer.Argument(metavar="SOURCE", help="A .nir file or a bundle folder.")],
    name: Annotated[str | None, typer.Option("--name", help="What to call it; default: the file's name.")] = None,
    discretisation: Annotated[
        str | None,
        typer.Option("--discretisation", help="NIR: how continuous time becomes steps; a preset's name."),
    ] = None,
    dt_s: Annotated[float | None, typer.Option("--dt-s", help="NIR: the time step in seconds.")] = None,
    allow: Annotated[
        list[str] | None, typer.Option("--allow", metavar="LOSS", help="A loss to accept; the error names it.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FOLDER", help="Write a bundle there instead of storing it.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Import a model: read it, check it, and keep it under a name and version, or as a bundle folder.

    An import that would change what the model does is refused, unless you accept the loss by its name.

    \b
    Examples:
      synfire import net.nir --discretisation norse --dt-s 0.0001 --name net
      synfire import ./my-bundle
      synfire import net.nir --discretisation snntorch --dt-s 0.0001 --out net-bundle
    """
    options: dict[str, Any] = {"discretisation": discretisation, "dt_s": dt_s, "allow": tuple(allow or ())}
    graph = load(source, **{key: value for key, value in options.items() if value})
    if out is not None:
        digest, where = write_bundle(graph, out), str(out)
    else:
        digest = store_graph(graph, BlobStore())
        where = str(Catalog().add(name or source.resolve().stem, digest))
    if as_json:
        print_json({"model": where, "manifest": digest, "operators": len(flatten(graph).operators)})
        return
    say(f"imported {source} as {where}: {len(flatten(graph).operators)} operators, manifest {digest[:12]}")
    say(f"serve it: synfire serve {where}")
