"""Bundles carry models whole, or say by the file what is wrong and leave nothing behind."""

from __future__ import annotations

import json
import os
import subprocess
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from synfire.base.errors import TemporaryError, UnknownName, UserError
from synfire.formats.bundle import store_graph, stored_graph
from synfire.formats.modelfile import parse_modelfile
from synfire.graph import Graph, Synapse
from synfire.hub import archive, resolve
from synfire.hub.archive import CONTENTS, SIGNATURE, Writer, members
from synfire.hub.bundles import bundle, unbundle
from synfire.hub.create import create
from synfire.hub.pull import pull
from synfire.hub.source import Into
from synfire.ops import Signal
from synfire.ops.lif import LIF
from synfire.ops.linear import Linear
from synfire.store import ModelName, ModelStore
from synfire.testing.weights import language_model, write_folder


def net(seed: int = 0) -> Graph:
    weights = np.random.default_rng(seed).normal(size=(3, 3)).astype(np.float32)
    operators = {"fc": Linear(weights, np.zeros(3, np.float32)), "lif": LIF(tau=1.7)}
    return Graph(operators, (Synapse("x", "fc"), Synapse("fc", "lif")), {"x": Signal((3,))}, {"y": "lif"}, {})


@pytest.fixture
def store(tmp_path: Path, into: Into) -> ModelStore:
    """A store with models of every kind."""
    (tmp_path / "shake.gguf").write_bytes(language_model())
    pull(str(tmp_path / "shake.gguf"), into)
    pull(str(write_folder(tmp_path / "base")), into)
    create(ModelName("bard"), parse_modelfile("FROM shake\nSYSTEM x\nPARAMETER seed 1\n"), tmp_path, into)
    into.store.catalog.add("net", store_graph(net(), into.store.blobs))
    return into.store


@pytest.fixture
def file(store: ModelStore, into: Into, tmp_path: Path) -> Path:
    path = tmp_path / "models.tar.zst"
    bundle(["bard", "base", "net@1"], path, into)
    return path


@pytest.fixture
def small(store: ModelStore, into: Into, tmp_path: Path) -> Path:
    """A bundle of one model."""
    path = tmp_path / "small.tar.zst"
    bundle(["bard"], path, into)
    return path


@pytest.fixture
def there(tmp_path: Path) -> Into:
    """Another machine."""
    return Into(ModelStore(tmp_path / "there"), client=httpx.Client())


def names(store: ModelStore) -> list[str]:
    return [*(str(each.name) for each in store.names()), *(str(each) for each in store.catalog.entries())]


def left_behind(store: ModelStore) -> list[str]:
    """Files beside empty databases and locks."""
    own = ("catalog.sqlite", "store.lock", "unbundling.lock")
    return [str(path) for path in store.home.rglob("*") if path.is_file() and path.name not in own]


def test_models_of_every_kind_arrive_whole(file: Path, store: ModelStore, there: Into) -> None:
    found = unbundle(file, there)
    assert (found.names, found.there, found.signer) == (("bard:latest", "base:latest", "net"), (), "")
    assert names(there.store) == ["bard:latest", "base:latest", "net@1"]
    bard = resolve("bard", there.store)
    assert (bard.digest, bard.system) == (resolve("bard", store).digest, "x")
    for name in ("bard", "base"):
        resolve(name, there.store).verify()
    entry = there.store.catalog.find("net")
    assert stored_graph(entry.manifest, there.store.blobs).content_digest() == net().content_digest()


def test_a_second_time_changes_nothing(file: Path, there: Into) -> None:
    unbundle(file, there)
    before = sorted(there.store.blobs)
    assert unbundle(file, there).there == ("bard:latest", "base:latest")
    assert (sorted(there.store.blobs), len(names(there.store))) == (before, 3)


def test_a_model_of_the_zoo_is_there_already(into: Into, there: Into, tmp_path: Path) -> None:
    made = bundle(["svgg-digits"], tmp_path / "zoo.tar.zst", into)
    assert made.size > 10_000
    assert unbundle(tmp_path / "zoo.tar.zst", there).there == ("svgg-digits",)
    assert (names(there.store), left_behind(there.store)) == ([], [])


def test_equal_models_give_equal_bundles(file: Path, into: Into, tmp_path: Path) -> None:
    bundle(["bard", "base", "net@1"], tmp_path / "again.tar.zst", into)
    assert (tmp_path / "again.tar.zst").read_bytes() == file.read_bytes()


def test_files_that_models_share_are_carried_once(store: ModelStore, into: Into, tmp_path: Path) -> None:
    made = bundle(["shake", "bard"], tmp_path / "two.tar.zst", into)
    one = bundle(["bard"], tmp_path / "one.tar.zst", into)
    assert made.size - one.size < 1000


def test_standard_tools_read_a_bundle(file: Path, tmp_path: Path) -> None:
    with archive.zstd.ZstdFile(file) as packed, tarfile.open(fileobj=packed, mode="r|") as tar:
        assert tar.getnames()[0] == CONTENTS


def test_an_unknown_model_is_told_and_no_file_is_left(store: ModelStore, into: Into, tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="known: bard:latest, base:latest, shake:latest"):
        bundle(["nothing"], tmp_path / "x.tar.zst", into)
    assert not list(tmp_path.glob("*x.tar.zst*"))


def test_a_file_that_is_there_is_kept(file: Path, into: Into) -> None:
    with pytest.raises(UserError, match="exists; choose another file, or remove it"):
        bundle(["bard"], file, into)
    bundle(["bard"], file, into, overwrite=True)


def test_a_damaged_blob_is_not_bundled(store: ModelStore, into: Into, tmp_path: Path) -> None:
    weights = resolve("bard").weights
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    with pytest.raises(UserError, match=r"\(bard:latest model\) is damaged; get its model again"):
        bundle(["bard"], tmp_path / "x.tar.zst", into)
    assert not list(tmp_path.glob("*x.tar.zst*"))


def test_a_name_that_stands_for_another_model_is_kept(file: Path, there: Into, tmp_path: Path) -> None:
    (tmp_path / "other.gguf").write_bytes(language_model(seed=1))
    pull(str(tmp_path / "other.gguf"), there, ModelName("bard"))
    before = resolve("bard", there.store).digest
    with pytest.raises(UserError, match="bard:latest stands for another model here; `synfire rm` it, or --replace"):
        unbundle(file, there)
    assert names(there.store) == ["bard:latest"]
    unbundle(file, there, replacing=True)
    assert resolve("bard", there.store).digest != before


def test_a_name_of_another_kind_is_kept(file: Path, there: Into) -> None:
    there.store.catalog.add("bard", store_graph(net(1), there.store.blobs))
    with pytest.raises(UserError, match="bard:latest of the bundle is called as a model of another kind here"):
        unbundle(file, there, replacing=True)


def rewritten(file: Path, change: Callable[[str, bytes], list[tuple[str, bytes]]], out: Path) -> Path:
    """The bundle with each file put through `change`."""
    with members(file) as found, out.open("wb") as content:
        writer = Writer(content)
        for member in found:
            for name, new in change(member.name, member.small()):
                writer.add(name, len(new), [new])
        writer.close()
    return out


def contents_changed(**changes: Any) -> Callable[[str, bytes], list[tuple[str, bytes]]]:
    def change(name: str, content: bytes) -> list[tuple[str, bytes]]:
        if name != CONTENTS:
            return [(name, content)]
        return [(name, json.dumps({**json.loads(content), **changes}).encode())]

    return change


def first_blob(act: Callable[[str, bytes], list[tuple[str, bytes]]]) -> Callable[[str, bytes], list[tuple[str, bytes]]]:
    done: list[str] = []

    def change(name: str, content: bytes) -> list[tuple[str, bytes]]:
        if name == CONTENTS or done:
            return [(name, content)]
        done.append(name)
        return act(name, content)

    return change


DAMAGES: Mapping[str, tuple[Callable[[str, bytes], list[tuple[str, bytes]]], str]] = {
    "a changed byte": (first_blob(lambda n, c: [(n, c[:-1] + b"x")]), r"blobs/[0-9a-f]{64}: it has other bytes than were bundled \(bard:latest manifest\)"),
    "a byte too few": (first_blob(lambda n, c: [(n, c[:-1])]), r"blobs/[0-9a-f]{64}: it has \d+ bytes in place of \d+ \(bard"),
    "a missing file": (first_blob(lambda n, c: []), r"blobs/[0-9a-f]{64}: it is missing \(bard:latest manifest\)"),
    "a file twice": (first_blob(lambda n, c: [(n, c), (n, c)]), "does not list it, or it is there twice"),
    "another file": (first_blob(lambda n, c: [(n, c), ("blobs/other", b"x")]), "'blobs/other': synfire-bundle.json does not list it"),
    "a way out": (first_blob(lambda n, c: [("../../escaped", b"x"), (n, c)]), r"'\.\./\.\./escaped': synfire-bundle.json does not list it"),
    "an absolute way out": (first_blob(lambda n, c: [("/tmp/escaped", b"x"), (n, c)]), "'/tmp/escaped': synfire-bundle.json does not list it"),
    "contents of nothing": (contents_changed(models=1), "synfire-bundle.json: Expected `array`"),
    "another format": (contents_changed(format="x"), "is a bundle of the format 'x'"),
    "a later version": (contents_changed(version=2), "version 2, and synfire-models 1 is read"),
    "no blobs": (contents_changed(blobs=[]), "synfire-bundle.json does not list it"),
    "a blob that is no digest": (contents_changed(blobs=[{"sha256": "../../x", "size": 1}]), "does not list it"),
    "a manifest that is not there": (contents_changed(models=[{"name": "a", "kind": "weights", "manifest": "1" * 64}]), "the manifest of a is missing"),
    "a name that is none": (contents_changed(models=[{"name": "../a", "kind": "weights", "manifest": "1" * 64}]), "'../a' is no model name"),
    "an unknown kind": (contents_changed(models=[{"name": "a", "kind": "x", "manifest": "1" * 64}]), "is of the kind 'x'"),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_bundle_is_named_by_the_file_and_leaves_nothing_behind(
    file: Path, there: Into, tmp_path: Path, damage: str
) -> None:
    change, message = DAMAGES[damage]
    broken = rewritten(file, change, tmp_path / "broken.tar.zst")
    with pytest.raises(UserError, match=message):
        unbundle(broken, there)
    assert (names(there.store), left_behind(there.store)) == ([], [])
    assert not list(tmp_path.rglob("escaped"))
    assert not Path("/tmp/escaped").exists()
    unbundle(file, there)
    assert len(names(there.store)) == 3


def test_a_model_of_another_kind_than_said_is_refused(
    store: ModelStore, into: Into, there: Into, tmp_path: Path
) -> None:
    bundle(["net@1"], tmp_path / "net.tar.zst", into)

    def change(name: str, content: bytes) -> list[tuple[str, bytes]]:
        return [(name, content.replace(b'"kind": "graph"', b'"kind": "weights"') if name == CONTENTS else content)]

    with pytest.raises(UserError, match="net is not of the kind weights"):
        unbundle(rewritten(tmp_path / "net.tar.zst", change, tmp_path / "broken.tar.zst"), there)
    assert left_behind(there.store) == []


@given(cut=st.floats(0, 1, exclude_max=True))
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_bundle_that_is_cut_off_leaves_nothing_behind(small: Path, there: Into, tmp_path: Path, cut: float) -> None:
    whole = small.read_bytes()
    broken = tmp_path / "cut.tar.zst"
    broken.write_bytes(whole[: int(cut * (len(whole) - 20))])
    with pytest.raises(UserError, match=r"cut\.tar\.zst is (damaged|no bundle)"):
        unbundle(broken, there)
    assert (names(there.store), left_behind(there.store)) == ([], [])


@given(place=st.floats(0, 1, exclude_max=True), value=st.integers(1, 255))
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_flipped_byte_is_found_or_harms_nothing(
    small: Path, store: ModelStore, tmp_path: Path, place: float, value: int
) -> None:
    content = bytearray(small.read_bytes())
    content[int(place * len(content))] ^= value
    broken = tmp_path / "flipped.tar.zst"
    broken.write_bytes(content)
    into = Into(ModelStore(tmp_path / f"there-{os.urandom(8).hex()}"), client=httpx.Client())
    try:
        unbundle(broken, into)
    except UserError:
        assert (names(into.store), left_behind(into.store)) == ([], [])
    else:
        assert resolve("bard", into.store).digest == resolve("bard", store).digest
        resolve("bard", into.store).verify()


def test_a_name_that_was_changed_on_the_way_is_noticed(
    store: ModelStore, into: Into, there: Into, tmp_path: Path
) -> None:
    """Of an unsigned bundle, too: what is packed ends with a checksum over all of it."""
    bundle(["bard"], tmp_path / "small.tar.zst", into)
    whole = (tmp_path / "small.tar.zst").read_bytes()
    changed = archive.zstd.decompress(whole).replace(b"bard:latest", b"bart:latest")
    with archive.zstd.ZstdFile(
        tmp_path / "packed", "w", options={archive.zstd.CompressionParameter.checksum_flag: 1}
    ) as packed:
        packed.write(changed)
    (tmp_path / "changed.tar.zst").write_bytes((tmp_path / "packed").read_bytes()[:-4] + whole[-4:])
    with pytest.raises(UserError, match=r"changed\.tar\.zst is damaged.*checksum"):
        unbundle(tmp_path / "changed.tar.zst", there)
    assert (names(there.store), left_behind(there.store)) == ([], [])


def test_nothing_comes_after_the_end(small: Path, there: Into, tmp_path: Path) -> None:
    small.write_bytes(small.read_bytes() * 2)
    with pytest.raises(UserError, match="its end: more comes after it"):
        unbundle(small, there)
    assert left_behind(there.store) == []


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.CHRTYPE, b"x", b"L"])
def test_nothing_but_plain_files_is_taken(there: Into, tmp_path: Path, kind: bytes) -> None:
    """A header may say that what follows is of any length: such ones are not even read."""
    member = tarfile.TarInfo("blobs/link")
    member.type, member.linkname, member.size = kind, "/etc/passwd", 2**40 if kind in b"xL" else 0
    broken = tmp_path / "broken.tar.zst"
    with archive.zstd.ZstdFile(broken, "w") as packed:
        packed.write(member.tobuf(tarfile.GNU_FORMAT)[:512])
        packed.write(bytes(4096))
    with pytest.raises(UserError, match="'blobs/link': it is no plain file"):
        unbundle(broken, there)


@pytest.mark.parametrize("content", [b"", b"no bundle", b"PK\3\4" + bytes(100)])
def test_a_file_that_is_no_bundle_is_named(there: Into, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(UserError, match=r"x is (damaged|no bundle)"):
        unbundle(tmp_path / "x", there)


def test_contents_without_end_are_not_read(there: Into, tmp_path: Path) -> None:
    member = tarfile.TarInfo(CONTENTS)
    member.size = 2**40
    with archive.zstd.ZstdFile(tmp_path / "x", "w") as packed:
        packed.write(member.tobuf(tarfile.GNU_FORMAT))
        packed.write(bytes(4096))
    with pytest.raises(UserError, match=r"synfire-bundle.json: it has 1099511627776 bytes, and \d+ is the most"):
        unbundle(tmp_path / "x", there)


def test_too_little_room_is_said_before_anything_is_unpacked(
    file: Path, there: Into, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.statvfs(file.parent)
    small = os.statvfs_result((*real[:4], 0, *real[5:]))
    monkeypatch.setattr("synfire.hub.bundles.os.statvfs", lambda _: small)
    with pytest.raises(TemporaryError, match=r"takes \d+ bytes, and 0 are free.*free some"):
        unbundle(file, there)


def test_what_a_killed_unbundling_left_goes_with_the_next_one(file: Path, there: Into) -> None:
    waste = there.store.home / "unbundling" / "ab" / "cd"
    waste.parent.mkdir(parents=True)
    waste.write_bytes(b"half a blob")
    unbundle(file, there)
    assert not (there.store.home / "unbundling").exists()


@pytest.fixture(params=["ssh", "pem"])
def keys(tmp_path: Path, request: pytest.FixtureRequest) -> tuple[Path, Path]:
    """A pair of keys, private and public."""
    return pair(tmp_path / "key", request.param)


def pair(private: Path, kind: str = "ssh") -> tuple[Path, Path]:
    from cryptography.hazmat.primitives import serialization as to
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    made, public = Ed25519PrivateKey.generate(), private.with_suffix(".pub")
    format_, encoding, own = (
        (to.PrivateFormat.OpenSSH, to.Encoding.OpenSSH, to.PublicFormat.OpenSSH)
        if kind == "ssh"
        else (to.PrivateFormat.PKCS8, to.Encoding.PEM, to.PublicFormat.SubjectPublicKeyInfo)
    )
    private.write_bytes(made.private_bytes(to.Encoding.PEM, format_, to.NoEncryption()))
    public.write_bytes(made.public_key().public_bytes(encoding, own))
    return private, public


def test_a_signed_bundle_is_taken_by_who_trusts_its_key(
    store: ModelStore, into: Into, there: Into, tmp_path: Path, keys: tuple[Path, Path]
) -> None:
    private, public = keys
    made = bundle(["bard"], tmp_path / "signed.tar.zst", into, key=private)
    found = unbundle(tmp_path / "signed.tar.zst", there, trusted=public)
    assert found.signer == made.signer
    assert found.signer.startswith("SHA256:")


def test_its_fingerprint_is_that_of_ssh_keygen(store: ModelStore, into: Into, tmp_path: Path) -> None:
    private, public = pair(tmp_path / "key")
    private.chmod(0o600)
    try:
        said = subprocess.run(["ssh-keygen", "-lf", str(public)], capture_output=True, text=True, check=True).stdout
    except FileNotFoundError:
        pytest.skip("ssh-keygen is not installed")
    assert bundle(["bard"], tmp_path / "s.tar.zst", into, key=private).signer == said.split()[1]


def test_a_bundle_signed_by_another_key_is_refused(
    store: ModelStore, into: Into, there: Into, tmp_path: Path, keys: tuple[Path, Path]
) -> None:
    bundle(["bard"], tmp_path / "signed.tar.zst", into, key=keys[0])
    _, other = pair(tmp_path / "other")
    with pytest.raises(UserError, match=r"is signed by the key SHA256:.*, and not by that in .*other\.pub"):
        unbundle(tmp_path / "signed.tar.zst", there, trusted=other)
    assert (names(there.store), left_behind(there.store)) == ([], [])


def test_a_bundle_that_is_not_signed_is_refused_by_who_trusts_a_key(file: Path, there: Into, tmp_path: Path) -> None:
    _, public = pair(tmp_path / "key")
    with pytest.raises(UserError, match=r"is not signed, and .* was to have signed it"):
        unbundle(file, there, trusted=public)


def test_a_changed_bundle_loses_its_signature(store: ModelStore, into: Into, there: Into, tmp_path: Path) -> None:
    private, _ = pair(tmp_path / "key")
    bundle(["bard"], tmp_path / "signed.tar.zst", into, key=private)
    renamed = rewritten(
        tmp_path / "signed.tar.zst",
        lambda name, content: [
            (name, content.replace(b"bard:latest", b"bart:latest") if name == CONTENTS else content)
        ],
        tmp_path / "renamed.tar.zst",
    )
    with pytest.raises(UserError, match="the bundle is not what was signed"):
        unbundle(renamed, there)
    cut = rewritten(
        tmp_path / "signed.tar.zst",
        lambda name, content: [(name, content[:-4] if name == SIGNATURE else content)],
        tmp_path / "cut.tar.zst",
    )
    with pytest.raises(UserError, match="the bundle's signature is damaged"):
        unbundle(cut, there)
    assert left_behind(there.store) == []


@pytest.mark.parametrize(
    "content", [b"", b"no key", b"-----BEGIN OPENSSH PRIVATE KEY-----\nxx\n-----END OPENSSH PRIVATE KEY-----\n"]
)
def test_a_file_that_holds_no_key_is_named_with_the_cure(
    store: ModelStore, into: Into, tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "key").write_bytes(content)
    with pytest.raises(UserError, match=r"holds no private key that can be read.*ssh-keygen -t ed25519"):
        bundle(["bard"], tmp_path / "x.tar.zst", into, key=tmp_path / "key")
    assert not (tmp_path / "x.tar.zst").exists()
