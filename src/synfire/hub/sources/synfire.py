"""Another synfire that runs: its gateways give what lies in its store."""

from __future__ import annotations

import re
from urllib.parse import quote

from synfire.base.errors import UserError
from synfire.base.keys import VARIABLE, authorization
from synfire.hub.download import Remote, Site, download
from synfire.hub.source import SOURCES, Into, Source
from synfire.store import ModelName
from synfire.store.layers import decode_manifest

_REFERENCE = re.compile(r"synfire(?P<secure>\+https)?://(?P<host>[^/@]+)/(?P<name>.+)")


class SynfireSource(Source):
    """`synfire://HOST:PORT/NAME[:TAG]`, or `synfire+https://…`. Shown the key in `SYNFIRE_API_KEY`, where there is one."""

    name = "synfire"
    looks_like = "synfire://HOST:PORT/NAME[:TAG]"

    def recognises(self, text: str) -> bool:
        return text.startswith(("synfire://", "synfire+https://"))

    def canonical(self, text: str) -> str:
        return f"{text.partition('://')[0]}://{_parts(text)[0].partition('://')[2]}/{self.called(text)}"

    def called(self, text: str) -> ModelName:
        return _parts(text)[1]

    def fetch(self, text: str, into: Into) -> bytes:
        url, name = _parts(text)
        site = site_of(url, into)
        content = site.get(manifest_url(url, name)).content
        manifest = decode_manifest(content, f"the manifest of {name} from {site.called}")
        for layer in manifest.blobs:
            if not into.store.has(layer):
                kind = layer.name or layer.media_type.rpartition(".")[2]
                remote = Remote(blob_url(url, layer.sha256), kind, layer.size, layer.sha256)
                into.store.blobs.delete(layer.sha256)
                download(site, remote, into.store.blobs, into.watcher)
        return content


def site_of(url: str, into: Into) -> Site:
    """Another synfire as a site."""
    called = f"the synfire at {url.partition('://')[2]}"
    return Site(into.client, called, f"set {VARIABLE} to a key of that deployment", authorization())


def manifest_url(url: str, name: ModelName) -> str:
    """Where a deployment gives and takes a model's manifest."""
    return f"{url}/api/store/models/{quote(str(name), safe='')}"


def blob_url(url: str, digest: str) -> str:
    """Where a deployment gives and takes a blob."""
    return f"{url}/api/store/blobs/{digest}"


def _parts(text: str) -> tuple[str, ModelName]:
    found = _REFERENCE.fullmatch(text)
    if found is None:
        raise UserError(f"{text!r} names no model of another synfire; write it as {SynfireSource.looks_like}")
    return f"{'https' if found['secure'] else 'http'}://{found['host']}", ModelName.parse(found["name"])


SOURCES.add(SynfireSource.name, SynfireSource())
