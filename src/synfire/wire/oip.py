"""The tensors of the Open Inference Protocol v2: JSON and the binary extension, both ways, without HTTP.

A body is JSON, or JSON followed by raw little-endian tensors in the order in which the JSON names them; then the header
`Inference-Header-Content-Length` gives the length of the JSON. Specification: https://github.com/kserve/open-inference-protocol
and Triton's `extension_binary_data.md`. Everything here is pure; every error is a `UserError` that names the tensor.
"""

from __future__ import annotations

import base64
import binascii
import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from synfire.base.errors import UserError
from synfire.ops import Array

HEADER_LENGTH = "Inference-Header-Content-Length"
"""The HTTP header that says how many bytes of the body are JSON."""

DATATYPES: Mapping[str, np.dtype[Any]] = {
    "BOOL": np.dtype(np.bool_),
    **{f"UINT{8 * size}": np.dtype(f"<u{size}") for size in (1, 2, 4, 8)},
    **{f"INT{8 * size}": np.dtype(f"<i{size}") for size in (1, 2, 4, 8)},
    **{f"FP{8 * size}": np.dtype(f"<f{size}") for size in (2, 4, 8)},
    "BYTES": np.dtype(object),
}
"""The protocol's datatypes. BYTES is an object array of `bytes`."""

_NAMES = {dtype: name for name, dtype in DATATYPES.items()}
_LENGTH = struct.Struct("<I")
_MOST_DIMENSIONS, _MOST_NUMBERS = 64, 2**56  # beyond these numpy has no array, not even an empty one


def datatype_of(dtype: np.dtype[Any]) -> str:
    """The protocol's name of a numpy dtype. Raises `UserError` for one that it has no name for."""
    if dtype not in _NAMES:
        raise UserError(f"the Open Inference Protocol has no datatype for {dtype}; it has {', '.join(DATATYPES)}")
    return _NAMES[dtype]


class RequestedOutput(msgspec.Struct, frozen=True):
    """One entry of a request's `outputs`; `binary` is None where the client left the choice to the request."""

    name: str
    binary: bool | None = None
    parameters: Mapping[str, Any] = {}


class InferRequest(msgspec.Struct, frozen=True):
    """What an infer body says. An empty `outputs` asks for all of them."""

    id: str = ""
    parameters: Mapping[str, Any] = {}
    inputs: Mapping[str, Array] = {}
    outputs: tuple[RequestedOutput, ...] = ()
    binary_output: bool = False

    def wants_binary(self, output: str) -> bool:
        """Whether the answer's tensor `output` travels as raw bytes."""
        for each in self.outputs:
            if each.name == output and each.binary is not None:
                return each.binary
        return self.binary_output


class InferResponse(msgspec.Struct, frozen=True):
    """What an infer answer says."""

    model_name: str
    outputs: Mapping[str, Array]
    id: str = ""
    model_version: str = ""
    parameters: Mapping[str, Any] = {}


class _Tensor(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    name: str
    shape: list[int]
    datatype: str
    parameters: dict[str, Any] = {}
    data: Any = msgspec.UNSET


class _Output(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    name: str
    parameters: dict[str, Any] = {}


class _Request(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    inputs: list[_Tensor]
    id: str = ""
    parameters: dict[str, Any] = {}
    outputs: list[_Output] = []
    model_name: str = ""  # kserve's client repeats the path's here


class _Response(msgspec.Struct, omit_defaults=True):
    model_name: str
    outputs: list[_Tensor]
    model_version: str = ""
    id: str = ""
    parameters: dict[str, Any] = {}


_REQUEST = msgspec.json.Decoder(_Request)
_RESPONSE = msgspec.json.Decoder(_Response)


def parse_infer_request(body: bytes | memoryview, header_length: int | None = None) -> InferRequest:
    """Read the body of `POST …/infer`. Raises `UserError` for whatever does not fit, and reads nothing beyond the body."""
    head, rest = _split(memoryview(body), header_length)
    request: _Request = _decode(_REQUEST, head)
    if not request.inputs:
        raise UserError("the request has no inputs; send one tensor for each input of the model")
    return InferRequest(
        request.id,
        request.parameters,
        _read_tensors(request.inputs, rest, "input"),
        tuple(
            [
                RequestedOutput(
                    each.name, _flag(each.parameters, "binary_data", f"output {each.name!r}"), each.parameters
                )
                for each in request.outputs
            ]
        ),
        bool(_flag(request.parameters, "binary_data_output", "request")),
    )


def build_infer_request(
    inputs: Mapping[str, Array],
    outputs: Sequence[str] = (),
    id: str = "",
    binary: bool = True,
    parameters: Mapping[str, Any] | None = None,
) -> tuple[bytes, int | None]:
    """The body of an infer request and its JSON length (None where it is all JSON)."""
    tensors, blobs = _write_tensors(inputs, set(inputs) if binary else set())
    request = _Request(
        tensors,
        id,
        {**(parameters or {}), **({"binary_data_output": True} if binary and not outputs else {})},
        [_Output(name, {"binary_data": binary}) for name in outputs],
    )
    return _join(request, blobs)


def parse_infer_response(body: bytes | memoryview, header_length: int | None = None) -> InferResponse:
    """Read an infer answer; the inverse of `build_infer_response`."""
    head, rest = _split(memoryview(body), header_length)
    response: _Response = _decode(_RESPONSE, head)
    return InferResponse(
        response.model_name,
        _read_tensors(response.outputs, rest, "output"),
        response.id,
        response.model_version,
        response.parameters,
    )


def build_infer_response(response: InferResponse, binary: Iterable[str] = ()) -> tuple[bytes, int | None]:
    """The body of an infer answer and its JSON length (None where it is all JSON).

    `binary` names the outputs that travel as raw bytes; see `InferRequest.wants_binary`.
    """
    tensors, blobs = _write_tensors(response.outputs, set(binary))
    head = _Response(response.model_name, tensors, response.model_version, response.id, dict(response.parameters))
    return _join(head, blobs)


def encode_bytes(array: Array) -> bytes:
    """BYTES elements in C order, each as a 4-byte little-endian length and its bytes."""
    parts: list[bytes] = []
    for each in array.reshape(-1).tolist():
        element = each.encode() if isinstance(each, str) else bytes(each)
        parts += (_LENGTH.pack(len(element)), element)
    return b"".join(parts)


def decode_bytes(data: bytes | memoryview, shape: Sequence[int], where: str = "tensor") -> Array:
    """The inverse of `encode_bytes`. Raises `UserError` unless `data` holds exactly as many elements as `shape` says."""
    view, at = memoryview(data), 0
    elements: list[bytes] = []
    count = _count(shape, where)
    while at + 4 <= len(view) and len(elements) < count:
        (length,) = _LENGTH.unpack_from(view, at)
        at += 4 + length
        if at > len(view):
            break
        elements.append(bytes(view[at - length : at]))
    if at != len(view) or len(elements) != count:
        raise UserError(
            f"{where}: {len(view)} bytes do not hold {count} BYTES elements for shape {list(shape)}; "
            "each element is a 4-byte little-endian length and that many bytes"
        )
    return _object_array(elements, shape)


def decode_raw(data: bytes | memoryview, datatype: str, shape: Sequence[int], where: str = "tensor") -> Array:
    """A tensor from raw little-endian bytes. Raises `UserError` unless the length is right to the byte."""
    dtype = _dtype(datatype, where)
    if dtype.hasobject:
        return decode_bytes(data, shape, where)
    expected = _count(shape, where) * dtype.itemsize
    if len(data) != expected:
        raise UserError(f"{where}: {datatype} of shape {list(shape)} takes {expected} bytes, but {len(data)} came")
    if datatype == "BOOL" and np.frombuffer(data, np.uint8).max(initial=0) > 1:
        raise UserError(f"{where}: a BOOL is one byte of 0 or 1, but other values came")
    return np.frombuffer(data, dtype).reshape(shape)


def encode_raw(array: Array) -> bytes:
    """The inverse of `decode_raw`."""
    if array.dtype.hasobject:
        return encode_bytes(array)
    return bytes(_raw(array, datatype_of(array.dtype)))


def _raw(array: Array, datatype: str) -> memoryview:
    """The bytes that travel of an array, where they lie."""
    return np.ascontiguousarray(array, DATATYPES[datatype]).reshape(-1).view(np.uint8).data


def _split(body: memoryview, header_length: int | None) -> tuple[memoryview, memoryview]:
    if header_length is None:
        return body, body[:0]
    if not 0 <= header_length <= len(body):
        raise UserError(
            f"{HEADER_LENGTH} is {header_length}, but the body has {len(body)} bytes; the body may have been cut off"
        )
    return body[:header_length], body[header_length:]


def _join(head: msgspec.Struct, blobs: list[bytes | memoryview]) -> tuple[bytes, int | None]:
    text = msgspec.json.encode(head)
    return (b"".join([text, *blobs]), len(text)) if blobs else (text, None)


def _decode(decoder: msgspec.json.Decoder[Any], text: memoryview) -> Any:
    try:
        return decoder.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UserError(
            f"the body is not an Open Inference Protocol v2 message: {error}; tensors are objects of name, shape, "
            "datatype and data, and JSON has no NaN and no Infinity"
        ) from error


def _read_tensors(tensors: list[_Tensor], rest: memoryview, noun: str) -> dict[str, Array]:
    found: dict[str, Array] = {}
    for tensor in tensors:
        where = f"{noun} {tensor.name!r}"
        if tensor.name in found:
            raise UserError(f"{where} comes twice; name each tensor once")
        size = tensor.parameters.get("binary_data_size")
        if size is None:
            found[tensor.name] = _from_json(tensor, where)
            continue
        if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= len(rest):
            raise UserError(
                f"{where}: binary_data_size is {size!r}, but {len(rest)} bytes follow; was the body cut off?"
            )
        found[tensor.name] = decode_raw(rest[:size], tensor.datatype, tensor.shape, where)
        rest = rest[size:]
    if len(rest):
        raise UserError(f"{len(rest)} bytes are left over after the last {noun}; mend binary_data_size")
    return found


def _from_json(tensor: _Tensor, where: str) -> Array:
    dtype, count = _dtype(tensor.datatype, where), _count(tensor.shape, where)
    if tensor.data is msgspec.UNSET:
        raise UserError(f"{where} has neither data nor binary_data_size; send one of them")
    data = tensor.data
    if dtype.hasobject:
        return _object_array(_byte_elements(data, tensor, count, where), tensor.shape)
    try:
        array = np.array(data)
    except ValueError as error:
        raise UserError(f"{where}: data is ragged; send lists of equal lengths, or one flat list") from error
    if array.size != count or array.shape not in ((count,), tuple(tensor.shape)):
        raise UserError(
            f"{where}: shape {tensor.shape} takes {count} numbers, but data has the shape {list(array.shape)}"
        )
    if dtype == np.uint64 and array.dtype == np.float64:
        array = _wide(data, array)
    return _cast(array, dtype, tensor.datatype, where).reshape(tensor.shape)


def _wide(data: Any, rounded: Array) -> Array:
    """`data` exactly where it is whole numbers: NumPy rounds those when some are above 2⁶³ − 1 and others are not."""
    exact = np.array(data, object)
    whole = all(type(each) is int and 0 <= each < 2**64 for each in exact.flat)
    return exact.astype(np.uint64) if whole else rounded


def _cast(array: Array, dtype: np.dtype[Any], datatype: str, where: str) -> Array:
    if not array.size:
        return array.astype(dtype)
    allowed = {"b": "bi", "u": "iu", "i": "iu", "f": "iuf"}[dtype.kind]
    if array.dtype.kind not in allowed:
        raise UserError(
            f"{where}: data of datatype {datatype} holds something else ({array.dtype}); send plain numbers"
        )
    if dtype.kind in "iu" and (array.min() < np.iinfo(dtype).min or array.max() > np.iinfo(dtype).max):
        raise UserError(f"{where}: a number in data does not fit into {datatype}")
    if dtype.kind == "b" and not np.isin(array, (0, 1)).all():
        raise UserError(f"{where}: data of datatype BOOL takes true and false only")
    with np.errstate(over="ignore"):
        return array.astype(dtype)


def _byte_elements(data: Any, tensor: _Tensor, count: int, where: str) -> list[bytes]:
    elements = list(_leaves(data))
    if len(elements) != count or not all(isinstance(each, str) for each in elements):
        raise UserError(f"{where}: BYTES of shape {tensor.shape} takes {count} strings as data")
    content_type = tensor.parameters.get("content_type")
    if content_type is None:
        return [each.encode() for each in elements]
    if content_type != "base64":
        raise UserError(f"{where}: content_type is {content_type!r}; a file in JSON is 'base64', and text has none")
    try:
        return [base64.b64decode(each, validate=True) for each in elements]
    except (binascii.Error, ValueError) as error:
        raise UserError(f"{where}: content_type is base64, but data is not: {error}") from error


def _leaves(data: Any) -> Iterable[Any]:
    if not isinstance(data, list):
        yield data
        return
    for each in data:
        yield from _leaves(each)


def _write_tensors(arrays: Mapping[str, Array], binary: set[str]) -> tuple[list[_Tensor], list[bytes | memoryview]]:
    tensors: list[_Tensor] = []
    blobs: list[bytes | memoryview] = []
    for name, array in arrays.items():
        tensor = _Tensor(name, list(array.shape), datatype_of(array.dtype))
        if name in binary:
            blob = encode_bytes(array) if array.dtype.hasobject else _raw(array, tensor.datatype)
            tensor.parameters = {"binary_data_size": len(blob)}
            blobs.append(blob)
        else:
            tensor.data = _to_json(name, array)
        tensors.append(tensor)
    return tensors, blobs


def _to_json(name: str, array: Array) -> list[Any]:
    values = array.reshape(-1).tolist()
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise UserError(f"{name!r} holds NaN or infinity, which JSON cannot carry; ask for it with binary_data true")
    if array.dtype.hasobject:
        try:
            return [each if isinstance(each, str) else bytes(each).decode() for each in values]
        except UnicodeDecodeError as error:
            raise UserError(f"{name!r} holds bytes that are no text; ask for it with binary_data true") from error
    return values


def _flag(parameters: Mapping[str, Any], name: str, where: str) -> bool | None:
    value = parameters.get(name)
    if value is not None and not isinstance(value, bool):
        raise UserError(f"{where}: parameter {name} is {value!r}; it takes true or false")
    return value


def _dtype(datatype: str, where: str) -> np.dtype[Any]:
    if datatype not in DATATYPES:
        raise UserError(f"{where} has datatype {datatype!r}; choose one of {', '.join(DATATYPES)}")
    return DATATYPES[datatype]


def _count(shape: Sequence[int], where: str) -> int:
    count = room = 1
    for size in shape:
        if size < 0:
            raise UserError(f"{where} has the shape {list(shape)}; no dimension is below 0")
        count *= size
        room *= size or 1
    if len(shape) > _MOST_DIMENSIONS or room > _MOST_NUMBERS:
        raise UserError(f"{where} has a shape of {len(shape)} dimensions that no tensor can have; send a smaller one")
    return count


def _object_array(elements: Sequence[bytes], shape: Sequence[int]) -> Array:
    array = np.empty(len(elements), object)
    array[:] = elements
    return array.reshape(shape)
