"""ModelScope's hub, or a mirror of it. https://modelscope.cn/docs"""

from __future__ import annotations

import os
import re
from typing import Any
from urllib.parse import urlencode

import msgspec

from synfire.base.errors import PermanentError
from synfire.hub.download import Site
from synfire.hub.repository import RepositoryFile, RepositoryName, fetch_repository
from synfire.hub.source import SOURCES, Into, Source
from synfire.store import ModelName

_PREFIX = re.compile(r"modelscope://|(https://)?(www\.)?modelscope\.cn/(models/)?")


class ModelScopeSource(Source):
    """`modelscope://ORG/REPO[@REVISION][:PRECISION]`, also as the address of its page.

    `MODELSCOPE_ENDPOINT` names a mirror, `MODELSCOPE_API_TOKEN` is shown to it, and to no place that it leads to.
    """

    name = "modelscope"
    looks_like = "modelscope://ORG/REPO[@REVISION][:PRECISION]"

    def recognises(self, text: str) -> bool:
        return _PREFIX.match(text) is not None

    def canonical(self, text: str) -> str:
        return f"modelscope://{_repository(text)}"

    def called(self, text: str) -> ModelName:
        return _repository(text).called()

    def fetch(self, text: str, into: Into) -> bytes:
        repository = _repository(text)
        endpoint = (os.environ.get("MODELSCOPE_ENDPOINT") or "https://modelscope.cn").rstrip("/")
        token = os.environ.get("MODELSCOPE_API_TOKEN")
        site = Site(
            into.client,
            f"the hub {endpoint.partition('://')[2]}",
            "it is not public, or there is no such one: set MODELSCOPE_API_TOKEN to a token that may read it",
            {"authorization": f"Bearer {token}"} if token else {},
        )
        files = _files(site, f"{endpoint}/api/v1/models/{repository.path}/repo", repository.revision or "master")
        return fetch_repository(site, files, repository.wanted, f"{repository.path} at {site.called}", into)


def _repository(text: str) -> RepositoryName:
    rest = re.sub(r"/(summary|files)/?$", "", _PREFIX.sub("", text, count=1))
    return RepositoryName.parse(rest, text)


def _files(site: Site, start: str, revision: str) -> list[RepositoryFile]:
    content = site.get(f"{start}/files?{urlencode({'Revision': revision, 'Recursive': 'true'})}").content
    try:
        entries = msgspec.json.decode(content, type=dict[str, Any])["Data"]["Files"]
        return [_file(each, start, revision) for each in entries if each.get("Type") != "tree"]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, KeyError, TypeError, ValueError) as error:
        raise PermanentError(
            f"{site.called} gives an answer that is not the hub's ({error!r}); check MODELSCOPE_ENDPOINT"
        ) from error


def _file(entry: dict[str, Any], start: str, revision: str) -> RepositoryFile:
    path = str(entry["Path"])
    url = f"{start}?{urlencode({'Revision': revision, 'FilePath': path})}"
    return RepositoryFile(path, url, int(entry["Size"]), str(entry.get("Sha256") or "").lower())


SOURCES.add(ModelScopeSource.name, ModelScopeSource())
