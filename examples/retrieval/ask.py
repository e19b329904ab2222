"""Ask a question, which is answered from the passages."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))
from asking import arguments, infer, tensor

if __name__ == "__main__":
    asked = arguments(__doc__, "question", "in words")
    answer = infer(asked.url, "retrieval", tensor("question", "BYTES", [1], [asked.question]))
    print(f"from {', '.join(answer['titles'])}: {answer['text'][0]}")
