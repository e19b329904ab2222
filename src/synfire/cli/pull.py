"""`synfire pull` and `synfire push`: models of weights to and from other places."""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer

from synfire.cli.output import AsJson, print_json, say
from synfire.cli.progress import watching
from synfire.hub.pull import Pulled
from synfire.hub.pull import pull as pull_model
from synfire.hub.push import push as push_model
from synfire.hub.source import Into
from synfire.plan.costs import format_bytes
from synfire.store import ModelName, ModelStore


def pull(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="Where the model is (see above), or the name of one that was pulled, to get it anew.",
        ),
    ],
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME[:TAG]", help="What to call it; default: made of the source.")
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Take the place of a model of that name from elsewhere.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Bring a model of weights into the store, from where it is.

    A GGUF file or its parts, or a Hugging Face directory: PATH. A GGUF file on the web: https://HOST/FILE.gguf, with #sha256=DIGEST to have it checked. A hub: hf://ORG/REPO or modelscope://ORG/REPO, each with @REVISION and :PRECISION where wanted. An Ollama store on this disk: ollama://NAME. Another synfire that runs: synfire://HOST:PORT/NAME.

    What was broken off is resumed, two pulls of one model fetch it once, and where a hub is away the copy in the store serves. HF_TOKEN, HF_ENDPOINT, MODELSCOPE_API_TOKEN, MODELSCOPE_ENDPOINT, OLLAMA_MODELS and SYNFIRE_API_KEY are understood.

    \b
    Examples:
      synfire pull ./tinyshake-5m-chat-Q8_0.gguf --name shake:q8
      synfire pull hf://org/repo:Q4_K_M
      synfire pull synfire://other-host:8000/shake:q8 --json
    """
    with watching(as_json) as watcher:
        found = pull_model(source, Into(watcher=watcher), ModelName.parse(name) if name else None, replace)
    size = ModelStore().manifest(found.model.manifest).size
    if as_json:
        print_json(_plain(found, size))
        return
    if found.kept:
        since = time.strftime("%Y-%m-%d", time.localtime(found.model.added_s))
        say(f"{found.kept}; the copy in the store serves, from {since}")
    how = "is" if found.changed else "was and is"
    say(f"{found.model.name} {how} in the store: {format_bytes(size)}, manifest {found.model.manifest[:12]}")


def push(
    name: Annotated[str, typer.Argument(metavar="NAME[:TAG]", help="A model of weights in the store.")],
    url: Annotated[str, typer.Argument(metavar="URL", help="A synfire that runs: http://HOST:PORT.")],
    as_json: AsJson = False,
) -> None:
    """Bring a model of the store to another synfire that runs, under the same name.

    The other one takes models only where it was started with SYNFIRE_API_KEY, and is shown the key that this command finds there. What it has already is not sent, and what was broken off is resumed.

    \b
    Examples:
      synfire push shake:q8 http://other-host:8000
      synfire push shake:q8 http://other-host:8000 --json
    """
    model = ModelName.parse(name)
    with watching(as_json) as watcher:
        sent = push_model(model, url, Into(watcher=watcher))
    if as_json:
        print_json({"model": str(model), "url": url, "sent_bytes": sent})
        return
    say(f"{model} is at {url}: {format_bytes(sent)} sent")


def _plain(found: Pulled, size: int) -> dict[str, Any]:
    return {
        "model": str(found.model.name),
        "manifest": found.model.manifest,
        "source": found.model.source,
        "bytes": size,
        "changed": found.changed,
        "kept": found.kept,
    }
