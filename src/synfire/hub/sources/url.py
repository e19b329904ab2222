"""A GGUF file anywhere on the web."""

from __future__ import annotations

import re
from urllib.parse import unquote, urldefrag, urlsplit, urlunsplit

from synfire.base.errors import UserError
from synfire.formats.gguf_parts import part_names, whole_name
from synfire.hub.assemble import manifest_of_files
from synfire.hub.download import Remote, Site, download
from synfire.hub.source import SOURCES, Into, Source, fitting_name
from synfire.store import ModelName

_DIGEST = re.compile(r"sha256=([0-9a-f]{64})")


class UrlSource(Source):
    """`https://host/path/model.gguf`, or the first of its parts; with `#sha256=…` what comes has to have that digest."""

    name = "url"
    looks_like = "https://HOST/FILE.gguf[#sha256=DIGEST]"

    def recognises(self, text: str) -> bool:
        return text.startswith(("http://", "https://"))

    def canonical(self, text: str) -> str:
        self._remotes(text)
        parts = urlsplit(text)
        return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))  # no key is kept

    def called(self, text: str) -> ModelName:
        return fitting_name(whole_name(_file_name(text)).removesuffix(".gguf"))

    def fetch(self, text: str, into: Into) -> bytes:
        host = urlsplit(text).netloc.rpartition("@")[2]
        site = Site(
            into.client, host, "it wants a key: write it as https://USER:KEY@HOST/…, or get the file in another way"
        )
        files = {each.name: download(site, each, into.store.blobs, into.watcher) for each in self._remotes(text)}
        return manifest_of_files(files, into)

    def _remotes(self, text: str) -> list[Remote]:
        url, fragment = urldefrag(text)
        digest = _DIGEST.fullmatch(fragment)
        if fragment and digest is None:
            raise UserError(
                f"{text!r} ends with #{fragment}; what may stand there is #sha256= and 64 hexadecimal digits"
            )
        parts = urlsplit(url)
        folder, _, name = parts.path.rpartition("/")
        names = part_names(name)
        if not name.endswith(".gguf") or (digest and len(names) > 1):
            raise UserError(
                f"{text!r} names no single .gguf file; name one, a repository as hf://ORG/REPO, or another synfire's model as "
                "synfire://HOST:PORT/NAME" + (" (parts have a digest each, which cannot be given)" if digest else "")
            )
        urls = [urlunsplit(parts._replace(path=f"{folder}/{each}")) for each in names]
        return [
            Remote(url, unquote(each), sha256=digest[1] if digest else "")
            for url, each in zip(urls, names, strict=True)
        ]


def _file_name(text: str) -> str:
    return unquote(urlsplit(text).path.rpartition("/")[2])


SOURCES.add(UrlSource.name, UrlSource())
