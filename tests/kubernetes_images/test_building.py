"""A whole image, of packages that an archive and an index of the tests' own have."""

from __future__ import annotations

import gzip
import io
import json
import os
import shutil
import sys
import tarfile
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import pytest

from synfire.kubernetes.images import __main__, debian, python, system

CHECKOUT = Path(__file__).parents[2]

APT = """\
#!{python}
# As apt-get: what is not absolute lies below folders of the machine's, and without sources there are no packages.
import shutil, sys
from pathlib import Path

told = dict(each.removeprefix("-o").split("=") for each in sys.argv if each.startswith("-oDir::"))
lists = Path("/var/lib/apt", told["Dir::State::Lists"])
sources = [*Path("/etc/apt", told["Dir::Etc::SourceParts"]).glob("*.sources")]
if "update" in sys.argv and sources:
    (lists / "partial/bookworm").touch()
    (lists / "partial/bookworm").rename(lists / "bookworm")
if "download" in sys.argv:
    if not (lists / "bookworm").is_file():
        sys.exit(f"E: Unable to locate package {{sys.argv[-1]}}")
    shutil.copy({package!r}, Path("thing.deb"))
"""

pytestmark = [
    pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="packages are Debian's; this machine has no dpkg-deb"),
    pytest.mark.skipif(
        f"python{sys.version_info.major}.{sys.version_info.minor}" != system.PYTHON,
        reason=f"images are made under {system.PYTHON} alone",
    ),
]


def pip(command: Sequence[str], here: Path | None = None, environment: Mapping[str, str] | None = None) -> str:
    """As pip, with an index of synfire and one package that it needs."""
    if "pip" not in command:
        return debian.run(command, here, environment)
    options = dict(pairwise(command))
    if "wheel" in command:
        Path(options["--wheel-dir"], "synfire-1-py3-none-any.whl").touch()
        return ""
    told = "Metadata-Version: 2.4\nName: {}\nVersion: 1\n"
    texts = {
        "synfire/__init__.py": "",
        "synfire-1.dist-info/METADATA": told.format("synfire"),
        "synfire-1.dist-info/direct_url.json": "{}",
        "other/__init__.py": "",
        "other/header.h": "",
        "other/tests/__init__.py": "",
        "other-1.dist-info/METADATA": told.format("other"),
        "bin/other": "",
    }
    for name, text in texts.items():
        file = Path(options["--target"], name)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return ""


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to call `make images` in, on a machine with packages of its own."""
    root = tmp_path / "package"
    texts = {
        "DEBIAN/control": "Package: thing\nVersion: 1\nArchitecture: all\nMaintainer: A <a@b.example>\nDescription: it\n",
        "etc/thing": "settings",
        "lib/libthing.so.1": "code",
        f"usr/lib/{system.PYTHON}/thing.py": "def thing():\n    return 1\n",
        "usr/share/doc/thing/copyright": "License: MIT\n",
    }
    for name, text in texts.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    debian.run(["dpkg-deb", "--build", "--root-owner-group", str(root), str(tmp_path / "thing.deb")])
    apt = tmp_path / "programs/apt-get"
    apt.parent.mkdir()
    apt.write_text(APT.format(python=sys.executable, package=str(tmp_path / "thing.deb")))
    apt.chmod(0o755)
    monkeypatch.setenv("PATH", f"{apt.parent}:{os.environ['PATH']}")
    monkeypatch.setattr(debian, "_KEYS", tmp_path / "thing.deb")
    monkeypatch.setattr(python, "run", pip)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


def content(archive: Path) -> dict[str, bytes]:
    """The files of an image, of all its layers, and its settings as `config`."""
    found: dict[str, bytes] = {}
    with tarfile.open(archive) as blobs:

        def read(name: str) -> bytes:
            blob = blobs.extractfile(name)
            assert blob is not None
            return blob.read()

        (image,) = json.loads(read("manifest.json"))
        for layer in image["Layers"]:
            with tarfile.open(fileobj=io.BytesIO(gzip.decompress(read(layer)))) as files:
                for each in filter(tarfile.TarInfo.isreg, files):
                    file = files.extractfile(each)
                    assert file is not None
                    found[each.name] = file.read()
        return found | {"config": read(image["Config"])}


def test_an_image_is_made_below_the_folder_that_make_is_called_in(
    machine: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert __main__.main(["--checkout", str(CHECKOUT), "--extra", "onnx"]) == 0
    told = capsys.readouterr()
    folder = machine / "build/images"
    (archive,) = folder.glob("synfire-onnx-*.tar")
    (listed,) = folder.glob("synfire-onnx-*.spdx.json")
    assert {*folder.iterdir()} == {archive, listed}
    assert str(archive.relative_to(machine)) in told.out
    assert "containers compile it" in told.err  # what the tests' archive has is no Python

    files = content(archive)
    packages = f"{python.PLACE}/"
    assert {each.removeprefix(packages) for each in files if each.startswith(packages)} >= {
        "other/__init__.pyc",
        "synfire/__init__.py",
        "other-1.dist-info/METADATA",
    }
    without = {"other/__init__.py", "other/header.h", "other/tests/__init__.pyc", "bin/other"}
    assert not {packages + each for each in without} & {*files}
    assert {"usr/lib/libthing.so.1", f"usr/lib/{system.PYTHON}/thing.pyc", "usr/local/bin/synfire"} <= {*files}
    assert files["usr/share/synfire/sbom.spdx.json"] == listed.read_bytes()
    assert {each["name"] for each in json.loads(listed.read_bytes())["packages"]} == {"thing", "synfire", "other"}
    assert json.loads(files["config"])["config"]["Entrypoint"] == ["synfire"]


def test_packages_that_cannot_be_had_leave_nothing_behind(machine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (machine.parent / "programs/apt-get").write_text("#!/bin/sh\necho 'E: no network'\nexit 100\n")
    assert __main__.main(["--checkout", str(CHECKOUT)]) == 2
    assert "no network" in capsys.readouterr().err
    assert [*(machine / "build/images").iterdir()] == []
