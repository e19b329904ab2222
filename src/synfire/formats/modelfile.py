"""Modelfiles: a model's weights, adapters, prompt, parameters and licence in lines of text, as Ollama has them.

    file        = { blank | comment | instruction }
    comment     = "#" to the end of the line, where an instruction may begin
    instruction = word value                       FROM TEMPLATE SYSTEM ADAPTER LICENSE REQUIRES, in any case
                | "PARAMETER" name value
                | "MESSAGE" role value             role: system, user, assistant
    value       = the rest of the line, without spaces around it
                | '"' text '"' | '\"""' text '\"""'    over as many lines as it takes: it ends at the first line that ends with the quote

https://docs.ollama.com/modelfile
"""

from __future__ import annotations

import contextlib
import difflib
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from synfire.base.errors import UserError

WORDS = ("FROM", "PARAMETER", "TEMPLATE", "SYSTEM", "ADAPTER", "LICENSE", "MESSAGE", "REQUIRES")
ROLES = ("system", "user", "assistant")
FOREIGN = ("RENDERER", "PARSER", "DRAFT")
"""Words of Ollama that name parts of its program, which no other one has."""

PARAMETERS: Mapping[str, type] = {
    "num_ctx": int, "num_batch": int, "num_gpu": int, "main_gpu": int, "num_thread": int, "use_mmap": bool,
    "num_keep": int, "num_predict": int, "seed": int, "temperature": float, "top_k": int, "top_p": float, "min_p": float,
    "typical_p": float, "repeat_last_n": int, "repeat_penalty": float, "presence_penalty": float,
    "frequency_penalty": float, "draft_num_predict": int, "stop": list,
}  # fmt: skip
"""The parameters and their types; `stop` may stand there several times."""

PAST = (
    "mirostat", "mirostat_tau", "mirostat_eta", "tfs_z", "penalize_newline", "num_gqa", "numa", "low_vram", "f16_kv",
    "logits_all", "vocab_only", "use_mlock",
)  # fmt: skip
"""Parameters that Ollama once had: read, told of, and without effect."""

_BOOLEANS = {"true": True, "1": True, "t": True, "false": False, "0": False, "f": False}
_VERSION = re.compile(r"v?\d+(\.\d+){0,2}(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?")
_QUOTES = ('"""', '"')


@dataclass(frozen=True)
class Instruction:
    """One instruction: its word in capitals, the parameter's name or the message's role, its value, and its line, from 1."""

    word: str
    value: str
    argument: str = ""
    line: int = 0

    def __str__(self) -> str:
        return " ".join(each for each in (self.word, self.argument, _quoted(self)) if each)


@dataclass(frozen=True)
class Modelfile:
    """The instructions of a file, checked. As text it is a Modelfile again, with the same instructions."""

    instructions: tuple[Instruction, ...]

    @property
    def base(self) -> Instruction:
        """The FROM: a name, or a path from the file's folder."""
        return self.all("FROM")[0]

    @property
    def params(self) -> dict[str, Any]:
        """The parameters in their types; those of the past are left out."""
        found: dict[str, Any] = {}
        for each in self.all("PARAMETER"):
            if each.argument == "stop":
                found.setdefault("stop", []).append(each.value)
            elif each.argument in PARAMETERS:
                found[each.argument] = _typed(each, "the Modelfile")
        return found

    @property
    def past(self) -> tuple[str, ...]:
        """The parameters that are without effect."""
        return tuple(each.argument for each in self.all("PARAMETER") if each.argument in PAST)

    @property
    def messages(self) -> list[dict[str, str]]:
        """The turns that a conversation begins with."""
        return [{"role": each.argument, "content": each.value} for each in self.all("MESSAGE")]

    def last(self, word: str) -> str | None:
        """The value of the last instruction of that word; None where there is none."""
        found = self.all(word)
        return found[-1].value if found else None

    def all(self, word: str) -> tuple[Instruction, ...]:
        """The instructions of that word."""
        return tuple(each for each in self.instructions if each.word == word)

    def __str__(self) -> str:
        return "".join(f"{each}\n" for each in self.instructions)


def parse_modelfile(content: str | bytes, where: str = "the Modelfile") -> Modelfile:
    """Read and check a Modelfile, in UTF-8 or, with its mark, UTF-16.

    Raises `UserError`, with the line and the nearest known word, for what is none.
    """
    lines = _lines(_text(content, where))
    found, number = [], 0
    while number < len(lines):
        line = lines[number].strip(" \t")
        if not line or line.startswith("#"):
            number += 1
            continue
        instruction, number = _instruction(lines, number, where)
        found.append(instruction)
    _check(found, where)
    return Modelfile(tuple(found))


def _text(content: str | bytes, where: str) -> str:
    if isinstance(content, bytes):
        encoding = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
        try:
            content = content.decode(encoding)
        except UnicodeDecodeError as error:
            raise UserError(f"{where} is no text in UTF-8 (byte {error.start}); save it as UTF-8") from error
    return content


def _lines(text: str) -> list[str]:
    """Lines as every editor has them; `str.splitlines` would divide at other characters, too."""
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")


def _instruction(lines: list[str], number: int, where: str) -> tuple[Instruction, int]:
    """The instruction that begins in this line, and the number of the line after it."""
    first, rest = _split(lines[number])
    word, argument = first.upper(), ""
    if word in FOREIGN:
        raise _wrong(
            where, number, f"{word} names a part of Ollama's program, which synfire has not; leave the line out"
        )
    if word not in WORDS:
        raise _wrong(where, number, f"{first!r} is no instruction{_nearest(word, WORDS)}; there are {', '.join(WORDS)}")
    if word in ("PARAMETER", "MESSAGE"):
        argument, rest = _split(rest)
        _check_argument(word, argument, where, number)
    if not rest:
        raise _wrong(where, number, f'{word} needs a value; an empty one is written as ""')
    value, after = _value(lines, number, rest, where)
    return Instruction(word, value, argument, number + 1), after


def _split(text: str) -> tuple[str, str]:
    first, *rest = re.split(r"[ \t]+", text.strip(" \t"), maxsplit=1)
    return first, rest[0] if rest else ""


def _value(lines: list[str], number: int, first: str, where: str) -> tuple[str, int]:
    """The value that begins with `first` in this line, and the number of the line after it."""
    quote = next((each for each in _QUOTES if first.startswith(each)), "")
    if not quote:
        return first, number + 1
    # The end of a line does not count while the value goes on: spaces there are part of it.
    text = lines[number][lines[number].index(quote) :]
    for after in range(number + 1, len(lines) + 1):
        ended = text.rstrip(" \t")
        if len(ended) >= 2 * len(quote) and ended.endswith(quote):
            return ended[len(quote) : -len(quote)], after
        text += "\n" + (lines[after] if after < len(lines) else "")
    raise _wrong(where, number, f"the {quote} that begins here is never closed; end a line with {quote}")


def _check_argument(word: str, argument: str, where: str, number: int) -> None:
    if word == "MESSAGE" and argument not in ROLES:
        raise _wrong(
            where, number, f"{argument!r} is no role{_nearest(argument, ROLES)}; a message is of {', '.join(ROLES)}"
        )
    if word == "PARAMETER" and argument not in PARAMETERS and argument not in PAST:
        known = ", ".join(sorted(PARAMETERS))
        raise _wrong(where, number, f"{argument!r} is no parameter{_nearest(argument, PARAMETERS)}; there are {known}")


def _check(found: list[Instruction], where: str) -> None:
    bases = [each for each in found if each.word == "FROM"]
    if not bases:
        raise UserError(f"{where} has no FROM; begin it with FROM and a model's name, file or directory")
    if len(bases) > 1:
        raise _wrong(
            where, bases[1].line - 1, f"a second FROM; one model is made from one, that of line {bases[0].line}"
        )
    for each in found:
        if each.word in ("FROM", "ADAPTER") and not each.value:
            raise _wrong(where, each.line - 1, f"{each.word} names nothing; give a name, a file or a directory")
        if each.word == "REQUIRES" and not _VERSION.fullmatch(each.value):
            raise _wrong(where, each.line - 1, f"REQUIRES {each.value} is no version; write one as 0.14.0")
        if each.argument in PARAMETERS:
            _typed(each, where)


def _typed(each: Instruction, where: str) -> Any:
    """A parameter's value in its type."""
    wanted, value = PARAMETERS[each.argument], each.value.strip()
    if wanted is bool and value.lower() in _BOOLEANS:
        return _BOOLEANS[value.lower()]
    if wanted is list:
        return each.value
    if wanted in (int, float):
        with contextlib.suppress(ValueError, OverflowError):  # what is no number is refused below
            number = float(value)
            if wanted is float and math.isfinite(number):
                return number
            if wanted is int and number == int(number):
                return int(number)
    noun = {int: "whole number", float: "number", bool: "true or false"}[wanted]
    raise _wrong(where, each.line - 1, f"PARAMETER {each.argument} is a {noun}, and {value!r} is none")


def _quoted(each: Instruction) -> str:
    """The value in the least quotes from which it is read again. Raises `UserError` for text that no quotes can hold."""
    value = each.value
    if value and value == value.strip(" \t") and not value.startswith('"') and _lines(value) == [value]:
        return value
    for quote in reversed(_QUOTES):
        written = f"{quote}{value}{quote}"
        if _reads_as(written, value):
            return written
    raise UserError(
        f"the value of {each.word} cannot be written into a Modelfile: a line of it ends with quotation marks or a "
        "carriage return; change that line"
    )


def _reads_as(written: str, value: str) -> bool:
    lines = _lines(written)
    try:
        found, after = _value(lines, 0, lines[0], "")
    except UserError:
        return False
    return found == value and after == len(lines)


def _nearest(word: str, known: Iterable[str]) -> str:
    names = {each.upper(): each for each in known}
    found = difflib.get_close_matches(word.upper(), names, 1, 0.5)
    return f" (did you mean {names[found[0]]}?)" if found else ""


def _wrong(where: str, number: int, what: str) -> UserError:
    return UserError(f"{where}, line {number + 1}: {what}")
