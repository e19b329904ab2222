"""Kubernetes' own programs, built once from Debian's source package and kept in the user's cache.

    python -m synfire.testing.kubernetes --build [--install]

1.20 is the oldest release that the manifests are for, and Debian 12 has its source with everything that it needs to be built
offline. What is built is kept under `XDG_CACHE_HOME`, or where `SYNFIRE_KUBERNETES` says. It comes to lie there in one step, so a
build that was interrupted leaves nothing that is taken for whole, and of two that run at a time one waits for the other.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from synfire.base.errors import TemporaryError, UserError
from synfire.kubernetes.images import debian
from synfire.store.locks import locked

RELEASE = "1.20.2"

BUILT = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy", "kubectl", "pause")
"""All are static; `pause` is ours."""

TOOLS = {
    "apt-get": "apt",
    "dpkg-source": "dpkg-dev",
    "go": "golang-go",
    "make": "make",
    "rsync": "rsync",
}
"""What building takes, each with its package."""

PROGRAMS = {
    "etcd": "etcd-server",
    "containerd": "containerd",
    "runc": "runc",
    "ptp": "containernetworking-plugins",
    "iptables": "iptables",
    "conntrack": "conntrack",
    "ip": "iproute2",
    "nsenter": "util-linux",
}
"""What a cluster runs beside, each with its package."""

NEWER = {"golang-github-modern-go-reflect2-dev": "github.com/modern-go/reflect2"}
"""Packages of libraries that are put in the place of Kubernetes' own copies. This one walks through maps as Go 1.18 and later keep
them; with the older one the API server crashes now and then when it is given a custom resource."""

PLUGINS = Path("/usr/lib/cni")
"""Where Debian puts the plugins of the container network interface."""

NEEDED_BYTES = 6 * 2**30
"""While it builds; what is kept takes 0.4 GiB."""


def folder() -> Path:
    """Where the programs are, or are to be."""
    given = os.environ.get("SYNFIRE_KUBERNETES")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(given) if given else cache / "synfire-kubernetes" / RELEASE


def built() -> bool:
    """Whether all are there."""
    return all(os.access(folder() / each, os.X_OK) for each in BUILT)


def missing(wanted: Mapping[str, str]) -> list[str]:
    """Packages to install, for programs that this machine lacks."""
    return sorted({package for program, package in wanted.items() if not _found(program)})


def build() -> Path:
    """The folder of the programs, which are built first where they are missing: some minutes.

    Raises `UserError` where a tool is missing, the source is not to be had or it does not compile, `TemporaryError` for too small a disk.
    """
    if built():
        return folder()
    if os.environ.get("SYNFIRE_KUBERNETES") and folder().exists():
        raise UserError(
            f"SYNFIRE_KUBERNETES is {folder()}, which has not all of {', '.join(BUILT)}; add them, or name a folder that is not "
            "there, to build them there"
        )
    with locked(folder().parent / ".lock"), _workshop() as work:
        if not built():
            if lacking := missing(TOOLS):
                raise UserError(
                    f"Kubernetes is built with {', '.join(lacking)}, which this machine lacks; as root: apt-get install "
                    f"{' '.join(lacking)}, or name a folder of its programs in SYNFIRE_KUBERNETES"
                )
            _compile(_source(work), work)
            shutil.rmtree(folder(), ignore_errors=True)
            (work / "out").rename(folder())
    return folder()


def install() -> None:
    """Install what building and running take, as far as it is missing. Raises `UserError` where that cannot be."""
    if not (lacking := missing(TOOLS | PROGRAMS)):
        return
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise UserError(f"{' '.join(lacking)} are missing, and only root installs them, on Debian; run as root there")
    quietly = {"DEBIAN_FRONTEND": "noninteractive"}
    debian.run(["apt-get", "update"], environment=quietly)
    debian.run(["apt-get", "install", "--yes", "--no-install-recommends", *lacking], environment=quietly)


def _source(work: Path) -> Path:
    """Fetch and unpack the source."""
    archive = debian.Archive(work / "debian")
    description = archive.source("kubernetes")
    if RELEASE not in description.name:
        raise UserError(
            f"Debian's source of Kubernetes {RELEASE} is wanted, and there is {description.name}; name a folder of programs in "
            "SYNFIRE_KUBERNETES"
        )
    debian.run(["dpkg-source", "--no-check", "--extract", str(description), "source"], work)  # apt has checked it
    for package in archive.packages(list(NEWER)):
        debian.unpack(package, work / "newer", ("usr/share/gocode/",))
    for library in NEWER.values():
        shutil.rmtree(work / "source/vendor" / library)
        shutil.copytree(work / "newer/usr/share/gocode/src" / library, work / "source/vendor" / library)
    return work / "source"


def _compile(source: Path, work: Path) -> None:
    out = work / "out"
    (source / ".go/src/k8s.io").mkdir(parents=True)
    (source / ".go/src/k8s.io/kubernetes").symlink_to(source)
    (work / "version").write_text(_version())
    temporary = work / "temporary"
    temporary.mkdir()
    environment = {
        "GOPATH": str(source / ".go"),
        "GO111MODULE": "off",
        "GOCACHE": str(work / "compiled"),
        "TMPDIR": str(temporary),
        "GOLDFLAGS": "-s -w",
        "CGO_ENABLED": "0",
        "KUBE_GIT_VERSION_FILE": str(work / "version"),
    }
    commands = " ".join(f"cmd/{each}" for each in BUILT if each != "pause")
    debian.run(["make", f"WHAT={commands}"], source, environment)
    out.mkdir()
    for each in BUILT[:-1]:
        shutil.move((source / "_output/bin" / each).resolve(), out / each)
    pause = Path(__file__).with_name("pause.go")
    debian.run(["go", "build", "-ldflags", "-s -w", "-o", str(out / "pause"), str(pause)], work, environment)


def _version() -> str:
    """What the programs say of themselves; they look for it in a Git repository otherwise."""
    major, minor, _ = RELEASE.split(".")
    told = {"COMMIT": "unknown", "TREE_STATE": "archive", "VERSION": f"v{RELEASE}", "MAJOR": major, "MINOR": minor}
    return "".join(f"KUBE_GIT_{name}='{value}'\n" for name, value in told.items())


@contextmanager
def _workshop() -> Iterator[Path]:
    """A folder on the disk where the programs will lie; those of builds that were killed are removed."""
    for left in folder().parent.glob(".building-*"):
        shutil.rmtree(left, ignore_errors=True)
    free = shutil.disk_usage(folder().parent).free
    if free < NEEDED_BYTES:
        raise TemporaryError(
            f"{folder().parent} has {free / 2**30:.1f} GiB free, and building Kubernetes takes {NEEDED_BYTES / 2**30:.0f}; free "
            "some, or point XDG_CACHE_HOME at another disk"
        )
    with tempfile.TemporaryDirectory(prefix=".building-", dir=folder().parent, ignore_cleanup_errors=True) as work:
        yield Path(work)


def _found(program: str) -> bool:
    return shutil.which(program) is not None or os.access(PLUGINS / program, os.X_OK)
