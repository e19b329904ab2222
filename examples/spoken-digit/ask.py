"""Ask the chain about a spoken digit: a WAV file with 8000 samples a second."""

from __future__ import annotations

import base64
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))
from asking import arguments, infer, tensor

if __name__ == "__main__":
    asked = arguments(__doc__, "sound", "the WAV file")
    sound = base64.b64encode(Path(asked.sound).read_bytes()).decode()
    answer = infer(asked.url, "spoken-digit", tensor("sound", "BYTES", [1], [sound], content_type="base64"))
    print(f"heard {answer['heard'][0]}: {answer['text'][0]}")
