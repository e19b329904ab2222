"""The store's models over HTTP: what `pull synfire://…` gets, and `push` brings."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

import msgspec

from synfire.base.errors import PermanentError, UnknownName, UserError
from synfire.base.keys import VARIABLE
from synfire.gateway.api import APIS, Api
from synfire.gateway.dataplane import DataPlane
from synfire.gateway.http import JSON, Endpoint, HttpRequest, HttpResponse, json_response
from synfire.gateway.status import OK, PARTIAL, UNSATISFIABLE
from synfire.hub.pull import check_free
from synfire.hub.push import Taken
from synfire.store import BlobStore, ModelName, ModelStore
from synfire.store.incoming import Incoming

BINARY = "application/octet-stream"
PIECE = 1 << 20
PUSHED = "pushed"
"""What a model that was pushed has as its source."""

_RANGE = re.compile(r"bytes=(\d+)-(\d*)")
_CONTENT_RANGE = re.compile(r"bytes (?:(\d+)-(\d+)|\*)/(\d{1,15})")


class StoredModel(msgspec.Struct, frozen=True):
    """A model of the store: its name with the tag, the digest of its manifest, and the bytes of all its blobs."""

    name: str
    digest: str
    size: int


class StoreApi:
    """Reads for every caller of the deployment. It takes models only where callers have to show a key: a store that takes from
    everybody would soon be full."""

    def __init__(self, plane: DataPlane) -> None:
        self._keys = plane.keys

    def endpoints(self) -> Iterable[Endpoint]:
        blob, model = "/api/store/blobs/{digest}", "/api/store/models/{name}"
        yield Endpoint("GET", "/api/store/models", self.models, "Models of the store", None, list[StoredModel])
        yield Endpoint("GET", model, self.manifest, "A model's manifest, as it was written", None, JSON, (400, 404))
        yield Endpoint("PUT", model, self.commit, "Keep a model whose blobs are there", JSON, StoredModel, (400, 503))
        yield Endpoint("GET", blob, self.blob, "A blob, or a part of it (Range)", None, BINARY, (400, 404, 416))
        yield Endpoint(
            "PUT", blob, self.take, "Take the next part of a blob (Content-Range)", BINARY, Taken, (400, 503)
        )

    async def models(self, request: HttpRequest) -> HttpResponse:
        return json_response(await asyncio.to_thread(_models))

    async def manifest(self, request: HttpRequest) -> HttpResponse:
        name = ModelName.parse(request.path["name"])
        return HttpResponse(await asyncio.to_thread(_manifest, name))

    async def blob(self, request: HttpRequest) -> HttpResponse:
        path, size = await asyncio.to_thread(_found, request.path["digest"])
        asked = _RANGE.fullmatch(request.header("range") or "")
        start, end = (int(asked[1]), int(asked[2]) + 1 if asked[2] else size) if asked else (0, size)
        end = min(end, size)
        if asked and start >= end:
            return HttpResponse(b"", UNSATISFIABLE, BINARY, [(b"content-range", b"bytes */%d" % size)])
        headers = [(b"content-length", b"%d" % (end - start)), (b"accept-ranges", b"bytes")]
        headers.append((b"etag", f'"{request.path["digest"]}"'.encode()))
        if asked:
            headers.append((b"content-range", b"bytes %d-%d/%d" % (start, end - 1, size)))
        return HttpResponse(b"", PARTIAL if asked else OK, BINARY, headers, _pieces(path, start, end))

    async def commit(self, request: HttpRequest) -> HttpResponse:
        self._check_writable()
        name = ModelName.parse(request.path["name"])
        return json_response(await asyncio.to_thread(_commit, name, request.body))

    async def take(self, request: HttpRequest) -> HttpResponse:
        self._check_writable()
        asked = _CONTENT_RANGE.fullmatch(request.header("content-range") or "")
        if asked is None:
            raise UserError(
                "a part of a blob comes with Content-Range: bytes FIRST-LAST/SIZE; bytes */SIZE asks where to go on"
            )
        start, size = int(asked[1]) if asked[1] else None, int(asked[3])
        if start is not None and int(asked[2]) - start + 1 != len(request.body):
            raise UserError(
                f"Content-Range is {asked[0]!r}, and {len(request.body)} bytes came; send as many as it says"
            )
        return json_response(await asyncio.to_thread(_take, request.path["digest"], start, size, request.body))

    def _check_writable(self) -> None:
        if not self._keys:
            raise UserError(
                f"this deployment takes no models, since everybody may call it; start it with {VARIABLE} set, and push with that key"
            )


def _models() -> list[StoredModel]:
    store = ModelStore()
    return [StoredModel(str(each.name), each.manifest, store.manifest(each.manifest).size) for each in store.names()]


def _manifest(name: ModelName) -> bytes:
    store = ModelStore()
    return store.blobs.get(store.one(name).manifest)


def _found(digest: str) -> tuple[Path, int]:
    """Where a blob is, and its bytes."""
    blobs = ModelStore().blobs
    path = blobs.path(digest)
    try:
        return path, path.stat().st_size
    except FileNotFoundError as error:
        raise UnknownName(f"there is no blob {digest} in this deployment's store; see /api/store/models") from error


async def _pieces(path: Path, start: int, end: int) -> AsyncIterator[bytes]:
    with await asyncio.to_thread(path.open, "rb") as file:
        file.seek(start)
        while start < end:
            piece = await asyncio.to_thread(file.read, min(PIECE, end - start))
            if not piece:
                raise PermanentError(f"the blob {path} became shorter while it was sent; get its model again")
            start += len(piece)
            yield piece


def _commit(name: ModelName, manifest: bytes) -> StoredModel:
    check_free(name)
    store = ModelStore()
    kept = store.commit(name, manifest, PUSHED)
    if kept is None:
        raise UserError(f"blobs of {name} are missing; push them first, and then the manifest")
    return StoredModel(str(name), kept.manifest, store.manifest(kept.manifest).size)


def _take(digest: str, start: int | None, size: int, body: bytes) -> Taken:
    """Add a part where it goes on from what is there; else say where that would be."""
    blobs = ModelStore().blobs
    if digest in blobs:
        return Taken(_size(blobs, digest), True)
    with Incoming(blobs, digest) as incoming:
        if digest in blobs:
            return Taken(_size(blobs, digest), True)
        if start == incoming.size and start + len(body) <= size:
            incoming.write(body)
        if incoming.size == size:
            incoming.finish(digest)
            return Taken(size, True)
        return Taken(incoming.size, False)


def _size(blobs: BlobStore, digest: str) -> int:
    return blobs.path(digest).stat().st_size


APIS.add("store", Api(endpoints=lambda plane: StoreApi(plane).endpoints()))
