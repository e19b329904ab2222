"""Models that Ollama's clients bring, make, copy and remove: work in threads, told line by line."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec

from synfire.base.errors import SynfireError, UserError
from synfire.base.log import LOGGER
from synfire.formats.modelfile import PARAMETERS, PAST, ROLES, Instruction, Modelfile
from synfire.gateway.http import ErrorBody
from synfire.gateway.ollama.bodies import CreateBody
from synfire.gateway.status import error_text, is_ours
from synfire.hub.create import create
from synfire.hub.pull import pull
from synfire.hub.push import push
from synfire.hub.source import Into, source_of
from synfire.hub.watcher import Watcher
from synfire.store import BlobStore, ModelName, ModelStore

STEP_S = 0.1
"""How often progress is told."""

_HUBS = ("hf.co/", "huggingface.co/")
_OTHER = "synfire://"


class Progress(msgspec.Struct, frozen=True, omit_defaults=True):
    """How far it has come: of the part `digest`, so many bytes of `total`."""

    status: str
    digest: str = ""
    total: int = 0
    completed: int = 0


class Telling(Watcher):
    """Keeps what is to be told, for whoever asks from another thread."""

    def __init__(self) -> None:
        self.now = Progress("")

    def begin(self, what: str, total: int | None, done: int = 0) -> None:
        self.now = Progress(f"pulling {what}", what, total or 0, done)

    def advance(self, count: int) -> None:
        self.now = msgspec.structs.replace(self.now, completed=self.now.completed + count)

    def again(self, done: int) -> None:
        self.now = msgspec.structs.replace(self.now, completed=done)

    def end(self) -> None:
        self.now = msgspec.structs.replace(self.now, completed=self.now.total or self.now.completed)

    def say(self, text: str) -> None:
        self.now = Progress(text)


async def told(work: Callable[[Telling], None], begins: str) -> AsyncIterator[Progress]:
    """What is told while the work is done in a thread. Raises what stands against it."""
    telling = Telling()
    doing = asyncio.ensure_future(asyncio.to_thread(work, telling))
    yield Progress(begins)
    before = telling.now
    while not doing.done():
        await asyncio.wait({doing}, timeout=STEP_S)
        if telling.now != before and telling.now.status:
            before = telling.now
            yield before
    await doing
    yield Progress("success")


async def lines(progress: AsyncIterator[Progress]) -> AsyncIterator[bytes]:
    """Progress as lines of JSON; an error is the last of them."""
    try:
        async for each in progress:
            yield msgspec.json.encode(each) + b"\n"
    except SynfireError as error:
        yield msgspec.json.encode(ErrorBody(str(error))) + b"\n"
    except Exception as error:
        if is_ours(error):
            LOGGER.error("a model could not be made", exc_info=error)
        yield msgspec.json.encode(ErrorBody(error_text(error))) + b"\n"


def pulling(name: str, store: ModelStore) -> Callable[[Telling], None]:
    """Bring a model from a hub, the web, or another synfire. Raises `UserError` for what a deployment does not fetch for its callers."""
    hub = next((each for each in _HUBS if name.startswith(each)), "")
    text = f"hf://{name.removeprefix(hub)}" if hub else name
    known = ModelName.suits(text) and store.find(ModelName.parse(text)) is not None
    if not known and source_of(text).name == "path":
        raise UserError(
            f"{name!r} is a path, and a deployment reads no files for its callers; there: synfire pull {name}"
        )
    chosen = ModelName.parse(name) if hub and ModelName.suits(name) else None
    return lambda telling: _pull(text, Into(store, telling), chosen)


def pushing(name: str, store: ModelStore) -> Callable[[Telling], None]:
    """Bring a model to another synfire: `synfire://HOST:PORT/NAME`. Raises `UserError` for another place."""
    host, slash, model = name.removeprefix(_OTHER).partition("/")
    if not name.startswith(_OTHER) or not slash:
        raise UserError(
            f"{name!r} says not where to; name another synfire as synfire://HOST:PORT/NAME, or use synfire push"
        )
    return lambda telling: _push(ModelName.parse(model), f"http://{host}", Into(store, telling))


def making(body: CreateBody, store: ModelStore) -> Callable[[Telling], None]:
    """Make a model. Raises `UserError` for what cannot be one."""
    if body.quantize:
        raise UserError(
            "quantize is not done while a model is made; leave it out, and call synfire quantize where the weights are"
        )
    if bool(body.base) == bool(body.files):
        raise UserError("a model is made from another one, or of files; name the one as from, or the others as files")
    name, wanted = ModelName.parse(body.called), _instructions(body)
    return lambda telling: _create(name, wanted, body, Into(store, telling))


def _pull(text: str, into: Into, name: ModelName | None) -> None:
    pull(text, into, name)


def _push(name: ModelName, url: str, into: Into) -> None:
    push(name, url, into)


def _create(name: ModelName, wanted: list[Instruction], body: CreateBody, into: Into) -> None:
    """Make it from a folder in which the files have their names."""
    with tempfile.TemporaryDirectory(prefix="synfire-") as made:
        folder = Path(made)
        base = body.base or _laid(folder / "base", body.files, into.store.blobs)
        adapters = [_laid(folder / "adapter", body.adapters, into.store.blobs)] if body.adapters else []
        more = [Instruction("ADAPTER", each) for each in adapters]
        create(name, Modelfile((Instruction("FROM", base), *more, *wanted)), folder, into)


def _laid(folder: Path, files: dict[str, str], blobs: BlobStore) -> str:
    """Blobs under the names of files: the path of the only GGUF file, or of the folder. Raises `UserError` for other names."""
    folder.mkdir()
    for name, digest in files.items():
        bare = digest.removeprefix("sha256:")
        if "/" in name or name in ("", ".", ".."):
            raise UserError(f"file {name!r} is no name of a file in one folder; send names without '/'")
        if bare not in blobs:
            raise UserError(f"the blob {digest} of {name} is not there; send it to /api/blobs/{digest} first")
        (folder / name).symlink_to(blobs.path(bare).absolute())
    one = len(files) == 1 and next(iter(files)).endswith(".gguf")
    return str(folder / next(iter(files))) if one else str(folder)


def _instructions(body: CreateBody) -> list[Instruction]:
    """What a Modelfile would say beside FROM and ADAPTER."""
    found = [
        Instruction(word, text)
        for word, text in (("TEMPLATE", body.template), ("SYSTEM", body.system))
        if text is not None
    ]
    for name, value in (body.parameters or {}).items():
        if name not in PARAMETERS and name not in PAST:
            raise UserError(f"there is no parameter {name!r}; there are {', '.join(sorted(PARAMETERS))}")
        found += [
            Instruction("PARAMETER", _written(each), name) for each in (value if isinstance(value, list) else [value])
        ]
    for turn in body.messages or ():
        if turn.role not in ROLES:
            raise UserError(f"{turn.role!r} is no role; a message is of {', '.join(ROLES)}")
        found.append(Instruction("MESSAGE", turn.content, turn.role))
    licenses = [body.license] if isinstance(body.license, str) else body.license or []
    return [*found, *(Instruction("LICENSE", each) for each in licenses)]


def _written(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
