"""LiteLLM."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.slow

SCRIPT = """
import json, os, sys
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
import litellm

litellm.telemetry = False
to = {"api_base": sys.argv[1] + "/v1", "api_key": "none"}
asked = {"model": "openai/tiny", "messages": [{"role": "user", "content": "the king said"}], "max_tokens": 32, "temperature": 0, **to}
said = litellm.completion(**asked)
try:
    litellm.completion(**{**asked, "model": "openai/none"})
    refused = ""
except litellm.NotFoundError as error:
    refused = str(error)
texts = {"model": "text-completion-openai/tiny", "prompt": "the king said", "max_tokens": 8, "temperature": 0, **to}
print(json.dumps({
    "said": said.choices[0].message.content,
    "tokens": said.usage.completion_tokens,
    "streamed": "".join(chunk.choices[0].delta.content or "" for chunk in litellm.completion(**asked, stream=True)),
    "completed": litellm.text_completion(**texts).choices[0].text,
    "vector": len(litellm.embedding(model="openai/vectors", input=["the king"], **to).data[0]["embedding"]),
    "refused": refused,
}))
"""


def test_litellm_chats_completes_and_embeds(run):
    told = run("litellm", SCRIPT)
    assert told["said"]
    assert told["streamed"] == told["said"]
    assert told["tokens"] == 32
    assert told["completed"]
    assert told["vector"] == 64
    assert "none" in told["refused"]
