"""Kubernetes' programs come to lie in their folder whole or not at all, and what is in the way is said."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from synfire.base.errors import UserError
from synfire.kubernetes.images import debian
from synfire.testing.kubernetes import __main__ as entry
from synfire.testing.kubernetes import binaries


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and a disk that is large enough."""
    monkeypatch.delenv("SYNFIRE_KUBERNETES", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(binaries, "NEEDED_BYTES", 0)
    monkeypatch.setattr(binaries, "missing", lambda _: [])
    monkeypatch.setattr(binaries, "_source", lambda work: work)
    return tmp_path


def compiling(programs: tuple[str, ...]) -> Callable[[Path, Path], None]:
    """What takes the compiler's place: it makes these, and fails when that are not all."""

    def compile_(_: Path, work: Path) -> None:
        (work / "out").mkdir()
        for each in programs:
            (work / "out" / each).touch(0o755)
        if programs != binaries.BUILT:
            raise UserError("`make` fails with 2")

    return compile_


def test_what_was_built_once_is_there_for_the_next(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binaries, "_compile", compiling(binaries.BUILT))
    assert binaries.build() == cache / "synfire-kubernetes" / binaries.RELEASE
    monkeypatch.setattr(binaries, "_compile", compiling(()))
    assert (binaries.build() / "kubelet").exists()


def test_a_build_that_fails_leaves_nothing_that_is_taken_for_whole(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(binaries, "_compile", compiling(("kubelet",)))
    with pytest.raises(UserError, match="fails with 2"):
        binaries.build()
    assert not binaries.built()
    assert [each.name for each in (cache / "synfire-kubernetes").iterdir()] == [".lock"]


def test_what_a_killed_build_has_left_is_removed(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left = cache / "synfire-kubernetes/.building-1234"
    left.mkdir(parents=True)
    (left / "half").touch()
    monkeypatch.setattr(binaries, "_compile", compiling(binaries.BUILT))
    binaries.build()
    assert not left.exists()


def test_a_missing_tool_is_named_with_its_package(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binaries, "missing", lambda _: ["golang-go"])
    with pytest.raises(UserError, match="apt-get install golang-go, or name a folder"):
        binaries.build()


def test_packages_of_programs_that_are_not_there_are_missing() -> None:
    assert binaries.missing({"sh": "dash", "no-such-program": "no-such-package"}) == ["no-such-package"]


def test_a_folder_of_the_user_is_never_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "kubelet").touch()
    monkeypatch.setenv("SYNFIRE_KUBERNETES", str(tmp_path))
    with pytest.raises(UserError, match="name a folder that is not there, to build them there"):
        binaries.build()
    assert (tmp_path / "kubelet").exists()


def test_whether_a_cluster_can_be_had_is_told_with_the_reason(
    cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(entry, "impossible", lambda: "only root may")
    assert entry.main(["--possible"]) == 3
    assert capsys.readouterr().err == "only root may\n"
    monkeypatch.setattr(entry, "impossible", lambda: "")
    monkeypatch.setattr(binaries, "_compile", compiling(binaries.BUILT))
    assert entry.main(["--possible"]) == 0
    monkeypatch.setattr(binaries, "built", lambda: False)
    monkeypatch.setattr(binaries, "missing", lambda _: ["golang-go"])
    assert entry.main(["--possible"]) == 2
    assert "apt-get install golang-go" in capsys.readouterr().err


def test_a_command_that_fails_says_how() -> None:
    with pytest.raises(UserError, match="fails with 3:\nout of order"):
        debian.run(["sh", "-c", "echo out of order; exit 3"])


def test_the_programs_are_compiled_from_the_source_with_the_newer_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    made = "_output/local/bin/linux/amd64"
    commands = {
        "make": f'test -f "$KUBE_GIT_VERSION_FILE"; test -f vendor/github.com/modern-go/reflect2/new.go; mkdir -p {made} _output/bin; '
        f"for each in ${{1#WHAT=}}; do echo $GOLDFLAGS > {made}/${{each#cmd/}}; ln -s ../../{made}/${{each#cmd/}} _output/bin; done",
        "go": 'while [ "$1" != -o ]; do shift; done; echo pause > "$2"',
        "dpkg-source": 'mkdir -p "$4/vendor/github.com/modern-go/reflect2"',
    }
    for name, command in commands.items():
        (tools / name).write_text(f"#!/bin/sh -e\n{command}\n")
        (tools / name).chmod(0o755)

    class Archive:
        def __init__(self, place: Path) -> None:
            self.source = lambda name: place / f"{name}_1.20.5+really{binaries.RELEASE}-1.dsc"
            self.packages = lambda names: names

    def unpack(_: str, root: Path, wanted: tuple[str, ...]) -> None:
        library = root / wanted[0] / "src/github.com/modern-go/reflect2"
        library.mkdir(parents=True)
        (library / "new.go").touch()

    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    monkeypatch.setenv("SYNFIRE_KUBERNETES", str(tmp_path / "programs"))
    monkeypatch.setattr(binaries, "NEEDED_BYTES", 0)
    monkeypatch.setattr(binaries, "missing", lambda _: [])
    monkeypatch.setattr(debian, "Archive", Archive)
    monkeypatch.setattr(debian, "unpack", unpack)
    programs = binaries.build()
    assert {each.name: each.read_text() for each in programs.iterdir()} == {
        **dict.fromkeys(binaries.BUILT, "-s -w\n"),
        "pause": "pause\n",
    }
