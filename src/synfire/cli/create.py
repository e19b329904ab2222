"""`synfire create`: a model of weights from a Modelfile."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from synfire.cli.output import AsJson, print_json, say
from synfire.cli.progress import watching
from synfire.formats.modelfile import parse_modelfile
from synfire.hub.create import create as create_model
from synfire.hub.source import Into
from synfire.store import ModelName
from synfire.store.files import explained


def create(
    name: Annotated[str, typer.Argument(metavar="NAME[:TAG]", help="What to call it.")],
    file: Annotated[
        Path, typer.Option("--file", "-f", metavar="FILE", help="The Modelfile; - reads standard input.")
    ] = Path("Modelfile"),
    as_json: AsJson = False,
) -> None:
    """Make a model of weights from a Modelfile, as Ollama has them: FROM, PARAMETER, TEMPLATE, SYSTEM, ADAPTER, LICENSE, MESSAGE, REQUIRES.

    FROM and ADAPTER name a model of the store, a GGUF file or a directory; paths are those from the Modelfile's folder. A model of that name is replaced.

    \b
    Examples:
      synfire create bard -f ./Modelfile
      synfire show bard --modelfile | synfire create bard:copy -f - --json
    """
    given = str(file) == "-"
    if given:
        content, where = sys.stdin.buffer.read(), "standard input"
    else:
        with explained(file, "read"):
            content, where = file.read_bytes(), str(file)
    modelfile = parse_modelfile(content, where)
    with watching(as_json) as watcher:
        for word in modelfile.past:
            watcher.say(f"the parameter {word} is without effect today; leave it out")
        made = create_model(ModelName.parse(name), modelfile, Path() if given else file.parent, Into(watcher=watcher))
    if as_json:
        print_json({"model": str(made.name), "manifest": made.manifest, "without_effect": list(modelfile.past)})
        return
    say(f"created {made.name}: manifest {made.manifest[:12]}")
