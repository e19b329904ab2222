"""A model in several files is served from its first, as it would be from one."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from synfire.base.errors import UserError
from synfire.engines import ENGINES
from synfire.formats.gguf import MAGIC, read_gguf
from synfire.graph import Graph
from synfire.ops.language_model import Generation, LanguageModel, as_array, read_pieces
from synfire.plan.plan import stage_graph
from synfire.zoo import find


def split(file: Path, folder: Path, count: int) -> Path:
    """The first of `count` files that hold a model's tensors between them, as llama.cpp's `gguf-split` makes them."""
    folder.mkdir()
    found, content = read_gguf(file), file.read_bytes()
    kept = [content[span.start : span.end] for span in found.pairs.values()]
    each = -(-len(found.tensors) // count)
    for number in range(count):
        tensors = found.tensors[number * each : (number + 1) * each]
        pairs = [
            _pair("split.no", 2, struct.pack("<H", number)),
            _pair("split.count", 2, struct.pack("<H", count)),
            _pair("split.tensors.count", 5, struct.pack("<i", len(found.tensors))),
            *(kept if not number else ()),
        ]
        infos, data = b"", b""
        for tensor in tensors:
            name = tensor.name.encode()
            infos += struct.pack("<Q", len(name)) + name + struct.pack("<I", len(tensor.shape))
            infos += struct.pack(f"<{len(tensor.shape)}QIQ", *tensor.shape, tensor.type.number, len(data))
            data += content[tensor.offset : tensor.offset + tensor.bytes] + bytes(-tensor.bytes % 32)
        head = MAGIC + struct.pack("<IQQ", found.version, len(tensors), len(pairs)) + b"".join(pairs) + infos
        place = folder / f"tiny-{number + 1:05}-of-{count:05}.gguf"
        place.write_bytes(head + bytes(-len(head) % 32) + data)
    return folder / f"tiny-00001-of-{count:05}.gguf"


def _pair(key: str, kind: int, value: bytes) -> bytes:
    return struct.pack("<Q", len(key)) + key.encode() + struct.pack("<I", kind) + value


def answer(graph: Graph) -> str:
    program = ENGINES["llama.cpp"].installed().build(stage_graph(graph, graph.order()))
    (name,), (output,) = graph.inputs, program.outputs
    wanted = Generation("the king", max_tokens=12, temperature=0, ignore_eos=True)
    try:
        _, found = program.run({}, {name: as_array(wanted, 1)}, 1)
    finally:
        program.rest()
    return "".join(each.text for each in read_pieces(found[output]))


def test_all_parts_are_the_model(tiny: Path, tmp_path: Path) -> None:
    found, whole = find(str(split(tiny, tmp_path / "parts", 3))), find(str(tiny))
    (model,), (one,) = found.graph.operators.values(), whole.graph.operators.values()
    assert isinstance(model, LanguageModel)
    assert isinstance(one, LanguageModel)
    assert found.name == "tiny"
    assert [name for name, _ in model.weights] == [f"tiny-0000{n}-of-00003.gguf" for n in (1, 2, 3)]
    assert model.weight_bytes == sum(each.stat().st_size for each in (tmp_path / "parts").iterdir())
    cards = found.graph.metadata["language"], whole.graph.metadata["language"]
    assert cards[0] == cards[1]


@pytest.mark.slow
def test_llama_cpp_answers_from_parts_as_from_the_whole(tiny: Path, tmp_path: Path) -> None:
    pytest.importorskip("xllamacpp", reason="needs the extra `llama`")
    assert answer(find(str(split(tiny, tmp_path / "parts", 3))).graph) == answer(find(str(tiny)).graph)


def test_missing_parts_and_others_than_the_first_are_named(tiny: Path, tmp_path: Path) -> None:
    first = split(tiny, tmp_path / "parts", 3)
    with pytest.raises(UserError, match="is part 2 of 3; name the first one"):
        find(str(first.with_name("tiny-00002-of-00003.gguf")))
    renamed = first.rename(first.with_name("renamed.gguf"))
    with pytest.raises(UserError, match="the names do not tell the others"):
        find(str(renamed))
    renamed.rename(first)
    first.with_name("tiny-00003-of-00003.gguf").unlink()
    with pytest.raises(UserError, match=r"of which tiny-00003-of-00003\.gguf are not beside it"):
        find(str(first))
