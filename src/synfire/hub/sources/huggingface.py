"""Hugging Face's hub, or a mirror of it. https://huggingface.co/docs/hub/api"""

from __future__ import annotations

import os
import re
from typing import Any
from urllib.parse import quote, urljoin

import msgspec

from synfire.base.errors import PermanentError
from synfire.hub.download import Away, Site
from synfire.hub.repository import RepositoryFile, RepositoryName, fetch_repository
from synfire.hub.source import SOURCES, Into, Source
from synfire.store import ModelName

_PREFIX = re.compile(r"hf://|(https://)?(hf\.co|(www\.)?huggingface\.co)/")
_PAGE = re.compile(r"(?P<repository>[^/]+/[^/]+)/(tree|blob|resolve)/(?P<revision>[^/]+)(/(?P<file>.+\.gguf))?/?")
_NEXT = re.compile(r'<([^>]+)>;\s*rel="next"')
MOST_PAGES = 100


class HuggingFaceSource(Source):
    """`hf://ORG/REPO[@REVISION][:PRECISION]`, also as the address of its page.

    `HF_ENDPOINT` names a mirror, `HF_TOKEN` is shown to it, and to no place that it leads to; `HF_HUB_OFFLINE=1` leaves it alone.
    """

    name = "huggingface"
    looks_like = "hf://ORG/REPO[@REVISION][:PRECISION]"

    def recognises(self, text: str) -> bool:
        return _PREFIX.match(text) is not None

    def canonical(self, text: str) -> str:
        return f"hf://{_repository(text)}"

    def called(self, text: str) -> ModelName:
        return _repository(text).called()

    def fetch(self, text: str, into: Into) -> bytes:
        repository, endpoint = _repository(text), _endpoint()
        site = _site(endpoint, into)
        wanted = quote(repository.revision or "main", safe="")
        head = _json(site, f"{endpoint}/api/models/{repository.path}/revision/{wanted}")
        revision = str(head.get("sha") or repository.revision or "main") if isinstance(head, dict) else "main"
        files = _files(site, endpoint, repository.path, revision)
        return fetch_repository(site, files, repository.wanted, f"{repository.path} at {site.called}", into)


def _repository(text: str) -> RepositoryName:
    rest = _PREFIX.sub("", text, count=1)
    page = _PAGE.fullmatch(rest)
    if page:
        rest = f"{page['repository']}@{page['revision']}" + (f":{page['file']}" if page["file"] else "")
    return RepositoryName.parse(rest, text)


def _endpoint() -> str:
    return (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")


def _site(endpoint: str, into: Into) -> Site:
    called = f"the hub {endpoint.partition('://')[2]}"
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        raise Away(f"{called} is left alone, since HF_HUB_OFFLINE is set; unset it to pull from there", 0.0)
    token = os.environ.get("HF_TOKEN") or os.environ.get("HUGGING_FACE_HUB_TOKEN")
    headers = {"authorization": f"Bearer {token}"} if token else {}
    denied = (
        "the token in HF_TOKEN has no right to it, or its terms are not accepted yet: see the model's page"
        if token
        else "it is not public, or there is no such one: set HF_TOKEN to a token that may read it"
    )
    return Site(into.client, called, denied, headers)


def _files(site: Site, endpoint: str, path: str, revision: str) -> list[RepositoryFile]:
    url: str | None = f"{endpoint}/api/models/{path}/tree/{quote(revision, safe='')}?recursive=true"
    found: list[RepositoryFile] = []
    for _ in range(MOST_PAGES):
        if url is None:
            return found
        answer = site.get(url)
        start = f"{endpoint}/{path}/resolve/{quote(revision, safe='')}"
        found += [_file(each, start) for each in _decoded(answer.content, site, list) if each.get("type") == "file"]
        following = _NEXT.search(answer.headers.get("link", ""))
        url = urljoin(url, following[1]) if following else None
        if url is not None and not url.startswith(f"{endpoint}/"):
            raise PermanentError(
                f"{site.called} says that its listing goes on at {url}, another place; it is not followed"
            )
    raise PermanentError(f"{site.called} lists more than {MOST_PAGES} pages of files for {path}, which is no model")


def _file(entry: dict[str, Any], start: str) -> RepositoryFile:
    path, lfs = str(entry["path"]), entry.get("lfs") or {}
    url = f"{start}/{quote(path)}"
    if lfs:
        return RepositoryFile(path, url, int(lfs.get("size", entry.get("size", 0))), str(lfs.get("oid", "")).lower())
    return RepositoryFile(path, url, int(entry.get("size", 0)), git_sha1=str(entry.get("oid", "")))


def _json(site: Site, url: str) -> Any:
    return _decoded(site.get(url).content, site, dict)


def _decoded(content: bytes, site: Site, wanted: type) -> Any:
    try:
        return msgspec.json.decode(content, type=wanted)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise PermanentError(
            f"{site.called} gives an answer that is not the hub's ({error}); check HF_ENDPOINT"
        ) from error


SOURCES.add(HuggingFaceSource.name, HuggingFaceSource())
