"""LangChain's package for NVIDIA's NIM, and its preflight."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.slow

SCRIPT = """
import json, sys, warnings
warnings.simplefilter("ignore")
from typing import Literal
from langchain_core.documents import Document
from langchain_nvidia_ai_endpoints import ChatNVIDIA, NVIDIAEmbeddings, NVIDIARerank

from pydantic import BaseModel, Field

class Trip(BaseModel):
    "a trip"
    city: Literal["Rome", "Bonn"]
    days: int = Field(ge=1, le=9)

def weather(city: Literal["Rome", "Bonn"]) -> str:
    "tells the weather"

url = sys.argv[1] + "/v1"
chat = ChatNVIDIA(base_url=url, model="tiny", temperature=0, max_completion_tokens=32)
trip = chat.with_structured_output(Trip).invoke("a trip")
caller = chat.bind_tools([weather], tool_choice="weather")
first, *others = caller.stream("the weather")
said = chat.invoke("the king said")
vectors = NVIDIAEmbeddings(base_url=url, model="vectors", truncate="END")
ranks = NVIDIARerank(base_url=url, model="ranks")
documents = [Document(page_content=text) for text in ("a sword", "the king", "the night")]
print(json.dumps({
    "models": sorted(each.id for each in chat.available_models),
    "said": said.content,
    "usage": said.usage_metadata,
    "streamed": "".join(chunk.content for chunk in chat.stream("the king said")),
    "city": trip.city,
    "called": [call["name"] for call in caller.invoke("the weather").tool_calls],
    "streamed_call": sum(others, start=first).tool_calls[0]["args"]["city"],
    "documents": [len(each) for each in vectors.embed_documents(["the king", "a sword " * 400])],
    "query": len(vectors.embed_query("the king")),
    "ranked": sorted(each.page_content for each in ranks.compress_documents(documents, query="the king")),
}))
"""

DOCTOR = """
import json, subprocess, sys
command = [sys.executable, "-m", "langchain_nvidia_ai_endpoints", "doctor", "--base-url", sys.argv[1] + "/v1", "--model", "tiny"]
done = subprocess.run(command, capture_output=True, text=True)
print(json.dumps({"code": done.returncode, "said": done.stdout + done.stderr}))
"""


def test_langchain_for_nim_chats_calls_embeds_and_ranks(run):
    told = run("langchain_nvidia_ai_endpoints", SCRIPT)
    assert told["models"] == ["ranks", "tiny", "vectors"]
    assert told["said"]
    assert told["streamed"] == told["said"]
    assert told["usage"]["output_tokens"] == 32
    assert told["city"] in ("Rome", "Bonn")
    assert told["called"] == ["weather"]
    assert told["streamed_call"] in ("Rome", "Bonn")
    assert told["documents"] == [64, 64]
    assert told["query"] == 64
    assert told["ranked"] == ["a sword", "the king", "the night"]


def test_its_preflight_finds_nothing_wrong(run):
    told = run("langchain_nvidia_ai_endpoints", DOCTOR)
    assert told["code"] == 0, told["said"]
