"""Names of language models that answer by a rule: by OpenAI's and Ollama's API, with a shadow."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from synfire.deploy.planning import plan_models
from synfire.deploy.serving import serving_in_background
from synfire.deploy.settings import Settings
from synfire.testing.language_models import write_tiny_language_model
from synfire.wire.traffic import rule_of
from synfire.zoo import find

pytestmark = pytest.mark.slow

ASKED: dict[str, Any] = {
    "messages": [{"role": "user", "content": "the king said"}],
    "max_tokens": 8,
    "temperature": 0,
}


@pytest.fixture(scope="module")
def http(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """Two models behind one name, with a copy of one of them as the shadow, and an alias."""
    pytest.importorskip("xllamacpp", reason="needs the extra `llama`")
    folder: Path = tmp_path_factory.mktemp("traffic")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("home", "cache"):
            patch.setenv(f"SYNFIRE_{name.upper()}", str(folder / name))
        paths = [write_tiny_language_model(folder / f"{name}.gguf") for name in ("a", "b", "c")]
        rules = (rule_of("prod", ["a=50", "b=50"], "c"), rule_of("gpt-4o", ["a"]))
        planned = plan_models([find(str(path)) for path in paths], "auto", 2)
        with (
            serving_in_background(planned, settings=Settings(traffic=rules)) as running,
            httpx.Client(base_url=running.addresses.url, timeout=60) as client,
        ):
            yield client


def sides(http: httpx.Client, name: str) -> dict[tuple[str, bool], dict[str, Any]]:
    return {(each["model"], each["shadow"]): each for each in http.get(f"/api/traffic/{name}").json()["sides"]}


def ok(http: httpx.Client, name: str) -> dict[str, int]:
    return {model: each["calls"]["ok"] for (model, shadow), each in sides(http, name).items() if not shadow}


def test_chats_go_to_the_sides_of_a_name_and_a_caller_stays_at_one(http: httpx.Client) -> None:
    for n in range(12):
        answer = http.post(
            "/v1/chat/completions", json={"model": "prod", **ASKED}, headers={"Synfire-Caller": f"caller {n}"}
        )
        assert answer.status_code == 200
        assert answer.json()["model"] == "prod"
    shared = ok(http, "prod")
    assert (shared.keys(), sum(shared.values())) == ({"a", "b"}, 12)
    for _ in range(4):
        http.post("/v1/chat/completions", json={"model": "prod", **ASKED}, headers={"Synfire-Caller": "ada"})
    grown = sorted(after - shared[model] for model, after in ok(http, "prod").items())
    assert grown == [0, 4]


def test_streams_and_other_protocols_find_the_name(http: httpx.Client) -> None:
    before = sum(ok(http, "prod").values()) if sides(http, "prod") else 0
    streamed = http.post("/v1/chat/completions", json={"model": "prod", "stream": True, **ASKED})
    assert streamed.text.rstrip().endswith("data: [DONE]")
    options = {"temperature": 0, "num_predict": 8}
    chat = {"model": "prod:latest", "messages": ASKED["messages"], "options": options, "stream": False}
    assert http.post("/api/chat", json=chat).json()["message"]["content"]
    asked = {"model": "prod", "prompt": "the king said", "options": options, "stream": False}
    assert http.post("/api/generate", json=asked).json()["response"]
    assert sum(ok(http, "prod").values()) == before + 3  # the tokens that Ollama counts are asked for under no name


def test_names_are_listed_where_models_are(http: httpx.Client) -> None:
    listed = {each["id"]: each["root"] for each in http.get("/v1/models").json()["data"]}
    assert {"a", "b", "c", "prod", "gpt-4o"} == listed.keys()
    assert listed["gpt-4o"] == listed["a"]
    assert http.get("/v1/models/gpt-4o").json()["id"] == "gpt-4o"
    assert "gpt-4o:latest" in {each["name"] for each in http.get("/api/tags").json()["models"]}


def test_a_shadow_of_the_same_weights_says_the_same(http: httpx.Client) -> None:
    answer = http.post("/v1/chat/completions", json={"model": "prod", **ASKED})
    assert answer.status_code == 200
    while (copied := sides(http, "prod").get(("c", True))) is None or not copied["compared"]:
        pass  # a copy is made once its caller has the answer; the test's own time limit ends what never comes about
    assert copied["equal"] == copied["compared"]
