"""`synfire import`: a model file becomes a stored, named, versioned model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from synfire.base.errors import UserError
from synfire.cli.models import Accept, AcceptOption, AllowOption, DiscretisationOption, DtOption, Reading
from synfire.cli.output import AsJson, print_json, say
from synfire.formats import load, write_bundle
from synfire.formats.bundle import store_graph
from synfire.formats.python_function import check_no_code
from synfire.graph import flatten
from synfire.graph.images import accepting_images
from synfire.store import BlobStore, Catalog
from synfire.zoo import names


def import_model(
    source: Annotated[Path, typer.Argument(metavar="SOURCE", help="A .nir file or a bundle folder.")],
    name: Annotated[str | None, typer.Option("--name", help="What to call it; default: the file's name.")] = None,
    discretisation: DiscretisationOption = None,
    dt_s: DtOption = None,
    allow: AllowOption = None,
    accept: AcceptOption = Accept.TENSOR,
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
    called = name or source.resolve().stem
    if out is None and called in names():
        raise UserError(f"{called!r} is a model of the zoo, which is found first; choose another --name")
    graph = load(source, **Reading(discretisation, dt_s, allow).options)
    check_no_code(graph, str(source))
    if accept is not Accept.TENSOR:
        graph = accepting_images(graph, accept is Accept.NEGATIVE)
    if out is not None:
        digest, where = write_bundle(graph, out), str(out)
    else:
        digest = store_graph(graph, BlobStore())
        where = str(Catalog().add(called, digest))
    if as_json:
        print_json({"model": where, "manifest": digest, "operators": len(flatten(graph).operators)})
        return
    say(f"imported {source} as {where}: {len(flatten(graph).operators)} operators, manifest {digest[:12]}")
    say(f"serve it: synfire serve {where}")
