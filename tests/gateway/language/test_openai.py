"""OpenAI's own client against a served language model."""

from __future__ import annotations

import asyncio
import json

import httpx
import numpy as np
import pytest

openai = pytest.importorskip("openai", reason="needs the package openai, of the extra `test`")
pytestmark = pytest.mark.slow


def test_models_are_listed_and_told(client):
    assert sorted(model.id for model in client.models.list()) == ["base", "caller", "ranks", "tiny", "vectors"]
    assert client.models.retrieve("tiny").owned_by == "synfire"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("none")


def test_a_chat_is_answered(chat):
    answer = chat()
    (choice,) = answer.choices
    assert choice.message.role == "assistant"
    assert choice.message.content.split()
    assert choice.finish_reason == "length"
    assert (answer.object, answer.model) == ("chat.completion", "tiny")
    assert answer.usage.completion_tokens == 12
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + 12


def test_a_stream_has_the_whole_answer_in_pieces(chat):
    chunks = list(chat(stream=True, stream_options={"include_usage": True}))
    assert chunks[0].choices[0].delta.role == "assistant"
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    whole = chat()
    assert text == whole.choices[0].message.content
    assert [c.choices[0].finish_reason for c in chunks if c.choices and c.choices[0].finish_reason] == ["length"]
    assert (chunks[-1].choices, chunks[-1].usage) == ([], whole.usage)
    assert len({chunk.id for chunk in chunks}) == 1


def test_max_completion_tokens_goes_before_max_tokens(chat):
    assert chat(max_completion_tokens=3).usage.completion_tokens == 3
    assert chat(max_tokens=openai.omit, max_completion_tokens=4).usage.completion_tokens == 4


def test_a_text_is_gone_on_from(complete):
    answer = complete()
    assert (answer.object, answer.choices[0].finish_reason) == ("text_completion", "length")
    chunks = list(complete(stream=True))
    assert "".join(chunk.choices[0].text for chunk in chunks) == answer.choices[0].text
    assert complete(max_tokens=openai.omit).usage.completion_tokens == 16


def test_several_prompts_and_several_answers_each(complete):
    answer = complete(prompt=["the king", "a queen"], n=2, temperature=1.5, seed=1)
    assert [choice.index for choice in answer.choices] == [0, 1, 2, 3]
    assert len({choice.text for choice in answer.choices}) == 4
    assert answer.usage.completion_tokens == 48
    alone = complete(prompt="the king", temperature=1.5, seed=1)
    assert alone.choices[0].text == answer.choices[0].text
    assert alone.usage.prompt_tokens + complete(prompt="a queen").usage.prompt_tokens == answer.usage.prompt_tokens
    streamed: dict[int, str] = {}
    for chunk in complete(prompt=["the king", "a queen"], n=2, temperature=1.5, seed=1, stream=True):
        (choice,) = chunk.choices
        streamed[choice.index] = streamed.get(choice.index, "") + choice.text
    assert [streamed[index] for index in range(4)] == [choice.text for choice in answer.choices]


def test_tokens_may_be_the_prompt(complete):
    assert complete(prompt=[1, 300, 301]).choices[0].text


def test_a_stop_word_ends_the_answer(chat):
    words = chat().choices[0].message.content.split()
    answer = chat(stop=[words[3]])
    assert answer.choices[0].finish_reason == "stop"
    assert words[3] not in answer.choices[0].message.content
    streamed = "".join(chunk.choices[0].delta.content or "" for chunk in chat(stop=words[3], stream=True))
    assert streamed == answer.choices[0].message.content


def test_a_seed_repeats_an_answer(chat):
    one, other = (chat(temperature=1.5, seed=seed).choices[0].message.content for seed in (3, 4))
    assert chat(temperature=1.5, seed=3).choices[0].message.content == one
    assert one != other


def test_log_probabilities_are_told_of_chats_and_texts(chat, complete):
    scores = chat(logprobs=True, top_logprobs=2).choices[0].logprobs.content
    assert len(scores) == 12
    assert all(len(each.top_logprobs) == 2 and each.logprob <= 0 for each in scores)
    assert "".join(each.token for each in scores) == chat().choices[0].message.content
    told = complete(logprobs=2).choices[0].logprobs
    assert len(told.tokens) == len(told.token_logprobs) == len(told.top_logprobs) == 12
    assert told.text_offset[1] == len(told.tokens[0])
    assert chat().choices[0].logprobs is None


def test_a_base_model_is_not_asked_to_chat(chat, complete):
    with pytest.raises(openai.BadRequestError, match=r"chat_template.*/v1/completions"):
        chat(model="base")
    assert complete(model="base").choices[0].text


def test_errors_have_openais_shape(served, chat, complete):
    with pytest.raises(openai.NotFoundError) as unknown:
        chat(model="none")
    assert (unknown.value.code, unknown.value.param) == ("model_not_found", "model")
    with pytest.raises(openai.BadRequestError) as wrong:
        chat(temperature=-1)
    assert (wrong.value.type, wrong.value.param) == ("invalid_request_error", "temperature")
    with pytest.raises(openai.BadRequestError) as long:
        complete(prompt="king " * 1000)
    assert (long.value.code, long.value.param) == ("context_length_exceeded", "prompt")
    assert "256 tokens" in long.value.message
    body = httpx.post(f"{served}/v1/chat/completions", content=b"{").json()
    assert set(body["error"]) == {"message", "type", "param", "code"}


def test_a_refused_stream_is_an_http_error(complete):
    with pytest.raises(openai.BadRequestError):
        complete(prompt="king " * 1000, stream=True)


def test_who_leaves_a_stream_makes_room_for_others(served, complete):
    for _ in range(3):
        with complete(max_tokens=200, stream=True, extra_body={"ignore_eos": True}) as stream:
            next(iter(stream))
    assert complete().usage.completion_tokens == 12
    models = {each["model"]: each for each in httpx.get(f"{served}/api/models").json()}
    assert models["tiny"]["queued"] == 0


def test_many_callers_are_answered_at_a_time(served):
    async def ask() -> list[str]:
        async with openai.AsyncOpenAI(base_url=f"{served}/v1", api_key="none") as client:
            answers = [
                client.completions.create(model="tiny", prompt=f"the king said {n}", max_tokens=20, temperature=0)
                for n in range(24)
            ]
            return [answer.choices[0].text for answer in await asyncio.gather(*answers)]

    answers = asyncio.run(ask())
    assert len(answers) == 24
    assert all(answers)


def test_the_open_inference_protocol_asks_the_same_model(served):
    wanted = {"prompt": "the king said", "max_tokens": 4, "temperature": 0}
    tensor = {"name": "request", "shape": [1], "datatype": "BYTES", "data": [json.dumps(wanted)]}
    answer = httpx.post(f"{served}/v2/models/tiny/infer", json={"inputs": [tensor]}).json()
    (pieces,) = answer["outputs"]
    assert [json.loads(piece).get("finish", "") for piece in pieces["data"]][-1] == "length"
    assert pieces["shape"][0] == 1


def test_tritons_client_asks_the_same_model(served):
    triton = pytest.importorskip("tritonclient.http", reason="needs the package tritonclient, of the extra `test`")
    wanted = json.dumps({"prompt": "the king said", "max_tokens": 4, "temperature": 0}).encode()
    tensor = triton.InferInput("request", [1], "BYTES")
    tensor.set_data_from_numpy(np.array([wanted], np.object_))
    pieces = triton.InferenceServerClient(served.removeprefix("http://")).infer("tiny", [tensor]).as_numpy("pieces")
    assert json.loads(pieces.ravel()[-1])["finish"] == "length"
