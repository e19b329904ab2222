"""`python -m synfire.bench.peers.hosted.mlserver start FOLDER`."""

from __future__ import annotations

import sys

import numpy as np
from mlserver import MLModel
from mlserver.cli import main
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse

from synfire.bench.peers.net import Net
from synfire.bench.peers.server import Setup
from synfire.bench.peers.text import unpacked


class Hosted(MLModel):  # type: ignore[misc]
    async def load(self) -> bool:
        setup = Setup.given()
        self._net = Net(setup.model, setup.threads)
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        answers = self._net(unpacked(list(payload.inputs[0].data)))
        scores = np.stack([np.frombuffer(each, np.float32) for each in answers])
        return InferenceResponse(model_name=self.name, outputs=[NumpyCodec.encode_output("scores", scores)])


if __name__ == "__main__":
    sys.exit(main())
