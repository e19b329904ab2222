"""The Helm chart of the controller, made of the same documents: `python -m synfire.kubernetes.manifests.chart charts/synfire`."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Any

from synfire.kubernetes.manifests.controller import ControllerDescription, device_plugin, documents
from synfire.kubernetes.manifests.description import Board
from synfire.kubernetes.manifests.parts import Document
from synfire.kubernetes.manifests.writing import to_yaml
from synfire.kubernetes.resources import API, definitions

_IMAGE, _NAME, _SPACE, _ONLY, _OPTIONS = (f"chart-{each}" for each in ("image:0", "name", "space", "only", "options"))
"""What stands for values until the documents are text. None is the beginning of another."""

_REPLICAS = 1_000_003
_BOARD = Board(1_000_033, 1_000_037, 1_000_039, 1_000_081)

_VALUES: dict[str, tuple[Any, Document]] = {
    "image": (
        "",
        {"type": "string", "description": "What every Pod runs. Empty: synfire with the chart's appVersion."},
    ),
    "replicas": (2, {"type": "integer", "minimum": 0, "description": "Controllers, of which one acts."}),
    "only": ("", {"type": "string", "description": "The namespace that it works in. Empty: all of them."}),
    "options": (
        [],
        {
            "type": "array",
            "items": {"type": "string"},
            "description": 'Further words for `synfire controller`, such as ["--storage", "5Gi"].',
        },
    ),
    "chips": (
        0,
        {
            "type": "integer",
            "minimum": 0,
            "maximum": 64,
            "description": "Emulated darwin3 chips of each node that has the label zj.com/darwin3=true. 0: no device plugin.",
        },
    ),
    "chipParts": (
        1,
        {
            "type": "integer",
            "minimum": 1,
            "maximum": 575,
            "description": "As how many devices each chip is announced. With more than one, allocatable goes down with each share of its cores that is dead.",
        },
    ),
    "chipLeastCores": (
        0,
        {
            "type": "integer",
            "minimum": 0,
            "maximum": 575,
            "description": "Usable cores that such a device stands for. 0: nine tenths of a chip, or a part's even share.",
        },
    ),
    "chipRow": (
        0,
        {
            "type": "integer",
            "minimum": 0,
            "maximum": 64,
            "description": "Chips in a row of a node's board. 0: as square as can be.",
        },
    ),
    "models": ([], {"description": "SynfireModels of the release's namespace."}),
    "pools": ([], {"description": "SynfirePools of the release's namespace."}),
}
"""What users set: the default, and its schema."""

_OBJECTS = {
    "type": "array",
    "items": {
        "type": "object",
        "required": ["name"],
        "additionalProperties": False,
        "properties": {"name": {"type": "string"}, "spec": {"type": "object"}},
    },
}


def chart() -> dict[str, str]:
    """The chart's files, by their paths."""
    version = version_of("synfire")
    about = {
        "apiVersion": "v2",
        "name": "synfire",
        "description": "Serves spiking neural networks operator by operator: custom resources and their controller.",
        "type": "application",
        "version": version,
        "appVersion": version,
        "kubeVersion": ">=1.20.0-0",
    }
    everywhere = ControllerDescription(_IMAGE, _SPACE, _NAME, "", _REPLICAS, options=(_OPTIONS,))
    one, plugged = replace(everywhere, only=_ONLY), replace(everywhere, board=_BOARD)
    return {
        "Chart.yaml": _plain(about),
        "values.yaml": "".join(_value(name, *each) for name, each in _VALUES.items()),
        "values.schema.json": json.dumps(_schema(), indent=2) + "\n",
        "crds/resources.yaml": to_yaml(definitions()),
        "templates/controller.yaml": f"{{{{- if .Values.only }}}}\n{_rendered(documents(one))}{{{{- else }}}}\n"
        f"{_rendered(documents(everywhere))}{{{{- end }}}}\n",
        "templates/device-plugin.yaml": f"{{{{- if .Values.chips }}}}\n{_rendered(device_plugin(plugged))}{{{{- end }}}}\n",
        "templates/resources.yaml": _listed("models", "SynfireModel") + _listed("pools", "SynfirePool"),
    }


def _rendered(found: Sequence[Document]) -> str:
    """The documents with values in the places of what stands for them. Definitions are Helm's to install first, the namespace is its
    user's."""
    kept = [each for each in found if each["kind"] not in ("Namespace", "CustomResourceDefinition")]
    text = to_yaml(kept)
    for placeholder, value in (
        (f"- {_OPTIONS}\n", "{{- range .Values.options }}\n        - {{ . | quote }}\n        {{- end }}\n"),
        (_words("--parts", _BOARD.parts), _given("--parts", "gt (int .Values.chipParts) 1", "chipParts")),
        (
            _words("--least-cores", _BOARD.least_cores),
            _given("--least-cores", ".Values.chipLeastCores", "chipLeastCores"),
        ),
        (_words("--row", _BOARD.row), _given("--row", ".Values.chipRow", "chipRow")),
        (_IMAGE, '{{ .Values.image | default (printf "synfire:%s" .Chart.AppVersion) | quote }}'),
        (_SPACE, "{{ .Release.Namespace }}"),
        (_NAME, "{{ .Release.Name }}"),
        (_ONLY, "{{ .Values.only }}"),
        (str(_REPLICAS), "{{ .Values.replicas }}"),
        (str(_BOARD.chips), "{{ .Values.chips }}"),
    ):
        text = text.replace(placeholder, value)
    return text


def _words(option: str, placeholder: int | None) -> str:
    """An option as the text of a command has it."""
    return f"        - {option}\n        - '{placeholder}'\n"


def _given(option: str, condition: str, value: str) -> str:
    """One that is there only on a condition."""
    return f"        {{{{- if {condition} }}}}\n        - {option}\n        - '{{{{ .Values.{value} }}}}'\n        {{{{- end }}}}\n"


def _listed(values: str, kind: str) -> str:
    return (
        f"{{{{- range .Values.{values} }}}}\n---\napiVersion: {API}\nkind: {kind}\nmetadata:\n"
        "  name: {{ .name }}\n  namespace: {{ $.Release.Namespace }}\nspec: {{ .spec | default dict | toJson }}\n{{- end }}\n"
    )


def _schema() -> Document:
    lists = dict.fromkeys(("models", "pools"), _OBJECTS)
    properties = {name: lists.get(name, {}) | schema for name, (_, schema) in _VALUES.items()}
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "type": "object",
        "additionalProperties": False,
        "properties": {**properties, "global": {"type": "object"}},
    }


def _value(name: str, default: Any, schema: Document) -> str:
    return f"# {schema['description']}\n{name}: {json.dumps(default)}\n"


def _plain(document: Document) -> str:
    return to_yaml([document]).removeprefix("---\n")


def write(folder: Path) -> None:
    """Put the files there."""
    for name, text in chart().items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
