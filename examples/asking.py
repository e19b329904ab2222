"""What all programs here share: a request in the Open Inference Protocol, with nothing but Python's own library."""

from __future__ import annotations

import argparse
import json
import urllib.error
import urllib.request
from typing import Any


def arguments(about: str, name: str, told: str) -> argparse.Namespace:
    """The command line: one thing to ask with, and where the deployment is."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument(name, help=told)
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    return parser.parse_args()


def tensor(name: str, datatype: str, shape: list[int], data: list[Any], **parameters: Any) -> dict[str, Any]:
    """A tensor of a request."""
    return {"name": name, "datatype": datatype, "shape": shape, "data": data, "parameters": parameters}


def infer(url: str, model: str, *inputs: dict[str, Any]) -> dict[str, list[Any]]:
    """The outputs of a model, or a chain, by name."""
    answer = post(f"{url}/v2/models/{model}/infer", {"inputs": inputs})
    return {each["name"]: each["data"] for each in answer["outputs"]}


def post(url: str, body: dict[str, Any]) -> Any:
    """The answer to a request. Ends the program, with what the server says, where it refuses."""
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        raise SystemExit(f"{url}: {error.status}: {error.read().decode()}") from error
