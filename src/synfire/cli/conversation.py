"""A conversation with a language model: what was said, how it is to answer, and the commands that change that.

It reads no keyboard and knows no terminal: lines come in, and what is to be shown goes to `write`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from synfire.base.errors import SynfireError, UserError
from synfire.cli.ollama_client import OllamaClient
from synfire.formats.modelfile import PARAMETERS, Instruction, Modelfile

QUOTES = '"""'

HELP = """/set parameter NAME VALUE    how tokens are chosen: temperature, seed, num_predict, stop, …
/set system TEXT             what the model is told before the conversation
/set format json             answers are JSON; /set noformat ends that
/set history                 what was said is remembered; /set nohistory ends that
/set verbose                 tells how long answers take; /set quiet ends that
/show info|parameters|system|template|license|modelfile
/clear                       forget what was said
/bye                         leave; so does Ctrl-D
\"\"\"                          begins and ends a text of several lines"""

_SHOWN = ("info", "parameters", "system", "template", "license", "modelfile")
_SWITCHES: dict[str, tuple[str, object]] = {
    "history": ("remembers", True), "nohistory": ("remembers", False), "verbose": ("verbose", True), "quiet": ("verbose", False),
    "noformat": ("format", ""),
}  # fmt: skip


@dataclass
class Conversation:
    """With one model at one deployment. A base model, which has no template for chats, goes on from what is written instead."""

    client: OllamaClient
    model: str
    write: Callable[[str], None]
    system: str = ""
    format: str = ""
    keep_alive: str | None = None
    options: dict[str, Any] = field(default_factory=dict)
    remembers: bool = True
    verbose: bool = False
    ended: bool = False
    _said: list[dict[str, str]] = field(default_factory=list)
    _context: list[int] = field(default_factory=list)
    _open: list[str] | None = None
    _template: str | None = None

    @property
    def waits(self) -> bool:
        """Whether a text of several lines has begun, and not ended."""
        return self._open is not None

    def take(self, line: str) -> None:
        """A line from the user: a command, a text to answer, or a part of one. What is wrong with it is told, and changes nothing."""
        try:
            self._take(line)
        except SynfireError as error:
            self.write(f"error: {error}\n")

    def ask(self, text: str) -> str:
        """Answer a text, piece by piece, and remember both. Raises what stands against it; then nothing is remembered."""
        last: dict[str, Any] = {}
        answer = ""
        for line in self._lines(text):
            piece = line["message"]["content"] if "message" in line else line.get("response", "")
            answer += piece
            self.write(piece)
            last = line
        self.write("\n")
        if self.remembers:
            self._said += [{"role": "user", "content": text}, {"role": "assistant", "content": answer}]
            self._context = last.get("context") or []
        if self.verbose:
            self.write(_timed(last))
        return answer

    def forget(self) -> None:
        """Begin anew."""
        self._said.clear()
        self._context = []
        self._open = None

    @property
    def chats(self) -> bool:
        """Whether the model was trained to chat: it has a template for that."""
        if self._template is None:
            self._template = str(self.client.show(self.model).get("template", ""))
        return bool(self._template)

    def _take(self, line: str) -> None:
        if self._open is not None:
            self._gather(line)
        elif line.startswith(QUOTES):
            self._open = []
            self._gather(line.removeprefix(QUOTES))
        elif line.startswith("/"):
            self._obey(line)
        elif line.strip():
            self.ask(line)

    def _gather(self, line: str) -> None:
        """Add a line to the text that has begun, and answer it when it is closed."""
        assert self._open is not None
        closed = line.rstrip().endswith(QUOTES)
        self._open.append(line.rstrip().removesuffix(QUOTES) if closed else line)
        if closed:
            text, self._open = "\n".join(self._open), None
            self.ask(text)

    def _obey(self, line: str) -> None:
        word, _, rest = line[1:].strip().partition(" ")
        if word in ("bye", "exit"):
            self.ended = True
        elif word in ("?", "help"):
            self.write(HELP + "\n")
        elif word == "clear":
            self.forget()
            self.write("what was said is forgotten\n")
        elif word == "set":
            self._set(*_two(rest))
        elif word == "show":
            self._show(rest.strip())
        else:
            raise UserError(f"there is no command /{word}; /? tells which there are")

    def _set(self, what: str, value: str) -> None:
        if what == "parameter":
            name, text = _two(value)
            self.options[name] = _parameter(name, text)
        elif what == "system":
            self.system = _unquoted(value)
            self.forget()
        elif what == "format":
            if value != "json":
                raise UserError(f"there is no format {value!r}; there is json")
            self.format = value
        elif what in _SWITCHES:
            setattr(self, *_SWITCHES[what])
        else:
            raise UserError(f"there is nothing to set called {what!r}; /? tells what there is")
        self.write("set\n")

    def _show(self, what: str) -> None:
        if what not in _SHOWN:
            raise UserError(f"there is nothing to show called {what!r}; there are {', '.join(_SHOWN)}")
        found = self.client.show(self.model)
        if what == "info":
            details = found["details"]
            self.write(
                f"{self.model}: {details['family']}, {details['parameter_size']} parameters as {details['quantization_level']}\n"
            )
        elif what == "system":
            self.write(f"{self.system or found.get('system') or 'nothing is set'}\n")
        elif what == "parameters":
            ours = "\n".join(f"{name} {value}" for name, value in self.options.items())
            self.write("\n".join(filter(None, (found.get("parameters"), ours))) + "\n")
        else:
            self.write(f"{found.get(what) or 'there is none'}\n")

    def _lines(self, text: str) -> Iterator[dict[str, Any]]:
        more: dict[str, Any] = {"model": self.model, "options": self.options}
        if self.format:
            more["format"] = self.format
        if self.keep_alive is not None:
            more["keep_alive"] = self.keep_alive
        if not self.chats:
            system = {"system": self.system} if self.system and not self._context else {}
            return self.client.stream("/api/generate", {**more, **system, "prompt": text, "context": self._context})
        told = [{"role": "system", "content": self.system}] if self.system else []
        messages = [*told, *(self._said if self.remembers else ()), {"role": "user", "content": text}]
        return self.client.stream("/api/chat", {**more, "messages": messages})


def _parameter(name: str, text: str) -> Any:
    """A parameter's value in its type. Raises `UserError` as a Modelfile's reading does."""
    if name not in PARAMETERS:
        raise UserError(f"there is no parameter {name!r}; there are {', '.join(sorted(PARAMETERS))}")
    if not text:
        raise UserError(f"parameter {name} needs a value: /set parameter {name} VALUE")
    return Modelfile((Instruction("PARAMETER", _unquoted(text), name, 1),)).params[name]


def _two(text: str) -> tuple[str, str]:
    first, _, rest = text.strip().partition(" ")
    return first, rest.strip()


def _unquoted(text: str) -> str:
    for quote in (QUOTES, '"'):
        if len(text) >= 2 * len(quote) and text.startswith(quote) and text.endswith(quote):
            return text[len(quote) : -len(quote)]
    return text


def _timed(last: dict[str, Any]) -> str:
    """What an answer took, in words."""
    count, took_s = last.get("eval_count", 0), last.get("eval_duration", 0) / 1e9
    rate = f", {count / took_s:.1f} a second" if took_s else ""
    total_s, load_s = last.get("total_duration", 0) / 1e9, last.get("load_duration", 0) / 1e9
    return f"{count} tokens{rate}; {last.get('prompt_eval_count', 0)} in the prompt; {total_s:.2f} s, {load_s:.2f} s of it until the model was there\n"
