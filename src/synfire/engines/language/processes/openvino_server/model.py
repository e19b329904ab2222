"""The model: answers are computed together, a step of all at a time, by OpenVINO's continuous batching."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import openvino
import openvino_genai as genai

from ..answering.server import Answer, Event, Refused
from ..answering.text import Text, check_known, event, known, piece, prompt_of, room_for

_KNOWN = {
    *("prompt", "stream", "return_tokens", "n_predict", "temperature", "top_p", "top_k", "min_p", "seed"),
    *("frequency_penalty", "presence_penalty", "repeat_penalty", "repeat_last_n", "ignore_eos"),
}
_BLOCK = 32
"""Tokens whose keys and values lie together, on a processor."""

_LARGEST = 2**31 - 1


@contextmanager
def _two_cores() -> Iterator[None]:
    """Where this process has one core, have it see all while the model is loaded: OpenVINO 2026.4 divides by zero else. Then all of its
    threads share the one."""
    mine = os.sched_getaffinity(0)
    if len(mine) == 1:
        os.sched_setaffinity(0, range(os.cpu_count() or 1))
    try:
        yield
    finally:
        for thread in os.listdir("/proc/self/task"):
            os.sched_setaffinity(int(thread), mine)


class OpenVinoModel:
    """A GGUF file's model on this process's cores."""

    def __init__(self, order: dict[str, Any]) -> None:
        self.context: int = order["context"]
        self._bos: list[int] | None = order["bos"]
        self._ends = frozenset(order["ends"])
        self._vocabulary: int = order["vocabulary"]
        memory = genai.SchedulerConfig()
        memory.num_kv_blocks = (-(-self.context // _BLOCK) + 1) * order["streams"]
        memory.max_num_seqs = order["streams"]
        memory.enable_prefix_caching = False  # an answer's bits shall not depend on what was asked before
        with _two_cores():
            threads = {"INFERENCE_NUM_THREADS": max(2, len(order["cores"]))}
            self._pipeline = genai.ContinuousBatchingPipeline(order["model"], memory, "CPU", threads)
        self._tokenizer = self._pipeline.get_tokenizer()
        self._numbers = itertools.count()

    def begin(self, asked: Event) -> Answer:
        """See `synfire.engines.language.processes.answering.server.Model`."""
        check_known("openvino", asked, _KNOWN)
        prompt = prompt_of(asked["prompt"], self.tokens, self.context, self._vocabulary)
        most = room_for(asked, prompt, self.context)
        handle = None
        if most:
            tensor = openvino.Tensor(np.array([prompt], np.int64))
            handle = self._pipeline.add_request(next(self._numbers), tensor, self._config(asked, most))
        return self._answer(handle, prompt, most, bool(asked.get("ignore_eos")))

    def step(self) -> None:
        if self._pipeline.has_non_finished_requests():
            self._pipeline.step()

    def told(self, target: str, asked: Event) -> Event:
        """Tokens and texts."""
        if target == "/tokenize":
            found = self.tokens(asked["content"], bool(asked.get("add_special")))
            return {"tokens": [piece(each, text := self.text([each]), text.encode()) for each in found]}
        if target == "/detokenize":
            return {"content": self.text(known(asked["tokens"], self._vocabulary))}
        raise Refused(f"nothing is done at {target} here")

    def tokens(self, text: str, special: bool) -> list[int]:
        """A text's tokens; where the tokenizer does not know what is put before it, that is `bos`."""
        own = special and self._bos is None
        found = self._tokenizer.encode(text, add_special_tokens=own).input_ids.data[0]
        return [*((self._bos or []) if special else []), *map(int, found)]

    def text(self, tokens: Sequence[int]) -> str:
        return str(self._tokenizer.decode(list(tokens), skip_special_tokens=True)) if tokens else ""

    def _answer(self, handle: Any, prompt: list[int], most: int, ignore_eos: bool) -> Answer:
        text, made = Text(self.text, prompt), 0
        try:
            while made < most:
                new = self._new(handle)
                if not new:
                    yield None
                    continue
                made += len(new)
                if new[-1] in self._ends and not ignore_eos:
                    yield event(text.of(*new) + text.rest(), new, made, len(prompt), "eos")
                    return
                yield event(text.of(*new), new, made, len(prompt))
            yield event(text.rest(), [], made, len(prompt), "limit")
        finally:
            if handle is not None and handle.get_status() == genai.GenerationStatus.RUNNING:
                handle.cancel()

    def _new(self, handle: Any) -> list[int]:
        """The tokens that have come since. Raises `RuntimeError` for an answer that has ended without them."""
        if handle.can_read():
            return [int(token) for output in handle.read().values() for token in output.generated_ids]
        if handle.get_status() != genai.GenerationStatus.RUNNING:
            raise RuntimeError(f"the answer has ended early: {handle.get_status()}")
        return []

    def _config(self, asked: Event, most: int) -> Any:
        config = genai.GenerationConfig()
        config.max_new_tokens = most
        config.ignore_eos = bool(asked.get("ignore_eos"))
        if not config.ignore_eos:
            config.stop_token_ids = set(self._ends)
            config.eos_token_id = next(iter(self._ends), -1)
        config.repetition_penalty = float(asked.get("repeat_penalty", 1.0))
        config.frequency_penalty = float(asked.get("frequency_penalty", 0.0))
        config.presence_penalty = float(asked.get("presence_penalty", 0.0))
        config.do_sample = asked.get("temperature", 1.0) > 0
        if config.do_sample:
            config.temperature = float(asked.get("temperature", 1.0))
            config.top_p = float(asked.get("top_p", 1.0))
            config.top_k = int(asked.get("top_k", 0)) or _LARGEST
            config.min_p = float(asked.get("min_p", 0.0))
            config.rng_seed = int(asked["seed"]) if "seed" in asked else int.from_bytes(np.random.bytes(4), "little")
        return config
