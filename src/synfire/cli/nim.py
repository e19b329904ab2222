"""NIM's variables, so that what was written to start a NIM container starts `synfire serve`: docs/nim.md has the table.

Ports, profile and context are options of `serve` that name their variables themselves. What is here are those that need more than that.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping
from dataclasses import dataclass
from pathlib import Path

from synfire.base.errors import UserError

PORT, HTTP_PORT, GRPC_PORT = "NIM_SERVER_PORT", "NIM_HTTP_API_PORT", "NIM_GRPC_API_PORT"
PROFILE, CONTEXT = "NIM_MODEL_PROFILE", "NIM_MAX_MODEL_LEN"
MODEL, MODEL_NAME, SERVED_NAME, ADAPTERS = "NIM_FT_MODEL", "NIM_MODEL_NAME", "NIM_SERVED_MODEL_NAME", "NIM_PEFT_SOURCE"
CACHE, LOG_LEVEL, JSON_LOG = "NIM_CACHE_PATH", "NIM_LOG_LEVEL", "NIM_JSONL_LOGGING"
UNDERSTOOD = (
    *(
        PORT,
        HTTP_PORT,
        GRPC_PORT,
        PROFILE,
        CONTEXT,
        MODEL,
        MODEL_NAME,
        SERVED_NAME,
        ADAPTERS,
        CACHE,
        LOG_LEVEL,
        JSON_LOG,
    ),
)
REFUSED = {
    "NIM_SSL_MODE": "gateways speak plain HTTP: have what stands before them do TLS",
    "NIM_FORCE_TRUST_REMOTE_CODE": "no code that comes with a model is ever run",
}
"""What would be less safe without anybody noticing, were it ignored."""

_LEVELS = {"TRACE": "DEBUG", "DEFAULT": "INFO"}
_OFF = ("", "0", "false", "DISABLED")


@dataclass(frozen=True)
class Asked:
    """What the variables ask for: models as `serve` takes them, and the model that adapters among them belong to."""

    models: tuple[str, ...] = ()
    base: str | None = None


def asked(environment: Mapping[str, str]) -> Asked:
    """The models that the variables name. Raises `UserError` for paths that are not there, and for what is refused."""
    for name, why in REFUSED.items():
        if environment.get(name, "") not in _OFF:
            raise UserError(f"{name}={environment[name]} cannot be had here: {why}; leave it out")
    path = environment.get(MODEL) or environment.get(MODEL_NAME, "")
    if not path:
        return Asked()
    if not Path(path).exists():
        raise UserError(
            f"{MODEL if environment.get(MODEL) else MODEL_NAME} is {path}, and nothing is there; name a directory or a file"
        )
    name = environment.get(SERVED_NAME, "").split(",")[0].strip()
    adapters = tuple(_adapters(environment.get(ADAPTERS, "")))
    return Asked((f"{_plain(name)}={path}" if name else path, *adapters), path if adapters else None)


def settle(environment: MutableMapping[str, str]) -> None:
    """Set synfire's own variables as NIM's ask, where they are not set themselves."""
    if environment.get(CACHE):
        environment.setdefault("SYNFIRE_CACHE", environment[CACHE])
    level = environment.get(LOG_LEVEL, "").upper()
    if environment.get(JSON_LOG, "") not in _OFF:
        environment.setdefault("SYNFIRE_LOG", "json")
    elif level:
        environment.setdefault("SYNFIRE_LOG", _LEVELS.get(level, level))


def without_effect(environment: Mapping[str, str]) -> list[str]:
    """NIM's variables that are set and change nothing here."""
    return sorted(name for name in environment if name.startswith("NIM_") and name not in (*UNDERSTOOD, *REFUSED))


def _adapters(folder: str) -> Iterator[str]:
    """Each folder within, under its own name."""
    if not folder:
        return
    if not Path(folder).is_dir():
        raise UserError(
            f"{ADAPTERS} is {folder}, which is no directory; name the one that holds a folder for each adapter"
        )
    for each in sorted(Path(folder).iterdir()):
        if (each / "adapter_config.json").is_file():
            yield f"{each.name}={each}"


def _plain(name: str) -> str:
    """A name as models have them here, where a / would lead to another path: `meta/llama` is `meta-llama`."""
    return name.replace("/", "-")
