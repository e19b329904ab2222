"""LangChain's package for OpenAI."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.slow

SCRIPT = """
import json, sys
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from typing import Literal
from pydantic import BaseModel, Field

class Trip(BaseModel):
    city: str = Field(max_length=8)
    days: int = Field(ge=1, le=9)

def weather(city: Literal["Rome", "Bonn"]) -> str:
    "tells the weather"

url = sys.argv[1] + "/v1"
chat = ChatOpenAI(base_url=url, api_key="none", model="tiny", temperature=0, max_tokens=64)
vectors = OpenAIEmbeddings(base_url=url, api_key="none", model="vectors", check_embedding_ctx_length=False)
said = chat.invoke("the king said")
trip = chat.with_structured_output(Trip, method="json_schema").invoke("a trip")
called = chat.bind_tools([weather], tool_choice="weather").invoke("the weather")
respond = ChatOpenAI(base_url=url, api_key="none", model="tiny", temperature=0, max_tokens=64, use_responses_api=True)
print(json.dumps({
    "said": said.content,
    "usage": said.usage_metadata,
    "streamed": "".join(chunk.content for chunk in chat.stream("the king said")),
    "days": trip.days,
    "city": trip.city,
    "called": [call["name"] for call in called.tool_calls],
    "responded": respond.invoke("the king said").text,
    "respond_streamed": "".join(chunk.text for chunk in respond.stream("the king said")),
    "vectors": [len(each) for each in vectors.embed_documents(["the king", "a sword"])],
}))
"""


def test_langchain_chats_calls_and_embeds(run):
    told = run("langchain_openai", SCRIPT)
    assert told["said"]
    assert told["streamed"] == told["said"] == told["responded"] == told["respond_streamed"]
    assert told["usage"]["output_tokens"] == 64
    assert told["days"] in range(1, 10)
    assert len(told["city"]) <= 8
    assert told["called"] == ["weather"]
    assert told["vectors"] == [64, 64]
