"""Ask the chain what to do about a recording: a .npy file with rows (t in microseconds, x, y, polarity), in order of time."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

sys.path.append(str(Path(__file__).parents[1]))
from asking import arguments, infer, tensor

if __name__ == "__main__":
    asked = arguments(__doc__, "recording", "the .npy file")
    events = np.load(asked.recording).astype(np.int64)
    answer = infer(asked.url, "event-camera", tensor("events", "INT64", [1, *events.shape], events.ravel().tolist()))
    print(answer["decision"][0])
