"""Debian's packages, fetched with apt and unpacked without installing anything: nothing of this machine's own set-up is touched."""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from synfire.base.errors import UserError

SUITE = "bookworm"
"""Debian 12: its Python is 3.11, and its Kubernetes 1.20.2."""

_SOURCES = """\
Types: deb deb-src
URIs: http://deb.debian.org/debian
Suites: {suite} {suite}-updates
Components: main
Signed-By: {keys}

Types: deb deb-src
URIs: http://deb.debian.org/debian-security
Suites: {suite}-security
Components: main
Signed-By: {keys}
"""
_KEYS = Path("/usr/share/keyrings/debian-archive-keyring.gpg")

_MERGED = ("bin", "sbin", "lib", "lib64")
"""What packages of this suite still have at the root, and what is a link to /usr since."""


@dataclass(frozen=True)
class Package:
    """A package as it was fetched."""

    name: str
    version: str
    file: Path


class Archive:
    """Debian's archive, with lists of packages of its own in the folder `place`.

    Raises `UserError` where there is no apt, or it cannot fetch the lists.
    """

    def __init__(self, place: Path) -> None:
        lacking = [
            each for each in ("apt-get", "dpkg-deb", str(_KEYS)) if not (shutil.which(each) or Path(each).is_file())
        ]
        if lacking:
            raise UserError(
                f"Debian's packages cannot be fetched without {', '.join(lacking)}; install apt, dpkg and debian-archive-keyring"
            )
        place = place.resolve()  # apt looks for what is not absolute below /etc/apt and /var/lib/apt
        (place / "lists/partial").mkdir(parents=True)
        (place / "sources").mkdir()
        (place / "sources/debian.sources").write_text(_SOURCES.format(suite=SUITE, keys=_KEYS))
        settings = {
            "Dir::Etc::SourceList": "/dev/null",
            "Dir::Etc::SourceParts": place / "sources",
            "Dir::State::Lists": place / "lists",
            "APT::Sandbox::User": "",
        }
        self._apt = ["apt-get", *(f"-o{name}={value}" for name, value in settings.items())]
        self._place = place
        run([*self._apt, "update"])

    def source(self, name: str) -> Path:
        """The description of a source package, with its files beside it."""
        run([*self._apt, "source", "--download-only", name], self._place)
        (found,) = self._place.glob(f"{name}_*.dsc")
        return found

    def packages(self, names: Sequence[str]) -> list[Package]:
        """Packages for this machine's architecture, and none of what they depend on. Debian's checksums have been checked."""
        folder = self._place / "packages"
        folder.mkdir()
        run([*self._apt, "download", *names], folder)
        return sorted((_read(each) for each in folder.glob("*.deb")), key=lambda each: each.name)


def unpack(package: Package, root: Path, wanted: Sequence[str]) -> None:
    """Unpack those files of the package whose paths begin with one of `wanted`. Scripts of packages are not run."""
    with (
        subprocess.Popen(["dpkg-deb", "--fsys-tarfile", package.file], stdout=subprocess.PIPE) as unpacking,
        tarfile.open(fileobj=unpacking.stdout, mode="r|") as files,
    ):
        for each in files:
            each.name = _merged(each.name)
            if each.islnk():
                each.linkname = _merged(each.linkname)
            if not each.isdir() and any(each.name.startswith(prefix) for prefix in wanted):
                files.extract(each, root, filter="tar")
    if unpacking.returncode:
        raise UserError(f"{package.file.name} cannot be unpacked; remove it, and fetch it again")


def _merged(path: str) -> str:
    """Where a file lies since /bin and the like are links."""
    path = path.removeprefix("./").removeprefix("/")
    return f"usr/{path}" if path.partition("/")[0] in _MERGED else path


def _read(file: Path) -> Package:
    told = run(["dpkg-deb", "--show", "--showformat=${Package}\t${Version}", str(file)])
    name, _, version = told.partition("\t")
    return Package(name, version, file)


def run(words: Sequence[str], here: Path | None = None, environment: Mapping[str, str] | None = None) -> str:
    """What a command prints. Raises `UserError` with the end of what it says when it fails."""
    done = subprocess.run(
        words,
        cwd=here,
        env={**os.environ, **(environment or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode:
        said = "\n".join(done.stdout.strip().splitlines()[-12:])
        raise UserError(f"`{' '.join(words[:3])} …` fails with {done.returncode}:\n{said}")
    return done.stdout
