"""The model with its tokenizer and its adapters: tokens in, scores of the next token out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, DynamicCache, GenerationConfig

from ..answering.server import Answer, Event, Refused
from ..answering.text import known, piece
from .adapters import Adapters
from .generation import begun


class TorchModel:
    """A directory's model, in float32: its weights, of whatever precision they are, are exactly such numbers."""

    def __init__(self, folder: str, context: int) -> None:
        self.context = context
        self.tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        self._model = AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, local_files_only=True, use_safetensors=True, trust_remote_code=False
        ).eval()
        self._adapters = Adapters(self._model)
        self.ends = self._ends(folder)
        self._bytes = _byte_letters()

    @property
    def adapters(self) -> list[str]:
        return self._adapters.names

    @property
    def vocabulary(self) -> int:
        return int(self._model.config.get_text_config().vocab_size)

    def begin(self, asked: Event) -> Answer:
        """See `synfire.engines.language.processes.answering.server.Model`."""
        return begun(self, asked)

    def step(self) -> None:
        """Nothing is computed together."""

    def told(self, target: str, asked: Event) -> Event:
        """Tokens and texts; and `/adapter`, which loads one: one of that name that is there already is left."""
        if target == "/tokenize":
            found = self.tokens(asked["content"], bool(asked.get("add_special")))
            return {"tokens": [piece(each, *self.token(each)) for each in found]}
        if target == "/detokenize":
            return {"content": self.text(known(asked["tokens"], self.vocabulary))}
        if target != "/adapter":
            raise Refused(f"nothing is done at {target} here")
        try:
            self._adapters.load(asked["name"], Path(asked["path"]))
        except ValueError as error:
            raise Refused(str(error)) from error
        return {"adapters": self.adapters}

    def tokens(self, text: str, special: bool) -> list[int]:
        """A text's tokens, with those before and behind it that its tokenizer adds where `special`."""
        return list(self.tokenizer(text, add_special_tokens=special)["input_ids"])

    def text(self, tokens: Sequence[int]) -> str:
        """The text of tokens, special ones left out."""
        return str(self.tokenizer.decode(list(tokens), skip_special_tokens=True, clean_up_tokenization_spaces=False))

    def token(self, number: int) -> tuple[str, list[int]]:
        """One token as text, and its bytes, which may be a part of a character's."""
        name = self.tokenizer.convert_ids_to_tokens(number) or ""
        if name.startswith("<0x") and name.endswith(">") and len(name) == 6:
            byte = bytes([int(name[3:5], 16)])
            return byte.decode(errors="replace"), list(byte)
        if all(letter in self._bytes for letter in name) and "▁" not in name:
            found = bytes(self._bytes[letter] for letter in name)
        else:
            found = name.replace("▁", " ").encode()
        return found.decode(errors="replace"), list(found)

    def scores(self, tokens: Sequence[int], cache: DynamicCache, adapter: str) -> torch.Tensor:
        """The score of each token of the vocabulary to come next behind `tokens`, which are put into the `cache`."""
        self._adapters.use(adapter)
        found = self._model(
            input_ids=torch.tensor([list(tokens)]), past_key_values=cache, use_cache=True, logits_to_keep=1
        )
        return found.logits[0, -1].float()

    def _ends(self, folder: str) -> frozenset[int]:
        """The tokens that end an answer."""
        found = [self.tokenizer.eos_token_id, self._model.config.get_text_config().eos_token_id]
        if (Path(folder) / "generation_config.json").is_file():
            found.append(GenerationConfig.from_pretrained(folder, local_files_only=True).eos_token_id)
        numbers = [each for some in found for each in (some if isinstance(some, list) else [some])]
        return frozenset(each for each in numbers if each is not None)


def _byte_letters() -> dict[str, int]:
    """The letters that vocabularies of bytes write these with: itself where a byte is a visible one, else the next beyond 255."""
    visible = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in visible]
    return {chr(byte): byte for byte in visible} | {chr(256 + n): byte for n, byte in enumerate(others)}
