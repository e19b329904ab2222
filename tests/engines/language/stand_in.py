"""A server that speaks OpenAI's completions as vLLM does, of a model that is a rule: the next word follows from the last two, or from chance.

Run as a file: `stand_in.py PORT CONTEXT WORDS_OF_TOKENS`, where 0 stands for a server that does not tell tokens by their numbers.
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

VOCABULARY = [f" w{number}" for number in range(64)]


def tokens_of(prompt: str | list[int]) -> list[int]:
    if not isinstance(prompt, str):
        return [int(each) for each in prompt]
    known = {word.strip(): number for number, word in enumerate(VOCABULARY)}
    return [known.get(word, sum(word.encode()) % len(VOCABULARY)) for word in prompt.split()]


def likely(tokens: list[int]) -> list[int]:
    """All tokens, the likeliest first."""
    rule = random.Random(f"{tokens[-2:]}")
    return rule.sample(range(len(VOCABULARY)), len(VOCABULARY))


def answer(body: dict[str, Any], context: int, tells: bool) -> Iterator[dict[str, Any]]:
    tokens = tokens_of(body["prompt"])
    prompt, room = len(tokens), context - len(tokens)
    most = room if body["max_tokens"] is None else min(room, body["max_tokens"])
    for made in range(1, most + 1):
        ordered = likely(tokens)
        chance = random.Random(f"{body.get('seed', random.random())}{tokens}")
        place = 0 if not body["temperature"] else min(int(chance.expovariate(1)), 9)
        tokens.append(ordered[place])
        choice: dict[str, Any] = {"index": 0, "text": VOCABULARY[tokens[-1]], "finish_reason": None}
        if body.get("logprobs"):
            top = {VOCABULARY[each]: -0.5 - n for n, each in enumerate(ordered[: body["logprobs"]])}
            choice["logprobs"] = {"tokens": [choice["text"]], "token_logprobs": [-0.5 - place], "top_logprobs": [top]}
        event: dict[str, Any] = {"choices": [choice]}
        if tells:
            choice["token_ids"] = [tokens[-1]]
            event["usage"] = {"prompt_tokens": prompt, "completion_tokens": made}
        choice["finish_reason"] = "length" if made == most else None
        yield event
    yield {"choices": [], "usage": {"prompt_tokens": prompt, "completion_tokens": most}}


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        prompt = len(tokens_of(body["prompt"]))
        if prompt >= CONTEXT:
            said = f"This model's maximum context length is {CONTEXT} tokens. However, you requested {prompt} tokens"
            self._send(400, "application/json", json.dumps({"error": {"message": said, "code": 400}}).encode())
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        for event in answer(body, CONTEXT, TELLS):
            self.wfile.write(b"data: %s\n\n" % json.dumps(event).encode())
        self.wfile.write(b"data: [DONE]\n\n")

    def _send(self, status: int, kind: str, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        pass


if __name__ == "__main__":
    CONTEXT, TELLS = int(sys.argv[2]), sys.argv[3] != "0"
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
