"""The Open Inference Protocol's tensors: exact both ways, strict about what they say."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from synfire.base.errors import UserError
from synfire.wire.oip import (
    DATATYPES,
    InferResponse,
    build_infer_request,
    build_infer_response,
    datatype_of,
    parse_infer_request,
    parse_infer_response,
)

SHAPES = hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=5)
NUMBERS = st.sampled_from(sorted(set(DATATYPES) - {"BYTES"})).flatmap(
    lambda name: hnp.arrays(
        DATATYPES[name],
        SHAPES,
        elements={"allow_nan": False, "allow_infinity": False} if name.startswith("FP") else None,
    )
)


def tensor(**changes):
    return {"name": "x", "shape": [2], "datatype": "FP32", "data": [1, 2], **changes}


def body(*inputs, **more):
    return json.dumps({"inputs": list(inputs), **more}).encode()


@given(NUMBERS, st.booleans())
@example(np.array([0, 2**63 + 1], np.uint64), False)
def test_numbers_survive_a_request(array, binary):
    request = parse_infer_request(*build_infer_request({"x": array}, binary=binary, id="7"))
    got = request.inputs["x"]
    assert (got.dtype, got.shape, got.tobytes()) == (array.dtype, array.shape, array.tobytes())
    assert request.id == "7"
    assert request.wants_binary("y") is binary


@given(NUMBERS, st.booleans())
def test_numbers_survive_an_answer(array, binary):
    answer = InferResponse("m", {"y": array, "z": np.arange(3)}, "7", "2")
    got = parse_infer_response(*build_infer_response(answer, ["y"] if binary else []))
    assert (got.model_name, got.id, got.model_version) == ("m", "7", "2")
    assert got.outputs["y"].tobytes() == array.tobytes()
    assert got.outputs["z"].tolist() == [0, 1, 2]


@given(st.lists(st.binary(max_size=9), max_size=5))
def test_bytes_survive_in_binary(elements):
    array = np.empty(len(elements), object)
    array[:] = elements
    got = parse_infer_request(*build_infer_request({"x": array})).inputs["x"]
    assert got.tolist() == elements


def test_text_and_base64_are_bytes_in_json():
    request = body(
        tensor(datatype="BYTES", data=["a", "é"]),
        tensor(name="y", datatype="BYTES", data=["AAE=", ""], parameters={"content_type": "base64"}),
    )
    inputs = parse_infer_request(request).inputs
    assert inputs["x"].tolist() == [b"a", "é".encode()]
    assert inputs["y"].tolist() == [b"\0\1", b""]


def test_nested_and_flat_lists_are_the_same():
    flat = parse_infer_request(body(tensor(shape=[2, 2], data=[1, 2, 3, 4]))).inputs["x"]
    nested = parse_infer_request(body(tensor(shape=[2, 2], data=[[1, 2], [3, 4]]))).inputs["x"]
    assert flat.tolist() == nested.tolist() == [[1, 2], [3, 4]]


def test_each_output_says_how_it_travels():
    request = parse_infer_request(
        body(
            tensor(),
            parameters={"binary_data_output": True},
            outputs=[{"name": "a"}, {"name": "b", "parameters": {"binary_data": False}}],
        )
    )
    assert [request.wants_binary(each.name) for each in request.outputs] == [True, False]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "not an Open Inference Protocol"),
        (b"{", "not an Open Inference Protocol"),
        (b"[1]", "not an Open Inference Protocol"),
        (b"[" * 100_000, "not an Open Inference Protocol"),
        (b"\xff\xfe{}", "not an Open Inference Protocol"),
        (b'{"inputs": []}', "no inputs"),
        (body(tensor(), tensor()), "name each tensor once"),
        (body(tensor(data=[1, "a"])), "plain numbers"),
        (body(tensor(data=[[1], [2, 3]])), "ragged"),
        (body(tensor(data=[1])), "takes 2 numbers"),
        (body(tensor(shape=[-2])), "no dimension is below 0"),
        (body(tensor(shape=[1 << 70, 0], data=[1])), "no tensor can have"),
        (body(tensor(datatype="FP99")), "choose one of"),
        (body(tensor(datatype="UINT8", data=[1, 256])), "does not fit into UINT8"),
        (body(tensor(datatype="INT64", data=[1, 1 << 80])), "plain numbers"),
        (body(tensor(datatype="INT32", data=[1, 1.5])), "plain numbers"),
        (body(tensor(datatype="BOOL", data=[0, 2])), "true and false"),
        (body(tensor(datatype="BYTES", data=[1, 2])), "takes 2 strings"),
        (body(tensor(datatype="BYTES", data=["=", "a"], parameters={"content_type": "base64"})), "base64"),
        (body({"name": "x", "shape": [2], "datatype": "FP32"}), "neither data nor binary_data_size"),
        (body(tensor(extra=1)), "unknown field `extra`"),
        (body(tensor(), parameters={"binary_data_output": 1}), "takes true or false"),
        (body(tensor(parameters={"binary_data_size": 8})), "was the body cut off"),
        (body(tensor(parameters={"binary_data_size": True})), "was the body cut off"),
    ],
)
def test_bad_request_is_refused_with_its_cure(data, words):
    with pytest.raises(UserError, match=words):
        parse_infer_request(data)


@pytest.mark.parametrize("cut", [1, 7, 8])
def test_cut_off_binary_is_refused(cut):
    data, length = build_infer_request({"x": np.ones(2, np.float32)})
    with pytest.raises(UserError, match="cut off"):
        parse_infer_request(data[:-cut], length)


def test_left_over_bytes_are_refused():
    data, length = build_infer_request({"x": np.ones(2, np.float32)})
    with pytest.raises(UserError, match="4 bytes are left over"):
        parse_infer_request(data + b"1234", length)


def test_header_longer_than_the_body_is_refused():
    with pytest.raises(UserError, match="cut off"):
        parse_infer_request(b"{}", 3)


def test_raw_boolean_is_0_or_1():
    data, length = build_infer_request({"x": np.ones(2, np.bool_)})
    with pytest.raises(UserError, match="0 or 1"):
        parse_infer_request(data[:-1] + b"\x02", length)


def test_raw_bytes_elements_fill_their_tensor():
    array = np.array([b"abc"], object)
    data, length = build_infer_request({"x": array})
    with pytest.raises(UserError, match="4-byte little-endian length"):
        parse_infer_request(data.replace(b"\x03\x00\x00\x00abc", b"\x09\x00\x00\x00abc"), length)


def test_what_json_cannot_carry_asks_for_binary():
    with pytest.raises(UserError, match="binary_data true"):
        build_infer_response(InferResponse("m", {"y": np.array([np.nan], np.float32)}))
    with pytest.raises(UserError, match="binary_data true"):
        build_infer_response(InferResponse("m", {"y": np.array([b"\xff"], object)}))


def test_dtype_without_a_name_is_refused():
    with pytest.raises(UserError, match="no datatype for complex64"):
        datatype_of(np.dtype(np.complex64))


@pytest.mark.parametrize("unknown", ["hex", "image/png", 64])
def test_an_unknown_content_type_is_refused(unknown):
    tensor = {"name": "x", "shape": [1], "datatype": "BYTES", "data": ["00ff"], "parameters": {"content_type": unknown}}
    with pytest.raises(UserError, match=r"input 'x': content_type is .* a file in JSON is 'base64', and text has none"):
        parse_infer_request(json.dumps({"inputs": [tensor]}).encode())
