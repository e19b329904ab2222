"""Options are Ollama's: known or refused, the request's before the Modelfile's before the usual ones."""

from __future__ import annotations

import math
from typing import Any

import pytest

from synfire.base.errors import UserError
from synfire.gateway.ollama.bodies import ChatBody, GenerateBody, Turn, generation, options_of, read


def wanted(given: dict[str, Any] | None = None, params: dict[str, Any] | None = None) -> Any:
    return generation("x", options_of(given, params or {}, 512), 512)


def test_what_nobody_says_is_as_ollama_has_it() -> None:
    found = wanted()
    assert (found.temperature, found.top_k, found.top_p, found.repeat_penalty) == (0.8, 40, 0.9, 1.1)
    assert (found.repeat_last_n, found.max_tokens, found.seed, found.stop) == (64, None, None, ())


def test_the_request_goes_before_the_modelfile() -> None:
    params = {"temperature": 0.1, "stop": ["a"], "num_predict": 9}
    found = wanted({"temperature": 0, "seed": 7, "stop": "b", "top_k": None}, params)
    assert (found.temperature, found.stop, found.max_tokens, found.seed, found.top_k) == (0.0, ("b",), 9, 7, 40)
    assert wanted(params=params).stop == ("a",)


@pytest.mark.parametrize(
    ("last", "held", "penalty"), [(-1, None, 1.1), (512, None, 1.1), (16, 16, 1.1), (0, None, 1.0)]
)
def test_how_far_repetition_is_looked_for(last: int, held: int | None, penalty: float) -> None:
    found = wanted({"repeat_last_n": last})
    assert (found.repeat_last_n, found.repeat_penalty) == (held, penalty)


@pytest.mark.parametrize(
    ("given", "what"),
    [
        ({"temprature": 1}, "no option 'temprature'; did you mean 'temperature'"),
        ({"wholly_unlike": 1}, "no option 'wholly_unlike'; leave it out"),
        ({"temperature": "hot"}, "option temperature is 'hot', and it is a number"),
        ({"seed": 1.5}, "option seed is 1.5, and it is a whole number"),
        ({"top_k": True}, "option top_k is True"),
        ({"num_ctx": 1024}, "num_ctx is 1024, and the model was loaded with 512; .*PARAMETER num_ctx"),
        ({"typical_p": 0.5}, "typical_p is not done"),
    ],
)
def test_what_cannot_be_is_named(given: dict[str, Any], what: str) -> None:
    with pytest.raises(UserError, match=what):
        wanted(given)


def test_options_of_ollamas_own_engine_are_taken_without_effect() -> None:
    assert wanted({"num_gpu": 99, "num_thread": 4, "mirostat": 2, "num_ctx": 256}) == wanted()


def test_bodies_are_read_and_what_does_not_fit_is_named() -> None:
    body = read(b'{"model": "m", "prompt": "x", "keep_alive": "-1m", "unknown": 1}', GenerateBody)
    assert (body.keep_s, body.stream, body.schema) == (math.inf, True, None)
    assert read(b'{"model": "m", "keep_alive": 0, "format": "json"}', GenerateBody).schema == {"type": "object"}
    with pytest.raises(UserError, match="format is 'xml'; it is json, or a JSON Schema"):
        _ = read(b'{"model": "m", "format": "xml"}', GenerateBody).schema
    with pytest.raises(UserError, match="keep_alive is 'soon'"):
        _ = read(b'{"model": "m", "keep_alive": "soon"}', GenerateBody).keep_s
    with pytest.raises(UserError, match="missing required field `model`"):
        read(b"{}", ChatBody)


def test_turns_are_plain_and_pictures_are_refused() -> None:
    call = {"function": {"name": "f", "arguments": {"a": 1}}}
    body = read(
        b'{"model":"m","messages":[{"role":"assistant","content":"","tool_calls":[%s]}]}' % _json(call), ChatBody
    )
    assert body.messages[0].plain()["tool_calls"] == [{"type": "function", **call}]
    with pytest.raises(UserError, match="models here read text alone"):
        Turn(role="user", images=["aGk="]).plain()


def _json(value: Any) -> bytes:
    import msgspec

    return msgspec.json.encode(value)
