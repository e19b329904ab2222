"""Archives keep the rules of the OCI's image layout, and are the same each time."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest

from synfire.kubernetes.images import layers, oci

RUNNING = oci.Running(("/synfire",), "65532:65532", {"A": "b"})


@pytest.fixture
def layer(tmp_path: Path) -> Path:
    folder = tmp_path / "root"
    (folder / "tmp").mkdir(parents=True)
    (folder / "home").mkdir()
    (folder / "run").write_text("#!/run")
    (folder / "run").chmod(0o700)
    (folder / "link").symlink_to("run")
    layers.pack(folder, tmp_path / "layer.tar", {"home": 65532})
    return tmp_path / "layer.tar"


def read(archive: Path, name: str) -> bytes:
    with tarfile.open(archive) as files:
        found = files.extractfile(name)
        assert found is not None
        return found.read()


def document(archive: Path, described: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(blob(archive, described))
    return found


def blob(archive: Path, described: dict[str, Any]) -> bytes:
    """What lies under a digest: it has that digest, and that size."""
    kind, _, digest = described["digest"].partition(":")
    content = read(archive, f"blobs/{kind}/{digest}")
    assert hashlib.sha256(content).hexdigest() == digest
    assert len(content) == described["size"]
    return content


def test_from_the_index_everything_is_found_by_digest(tmp_path: Path, layer: Path) -> None:
    digest = oci.write(tmp_path / "image.tar", "synfire:1", [layer], RUNNING)
    (entry,) = json.loads(read(tmp_path / "image.tar", "index.json"))["manifests"]
    assert entry["digest"] == digest
    assert entry["annotations"]["io.containerd.image.name"] == "docker.io/library/synfire:1"
    manifest = document(tmp_path / "image.tar", entry)
    config = document(tmp_path / "image.tar", manifest["config"])
    (packed,) = (gzip.decompress(blob(tmp_path / "image.tar", each)) for each in manifest["layers"])
    assert config["rootfs"]["diff_ids"] == [f"sha256:{hashlib.sha256(packed).hexdigest()}"]
    assert config["config"]["User"] == "65532:65532"
    assert config["config"]["Env"] == ["A=b"]
    (old,) = json.loads(read(tmp_path / "image.tar", "manifest.json"))
    assert old["RepoTags"] == ["synfire:1"]
    assert old["Config"].endswith(manifest["config"]["digest"].partition(":")[2])


def test_a_layer_says_nothing_of_who_has_made_it(layer: Path) -> None:
    with tarfile.open(layer) as files:
        found = {each.name: each for each in files}
    assert {each.mtime for each in found.values()} == {0}
    assert {name: each.uid for name, each in found.items()} == {"home": 65532, "link": 0, "run": 0, "tmp": 0}
    assert [oct(found[each].mode) for each in ("run", "tmp", "home")] == ["0o755", "0o1777", "0o755"]
    assert found["link"].linkname == "run"


def test_two_images_of_the_same_content_are_the_same(tmp_path: Path, layer: Path) -> None:
    first = oci.write(tmp_path / "one.tar", "synfire:1", [layer], RUNNING)
    os.utime(layer, (1, 1))
    assert oci.write(tmp_path / "two.tar", "synfire:1", [layer], RUNNING) == first
    assert (tmp_path / "one.tar").read_bytes() == (tmp_path / "two.tar").read_bytes()


@pytest.mark.parametrize(
    ("name", "full"),
    [
        ("synfire:1", "docker.io/library/synfire:1"),
        ("me/synfire:1", "docker.io/me/synfire:1"),
        ("r.example/synfire:1", "r.example/synfire:1"),
        ("localhost:5000/synfire:1", "localhost:5000/synfire:1"),
    ],
)
def test_names_are_written_out_as_runtimes_do(name: str, full: str) -> None:
    assert oci.full_name(name) == full
