"""What a gateway tells of a served model beyond the shapes of its tensors: its labels, and how its files are read."""

from __future__ import annotations

from typing import Any

import httpx
import msgspec

from synfire.base.errors import PermanentError, UserError
from synfire.ops import Kind
from synfire.wire import oip
from synfire.wire.batch_axis import BATCHES
from synfire.wire.client import Client
from synfire.zoo import PictureFile


class ServedInput(msgspec.Struct, frozen=True):
    name: str
    datatype: str
    parameters: dict[str, Any] = {}

    def picture_file(self) -> PictureFile | None:
        """How files of pictures are read; None where it takes no files. Raises `UserError` where that is not told, or no picture."""
        if self.datatype != oip.datatype_of(Kind.BYTES.dtype):
            return None
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
        attributes = self.parameters.get("attributes", {})
        side = (attributes.get("height", 0), attributes.get("width", 0))
        return PictureFile(side, bool(attributes.get("invert")))


class ServedModel(msgspec.Struct, frozen=True):
    """A model's metadata; `parameters` are what synfire adds to the protocol's, and other servers leave out."""

    inputs: tuple[ServedInput, ...]
    parameters: dict[str, Any] = {}

    @property
    def labels(self) -> list[Any]:
        """The classes' names; empty where the model has none, or the server does not tell."""
        return list(self.parameters.get("labels", ()))

    @property
    def batches(self) -> bool:
        """Whether its tensors have an axis that counts samples."""
        return bool(self.parameters.get(BATCHES, True))

    @property
    def picture_file(self) -> PictureFile | None:
        """How its files of pictures are read; raises as `ServedInput.picture_file` does."""
        return next(filter(None, (each.picture_file() for each in self.inputs)), None)

    @property
    def request(self) -> str:
        """What the model says that a request holds; empty where it, or the server, says nothing."""
        return next((str(each.parameters["request"]) for each in self.inputs if "request" in each.parameters), "")


class MetadataClient(Client):
    """A client that reads all of a model's metadata, and says so where the server is none of its protocol."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._http.event_hooks = {"response": [self._refuse_strangers]}

    def _refuse_strangers(self, response: httpx.Response) -> None:
        kind = response.headers.get("content-type", "no content type").partition(";")[0]
        if kind not in ("application/json", "application/octet-stream"):
            raise UserError(
                f"{self.url} is no server of the Open Inference Protocol: it answered {response.status_code} with {kind}; "
                "check the URL (`synfire ps` shows those that run here)"
            )

    def served(self, model: str) -> ServedModel:
        """What is told of the model. Raises as `infer` does, and `PermanentError` where the answer is no metadata."""
        content = self._send("GET", f"/v2/models/{model}").content
        try:
            return msgspec.json.decode(content, type=ServedModel)
        except msgspec.DecodeError as error:
            raise PermanentError(f"{self.url} gives no metadata of model {model!r}: {error}; check the URL") from error
