"""A bundle gives back the graph that was written, or says where it is damaged."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from synfire.base.errors import PermanentError, UserError
from synfire.formats import load, read_bundle, write_bundle
from synfire.formats.bundle import store_graph, stored_graph
from synfire.graph import Graph, Synapse, reference
from synfire.ops import Clock, Kind, Signal
from synfire.ops.add import Add
from synfire.ops.constant_current import ConstantCurrent
from synfire.ops.lif import LIF
from synfire.ops.linear import Linear
from synfire.ops.lookup import Lookup
from synfire.ops.mean_rate import MeanRate
from synfire.ops.reshape import Reshape
from synfire.ops.sparse_constant import SparseConstant
from synfire.store import BlobStore


def model(seed: int = 0) -> Graph:
    """A recurrent net with a nested graph, tensors that are equal, and metadata."""
    rng = np.random.default_rng(seed)
    inner = Graph(
        {"fc": Linear(rng.normal(size=(3, 3)).astype(np.float32), np.zeros(3, np.float32)), "lif": LIF(tau=1.7)},
        (Synapse("x", "fc"), Synapse("fc", "lif")),
        {"x": Signal((3,))},
        {"y": "lif"},
        {"note": "inner"},
    )
    outer = {
        "encoder": ConstantCurrent(3),
        "front.0": Linear(np.eye(3, dtype=np.float32), np.zeros(3, np.float32)),
        "sum": Add(),
        "block": inner,
        "readout": MeanRate(),
    }
    synapses = (
        Synapse("image", "encoder"), Synapse("encoder", "front.0"), Synapse("front.0", "sum", 0),
        Synapse("block", "sum", 1, 1), Synapse("sum", "block"), Synapse("block", "readout"),
    )  # fmt: skip
    metadata = {"labels": ["a", "ü"], "accuracy": 0.1 + 0.2, "steps": 3, "nothing": None}
    return Graph(outer, synapses, {"image": Signal((3,), Kind.VALUE, Clock.REQUEST)}, {"rate": "readout"}, metadata)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    write_bundle(model(), tmp_path / "net")
    return tmp_path / "net"


def same(a: Graph, b: Graph) -> None:
    assert a.content_digest() == b.content_digest()
    assert a.structural_digest() == b.structural_digest()
    assert (list(a.operators), a.synapses, dict(a.inputs), dict(a.outputs)) == (
        list(b.operators), b.synapses, dict(b.inputs), dict(b.outputs),
    )  # fmt: skip
    assert a.metadata == b.metadata


def test_a_graph_comes_back_with_its_digests_and_answers(bundle: Path) -> None:
    same(model(), read_bundle(bundle))
    x = {"image": np.random.default_rng(1).random((2, 3), np.float32)}
    assert np.array_equal(reference.run(read_bundle(bundle), x)["rate"], reference.run(model(), x)["rate"])


def test_writing_the_same_graph_gives_the_same_bytes(bundle: Path, tmp_path: Path) -> None:
    write_bundle(read_bundle(bundle), tmp_path / "again")
    for name in ("graph.json", "tensors.safetensors"):
        assert (bundle / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def test_equal_tensors_are_stored_once(bundle: Path) -> None:
    manifest = json.loads((bundle / "graph.json").read_text())
    operators = manifest["graph"]["operators"]
    nested = operators["block"]["graph"]["operators"]["fc"]["tensors"]
    assert nested["bias"] == operators["front.0"]["tensors"]["bias"] == "front.0/bias"
    assert sorted(manifest["tensors"]) == ["block.fc/weight", "front.0/bias", "front.0/weight"]


def test_whole_numbers_are_stored_narrow_and_read_wide(tmp_path: Path) -> None:
    dense = np.zeros((3, 400), np.float32)
    dense[1, 399] = 2.5
    operators = {"words": SparseConstant.of(dense), "row": Reshape((1200,))}
    graph = Graph(
        operators, (Synapse("x", "words"), Synapse("words", "row")),
        {"x": Signal((), Kind.INDEX, Clock.REQUEST)}, {"y": "row"},
    )  # fmt: skip
    write_bundle(graph, tmp_path / "net")
    records = json.loads((tmp_path / "net" / "graph.json").read_text())["tensors"]
    assert (records["words/columns"]["dtype"], records["words/indptr"]["dtype"]) == ("uint16", "uint8")
    same(graph, read_bundle(tmp_path / "net"))


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_one_flipped_byte_anywhere_is_told(bundle: Path, data: st.DataObject) -> None:
    file = bundle / data.draw(st.sampled_from(["graph.json", "tensors.safetensors"]))
    intact = file.read_bytes()
    at = data.draw(st.integers(0, len(intact) - 1))
    damaged = bytearray(intact)
    damaged[at] ^= data.draw(st.integers(1, 255))
    file.write_bytes(damaged)
    try:
        with pytest.raises((UserError, PermanentError), match=file.name):
            read_bundle(bundle)
    finally:
        file.write_bytes(intact)


def test_a_flipped_weight_names_its_tensor(bundle: Path) -> None:
    file = bundle / "tensors.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(
        PermanentError, match=r"tensors\.safetensors is damaged: the tensor '.*/weight'.*copy the bundle again"
    ):
        read_bundle(bundle)


def test_an_edited_field_names_its_section(bundle: Path) -> None:
    edited(bundle, lambda manifest: manifest["graph"]["operators"]["readout"].update(kind="SpikeCount"))
    with pytest.raises(
        UserError, match=r"graph\.json is not what was written: section graph\.operators.*write the bundle again"
    ):
        read_bundle(bundle)


def edited(bundle: Path, change: Any) -> None:
    """Change the manifest in the file's own layout, leaving its digests."""
    from synfire.formats.manifest import _lines

    manifest = json.loads((bundle / "graph.json").read_text())
    change(manifest)
    (bundle / "graph.json").write_text(_lines(manifest, 3) + "\n")


def forged(bundle: Path, change: Any) -> None:
    """Change the manifest and its digests, as another program could."""
    from synfire.formats import manifest as module

    edited(bundle, change)
    import msgspec

    raw = msgspec.convert(json.loads((bundle / "graph.json").read_text()), module.Manifest)
    whole = msgspec.structs.replace(raw, digests=module._digests(raw))
    (bundle / "graph.json").write_bytes(module.encode(whole))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda m: m["graph"]["operators"]["readout"].update(kind="Telepathy"),
            "'readout'.*no operator kind named 'Telepathy'",
        ),
        (lambda m: m["graph"]["operators"]["encoder"]["attributes"].update(speed=1), "'encoder'.*no field.*speed"),
        (lambda m: m["graph"]["operators"]["encoder"].pop("attributes"), "'encoder'.*cannot be built"),
        (
            lambda m: m["graph"]["operators"]["front.0"]["tensors"].update(weight="gone"),
            "'front.0'.*missing tensor 'gone'",
        ),
        (lambda m: m["graph"]["synapses"].append({"source": "ghost", "target": "sum", "port": 2}), "'ghost'.*dangles"),
        (lambda m: m["graph"]["outputs"].update(rate="ghost"), "'ghost'.*dangles"),
        (
            lambda m: m["graph"]["operators"]["block"]["graph"]["outputs"].update(y="ghost"),
            "nested graph 'block'.*ghost",
        ),
    ],
)
def test_a_manifest_that_means_nothing_is_refused_by_place(bundle: Path, change: Any, message: str) -> None:
    forged(bundle, change)
    with pytest.raises(UserError, match=message):
        read_bundle(bundle)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.update(version=2), "schema version 2.*reads version 1"),
        (lambda m: m.update(format="onnx"), "no synfire bundle"),
        (lambda m: m.update(extra=1), "does not follow version 1.*extra"),
        (lambda m: m["graph"].pop("outputs"), r"does not follow version 1.*outputs.*\$\.graph"),
        (lambda m: m["graph"]["inputs"]["image"].update(kind="smell"), r"smell.*\$\.graph\.inputs"),
    ],
)
def test_another_schema_is_told_apart_from_damage(bundle: Path, change: Any, message: str) -> None:
    edited(bundle, change)
    with pytest.raises(UserError, match=message):
        read_bundle(bundle)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b"[" * 100_000, b'{"format": NaN}'])
def test_what_is_not_a_manifest_is_refused(bundle: Path, content: bytes) -> None:
    (bundle / "graph.json").write_bytes(content)
    with pytest.raises(UserError, match=r"graph\.json"):
        read_bundle(bundle)


def test_a_tensor_file_with_more_or_fewer_tensors_is_damaged(bundle: Path) -> None:
    from safetensors.numpy import load_file, save_file

    file = bundle / "tensors.safetensors"
    tensors = load_file(file)
    save_file({**tensors, "smuggled": np.zeros(2, np.float32)}, file)
    with pytest.raises(PermanentError, match="'smuggled'"):
        read_bundle(bundle)
    save_file({name: array for name, array in tensors.items() if name != "front.0/bias"}, file)
    with pytest.raises(PermanentError, match=r"'front\.0/bias' is missing"):
        read_bundle(bundle)


def test_files_that_do_not_belong_are_refused_and_cards_are_not(bundle: Path) -> None:
    (bundle / "card.md").write_text("# net")
    read_bundle(bundle)
    (bundle / "run.sh").write_text("echo")
    with pytest.raises(UserError, match=r"run\.sh, which is no part of a bundle"):
        read_bundle(bundle)


def test_links_out_of_a_bundle_are_refused(bundle: Path, tmp_path: Path) -> None:
    (bundle / "tensors.safetensors").rename(tmp_path / "elsewhere")
    os.symlink(tmp_path / "elsewhere", bundle / "tensors.safetensors")
    with pytest.raises(UserError, match=r"tensors\.safetensors is a link"):
        read_bundle(bundle)


@pytest.mark.parametrize("name", ["graph.json", "tensors.safetensors"])
def test_half_a_bundle_is_told(bundle: Path, name: str) -> None:
    (bundle / name).unlink()
    with pytest.raises(UserError, match=f"holds no {name}"):
        read_bundle(bundle)


def test_a_bundle_is_not_overwritten_unasked_and_nothing_else_ever_is(bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="exists; choose another path"):
        write_bundle(model(1), bundle)
    same(model(), read_bundle(bundle))
    (bundle / "card.md").write_text("# net")
    write_bundle(model(1), bundle, overwrite=True)
    same(model(1), read_bundle(bundle))
    assert (bundle / "card.md").read_text() == "# net"
    (tmp_path / "diary").mkdir()
    (tmp_path / "diary" / "monday.txt").write_text("dear diary")
    with pytest.raises(UserError, match="is no bundle"):
        write_bundle(model(), tmp_path / "diary", overwrite=True)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["diary", "net"]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1: "a"}, object(), np.float32(1)])
def test_metadata_that_json_cannot_hold_is_refused_by_place(tmp_path: Path, value: object) -> None:
    graph = replace(model(), metadata={"card": {"x": value}})
    with pytest.raises(UserError, match=r"metadata\.card\.x"):
        write_bundle(graph, tmp_path / "net")
    assert list(tmp_path.iterdir()) == []


def test_the_store_keeps_a_graph_by_digest_and_shares_tensors(tmp_path: Path) -> None:
    blobs = BlobStore(tmp_path)
    digest = store_graph(model(), blobs)
    same(model(), stored_graph(digest, blobs))
    before = len(list(blobs))
    assert store_graph(model(), blobs) == digest
    tuned = replace(model(), operators={**model().operators, "front.0": Linear(np.eye(3, dtype=np.float32) * 2, np.zeros(3, np.float32))})  # fmt: skip
    store_graph(tuned, blobs)
    assert len(list(blobs)) == before + 2  # its manifest and the one tensor that differs


def test_loading_recognises_a_bundle_and_names_wrong_options(bundle: Path) -> None:
    same(model(), load(bundle))
    with pytest.raises(UserError, match=r"read as bundle, which has no option dt_s"):
        load(bundle, dt_s=1e-3)


def test_loading_refuses_pickles_with_the_way_round(tmp_path: Path) -> None:
    for suffix in (".pt", ".pth", ".pkl", ".ckpt"):
        file = tmp_path / f"net{suffix}"
        file.write_bytes(b"\x80\x04cposix\nsystem\n")
        with pytest.raises(UserError, match=r"never loads one.*from_module"):
            load(file)


def test_loading_what_nobody_knows_says_what_was_tried(tmp_path: Path) -> None:
    (tmp_path / "net.xyz").write_text("?")
    with pytest.raises(
        UserError, match=r"in no format that synfire knows; tried: bundle \(a folder with graph\.json\).*nir"
    ):
        load(tmp_path / "net.xyz")
    with pytest.raises(UserError, match="there is no file or folder"):
        load(tmp_path / "absent")


def test_a_lookup_keeps_its_table(tmp_path: Path) -> None:
    table = np.random.default_rng(0).normal(size=(4, 2)).astype(np.float32)
    graph = Graph({"t": Lookup(table)}, (Synapse("i", "t"),), {"i": Signal((), Kind.INDEX, Clock.REQUEST)}, {"y": "t"})
    write_bundle(graph, tmp_path / "net")
    read = read_bundle(tmp_path / "net").operators["t"]
    assert isinstance(read, Lookup)
    assert np.array_equal(read.table, table)
