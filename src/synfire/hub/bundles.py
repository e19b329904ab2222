"""`bundle` and `unbundle`: models into one file and out of it, on machines that see no network."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from synfire.base.errors import TemporaryError, UserError
from synfire.formats.bundle import manifest_digest, store_graph
from synfire.hub import signing
from synfire.hub.archive import (
    CONTENTS,
    FORMAT,
    PIECE,
    SIGNATURE,
    VERSION,
    BundledBlob,
    BundledModel,
    Contents,
    Member,
    Writer,
    damaged,
    decode_contents,
    encode_contents,
    listed,
    members,
)
from synfire.hub.files import stored
from synfire.hub.garbage import is_graph, references
from synfire.hub.source import Into
from synfire.hub.watcher import Watcher
from synfire.store import BlobStore, ModelName, ModelStore
from synfire.store.files import explained, sync_folder
from synfire.store.incoming import Incoming, WrongDigest, file_digest
from synfire.store.locks import locked
from synfire.zoo import load as load_zoo
from synfire.zoo import names as zoo_names

WEIGHTS, GRAPH = "weights", "graph"


@dataclass(frozen=True)
class Bundled:
    """What a bundle was made of, or gave: `names`, those that were `there` before, bytes of all blobs, and its signer's key.

    `signer` is the key's fingerprint, empty for a bundle without signature.
    """

    names: tuple[str, ...]
    size: int
    signer: str = ""
    there: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Source:
    """A model on its way into a bundle, and the blobs that it takes, by digest, with what each is for people."""

    model: BundledModel
    blobs: Mapping[str, str]
    store: BlobStore


def bundle(
    references: Sequence[str], out: Path, into: Into, key: Path | None = None, overwrite: bool = False
) -> Bundled:
    """Write the models of these names, from the store or the zoo, to the file `out`, signed where `key` is a private key.

    The file appears whole or not at all. Raises `UnknownName`; `UserError` for a file that is there and not to be overwritten, a damaged
    blob, or a key that is none; `TemporaryError` for a full disk.
    """
    if out.exists() and not overwrite:
        raise UserError(f"{out} exists; choose another file, or remove it")
    with tempfile.TemporaryDirectory(prefix="synfire-") as folder:
        sources = [_source(each, into.store, BlobStore(Path(folder))) for each in references]
        contents = _contents(sources)
        content = encode_contents(contents)
        signature = signing.sign(content, key) if key else b""
        with _appearing(out) as fresh:
            _write(fresh, content, signature, contents, sources, into.watcher)
    signer = signing.check(content, signature, None).fingerprint if signature else ""
    return Bundled(tuple(each.name for each in contents.models), sum(each.size for each in contents.blobs), signer)


def unbundle(path: Path, into: Into, trusted: Path | None = None, replacing: bool = False) -> Bundled:
    """Take all models of a bundle into the store.

    Every byte is checked before anything is taken; what was read of a damaged bundle is gone again. Raises `UserError`, naming the file
    within the bundle, where it is damaged; where it is not signed by the `trusted` public key, if one is named; where a name stands for
    another model, unless it is `replacing`. Raises `TemporaryError` for a full disk.
    """
    home = into.store.home
    with locked(home / "unbundling.lock"):
        shutil.rmtree(home / "unbundling", ignore_errors=True)  # what a killed one left
        try:
            return _Unbundling(path, into, BlobStore(home / "unbundling"), trusted, replacing).run()
        finally:
            shutil.rmtree(home / "unbundling", ignore_errors=True)


def _source(reference: str, store: ModelStore, fresh: BlobStore) -> _Source:
    """What goes into a bundle of a model: of the zoo, an imported graph, or one of weights, found in this order as everywhere."""
    if reference in zoo_names():
        digest = store_graph(load_zoo(reference), fresh)
        return _graph(BundledModel(reference, GRAPH, digest, "zoo"), fresh)
    graphs = {each.name for each in store.catalog.entries()} if store.catalog.path.exists() else set()
    if reference.partition("@")[0] in graphs:
        entry = store.catalog.find(reference)
        return _graph(BundledModel(entry.name, GRAPH, entry.manifest, "imported"), store.blobs)
    files = stored(ModelName.parse(reference), store)
    entry_source = store.one(ModelName.parse(reference)).source
    model = BundledModel(files.name, WEIGHTS, files.digest, entry_source)
    kinds = {each.sha256: each.name or each.media_type.rpartition(".")[2] for each in files.manifest.blobs}
    return _Source(model, {files.digest: "manifest", **kinds}, store.blobs)


def _graph(model: BundledModel, blobs: BlobStore) -> _Source:
    return _Source(
        model, {model.manifest: "graph", **dict.fromkeys(references(model.manifest, blobs), "tensor")}, blobs
    )


def _contents(sources: Sequence[_Source]) -> Contents:
    """What the bundle lists: manifests first, each blob once."""
    blobs: dict[str, BundledBlob] = {}
    for each in sources:
        for digest, kind in each.blobs.items():
            size = each.store.path(digest).stat().st_size
            blobs.setdefault(digest, BundledBlob(digest, size, f"{each.model.name} {kind}"))
    return Contents(FORMAT, VERSION, tuple(each.model for each in sources), tuple(blobs.values()))


def _write(
    fresh: Path, content: bytes, signature: bytes, contents: Contents, sources: Sequence[_Source], watcher: Watcher
) -> None:
    where = {digest: each.store.path(digest) for each in sources for digest in each.blobs}
    with explained(fresh, "write"), fresh.open("wb") as file:
        writer = Writer(file)
        writer.add(CONTENTS, len(content), [content])
        if signature:
            writer.add(SIGNATURE, len(signature), [signature])
        for name, blob in listed(contents.blobs).items():
            _add(writer, name, blob, where[blob.sha256], watcher)
        writer.close()
        file.flush()
        os.fsync(file.fileno())


def _add(writer: Writer, name: str, blob: BundledBlob, path: Path, watcher: Watcher) -> None:
    watcher.begin(blob.part_of, blob.size)
    try:
        if file_digest(path, watcher.advance) != blob.sha256:
            raise UserError(
                f"the blob {path} ({blob.part_of}) is damaged; get its model again, and make the bundle then"
            )
        with explained(path, "read"), path.open("rb") as content:
            writer.add(name, blob.size, iter(lambda: content.read(PIECE), b""))
    finally:
        watcher.end()


@contextmanager
def _appearing(out: Path) -> Iterator[Path]:
    """A file that becomes `out` when the block ends well."""
    with explained(out, "write"):
        handle, name = tempfile.mkstemp(dir=out.absolute().parent, prefix=f".{out.name}-")
        os.close(handle)
    fresh = Path(name)
    try:
        yield fresh
        with explained(out, "write"):
            fresh.chmod(0o644)
            fresh.rename(out)
            sync_folder(out.absolute().parent)
    finally:
        fresh.unlink(missing_ok=True)


class _Unbundling:
    """One bundle on its way into the store; blobs wait in `fresh` until all are there."""

    def __init__(self, path: Path, into: Into, fresh: BlobStore, trusted: Path | None, replacing: bool) -> None:
        self._path, self._into, self._fresh = path, into, fresh
        self._trusted, self._replacing = trusted, replacing
        self._store = into.store

    def run(self) -> Bundled:
        with members(self._path) as found:
            content, contents = self._contents(found)
            signer = ""
            following = next(found, None)
            if following is not None and following.name == SIGNATURE:
                signer = signing.check(content, following.small(), self._trusted).fingerprint
                following = next(found, None)
            elif self._trusted is not None:
                raise UserError(
                    f"{self._path} is not signed, and {self._trusted} was to have signed it; ask its maker for a signed one"
                )
            self._check_names(contents)
            self._check_room(contents)
            self._blobs(contents, following, found)
        return self._take(contents, signer)

    def _contents(self, found: Iterator[Member]) -> tuple[bytes, Contents]:
        first = next(found, None)
        if first is None or first.name != CONTENTS:
            raise UserError(
                f"{self._path} is no bundle of models: it does not begin with {CONTENTS}; name a file that `bundle` wrote"
            )
        content = first.small()
        return content, decode_contents(content, self._path)

    def _check_names(self, contents: Contents) -> None:
        for model in contents.models:
            if model.kind not in (WEIGHTS, GRAPH):
                raise damaged(
                    self._path,
                    CONTENTS,
                    f"{model.name} is of the kind {model.kind!r}, and {WEIGHTS} and {GRAPH} are known",
                )
            taken = self._graphs() if model.kind == WEIGHTS else {each.name.name for each in self._store.names()}
            if model.name.partition(":")[0] in taken:
                raise UserError(
                    f"{model.name} of the bundle is called as a model of another kind here; `synfire rm` that first"
                )
            if self._standing(model) not in ("", model.manifest) and not self._replacing:
                raise UserError(f"{model.name} stands for another model here; `synfire rm` it, or --replace it")

    def _graphs(self) -> set[str]:
        catalog = self._store.catalog
        return {*zoo_names(), *({each.name for each in catalog.entries()} if catalog.path.exists() else ())}

    def _standing(self, model: BundledModel) -> str:
        """The manifest of what has the model's name here and would be lost; empty where nothing has."""
        if model.kind == GRAPH:
            return manifest_digest(load_zoo(model.name)) if model.name in zoo_names() else ""
        found = self._store.find(ModelName.parse(model.name))
        return found.manifest if found else ""

    def _check_room(self, contents: Contents) -> None:
        with explained(self._store.home, "write"):
            self._fresh.root.mkdir(parents=True, exist_ok=True)
        room = os.statvfs(self._fresh.root)
        wanted, free = sum(blob.size for blob in contents.blobs), room.f_bavail * room.f_frsize
        if wanted > free:
            raise TemporaryError(
                f"{self._path} takes {wanted} bytes, and {free} are free in {self._store.home}; free some, or point SYNFIRE_HOME elsewhere",
                60.0,
            )

    def _blobs(self, contents: Contents, first: Member | None, rest: Iterator[Member]) -> None:
        expected = listed(contents.blobs)
        member = first
        while member is not None:
            blob = expected.pop(member.name, None)
            if blob is None:
                raise damaged(self._path, repr(member.name), f"{CONTENTS} does not list it, or it is there twice")
            self._blob(member, blob)
            member = next(rest, None)
        for name, blob in expected.items():
            raise damaged(self._path, name, f"it is missing ({blob.part_of})")

    def _blob(self, member: Member, blob: BundledBlob) -> None:
        if member.size != blob.size:
            raise damaged(
                self._path, member.name, f"it has {member.size} bytes in place of {blob.size} ({blob.part_of})"
            )
        watcher = self._into.watcher
        watcher.begin(blob.part_of, blob.size)
        try:
            with Incoming(self._fresh, blob.sha256) as incoming:
                for piece in member.pieces():
                    incoming.write(piece)
                    watcher.advance(len(piece))
                incoming.finish(blob.sha256)
        except WrongDigest as error:
            why = f"it has other bytes than were bundled ({blob.part_of})"
            raise damaged(self._path, member.name, why) from error
        finally:
            watcher.end()

    def _take(self, contents: Contents, signer: str) -> Bundled:
        """Now that all is there and right: blobs first, then names."""
        for model in contents.models:
            self._check_whole(model, contents)
        there = tuple(each.name for each in contents.models if self._standing(each) == each.manifest)
        new = [each for each in contents.models if each.name not in there]
        needed = {digest for each in new for digest in (each.manifest, *references(each.manifest, self._fresh))}
        with self._store.adding():
            for digest in needed:
                self._move(digest)
            for model in new:
                self._name(model)
        return Bundled(
            tuple(each.name for each in contents.models), sum(blob.size for blob in contents.blobs), signer, there
        )

    def _check_whole(self, model: BundledModel, contents: Contents) -> None:
        """That the bundle has all that the model needs."""
        sizes = {blob.sha256: blob.size for blob in contents.blobs}
        if model.manifest not in sizes:
            raise damaged(self._path, CONTENTS, f"the manifest of {model.name} is missing")
        if is_graph(self._fresh.get(model.manifest)) != (model.kind == GRAPH):
            raise damaged(self._path, CONTENTS, f"{model.name} is not of the kind {model.kind}")
        for digest in references(model.manifest, self._fresh):
            if digest not in sizes:
                raise damaged(self._path, CONTENTS, f"the blob {digest[:12]}… of {model.name} is missing")

    def _move(self, digest: str) -> None:
        path = self._store.blobs.path(digest)
        with explained(path, "write"):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._fresh.path(digest).replace(path)
            sync_folder(path.parent)

    def _name(self, model: BundledModel) -> None:
        if model.kind == GRAPH:
            self._store.catalog.add(model.name, model.manifest)
        else:
            self._store.catalog.tag(ModelName.parse(model.name), model.manifest, model.source)
