"""Chain files: TOML, or the same in JSON.

[steps.NAME]           model | function | switch | split | ensemble, and inputs = {port = "step.output" | {value = …}}
[outputs]              name = "step.output"
[models]  [inputs]     models that the chain brings; types of inputs that no model reads
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from synfire.base.errors import UserError
from synfire.chains.chain import (
    OUTPUTS,
    REQUEST,
    Ask,
    Case,
    Chain,
    Compute,
    Does,
    Ensemble,
    Leaf,
    Place,
    Share,
    Source,
    Split,
    Step,
    Switch,
    Turn,
)
from synfire.chains.ensembles import read_ensemble
from synfire.chains.functions import FUNCTIONS, Function
from synfire.chains.tables import Table, check_known, converted, is_number, list_of, nearest, table_of, text_of
from synfire.formats.triton.layout import is_ensemble

SUFFIXES = (".toml", ".json")

_CHAIN = ("name", "description", "models", "inputs", "steps", "outputs")
_DOES = ("model", "function", "switch", "split", "ensemble")
_ASK = ("model", "prompt", "chat", "embed", "options")
_STEP = ("inputs", "when", "timeout_s", "retries")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def is_chain(reference: str) -> bool:
    """Whether a reference on the command line, `NAME=PATH` or a path, is that of a chain's file, or of a folder with an ensemble."""
    path = Path(reference.rpartition("=")[2])
    return (path.suffix in SUFFIXES and path.is_file()) or is_ensemble(path)


def read_chain(path: Path, name: str = "") -> Chain:
    """The chain in a file, called as it says, or as the file is, or `name`. Paths of models are seen from its folder.

    Raises `UserError` that says where in the file what is wrong.
    """
    if path.is_dir():
        return read_ensemble(path.absolute(), name)
    try:
        text = path.read_text()
        table = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"the chain {path} cannot be read: {error}; check the path") from error
    except (json.JSONDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise UserError(f"the chain {path} is no {path.suffix[1:].upper()}: {error}") from error
    try:
        chain = chain_of(table, name or path.stem)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    named = msgspec.structs.replace(chain, name=name) if name else chain
    return msgspec.structs.replace(
        named, models={each: _seen_from(path.parent, ref) for each, ref in chain.models.items()}
    )


def chain_of(table: object, name: str) -> Chain:
    """The chain that a file's content describes, called `name` where it does not say. Raises `UserError`."""
    whole = table_of(table, "the chain", _CHAIN)
    steps = tuple(_step(each, raw) for each, raw in table_of(whole.get("steps", {}), "steps").items())
    if not steps:
        raise UserError("the chain has no steps; write [steps.NAME] for each")
    outputs = {
        each: _source(raw, f"output {each!r}") for each, raw in table_of(whole.get("outputs", {}), "outputs").items()
    }
    if not outputs:
        raise UserError('the chain has no outputs; write [outputs] with NAME = "step.output"')
    called = text_of(whole.get("name", name), "name")
    if not _MODEL_NAME.fullmatch(called):
        raise UserError(f"{called!r} is no name of a chain; use letters, digits, '.', '_' and '-'")
    models = {
        each: text_of(raw, f"model {each!r}") for each, raw in table_of(whole.get("models", {}), "models").items()
    }
    inputs = {each: _typed(each, raw) for each, raw in table_of(whole.get("inputs", {}), "inputs").items()}
    description = text_of(whole.get("description", ""), "description")
    return Chain(name=called, steps=steps, outputs=outputs, models=models, inputs=inputs, description=description)


def place_of(text: str, where: str) -> Place:
    """`step`, or `step.output`. Raises `UserError`."""
    step, dot, output = text.strip().partition(".")
    if not _NAME.fullmatch(step) or (dot and not output) or re.search(r"\s", output):
        raise UserError(f'{where}: {text!r} is no place; write "request.INPUT", "STEP" or "STEP.OUTPUT"')
    if step == REQUEST and not output:
        raise UserError(f'{where}: {text!r} names no input; write "request.INPUT"')
    return Place(step, output)


def _step(name: str, raw: object) -> Step:
    where = f"step {name!r}"
    if not _NAME.fullmatch(name) or name in (REQUEST, OUTPUTS):
        raise UserError(
            f"{where}: a step's name has letters, digits and '_', begins with no digit, and is neither {REQUEST} nor {OUTPUTS}"
        )
    table = table_of(raw, where)
    if table.get("function") is None:
        check_known(table, (*_DOES, *_ASK, *_STEP, "vote", "quorum"), where)
    inputs = {
        each: _source(value, f"{where}, input {each!r}")
        for each, value in table_of(table.get("inputs", {}), f"{where}, inputs").items()
    }
    timeout_s = table.get("timeout_s")
    if timeout_s is not None and not (is_number(timeout_s) and timeout_s > 0):
        raise UserError(f"{where}: timeout_s is {timeout_s!r}; it is a number of seconds above 0")
    retries = table.get("retries", 0)
    if not isinstance(retries, int) or isinstance(retries, bool) or not 0 <= retries <= 100:
        raise UserError(f"{where}: retries is {retries!r}; it is a whole number from 0 to 100")
    when = text_of(table.get("when", ""), f"{where}, when")
    return Step(name=name, does=_does(table, where), inputs=inputs, when=when, timeout_s=timeout_s, retries=retries)


def _does(table: Table, where: str) -> Does:
    said = [each for each in _DOES if each in table]
    if len(said) != 1:
        raise UserError(f"{where} says {' and '.join(said) or 'not what it does'}; it has one of {', '.join(_DOES)}")
    own = {key: value for key, value in table.items() if key not in _STEP}
    return _READERS[said[0]](own, where)


def _leaf(raw: object, where: str) -> Leaf:
    table = {"model": raw} if isinstance(raw, str) else table_of(raw, where)
    said = [each for each in ("model", "function") if each in table]
    if len(said) != 1:
        raise UserError(f"{where} says {' and '.join(said) or 'not what it does'}; it has a model or a function")
    return _ask(table, where) if said == ["model"] else _compute(table, where)


def _ask(table: Table, where: str) -> Ask:
    check_known(table, _ASK, where)
    chat = tuple(
        converted(each, Turn, f"{where}, chat") for each in list_of(table.get("chat", []), f"{where}, chat", least=0)
    )
    options = dict(table_of(table.get("options", {}), f"{where}, options"))
    texts = {key: text_of(table.get(key, ""), f"{where}, {key}") for key in ("model", "prompt", "embed")}
    ways = [each for each in ("prompt", "chat", "embed") if table.get(each)]
    if len(ways) > 1:
        raise UserError(f"{where} has {' and '.join(ways)}; a language model is asked in one way")
    if options and ways not in (["prompt"], ["chat"]):
        raise UserError(f"{where} has options, and neither a prompt nor a chat that they could be for; leave them out")
    return Ask(**texts, chat=chat, options=options)


def _compute(table: Table, where: str) -> Compute:
    name = table["function"]
    if name not in FUNCTIONS:
        raise UserError(
            f"{where}: there is no function {name!r}{nearest(str(name), FUNCTIONS)}; there are {', '.join(FUNCTIONS)}"
        )
    check_known(table, ("function", *FUNCTIONS[name].__struct_fields__), where)
    return Compute(converted(table, Function, where))


def _switch(table: Table, where: str) -> Switch:
    check_known(table, ("switch",), where)
    cases = []
    for number, raw in enumerate(list_of(table["switch"], f"{where}, switch"), 1):
        here = f"{where}, way {number} of its switch"
        way = dict(table_of(raw, here))
        when = text_of(way.pop("when", ""), f"{here}, when")
        cases.append(Case(_leaf(way, here), when))
    if any(not each.when for each in cases[:-1]):
        raise UserError(f"{where}: a way without `when` is always taken, so none behind it ever is; put it last")
    return Switch(tuple(cases))


def _split(table: Table, where: str) -> Split:
    check_known(table, ("split",), where)
    shares = []
    for number, raw in enumerate(list_of(table["split"], f"{where}, split"), 1):
        here = f"{where}, way {number} of its split"
        way = dict(table_of(raw, here))
        weight = way.pop("weight", None)
        if not is_number(weight) or not weight > 0:
            raise UserError(f"{here}: weight is {weight!r}; it is a number above 0")
        shares.append(Share(_leaf(way, here), float(weight)))
    return Split(tuple(shares))


def _ensemble(table: Table, where: str) -> Ensemble:
    check_known(table, ("ensemble", "vote", "quorum"), where)
    raws = list_of(table["ensemble"], f"{where}, ensemble")
    members = tuple(_leaf(raw, f"{where}, member {number}") for number, raw in enumerate(raws, 1))
    vote, quorum = table.get("vote"), table.get("quorum")
    if vote not in ("mean", "majority"):
        raise UserError(f"{where}: vote is {vote!r}; it is mean or majority")
    if quorum is not None and (
        not isinstance(quorum, int) or isinstance(quorum, bool) or not 1 <= quorum <= len(members)
    ):
        raise UserError(f"{where}: quorum is {quorum!r}; it is a whole number from 1 to {len(members)}")
    if len(members) < 2:
        raise UserError(f"{where}: an ensemble has two members or more; it has {len(members)}")
    return Ensemble(members, vote, quorum)


_READERS: Mapping[str, Any] = {
    "model": _ask,
    "function": _compute,
    "switch": _switch,
    "split": _split,
    "ensemble": _ensemble,
}


def _source(raw: object, where: str) -> Source:
    if isinstance(raw, str):
        return Source(tuple(place_of(each, where) for each in raw.split("|")))
    table = table_of(raw, where, ("value",))
    if "value" not in table:
        raise UserError(f'{where}: it is a place, such as "request.x", or a constant, {{value = …}}')
    return Source(value=table["value"])


def _typed(name: str, raw: object) -> tuple[str, tuple[int, ...]]:
    where = f"input {name!r}"
    if not _NAME.fullmatch(name):
        raise UserError(f"{where}: an input's name has letters, digits and '_', and begins with no digit")
    if isinstance(raw, str):
        return raw, ()
    table = table_of(raw, where, ("datatype", "shape"))
    shape = list_of(table.get("shape", []), f"{where}, shape", least=0)
    if not all(isinstance(each, int) and each >= -1 for each in shape):
        raise UserError(f"{where}: shape is {list(shape)}; it has whole numbers, without the batch; -1 is any")
    return text_of(table.get("datatype"), f"{where}, datatype"), tuple(shape)


def _seen_from(folder: Path, reference: str) -> str:
    """A path that is there, seen from the chain's folder; anything else as it is."""
    path = folder / reference
    return str(path) if ("/" in reference or path.suffix) and path.exists() else reference
