"""What `synfire show` says of a model of weights."""

from __future__ import annotations

from typing import Any

import msgspec

from synfire.cli.output import print_json, say, table
from synfire.hub import ModelFiles, resolve
from synfire.hub.create import modelfile_of
from synfire.plan.costs import format_bytes


def show_weights(model: str, modelfile: bool, as_json: bool) -> None:
    """Print the model, or its Modelfile."""
    files = resolve(model)
    if as_json:
        print_json(_plain(files))
    elif modelfile:
        say(f"# the Modelfile of {files.name}; its paths are those of this machine\n{modelfile_of(files)}".rstrip())
    else:
        _print(files)


def _plain(files: ModelFiles) -> dict[str, Any]:
    return {
        "model": files.name,
        "manifest": files.digest,
        "adapter": files.is_adapter,
        **msgspec.to_builtins(files.described),
        "bytes": files.manifest.size,
        "chat_template": None if files.is_adapter else files.chat_template,
        "template": files.template,
        "system": files.system,
        "parameters": dict(files.params),
        "messages": msgspec.to_builtins(files.messages),
        "licenses": list(files.licenses),
        "layers": msgspec.to_builtins(files.manifest.layers),
        "modelfile": str(modelfile_of(files)),
    }


def _print(files: ModelFiles) -> None:
    described = files.described
    kind = "adapter" if files.is_adapter else "model"
    context = f", trained for {described.context_length} tokens" if described.context_length else ""
    say(
        f"{files.name}: a {described.model_family} {kind} in {described.model_format}, {described.model_type} parameters as "
        f"{described.file_type} ({format_bytes(files.manifest.size)}){context}"
    )
    if not files.is_adapter:
        say(
            f"chat template: {'yes' if files.chat_template or files.template else 'none, so it completes texts and does not chat'}"
        )
    if files.system:
        say(f"system: {files.system}")
    for key, value in files.params.items():
        say(f"parameter {key}: {value}")
    for message in files.messages:
        say(f"{message.role}: {message.content}")
    rows = [
        (each.name or each.media_type.rpartition(".")[2], each.media_type, format_bytes(each.size), each.sha256[:12])
        for each in files.manifest.layers
    ]
    say(table("", ("layer", "media type", "-bytes", "digest"), rows))
