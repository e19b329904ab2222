"""What comes into an image, and what is told of it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from synfire.base.errors import UnknownName, UserError
from synfire.kubernetes.images import building, debian, kernels, oci, python, sbom, system
from synfire.kubernetes.images.debian import Package, run, unpack
from synfire.kubernetes.manifests.parts import CACHE, HOME, USER

needs_dpkg = pytest.mark.skipif(
    shutil.which("dpkg-deb") is None, reason="packages are Debian's; this machine has no dpkg-deb"
)


def package(folder: Path, files: dict[str, str]) -> Package:
    """A package of Debian with these files."""
    root = folder / "package"
    (root / "DEBIAN").mkdir(parents=True)
    (root / "DEBIAN/control").write_text(
        "Package: thing\nVersion: 1:2-3\nArchitecture: all\nMaintainer: A <a@b.example>\nDescription: a thing\n"
    )
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    run(["dpkg-deb", "--build", "--root-owner-group", str(root), str(folder / "thing.deb")])
    return Package("thing", "1:2-3", folder / "thing.deb")


def test_apt_finds_its_lists_below_the_folder_that_make_is_called_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands: list[list[str]] = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(debian, "run", lambda command, *_: commands.append(command))
    monkeypatch.setattr(shutil, "which", str)
    monkeypatch.setattr(debian, "_KEYS", Path(__file__))
    debian.Archive(Path("build/debian"))
    told = dict(each.removeprefix("-o").split("=") for each in commands[0] if each.startswith("-oDir::"))
    assert told["Dir::State::Lists"] == str(tmp_path / "build/debian/lists")
    assert told["Dir::Etc::SourceParts"] == str(tmp_path / "build/debian/sources")


@needs_dpkg
def test_files_lie_where_they_do_since_folders_were_merged(tmp_path: Path) -> None:
    found = package(
        tmp_path, {"lib/x/libthing.so": "code", "usr/bin/thing": "tool", "usr/share/doc/thing/copyright": "mine"}
    )
    unpack(found, tmp_path / "root", ("usr/lib/", "usr/share/doc/"))
    files = {str(each.relative_to(tmp_path / "root")) for each in (tmp_path / "root").rglob("*") if each.is_file()}
    assert files == {"usr/lib/x/libthing.so", "usr/share/doc/thing/copyright"}


@needs_dpkg
def test_an_image_has_a_user_licences_and_no_other_texts(tmp_path: Path) -> None:
    texts = {
        "usr/share/doc/thing/copyright": "License: MIT\n",
        "usr/share/doc/thing/changelog": "",
        "etc/init.d/thing": "",
    }
    root = tmp_path / "root"
    system.lay([package(tmp_path, texts)], root)
    assert [each.name for each in (root / "usr/share/doc/thing").iterdir()] == ["copyright"]
    assert not (root / "etc/init.d").exists()
    assert "synfire:x:65532:65532:" in (root / "etc/passwd").read_text()
    assert os.readlink(root / "lib64") == "usr/lib64"
    assert set(system.OWNERS) <= {str(each.relative_to(root)) for each in root.rglob("*")}


def test_the_list_of_contents_names_packages_and_what_they_say_of_licences(tmp_path: Path) -> None:
    told = tmp_path / "usr/share/doc/thing/copyright"
    told.parent.mkdir(parents=True)
    told.write_text("Files: *\nLicense: BSD-3-Clause\n text\nLicense: MIT\n")
    for name, says in (("Some_Wheel", "License-Expression: Apache-2.0 OR MIT"), ("old", "License: Public Domain")):
        place = tmp_path / python.PLACE / f"{name}-1.0.dist-info"
        place.mkdir(parents=True)
        (place / "METADATA").write_text(f"Metadata-Version: 2.4\nName: {name}\nVersion: 1.0\n{says}\n")
    document = sbom.document("synfire:1", [Package("thing", "1:2-3", tmp_path)], [tmp_path])
    found = {each["name"]: each for each in document["packages"]}
    assert found["thing"]["externalRefs"][0]["referenceLocator"].startswith("pkg:deb/debian/thing@1:2-3")
    assert found["thing"]["licenseComments"] == "BSD-3-Clause; MIT"
    assert found["Some_Wheel"]["licenseDeclared"] == "Apache-2.0 OR MIT"
    assert found["Some_Wheel"]["externalRefs"][0]["referenceLocator"] == "pkg:pypi/some-wheel@1.0"
    assert found["old"]["licenseComments"] == "Public Domain"
    assert len(document["relationships"]) == len(found)
    assert len({each["SPDXID"] for each in document["packages"]}) == len(found)


def script(folder: Path) -> list[str]:
    """The image's command, with what it brings in this folder."""
    text = python.SCRIPT.replace(f"/{kernels.PLACE}", str(folder))
    return [sys.executable, "-c", text.partition("\n")[2], "--version"]


def test_machine_code_is_copied_into_a_cache_that_has_none(tmp_path: Path) -> None:
    (tmp_path / "brought/numba").mkdir(parents=True)
    (tmp_path / "brought/numba/kernel").write_text("code")
    cache = tmp_path / "cache"
    cache.mkdir()
    environment = {**os.environ, "SYNFIRE_CACHE": str(cache)}
    for _ in range(2):
        done = subprocess.run(script(tmp_path / "brought"), env=environment, capture_output=True, text=True, check=True)
        assert done.stdout.strip()
        assert (cache / "numba/kernel").read_text() == "code"
        assert not (cache / "numba/later").exists()
        assert [each.name for each in cache.iterdir()] == ["numba"]
        (tmp_path / "brought/numba/later").touch()


def test_a_cache_that_cannot_be_written_stops_nobody(tmp_path: Path) -> None:
    (tmp_path / "brought/numba").mkdir(parents=True)
    environment = {**os.environ, "SYNFIRE_CACHE": str(tmp_path / "no/such")}
    done = subprocess.run(script(tmp_path / "brought"), env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip()


def test_an_extra_that_synfire_does_not_have_is_told_with_those_it_has(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match=r"no extra of synfire named 'vllm'; known: .*onnx"):
        building.build(Path(__file__).parents[2], "1", ("vllm",), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_machine_that_no_image_is_for_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(oci, "ARCHITECTURES", {"riscv64": "riscv64"})
    with pytest.raises(UserError, match="images are made for riscv64, and this machine is"):
        building.build(tmp_path, "1", (), tmp_path)


def test_the_containerfile_has_everything_where_other_images_have_it() -> None:
    text = (Path(__file__).parents[2] / "images/Containerfile").read_text()
    assert f"EXTRAS={','.join(building.STANDARD)}\n" in text
    assert f"/packages /{python.PLACE}\n" in text
    assert f"SYNFIRE_CACHE=/{kernels.PLACE} \\\n    {system.PYTHON} -m {kernels._PROGRAM} \\" in text
    assert f"HOME={HOME} SYNFIRE_HOME={HOME} SYNFIRE_CACHE={CACHE} " in text
    assert f"USER {USER}:{USER}\n" in text
    for used in ("python.prune(", "python.SCRIPT"):
        assert used in text
        assert hasattr(python, used.removeprefix("python.").removesuffix("("))
