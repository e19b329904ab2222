"""What a server is asked for a text's vector, for its tokens, or for how well a passage answers it, and what it says.

Such answers come whole: llama.cpp's `/embeddings`, `/rerank`, `/tokenize` and `/detokenize`.
"""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from synfire.base.errors import PermanentError
from synfire.ops.language_model import Generation, Piece, Scored


class _Usage(msgspec.Struct):
    prompt_tokens: int = 0


class _Vector(msgspec.Struct):
    embedding: list[float]


class _Vectors(msgspec.Struct):
    data: list[_Vector]
    usage: _Usage = msgspec.field(default_factory=_Usage)


class _Relevance(msgspec.Struct):
    relevance_score: float


class _Ranking(msgspec.Struct):
    results: list[_Relevance]
    usage: _Usage = msgspec.field(default_factory=_Usage)


class _Token(msgspec.Struct):
    id: int
    piece: str | tuple[int, ...]


class _Tokens(msgspec.Struct):
    tokens: list[_Token]


class _Content(msgspec.Struct):
    content: str


def question(wanted: Generation) -> tuple[str, dict[str, Any]]:
    """Where a server is asked for any task but to go on from a text, and the body of the request."""
    match wanted.task:
        case "embed":
            return "/v1/embeddings", {"input": wanted.prompt, "encoding_format": "float"}
        case "rank":
            return "/rerank", {"query": wanted.prompt, "documents": [wanted.passage]}
        case "tokenize":
            return "/tokenize", {"content": wanted.prompt, "add_special": wanted.special, "with_pieces": True}
        case _:
            return "/detokenize", {"tokens": wanted.prompt}


def told(wanted: Generation, body: bytes, engine: str) -> Piece:
    """The server's answer to that question. Raises `PermanentError` for one that is none."""
    try:
        return _READ[wanted.task](body)
    except (msgspec.DecodeError, ValueError, UnicodeDecodeError) as error:
        raise PermanentError(
            f"{engine} says {body[:200]!r} where it was to {wanted.task}: {error}; ask again"
        ) from error


def _vector(body: bytes) -> Piece:
    said = msgspec.json.decode(body, type=_Vectors)
    (found,) = said.data
    vector = np.asarray(found.embedding, "<f4")
    return Piece(finish="stop", prompt_count=said.usage.prompt_tokens, vector=vector.tobytes())


def _relevance(body: bytes) -> Piece:
    said = msgspec.json.decode(body, type=_Ranking)
    (found,) = said.results
    return Piece(finish="stop", prompt_count=said.usage.prompt_tokens, relevance=found.relevance_score)


def _tokens(body: bytes) -> Piece:
    found = msgspec.json.decode(body, type=_Tokens).tokens
    texts = tuple(_scored(each.piece) for each in found)
    return Piece(tokens=tuple(each.id for each in found), scores=texts, finish="stop", prompt_count=len(found))


def _scored(piece: str | tuple[int, ...]) -> Scored:
    """A token's text; a part of a character comes as bytes."""
    content = piece.encode() if isinstance(piece, str) else bytes(piece)
    return Scored(content.decode(errors="replace"), tuple(content), 0.0)


def _text(body: bytes) -> Piece:
    return Piece(msgspec.json.decode(body, type=_Content).content, finish="stop")


_READ = {"embed": _vector, "rank": _relevance, "tokenize": _tokens, "detokenize": _text}
