"""An image of synfire, made of Debian's and PyPI's packages: no base image, no root, no daemon.

Four layers, the largest and steadiest first: Debian's part, what synfire stands on, synfire, and machine code of it. So a new version of
synfire is two small layers. Nothing in the first three tells when or where they were made: of the same packages come the same layers.
"""

from __future__ import annotations

import json
import platform
import tempfile
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from synfire.base.errors import UnknownName, UserError
from synfire.kubernetes.images import debian, kernels, layers, oci, python, sbom, system
from synfire.kubernetes.manifests.parts import CACHE, HOME, USER


@dataclass(frozen=True)
class Built:
    """An image: its name and digest, the archive, the list of what is in it, and how large it is packed and unpacked.

    `without_kernels` says why it brings no machine code; empty where it does.
    """

    name: str
    digest: str
    archive: Path
    sbom: Path
    packed_bytes: int
    unpacked_bytes: int
    without_kernels: str


def build(checkout: Path, version: str, extras: Sequence[str], folder: Path) -> Built:
    """Build `synfire:VERSION`, or `synfire-EXTRAS:VERSION`, of the checkout into the folder.

    Raises `UserError` where a tool is missing or packages are not to be had, `UnknownName` for an extra that synfire does not have.
    """
    if platform.machine() not in oci.ARCHITECTURES:
        raise UserError(
            f"images are made for {' and '.join(oci.ARCHITECTURES)}, and this machine is {platform.machine()}"
        )
    known = tomllib.loads((checkout / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for extra in extras:
        if extra not in known:
            raise UnknownName.among("extra of synfire", extra, known)
    stem = "-".join(["synfire", *(each for each in extras if each not in STANDARD)])
    name = f"{stem}:{version}"
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".building-") as place:
        work = Path(place)
        parts = [work / each for each in ("system", "theirs", "ours")]
        for each in parts:
            each.mkdir()
        packages = debian.Archive(work / "debian").packages(system.PACKAGES)
        system.lay(packages, parts[0])
        (work / "wheels").mkdir()
        python.lay(checkout, (*STANDARD, *extras), parts[2], parts[1], work / "wheels")
        told = sbom.document(name, packages, parts)
        (parts[2] / SBOM).parent.mkdir(parents=True)
        (parts[2] / SBOM).write_text(json.dumps(told, indent=1))
        for each in parts:
            python.compile_all(each, alone=each is not parts[2])  # numba tells its kernels by their sources
        without = _with_kernels(parts, work)
        for each in parts:
            layers.pack(each, each.with_suffix(".tar"), system.OWNERS)
        archive = folder / f"{stem}-{version}.tar"
        digest = oci.write(archive, name, [each.with_suffix(".tar") for each in parts], _running(version))
        listed = folder / f"{stem}-{version}.spdx.json"
        listed.write_text(json.dumps(told, indent=1))
        unpacked = sum(each.with_suffix(".tar").stat().st_size for each in parts)
    return Built(name, digest, archive, listed, archive.stat().st_size, unpacked, without)


def _with_kernels(parts: list[Path], work: Path) -> str:
    """Add a part with machine code, where that can be; else why it cannot."""
    try:
        kernels.lay(parts, work / "kernels", work)
    except UserError as error:
        return str(error)
    parts.append(work / "kernels")
    return ""


STANDARD = ("kubernetes",)
"""Extras that every image has."""

SBOM = "usr/share/synfire/sbom.spdx.json"


def _running(version: str) -> oci.Running:
    return oci.Running(
        entrypoint=("synfire",),
        user=f"{USER}:{USER}",
        environment={
            "PATH": "/usr/local/bin:/usr/bin",
            "LANG": "C.UTF-8",
            "HOME": HOME,
            "SYNFIRE_HOME": HOME,
            "SYNFIRE_CACHE": CACHE,
            "PYTHONDONTWRITEBYTECODE": "1",
        },
        folder=HOME,
        labels={
            "org.opencontainers.image.title": "synfire",
            "org.opencontainers.image.version": version,
            "org.opencontainers.image.licenses": "Apache-2.0",
        },
    )
