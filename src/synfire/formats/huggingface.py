"""A Hugging Face directory: config.json, a tokenizer and weights as safetensors; or a PEFT adapter of such a model."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import safetensors

from synfire.base.errors import UserError
from synfire.store.files import explained

CONFIG, ADAPTER_CONFIG = "config.json", "adapter_config.json"
GENERATION_CONFIG = "generation_config.json"
INDEX = "model.safetensors.index.json"
TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "tekken.json")
LARGEST_JSON = 256 * 2**20
"""Tokenizers of large vocabularies have 2²⁵ bytes."""

_KEPT = re.compile(
    r"([^/]+\.(json|jinja|tiktoken)|(tokenizer|vocab|merges|spiece|sentencepiece[^/]*)\.(model|txt)|LICENSE[^/]*|NOTICE[^/]*|"
    r"\d_[A-Za-z]+/config\.json)"
)
"""Files besides the weights that belong to a model; code, images and other frameworks' weights do not."""
_PICKLES = re.compile(r"[^/]+\.(bin|pt|pth|ckpt|pkl)")
_LFS = b"version https://git-lfs"


@dataclass(frozen=True)
class Folder:
    """A directory that was read: paths of its `weights` and `others` within it, its config, and what its weights hold."""

    path: Path
    weights: tuple[str, ...]
    others: tuple[str, ...]
    config: Mapping[str, Any]
    parameters: int
    precision: str
    chat_template: str | None

    @property
    def is_adapter(self) -> bool:
        """Whether it is an adapter of another model and no model itself."""
        return ADAPTER_CONFIG in self.others and CONFIG not in self.others

    @property
    def architecture(self) -> str:
        """`llama`, say; of an adapter, its kind: `lora`."""
        return str(self.config.get("model_type") or self.config.get("peft_type", "")).lower()

    @property
    def ends(self) -> tuple[int, ...]:
        """The numbers of the tokens that end an answer."""
        more = _json(self.path / GENERATION_CONFIG) if GENERATION_CONFIG in self.others else {}
        named = [each.get("eos_token_id") for each in (self.config, more)]
        numbers = [each for some in named for each in (some if isinstance(some, list) else [some])]
        return tuple(sorted({each for each in numbers if isinstance(each, int)}))

    @property
    def context_length(self) -> int | None:
        """The tokens that it was trained for."""
        found = self.config.get("max_position_embeddings")
        return found if isinstance(found, int) else None


def belongs(name: str) -> bool:
    """Whether a file of that path within a repository belongs to a model: weights as safetensors, config, tokenizer, licence."""
    return _is_weights(name) or _KEPT.fullmatch(name) is not None


def is_folder(path: Path) -> bool:
    """Whether `path` looks like such a directory; no promise that it is whole."""
    return (path / CONFIG).is_file() or (path / ADAPTER_CONFIG).is_file()


def read_folder(path: Path) -> Folder:
    """Read and check such a directory.

    Raises `UserError`, naming the file, where one is missing, cut off, damaged, or a pickle.
    """
    names = _names(path)
    weights = tuple(name for name in names if _is_weights(name))
    others = tuple(name for name in names if not _is_weights(name))
    adapter = ADAPTER_CONFIG in others and CONFIG not in others
    config = _config(path / (ADAPTER_CONFIG if adapter else CONFIG))
    _check_weights(path, weights, others)
    _check_tokenizer(path, others, adapter)
    sizes = _sizes([path / name for name in weights])
    precision = max(sizes, key=sizes.__getitem__, default="")
    return Folder(path, weights, others, config, sum(sizes.values()), precision, _chat_template(path, others))


def _names(path: Path) -> list[str]:
    with explained(path, "read"):
        found = [file.relative_to(path).as_posix() for file in (*path.glob("*"), *path.glob("*/*")) if file.is_file()]
    return sorted(name for name in found if belongs(name) and not name.startswith("."))


def _is_weights(name: str) -> bool:
    return name.endswith(".safetensors") and "/" not in name and not name.startswith("consolidated")


def _config(file: Path) -> Mapping[str, Any]:
    config = _json(file)
    if not (config.get("model_type") or config.get("architectures") or config.get("peft_type")):
        raise UserError(
            f"{file} names no model: it lacks model_type and architectures (peft_type for an adapter); {_CURE}"
        )
    return config


def _check_weights(path: Path, weights: tuple[str, ...], others: tuple[str, ...]) -> None:
    if not weights:
        pickles = sorted(file.name for file in path.iterdir() if _PICKLES.fullmatch(file.name))
        if pickles:
            raise UserError(
                f"{path} holds weights as {pickles[0]}, a pickle, which may run any code and is not read; save the model with "
                "safe_serialization=True, or get its safetensors"
            )
        raise UserError(f"{path} holds no weights: there is no .safetensors file; {_CURE}")
    if INDEX in others:
        listed = _json(path / INDEX).get("weight_map")
        if not isinstance(listed, dict):
            raise UserError(f"{path / INDEX} has no weight_map; {_CURE}")
        missing = sorted({str(name) for name in listed.values()} - set(weights))
        if missing:
            raise UserError(f"{path} lacks {', '.join(missing)}, which {INDEX} lists; {_CURE}")


def _check_tokenizer(path: Path, others: tuple[str, ...], adapter: bool) -> None:
    if not adapter and not set(others) & set(TOKENIZERS):
        raise UserError(f"{path} holds no tokenizer (none of {', '.join(TOKENIZERS)}); {_CURE}")
    for name in others:
        if name.endswith(".json"):
            _json(path / name)


def _sizes(files: list[Path]) -> dict[str, int]:
    """How many numbers the files hold of each precision."""
    found: dict[str, int] = {}
    for file in files:
        with explained(file, "read"), file.open("rb") as start:
            _check_no_pointer(file, start.read(len(_LFS)))
        try:
            with safetensors.safe_open(file, framework="numpy") as content:
                slices = [content.get_slice(name) for name in content.keys()]  # noqa: SIM118
                for each in slices:
                    found[each.get_dtype()] = found.get(each.get_dtype(), 0) + math.prod(each.get_shape())
        except (safetensors.SafetensorError, OSError, ValueError) as error:
            raise UserError(f"{file} is cut off or damaged: {error}; {_CURE}") from error
    return found


def _chat_template(path: Path, others: tuple[str, ...]) -> str | None:
    if "chat_template.jinja" in others:
        with explained(path, "read"):
            return (path / "chat_template.jinja").read_text(errors="surrogateescape")
    for name in ("chat_template.json", "tokenizer_config.json"):
        found = _json(path / name).get("chat_template") if name in others else None
        if isinstance(found, list):  # several, by name
            found = next((each.get("template") for each in found if each.get("name") == "default"), None)
        if isinstance(found, str):
            return found
    return None


def _json(file: Path) -> dict[str, Any]:
    with explained(file, "read"):
        size = file.stat().st_size
        content = file.read_bytes() if size <= LARGEST_JSON else b""
    _check_no_pointer(file, content[: len(_LFS)])
    if size > LARGEST_JSON:
        raise UserError(f"{file} is {size} bytes long, and {LARGEST_JSON} is the most that is read; {_CURE}")
    try:
        found: dict[str, Any] = msgspec.json.decode(content, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UserError(f"{file} is cut off or damaged: {error}; {_CURE}") from error
    return found


def _check_no_pointer(file: Path, start: bytes) -> None:
    if start.startswith(_LFS):
        raise UserError(f"{file} is a pointer of git-lfs and not the file itself; run `git lfs pull` in {file.parent}")


_CURE = "copy or download the directory again"
