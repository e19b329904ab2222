"""LlamaIndex's connectors for NVIDIA's NIM."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.slow

SCRIPT = """
import json, sys, warnings
warnings.simplefilter("ignore")
from typing import Literal
from llama_index.core.llms import ChatMessage
from llama_index.core.tools import FunctionTool
from llama_index.embeddings.nvidia import NVIDIAEmbedding
from llama_index.llms.nvidia import NVIDIA


def weather(city: Literal["Rome", "Bonn"]) -> str:
    "tells the weather"
    return "hot"

url = sys.argv[1] + "/v1"
to = {"base_url": url, "model": "tiny", "api_key": "none", "temperature": 0, "max_tokens": 32}
plain, model = NVIDIA(**to), NVIDIA(**to, is_chat_model=True, is_function_calling_model=True)
named = {"type": "function", "function": {"name": "weather"}}
called = model.chat_with_tools([FunctionTool.from_defaults(weather)], user_msg="the weather", tool_choice=named)
vectors = NVIDIAEmbedding(base_url=url, model="vectors", api_key="none", truncate="END")
turns = [ChatMessage(role="user", content="the king said")]
print(json.dumps({
    "said": model.chat(turns).message.content,
    "streamed": list(model.stream_chat(turns))[-1].message.content,
    "completed": plain.complete("the king said").text,
    "called": [call.tool_name for call in model.get_tool_calls_from_response(called)],
    "query": len(vectors.get_query_embedding("the king")),
    "texts": [len(each) for each in vectors.get_text_embedding_batch(["the king", "a sword"])],
}))
"""


def test_llama_index_chats_calls_and_embeds(run):
    told = run("llama_index.llms.nvidia", SCRIPT)
    assert told["said"]
    assert told["streamed"] == told["said"]
    assert told["completed"]
    assert told["called"] == ["weather"]
    assert told["query"] == 64
    assert told["texts"] == [64, 64]
