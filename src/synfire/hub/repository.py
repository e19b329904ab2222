"""Repositories of model hubs: which of their files make a model, and their way into the store."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import unquote

from synfire.base.errors import UserError
from synfire.formats.gguf_parts import part_names, whole_name
from synfire.formats.huggingface import CONFIG, belongs
from synfire.hub.assemble import manifest_of_files
from synfire.hub.download import SMALL, Remote, Site, download
from synfire.hub.source import Into, fitting_name
from synfire.store import ModelName
from synfire.store.incoming import WrongDigest
from synfire.store.layers import checked_file_name

PREFERRED = "Q4_K_M"
"""The precision that is taken of several GGUF files where none is named: the usual one in the field."""

_REFERENCE = re.compile(
    r"(?P<owner>[A-Za-z0-9][A-Za-z0-9._-]*)/(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)(@(?P<revision>[A-Za-z0-9._/-]+))?(:(?P<wanted>[^:]+))?"
)


@dataclass(frozen=True)
class RepositoryName:
    """`ORG/REPO[@REVISION][:WANTED]`; `wanted` is a precision or a .gguf file where there are several."""

    owner: str
    name: str
    revision: str = ""
    wanted: str = ""

    @classmethod
    def parse(cls, text: str, whole: str) -> RepositoryName:
        """Read it. Raises `UserError`, which quotes the `whole` of what the user wrote."""
        found = _REFERENCE.fullmatch(unquote(text).strip("/"))
        if found is None:
            raise UserError(
                f"{whole!r} names no repository; write it as ORG/REPO, ORG/REPO@REVISION or ORG/REPO:PRECISION"
            )
        return cls(found["owner"], found["name"], found["revision"] or "", found["wanted"] or "")

    @property
    def path(self) -> str:
        """`ORG/REPO`."""
        return f"{self.owner}/{self.name}"

    def called(self) -> ModelName:
        """What a model of it is called: the repository's name, and what is wanted of it as the tag."""
        tag = self.wanted.rpartition("/")[2].removesuffix(".gguf")
        return fitting_name(re.sub(r"[-_.]gguf$", "", self.name, flags=re.IGNORECASE), tag)

    def __str__(self) -> str:
        revision = f"@{self.revision}" if self.revision else ""
        return f"{self.path}{revision}{f':{self.wanted}' if self.wanted else ''}"


@dataclass(frozen=True)
class RepositoryFile:
    """A file of a repository. Large ones have a SHA-256; small ones a hub that uses git knows by git's digest only."""

    path: str
    url: str
    size: int
    sha256: str = ""
    git_sha1: str = ""


def fetch_repository(site: Site, files: Sequence[RepositoryFile], wanted: str, where: str, into: Into) -> bytes:
    """Fetch the files that make a model, and return its manifest. Raises as `choose`, `download` and `read_folder` do."""
    chosen = choose([each.path for each in files], wanted, where)
    known = {each.path: each for each in files}
    return manifest_of_files({name: _fetched(site, known[name], into) for name in chosen}, into)


def choose(names: Sequence[str], wanted: str, where: str) -> list[str]:
    """The files of a repository that make the model: of a directory with safetensors all that belong to it, else one GGUF file or
    its parts. Raises `UserError` where none does, or several do and none is `wanted`."""
    models = {
        whole_name(name): part_names(name) for name in sorted(names) if name.endswith(".gguf") and not _side(name)
    }
    if wanted:
        return _wanted(models, wanted, where)
    if CONFIG in names and any(name.endswith(".safetensors") for name in names):
        return [checked_file_name(name, where) for name in sorted(names) if belongs(name)]
    if not models:
        raise UserError(
            f"{where} holds neither safetensors with a {CONFIG} nor a .gguf file; choose another repository"
        )
    if len(models) == 1:
        return next(iter(models.values()))
    preferred = [parts for name, parts in models.items() if _has(name, PREFERRED)]
    if len(preferred) == 1:
        return preferred[0]
    raise UserError(f"{where} holds several models: {', '.join(models)}; name one, or its precision, after a colon")


def _wanted(models: Mapping[str, list[str]], wanted: str, where: str) -> list[str]:
    if whole_name(wanted) in models:
        return models[whole_name(wanted)]
    fitting = [parts for name, parts in models.items() if _has(name, wanted)]
    if len(fitting) != 1:
        kind = "no GGUF model" if not fitting else f"{len(fitting)} GGUF models"
        raise UserError(
            f"{where} holds {kind} {wanted!r}; there are {', '.join(models) or 'none'}: name one after the colon"
        )
    return fitting[0]


def _has(name: str, precision: str) -> bool:
    """Whether a file is of that precision, by its name: `Q4_K` is not `Q4_K_M`."""
    return re.search(rf"(^|[^A-Za-z0-9]){re.escape(precision)}($|[^A-Za-z0-9_])", name, re.IGNORECASE) is not None


def _side(name: str) -> bool:
    """Whether it is a part of a model for pictures, or a matrix for quantising, and no model."""
    return "mmproj" in name.lower() or "imatrix" in name.lower()


def _fetched(site: Site, file: RepositoryFile, into: Into) -> str:
    if file.git_sha1 and not file.sha256 and file.size <= SMALL:
        return _small(site, file, into)
    remote = Remote(file.url, file.path, file.size, file.sha256)
    return download(site, remote, into.store.blobs, into.watcher)


def _small(site: Site, file: RepositoryFile, into: Into) -> str:
    """A file that git's digest vouches for."""
    content = site.get(file.url).content
    found = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
    if found != file.git_sha1:
        raise WrongDigest(
            f"{file.path} from {site.called} has git's digest {found[:12]}…, and {file.git_sha1[:12]}… was announced; nothing of "
            "it is kept: try again, and if it stays so, ask where it comes from"
        )
    return into.store.blobs.put(content)
