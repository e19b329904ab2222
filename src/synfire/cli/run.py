"""`synfire run`: a conversation with a language model, or one answer."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from synfire.base.errors import PermanentError, SynfireError, UnknownName
from synfire.base.log import LOGGER
from synfire.cli import runs
from synfire.cli.conversation import Conversation
from synfire.cli.ollama_client import QUICK_S, OllamaClient
from synfire.cli.output import ERRORS, AsJson, print_json
from synfire.hub.files import is_weights
from synfire.store import ModelName

STOP_S = 60.0


def run(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL", help="A model of weights: its name in the store or at a deployment, or its path."
        ),
    ],
    prompt: Annotated[
        list[str] | None,
        typer.Argument(metavar="[PROMPT]...", help="What to answer; without it, standard input, or a conversation."),
    ] = None,
    url: Annotated[str | None, typer.Option("--url", help="Ask the deployment there.")] = None,
    system: Annotated[str, typer.Option("--system", help="What the model is told first.")] = "",
    keep_alive: Annotated[
        str | None, typer.Option("--keep-alive", metavar="TIME", help="How long the model stays loaded after this.")
    ] = None,
    answer_json: Annotated[bool, typer.Option("--format-json", help="Have the answer be JSON.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", help="Tell how long answers take.")] = False,
    as_json: AsJson = False,
) -> None:
    """Talk with a language model: in a conversation, with /? for help, or for one answer.

    A deployment that runs here and can call the model is asked; without one, one is started for as long as this lasts.

    \b
    Examples:
      synfire run shake:q8
      synfire run shake:q8 "Speak, what news?"
      synfire run ./tinyshake-5m-chat-Q8_0.gguf --json "Speak, what news?"
      cat letter.txt | synfire run shake:q8 "Say this in a line:"
    """
    with _asked(model, url) as (client, name):
        write = (lambda text: None) if as_json else _write
        talk = Conversation(
            client, name, write, system, "json" if answer_json else "", keep_alive, verbose=verbose and not as_json
        )
        text = _given(prompt or [])
        if text is None:
            client.load(name, keep_alive)
            _converse(talk)
            return
        answer = talk.ask(text)
        if as_json:
            print_json({"model": model, "response": answer})


@contextmanager
def _asked(model: str, url: str | None) -> Iterator[tuple[OllamaClient, str]]:
    """Who is asked, and for which model."""
    found = url or _running(model)
    if found is not None:
        with OllamaClient(found) as client:
            yield client, model
        return
    if not is_weights(model):
        raise UnknownName(
            f"{model!r} is no model of weights here: no name in the store (synfire list), no GGUF file or directory, and no running "
            "deployment has it; get it with synfire pull"
        )
    stored = ModelName.suits(model) and not Path(model).exists()
    with _started([] if stored else [f"model={model}"]) as started, OllamaClient(started) as client:
        yield client, model if stored else "model"


def _running(model: str) -> str | None:
    """The URL of a deployment of this machine that can call the model."""
    for each in runs.running():
        try:
            with OllamaClient(each.url, QUICK_S) as client:
                if {model, f"{model}:latest"} & set(client.names()):
                    return each.url
        except SynfireError as error:
            LOGGER.info("deployment %s is left out: %s", each.id, error)
    return None


@contextmanager
def _started(models: list[str]) -> Iterator[str]:
    """The URL of a deployment for the block. Raises `PermanentError` with what it said when it does not come to serve."""
    command = [sys.executable, "-m", "synfire", "serve", *models, "--port", "0", "--grpc-port", "-1", "--json"]
    ERRORS.print("starting a deployment for this; it ends with it (to keep one: synfire serve)", style="dim")
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, process_group=0)
    try:
        assert process.stdout is not None
        said: dict[str, Any] = json.loads(process.stdout.readline() or "{}")
        if "url" not in said:
            raise PermanentError(
                str(said.get("error", "the deployment ended before it served; see what it says above"))
            )
        yield str(said["url"])
    finally:
        process.terminate()
        process.wait(STOP_S)


def _given(prompt: list[str]) -> str | None:
    """The text to answer: the words, and behind them what comes on standard input; None for a conversation."""
    words = " ".join(prompt)
    if sys.stdin.isatty():
        return words or None
    piped = sys.stdin.read().strip()
    return "\n\n".join(filter(None, (words, piped))) if words or piped else None


def _converse(talk: Conversation) -> None:
    """Take lines until the user leaves."""
    try:
        import readline  # noqa: F401  (input edits lines, and remembers them, once it is imported)
    except ImportError:
        LOGGER.info("lines cannot be edited: this Python has no readline")
    while not talk.ended:
        try:
            talk.take(input("... " if talk.waits else ">>> "))
        except EOFError:
            _write("\n")
            return
        except KeyboardInterrupt:
            _write("\n/bye, or Ctrl-D, leaves\n")


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
