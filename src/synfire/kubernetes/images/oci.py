"""OCI archives: an image as one file, for `ctr images import`, `docker load` and `podman load`.

Two archives of the same layers and settings are the same, byte for byte.

Source: https://github.com/opencontainers/image-spec (image layout, 1.0); `manifest.json` beside it is what `docker load` reads.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import platform
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
"""By what the kernel calls them."""

_MADE = "1970-01-01T00:00:00Z"
_TYPE = "application/vnd.oci.image"
_LEVEL = 6
_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class Running:
    """How a container of the image is run: its command line, user, variables, and the folder that it is in."""

    entrypoint: tuple[str, ...]
    user: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    folder: str = "/"
    labels: Mapping[str, str] = field(default_factory=dict)

    def config(self) -> dict[str, Any]:
        found: dict[str, Any] = {
            "Entrypoint": list(self.entrypoint),
            "WorkingDir": self.folder,
            "StopSignal": "SIGTERM",
        }
        found["Env"] = [f"{name}={value}" for name, value in self.environment.items()]
        return (
            found | ({"User": self.user} if self.user else {}) | ({"Labels": dict(self.labels)} if self.labels else {})
        )


@dataclass(frozen=True)
class Blob:
    """What lies in an archive under its digest."""

    content: Path
    digest: str
    size_bytes: int

    @property
    def path(self) -> str:
        return f"blobs/sha256/{self.digest}"

    def described(self, media: str) -> dict[str, Any]:
        return {"mediaType": media, "digest": f"sha256:{self.digest}", "size": self.size_bytes}


def write(path: Path, name: str, layers: Sequence[Path], running: Running) -> str:
    """Write the image `name` (such as `synfire:0.1.0`) of these layers, each a tar file, and return its digest."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".image-") as place:
        here = Path(place)
        packed = [_packed(layer, here / f"layer-{number}") for number, layer in enumerate(layers)]
        rootfs = {"type": "layers", "diff_ids": [f"sha256:{_digest(layer)}" for layer in layers]}
        architecture = ARCHITECTURES[platform.machine()]
        config = {
            "architecture": architecture,
            "os": "linux",
            "created": _MADE,
            "config": running.config(),
            "rootfs": rootfs,
        }
        told = _json(config, here / "config")
        described = [each.described(f"{_TYPE}.layer.v1.tar+gzip") for each in packed]
        manifest = _json(
            {
                "schemaVersion": 2,
                "mediaType": f"{_TYPE}.manifest.v1+json",
                "config": told.described(f"{_TYPE}.config.v1+json"),
                "layers": described,
            },
            here / "manifest",
        )
        _archive(here / "archive", name, manifest, [told, *packed], _for_docker(name, told, packed))
        (here / "archive").replace(path)
    return f"sha256:{manifest.digest}"


def _archive(path: Path, name: str, manifest: Blob, blobs: Sequence[Blob], for_docker: Any) -> None:
    names = {"io.containerd.image.name": full_name(name), "org.opencontainers.image.ref.name": name.rpartition(":")[2]}
    entry = manifest.described(f"{_TYPE}.manifest.v1+json") | {"annotations": names}
    index = {"schemaVersion": 2, "mediaType": f"{_TYPE}.index.v1+json", "manifests": [entry]}
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as archive:
        for file, document in (
            ("oci-layout", {"imageLayoutVersion": "1.0.0"}),
            ("index.json", index),
            ("manifest.json", for_docker),
        ):
            told = json.dumps(document, sort_keys=True).encode()
            archive.addfile(_entry(file, len(told)), io.BytesIO(told))
        for blob in dict.fromkeys([manifest, *blobs]):
            with blob.content.open("rb") as content:
                archive.addfile(_entry(blob.path, blob.size_bytes), content)


def full_name(name: str) -> str:
    """The name as container runtimes write it out: `synfire:0.1.0` is `docker.io/library/synfire:0.1.0`."""
    first, slash, _ = name.partition("/")
    if not slash:
        return f"docker.io/library/{name}"
    return name if "." in first or ":" in first or first == "localhost" else f"docker.io/{name}"


def _for_docker(name: str, config: Blob, layers: Sequence[Blob]) -> list[dict[str, Any]]:
    return [{"Config": config.path, "RepoTags": [name], "Layers": [each.path for each in layers]}]


def _packed(layer: Path, out: Path) -> Blob:
    with layer.open("rb") as plain, out.open("wb") as file, gzip.GzipFile("", "wb", _LEVEL, file, mtime=0) as packed:
        while chunk := plain.read(_CHUNK_BYTES):
            packed.write(chunk)
    return _blob(out)


def _json(document: dict[str, Any], out: Path) -> Blob:
    out.write_bytes(json.dumps(document, sort_keys=True).encode())
    return _blob(out)


def _blob(file: Path) -> Blob:
    return Blob(file, _digest(file), file.stat().st_size)


def _digest(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _entry(name: str, size_bytes: int) -> tarfile.TarInfo:
    found = tarfile.TarInfo(name)
    found.size, found.mode = size_bytes, 0o644
    return found
