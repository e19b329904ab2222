"""What a gateway tells of a served model beyond the shapes of its tensors: its labels, and how its files are read."""

from __future__ import annotations

from typing import Any

import msgspec

from synfire.base.errors import PermanentError, UserError
from synfire.ops import Kind
from synfire.wire import oip
from synfire.wire.client import Client


class ServedInput(msgspec.Struct, frozen=True):
    name: str
    datatype: str
    parameters: dict[str, Any] = {}

    def inverts(self) -> bool:
        """Whether files of dark strokes on white paper are wanted. Raises `UserError` where that is not told, or no picture."""
        if self.datatype != oip.datatype_of(Kind.BYTES.dtype):
            return False
        if "decoder" not in self.parameters:
            raise UserError(
                f"input {self.name!r} takes files, and the server does not tell of which kind: only synfire's gateway "
                "does; ask there, or send a file that fits with --input FILE"
            )
        if self.parameters["decoder"] != "ImageDecode":
            raise UserError(
                f"input {self.name!r} is read by {self.parameters['decoder']}, and a digit is a picture; send a file that "
                "fits with --input FILE"
            )
        return bool(self.parameters.get("attributes", {}).get("invert"))


class ServedModel(msgspec.Struct, frozen=True):
    """A model's metadata; `parameters` are what synfire adds to the protocol's, and other servers leave out."""

    inputs: tuple[ServedInput, ...]
    parameters: dict[str, Any] = {}

    @property
    def labels(self) -> list[Any]:
        """The classes' names; empty where the model has none, or the server does not tell."""
        return list(self.parameters.get("labels", ()))

    @property
    def inverts(self) -> bool:
        """Whether a digit is to be sent in the negative; raises as `ServedInput.inverts` does."""
        return any(each.inverts() for each in self.inputs)


class MetadataClient(Client):
    """A client that reads all of a model's metadata."""

    def served(self, model: str) -> ServedModel:
        """What is told of the model. Raises as `infer` does, and `PermanentError` where the answer is no metadata."""
        content = self._send("GET", f"/v2/models/{model}").content
        try:
            return msgspec.json.decode(content, type=ServedModel)
        except msgspec.DecodeError as error:
            raise PermanentError(f"{self.url} gives no metadata of model {model!r}: {error}; check the URL") from error
