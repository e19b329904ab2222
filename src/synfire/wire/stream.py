"""Messages as a stream of bytes, without I/O: what sockets, shared memory and tests have in common.

    packet = prefix (magic 2 bytes, protocol 2, header length 4, payload length 8; big-endian) + header + payload

The header is a message in MessagePack. The payload is the frame's tensors one after the other, or a graph. A packet of
another magic has, in the payload's place, 8 bytes that say where it lies in memory that the sender has lent.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from typing import Protocol

import msgspec

from synfire.base.errors import SynfireError, TemporaryError, UserError
from synfire.ops import Array
from synfire.wire.codec import DENSE, decode, encode, encode_dense
from synfire.wire.messages import PROTOCOL, AnyMessage, Ask, Batch, Checkpoint, Frame, Given, Restore

Buffer = bytes | bytearray | memoryview

MAGIC = b"SY"
MAGIC_LENT = b"SL"
_PREFIX = struct.Struct(">2sHIQ")
_PLACE = struct.Struct(">Q")
OFFER = _PREFIX.pack(b"SO", PROTOCOL, 0, 0)
"""What goes along with the descriptor of memory that is lent; no packet."""

_MAGICS = (MAGIC, MAGIC_LENT, OFFER[:2])
_MAX_HEADER_BYTES = 1 << 24
_ENCODER = msgspec.msgpack.Encoder()
_DECODER: msgspec.msgpack.Decoder[AnyMessage] = msgspec.msgpack.Decoder(AnyMessage)

_Carrier = Frame | Batch | Checkpoint | Restore | Ask | Given
_CARRIERS = (Frame, Batch, Checkpoint, Restore, Ask, Given)
"""Messages with arrays beside them."""


class Packet(msgspec.Struct, frozen=True):
    """A message and what travels with it: arrays by the name of their signal or state, or raw bytes.

    `fault` is set where a frame's tensors could not be read: that is the request's misfortune, not the connection's.
    """

    message: AnyMessage
    arrays: Mapping[str, Array] = {}
    raw: Buffer = b""
    fault: SynfireError | None = None


class Lent(Protocol):
    """Memory that a peer has lent."""

    def piece(self, place: int, length: int) -> memoryview:
        """What lies there, until it is `done`. Raises `UserError` for a place that is none."""
        ...

    def done(self, place: int, length: int) -> None:
        """The peer may write there again."""
        ...


def pack(packet: Packet, near: bool = False) -> tuple[list[Buffer], int]:
    """The packet as buffers for a scatter-gather send, the header first, and their length in bytes; see `encode`."""
    message, payload = packet.message, [packet.raw] if len(packet.raw) else []
    if isinstance(message, _CARRIERS):
        if near and isinstance(message, Checkpoint):
            pairs = [encode_dense(name, array) for name, array in packet.arrays.items()]
        else:
            pairs = [encode(name, array, near) for name, array in packet.arrays.items()]
        message = msgspec.structs.replace(message, tensors=tuple(tensor for tensor, _ in pairs))
        payload = [data for tensor, data in pairs if tensor.bytes]
    header = _ENCODER.encode(message)
    length = sum(len(each) for each in payload)
    prefix = _PREFIX.pack(MAGIC, PROTOCOL, len(header), length)
    return [prefix + header, *payload], len(prefix) + len(header) + length


def refer(header: Buffer, place: int) -> bytes:
    """What is sent of a packet with this first buffer, whose payload lies at `place` of the memory lent to the peer."""
    return MAGIC_LENT + header[2:] + _PLACE.pack(place)


class Reader:
    """Turns bytes, in whatever pieces they come, into packets.

    Raises `UserError` for bytes that are no packets and for a packet of more than `max_bytes`, before anything is
    allocated for it; after that the stream cannot be read on.
    """

    def __init__(self, max_bytes: int) -> None:
        self.lent: Lent | None = None
        self._max_bytes = max_bytes
        self._data = bytearray()
        self._needed = _PREFIX.size

    @property
    def waiting(self) -> bool:
        """Whether a packet has begun to arrive and is not complete."""
        return bool(self._data)

    def feed(self, data: Buffer) -> list[Packet]:
        """The packets that are complete now."""
        if self._data:
            self._data += data
            if len(self._data) < self._needed:
                return []
            data, self._data = self._data, bytearray()
        packets: list[Packet] = []
        view, at = memoryview(data), 0
        while (end := self._end(view, at)) <= len(view):
            if end - at > _PREFIX.size:  # else it is an offer
                packets.append(self._packet(view, at, end))
            at = end
        self._data += view[at:]
        self._needed = end - at
        return packets

    def _end(self, view: memoryview, at: int) -> int:
        if len(view) - at < _PREFIX.size:
            return at + _PREFIX.size
        magic, protocol, header, payload = _PREFIX.unpack_from(view, at)
        if magic not in _MAGICS:
            raise UserError("the peer sends something other than synfire packets; check the address and the port")
        if protocol != PROTOCOL:
            raise UserError(
                f"the peer speaks wire protocol {protocol}, this process speaks {PROTOCOL}; install the same version of "
                "synfire on both sides"
            )
        if header > _MAX_HEADER_BYTES or payload > self._max_bytes:
            raise UserError(
                f"a packet of {header} + {payload} bytes is larger than the {self._max_bytes} allowed; raise "
                "max_frame_bytes on both sides, or send fewer steps or a smaller batch at once"
            )
        return at + _PREFIX.size + int(header) + (_PLACE.size if magic == MAGIC_LENT else int(payload))

    def _packet(self, view: memoryview, at: int, end: int) -> Packet:
        magic, _, length, size = _PREFIX.unpack_from(view, at)
        body = at + _PREFIX.size + length
        try:
            message = _DECODER.decode(view[at + _PREFIX.size : body])
        except msgspec.DecodeError as error:
            raise UserError(f"a message cannot be read: {error}; do both sides run the same version?") from error
        if magic == MAGIC:
            return self._filled(message, view[body:end])
        if self.lent is None:
            raise UserError("a payload lies in memory that was not lent; do both sides run the same version?")
        (place,) = _PLACE.unpack_from(view, body)
        packet = self._filled(message, self.lent.piece(place, size), lent=True)
        self.lent.done(place, size)
        return packet

    def _filled(self, message: AnyMessage, payload: memoryview, lent: bool = False) -> Packet:
        if not isinstance(message, _CARRIERS):
            return Packet(message, raw=bytes(payload) if lent else payload)
        try:
            return Packet(message, self._arrays(message, payload, lent))
        except UserError as error:
            return Packet(message, fault=error)
        except MemoryError:
            return Packet(message, fault=TemporaryError("no memory for a frame; send a smaller batch, or try again"))

    def _arrays(self, frame: _Carrier, payload: memoryview, lent: bool) -> dict[str, Array]:
        """What the payload holds; copied where it would else be read from `lent` memory later on."""
        arrays: dict[str, Array] = {}
        at, room = 0, self._max_bytes
        for tensor in frame.tensors:
            array = decode(tensor, payload[at : at + tensor.bytes], room)
            arrays[tensor.name] = array.copy() if lent and tensor.encoding == DENSE else array
            at += tensor.bytes
            room -= arrays[tensor.name].nbytes
        if at != len(payload):
            raise UserError(f"a frame's tensors take {at} bytes, but {len(payload)} came; the frame is damaged")
        return arrays


def array_bytes(arrays: Iterable[Array]) -> int:
    """What arrays take in memory, in bytes."""
    total = 0
    for each in arrays:  # no generator: this is asked several times a frame
        total += each.nbytes
    return total
