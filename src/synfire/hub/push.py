"""`push`: a model of the store to another synfire that runs."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from synfire.base.errors import PermanentError, TemporaryError, UserError
from synfire.hub.download import Site
from synfire.hub.files import stored
from synfire.hub.network import httpx
from synfire.hub.source import Into
from synfire.hub.sources.synfire import blob_url, manifest_url, site_of
from synfire.store import Layer, ModelName
from synfire.store.files import explained

PIECE = 16 * 2**20
"""Bytes of one request: below what every gateway reads."""


class Taken(msgspec.Struct, frozen=True):
    """What a deployment answers about a blob: how many bytes it has, and whether that is all."""

    size: int
    whole: bool


def push(name: ModelName, url: str, into: Into) -> int:
    """Bring a model of the store to the synfire at `url`, under the same name; how many bytes were sent.

    What is there already is not sent, what was begun is resumed. Raises `UnknownName`, `UserError` for a URL that is none or a
    deployment that takes nothing, `Away`, and `TemporaryError` where the other's disk is full.
    """
    if urlsplit(url).scheme not in ("http", "https"):
        raise UserError(f"{url!r} is no URL of a synfire; write one as http://HOST:PORT")
    url = url.rstrip("/")
    model, site = stored(name, into.store), site_of(url, into)
    sent = sum(_blob(site, url, layer, into) for layer in model.manifest.blobs)
    _put(site, manifest_url(url, name), into.store.blobs.get(model.digest), {})
    return sent


def _blob(site: Site, url: str, layer: Layer, into: Into) -> int:
    """Send what is missing of a blob; how many bytes that was."""
    place = blob_url(url, layer.sha256)
    taken = _ask(site, place, layer)
    if taken.whole:
        return 0
    into.watcher.begin(layer.name or layer.media_type.rpartition(".")[2], layer.size, taken.size)
    try:
        sent = 0
        while True:
            start, piece = taken.size, _piece(into.store.blobs.path(layer.sha256), taken.size)
            content_range = f"bytes {start}-{start + len(piece) - 1}/{layer.size}"
            taken = _taken(_put(site, place, piece, {"content-range": content_range}), site)
            sent += len(piece)
            into.watcher.advance(taken.size - start)
            if taken.whole:
                return sent
            if taken.size <= start:
                raise PermanentError(
                    f"{site.called} takes nothing of a blob: it stays at {taken.size} of {layer.size} bytes"
                )
    finally:
        into.watcher.end()


def _ask(site: Site, place: str, layer: Layer) -> Taken:
    return _taken(_put(site, place, b"", {"content-range": f"bytes */{layer.size}"}), site)


def _taken(response: httpx.Response, site: Site) -> Taken:
    try:
        return msgspec.json.decode(response.content, type=Taken)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise PermanentError(f"{site.called} gives an answer that is not synfire's ({error}); check the URL") from error


def _put(site: Site, url: str, content: bytes, headers: dict[str, str]) -> httpx.Response:
    try:
        response = site.client.put(url, content=content, headers={**site.headers, **headers})
    except httpx.TransportError as error:
        raise site.away(error) from error
    if response.status_code == 400:
        raise UserError(f"{site.called} refuses: {_said(response)}")
    if response.status_code == 503:
        raise TemporaryError(f"{site.called} cannot take it now: {_said(response)}", 30.0)
    site.check(response)
    return response


def _said(response: httpx.Response) -> str:
    try:
        return str(msgspec.json.decode(response.content, type=dict[str, str]).get("error", response.text))
    except (msgspec.DecodeError, UnicodeDecodeError):
        return response.text[:200]


def _piece(file: Path, start: int) -> bytes:
    with explained(file, "read"), file.open("rb") as content:
        content.seek(start)
        return content.read(PIECE)
