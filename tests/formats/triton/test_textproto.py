"""Protocol buffers as text are read as protobuf reads them, and what cannot be read is told with its line."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf import struct_pb2, text_format
from hypothesis import given
from hypothesis import strategies as st

from synfire.base.errors import UserError
from synfire.formats.triton.textproto import Block, parse


def plain(block: Block) -> list[tuple[str, Any]]:
    return [(each.name, plain(each.value) if isinstance(each.value, Block) else each.value) for each in block.fields]


def test_every_way_of_writing_a_field_is_read() -> None:
    text = """
    # a comment
    name: "a" 'b'   # texts behind each other are one
    size: -3, hex: 0x1F; half: 1.5e-1f
    kind: KIND_CPU, on: true
    block { inner: 1 }
    block: < inner: 2 >
    list: [ 1, 2 ]
    blocks [ { x: "\\n\\"" }, { x: "\\303\\237" } ]
    empty: []
    """
    assert plain(parse(text, "it")) == [
        ("name", "ab"),
        ("size", -3),
        ("hex", 31),
        ("half", 0.15),
        ("kind", "KIND_CPU"),
        ("on", "true"),
        ("block", [("inner", 1)]),
        ("block", [("inner", 2)]),
        ("list", 1),
        ("list", 2),
        ("blocks", [("x", '\n"')]),
        ("blocks", [("x", "ß")]),
    ]


def test_each_field_has_its_line() -> None:
    block = parse('a: 1\n\nb {\n  c: "x"\n  d: [ 1,\n 2 ] }\n', "it")
    assert [(each.name, each.line) for each in block.fields] == [("a", 1), ("b", 3)]
    (found,) = block.all("b")
    assert isinstance(found.value, Block)
    assert [(each.name, each.line) for each in found.value.fields] == [("c", 4), ("d", 5), ("d", 5)]


values = st.recursive(
    st.one_of(st.text(), st.floats(allow_nan=False, allow_infinity=False), st.booleans()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(), inner, max_size=3)),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), values, max_size=3))
def test_what_protobuf_writes_is_read(content: dict[str, Any]) -> None:
    struct = struct_pb2.Struct()
    struct.update(content)
    for as_one_line in (False, True):
        found = parse(text_format.MessageToString(struct, as_one_line=as_one_line), "it")
        assert {_text(each, "key"): _value(_block(each, "value")) for each in map(_of, found.all("fields"))} == content


def _of(found: Any) -> Block:
    assert isinstance(found.value, Block)
    return found.value


def _text(block: Block, name: str) -> str:
    return "".join(str(each.value) for each in block.all(name))


def _block(block: Block, name: str) -> Block:
    return _of(block.all(name)[0])


def _value(block: Block) -> Any:
    (found,) = block.fields
    if found.name == "struct_value":
        return {_text(each, "key"): _value(_block(each, "value")) for each in map(_of, _of(found).all("fields"))}
    if found.name == "list_value":
        return [_value(_of(each)) for each in _of(found).all("values")]
    return found.value == "true" if found.name == "bool_value" else found.value


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: 1\nb: }", "it, line 2: a value should be here, and there is '}'"),
        ("a { b: 1", "it, line 1: a field's name, or '}' should be here, and there is the end"),
        ("a\n1", "it, line 2: ':' or '{' should be here, and there is '1'"),
        ("a: 1\n?", "it, line 2: '\\?' cannot be read; the file is no text of a protocol buffer"),
        ('a: "x', "it, line 1: .* cannot be read"),
        ("a: [1 2]", "it, line 1: ',' or '\\]' should be here, and there is '2'"),
        ('a: "\\x"', "it, line 1: a text without a broken escape should be here"),
        ("a {" * 50, "it, line 1: a field at most 32 deep should be here"),
    ],
)
def test_what_cannot_be_read_is_told_with_its_line(text: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        parse(text, "it")
