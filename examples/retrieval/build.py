"""Make the passages' file: ask the deployment's embedding model for a vector of each line `title: text`."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

sys.path.append(str(Path(__file__).parents[1]))
from asking import arguments, post
from store import FILE, build

if __name__ == "__main__":
    asked = arguments(__doc__, "passages", "a text file")
    lines = [line.split(": ", 1) for line in Path(asked.passages).read_text().splitlines() if line]
    told = post(f"{asked.url}/v1/embeddings", {"model": "embedder", "input": [text for _, text in lines]})["data"]
    vectors = [np.array(each["embedding"], np.float32) for each in told]
    build((title, text, vector) for (title, text), vector in zip(lines, vectors, strict=True))
    print(f"{len(lines)} passages in {FILE}")
