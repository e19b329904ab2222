"""Reads `config.pbtxt`: each of its fields is understood, or has no effect, which is told, or is refused; the last two with the line."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from synfire.base.errors import UserError
from synfire.formats.triton.config import TYPES, Config, ConfigTensor, EnsembleStep, Policy
from synfire.formats.triton.textproto import Block, Field, parse

FILE = "config.pbtxt"

WITHOUT_EFFECT: Mapping[str, str] = MappingProxyType(
    {
        "optimization": "engines choose by themselves",
        "model_warmup": "serve --warm-up says how many requests are made before a model is ready",
        "metric_tags": "metrics have the model's name and version",
        "response_cache": "every request is computed",
        "model_metrics": "metrics are those of /metrics",
        "runtime": "the backend says what runs it",
    }
)
_UNSAID = ("false", "")
"""Values that say no more than a field that is not there."""

REFUSED: Mapping[str, str] = MappingProxyType(
    {
        "sequence_batching": "state between requests is not kept for such models; keep it outside, or serve a spiking model, whose sessions are",
        "batch_input": "requests are not joined into one batch of tensors; leave it out",
        "batch_output": "requests are not joined into one batch of tensors; leave it out",
        "cc_model_filenames": "there is no GPU to choose a file for; name the file in default_model_filename",
        "model_repository_agents": "nothing else looks at a repository; leave it out",
        "model_operations": "no libraries of custom operators are loaded; leave it out",
    }
)


def read_config(folder: Path) -> Config:
    """The configuration of the model in a folder; that of nothing said where there is no file. Raises `UserError`, which names the line."""
    path = folder / FILE
    if not path.is_file():
        return Config()
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read: {error}") from error
    return _Reading(str(path)).config(parse(text, str(path)))


class _Reading:
    """Reads one file; its methods raise `UserError` with the line for what is not as they expect."""

    def __init__(self, where: str) -> None:
        self._where = where
        self._remarks: list[str] = []

    def config(self, block: Block) -> Config:
        known = {
            "name", "platform", "backend", "version_policy", "max_batch_size", "input", "output", "dynamic_batching",
            "ensemble_scheduling", "default_model_filename", "parameters", "model_transaction_policy",
            "instance_group",
        }  # fmt: skip
        self._check(block, known, "a model's configuration", WITHOUT_EFFECT, REFUSED)
        for each in block.all("model_transaction_policy"):
            self._check_coupled(each)
        return Config(
            name=self._one(block, "name", self._text, ""),
            backend=self._backend(block),
            max_batch_size=self._one(block, "max_batch_size", self._size, 0),
            inputs=tuple(map(self._tensor, block.all("input"))),
            outputs=tuple(map(self._tensor, block.all("output"))),
            policy=self._one(block, "version_policy", self._policy, Policy()),
            file=self._one(block, "default_model_filename", self._text, ""),
            parameters=dict(map(self._parameter, block.all("parameters"))),
            company=self._one(block, "dynamic_batching", self._company, False),
            instances=max(1, sum(map(self._instances, block.all("instance_group")))),
            steps=self._one(block, "ensemble_scheduling", self._steps, ()),
            remarks=tuple(self._remarks),
        )

    def _backend(self, block: Block) -> str:
        """Its name; older files have a platform instead, which begins with it."""
        named = self._one(block, "backend", self._text, "")
        platform = self._one(block, "platform", self._text, "")
        return named or platform.partition("_")[0]

    def _tensor(self, found: Field) -> ConfigTensor:
        block = self._block(found)
        plain = {
            "format": "tensors are given as they come",
            "label_filename": "no labels are told",
            "is_non_linear_format_io": "there is no TensorRT here",
            "allow_ragged_batch": "each request is handed over by itself",
        }
        refused = {
            "reshape": "a tensor has one shape; give the model's own",
            "optional": "every input is sent; leave it out, and send a neutral value",
            "is_shape_tensor": "there is no TensorRT here; leave it out",
        }
        self._check(block, {"name", "data_type", "dims"}, f"an {found.name}", plain, refused)
        name = self._one(block, "name", self._text, "")
        dims = tuple(self._whole_number(each) for each in block.all("dims"))
        number = self._one(block, "data_type", self._text, "")
        if not name or number not in TYPES or not all(each == -1 or each > 0 for each in dims):
            raise self._refusal(
                found,
                f"{name or 'a tensor'} of {number or 'no data_type'} and dims {list(dims)} cannot be served; types are {', '.join(TYPES)}, sizes above 0 or -1",
            )
        return ConfigTensor(name, TYPES[number], dims)

    def _policy(self, found: Field) -> Policy:
        block = self._block(found)
        self._check(block, {"latest", "all", "specific"}, "a version_policy")
        if block.all("all"):
            return Policy(None)
        for each in block.all("specific"):
            return Policy(None, tuple(self._whole_number(version) for version in self._block(each).all("versions")))
        latest = [self._one(self._block(each), "num_versions", self._size, 1) for each in block.all("latest")]
        if 0 in latest:
            raise self._refusal(found, "the latest 0 versions are none; serve 1 at least")
        return Policy(*latest[:1])

    def _parameter(self, found: Field) -> tuple[str, str]:
        block = self._block(found)
        key = self._one(block, "key", self._text, "")
        values = [self._one(self._block(each), "string_value", self._text, "") for each in block.all("value")]
        if key == "EXECUTION_ENV_PATH":
            raise self._refusal(
                found, "no packed environment is unpacked; unpack it, and name its Python in SYNFIRE_FUNCTIONS_PYTHON"
            )
        return key, "".join(values)

    def _company(self, found: Field) -> bool:
        without = dict.fromkeys(
            ("preferred_batch_size", "max_queue_delay_microseconds", "preserve_ordering"),
            "requests that wait are handed over together, at once, in their order",
        )
        refused = dict.fromkeys(
            ("priority_levels", "default_priority_level", "default_queue_policy", "priority_queue_policy"),
            "requests have no priorities here; models have (synfire serve --priority)",
        )
        self._check(self._block(found), set(), "dynamic_batching", without, refused)
        return True

    def _steps(self, found: Field) -> tuple[EnsembleStep, ...]:
        block = self._block(found)
        self._check(block, {"step"}, "ensemble_scheduling")
        return tuple(map(self._step, block.all("step")))

    def _step(self, found: Field) -> EnsembleStep:
        block = self._block(found)
        self._check(
            block,
            {"model_name", "model_version", "input_map", "output_map"},
            "a step",
            {},
            {"model_namespace": "models have one namespace; leave it out"},
        )
        maps = [
            {
                self._one(self._block(each), "key", self._text, ""): self._one(
                    self._block(each), "value", self._text, ""
                )
                for each in block.all(name)
            }
            for name in ("input_map", "output_map")
        ]
        version = self._one(block, "model_version", self._whole_number, -1)
        return EnsembleStep(self._one(block, "model_name", self._text, ""), version, *maps)

    def _instances(self, found: Field) -> int:
        block = self._block(found)
        gpus = {"gpus": "there is no GPU that it could be on", "name": "replicas have names of their own"}
        refused = dict.fromkeys(
            ("rate_limiter", "secondary_devices", "profile", "passive", "host_policy"), "instances are all alike"
        )
        self._check(block, {"kind", "count"}, "an instance_group", gpus, refused)
        if self._one(block, "kind", self._text, "") == "KIND_GPU":
            self._remark(found, "there is no GPU that it could be on")
            return 0
        return int(self._one(block, "count", self._size, 1))

    def _check_coupled(self, found: Field) -> None:
        if any(each.value == "true" for each in self._block(found).all("decoupled")):
            raise self._refusal(
                found,
                "a decoupled model gives no, or many answers to a request, and here each has one; answer by one list",
            )

    def _check(
        self,
        block: Block,
        known: set[str],
        what: str,
        without: Mapping[str, str] = MappingProxyType({}),
        refused: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        for each in block.fields:
            if each.name in {*refused, *without} and each.value in _UNSAID:
                continue
            if each.name in refused:
                raise self._refusal(each, f"{each.name} is not served: {refused[each.name]}")
            if each.name in without:
                self._remark(each, without[each.name])
            elif each.name not in known:
                near = difflib.get_close_matches(each.name, known, 1)
                raise self._refusal(
                    each,
                    f"{what} has no field {each.name!r} that is known here{f' (did you mean {near[0]}?)' if near else ''}; known are "
                    f"{', '.join(sorted(known))}",
                )

    def _remark(self, found: Field, why: str) -> None:
        self._remarks.append(f"{self._where}, line {found.line}: {found.name} has no effect: {why}")

    def _one(self, block: Block, name: str, read: Callable[[Field], Any], default: Any) -> Any:
        """The value of a field that is there once, or of the last one."""
        found = block.all(name)
        return read(found[-1]) if found else default

    def _block(self, found: Field) -> Block:
        if not isinstance(found.value, Block):
            raise self._refusal(found, f"{found.name} is {found.value!r}, and takes fields in braces")
        return found.value

    def _text(self, found: Field) -> str:
        if not isinstance(found.value, str):
            raise self._refusal(found, f"{found.name} takes a text or a name")
        return str(found.value)

    def _whole_number(self, found: Field) -> int:
        if not isinstance(found.value, int):
            raise self._refusal(found, f"{found.name} takes a whole number")
        return found.value

    def _size(self, found: Field) -> int:
        if self._whole_number(found) < 0:
            raise self._refusal(found, f"{found.name} is {found.value}, and takes 0 or more")
        return self._whole_number(found)

    def _refusal(self, found: Field, why: str) -> UserError:
        return UserError(f"{self._where}, line {found.line}: {why}")
