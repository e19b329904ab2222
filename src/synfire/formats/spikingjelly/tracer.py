"""Follows a module's forward by torch.fx and lets each call add its operators."""

from __future__ import annotations

import operator as python
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import fx, nn

from synfire.base.errors import LossyImport, UserError
from synfire.formats.spikingjelly import arithmetic, neurons
from synfire.formats.spikingjelly.arithmetic import Complement
from synfire.formats.spikingjelly.calls import FUNCTIONS, METHODS
from synfire.formats.spikingjelly.convert import Context, described
from synfire.formats.spikingjelly.sketch import Held

_VALUE = "synfire"
_DOCS = "see docs/formats-spikingjelly.md for what can be imported"


class Traced(fx.Proxy):  # type: ignore[misc]
    """A proxy that knows its shape, so that a forward may look at it."""

    def __getattr__(self, name: str) -> Any:
        value = self.node.meta.get(_VALUE)
        if name == "shape" and value is not None:
            return torch.Size(value.shape)
        if name == "ndim" and value is not None:
            return value.ndim
        constants = {"dtype": torch.float32, "device": torch.device("cpu"), "is_cuda": False, "requires_grad": False}
        return constants[name] if name in constants else super().__getattr__(name)

    def __len__(self) -> int:
        return int(self.shape[0])

    def __iter__(self) -> Iterator[Any]:
        raise UserError(
            "it goes through a tensor in a Python loop; use SpikingJelly's multi-step layers on the whole (time, batch, …) sequence"
        )

    def __bool__(self) -> bool:
        raise UserError(
            "its control flow depends on the values of a tensor; a graph has the same operators for every input"
        )


class Tracer(fx.Tracer):  # type: ignore[misc]
    """Runs a forward once with proxies; what it calls is converted on the spot, so shapes are always known."""

    def __init__(self, context: Context) -> None:
        super().__init__()
        self.context = context
        self.path: list[str] = []

    def follow(self, module: Any, x: Held) -> Held:
        """The output of `module` for the tensor `x`."""
        self.start = x
        root = _Root(module)
        try:
            with torch.no_grad():
                self.trace(root)
        except (
            fx.proxy.TraceError,
            TypeError,
            ValueError,
            RuntimeError,
            AttributeError,
            IndexError,
            KeyError,
        ) as error:
            if isinstance(error, UserError):
                raise
            raise UserError(f"{self._where()}: its forward cannot be followed: {error}; {_DOCS}") from error
        output = arithmetic.plain(self.context, "output", self._unwrapped(root.output))
        if not isinstance(output, Held):
            raise UserError("the net returns something else than one tensor; return the logits alone")
        return output

    def enter(self, module: Any, x: Held) -> Held:
        """Convert a call of `module` within the one that is being converted."""
        return self._unwrapped(module(self._wrapped(x, "placeholder", "x", (), {})))

    def getattr(self, attr: str, value: Any, parameter_proxy_cache: dict[str, Any]) -> Any:
        return value

    def proxy(self, node: Any) -> Any:
        return Traced(node, self)

    def call_module(self, module: Any, forward: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        path = self.path_of_module(module).removeprefix("net").removeprefix(".")
        converter = self.context.converters.get(type(module))
        with self._inside(path):
            if converter is None:
                _check_traceable(module, path)
                return forward(*args, **kwargs)
            values = [arithmetic.plain(self.context, path, self._unwrapped(each)) for each in (*args, *kwargs.values())]
            with self._blamed(described(module, path), certain=True):
                if not all(isinstance(each, Held) for each in values):
                    raise UserError("it is called with something else than tensors of the net; pass tensors only")
                output = converter(self.context, module, path, *values)
            return self._wrapped(output, "call_module", self.path_of_module(module), args, kwargs)

    def create_proxy(self, kind: str, target: Any, args: Any, kwargs: Any, *_: Any, **__: Any) -> Any:
        if kind == "placeholder":
            return self._wrapped(self.start, kind, target, (), {})
        if target is getattr:
            raise UserError(f"{self._where()} reads .{args[1]} of a tensor, which synfire does not follow; {_DOCS}")
        label = target if isinstance(target, str) else getattr(target, "__name__", str(target))
        call = METHODS.get(target) if kind == "call_method" else FUNCTIONS.get(target)
        with self._blamed(f"the call of {label}"):
            if call is None:
                raise UserError(f"synfire has no operator for it; write it with a supported call or module, {_DOCS}")
            name, given = self._name(label), self._unwrapped(args)
            if call is not arithmetic.mul:
                given = tuple(arithmetic.plain(self.context, name, each) for each in given)
            output = call(self.context, name, *given, **self._unwrapped(kwargs))
        return self._wrapped(output, kind, target, args, kwargs)

    def _wrapped(self, value: Any, kind: str, target: Any, args: Any, kwargs: Any) -> Any:
        if isinstance(value, tuple) and not isinstance(value, torch.Size):
            whole = super().create_proxy(kind, target, args, kwargs)
            parts = [
                super(Tracer, self).create_proxy("call_function", python.getitem, (whole, i), {})
                for i in range(len(value))
            ]
            for part, each in zip(parts, value, strict=True):
                part.node.meta[_VALUE] = each
            return tuple(parts)
        if not isinstance(value, (Held, Complement)):
            return value
        proxy = super().create_proxy(kind, target, args, kwargs)
        proxy.node.meta[_VALUE] = value
        return proxy

    def _unwrapped(self, value: Any) -> Any:
        if isinstance(value, fx.Proxy):
            if _VALUE not in value.node.meta:
                raise UserError(
                    f"it reads .{getattr(value, 'attr', value)} of a tensor, which is not known before running"
                )
            return value.node.meta[_VALUE]
        if isinstance(value, (tuple, list)) and not isinstance(value, torch.Size):
            return type(value)(self._unwrapped(each) for each in value)
        if isinstance(value, dict):
            return {key: self._unwrapped(each) for key, each in value.items()}
        return value

    def _name(self, label: str) -> str:
        return ".".join(part for part in (self.path[-1] if self.path else "", label.strip("_")) if part)

    def _where(self) -> str:
        return f"module {self.path[-1]!r}" if self.path and self.path[-1] else "the net"

    @contextmanager
    def _inside(self, path: str) -> Iterator[None]:
        self.path.append(path)
        yield
        self.path.pop()

    @contextmanager
    def _blamed(self, what: str, certain: bool = False) -> Iterator[None]:
        """Say in which module, and by which call, an error came about."""
        try:
            yield
        except LossyImport:
            raise
        except UserError as error:
            if getattr(error, "placed", False):
                raise
            text = str(error) if certain and str(error).startswith(what) else f"{what} in {self._where()}: {error}"
            placed = UserError(text)
            placed.placed = True  # type: ignore[attr-defined]
            raise placed from error


class _Root(nn.Module):  # type: ignore[misc]
    """Calls the net with one tensor, so that its other arguments take their defaults."""

    def __init__(self, net: Any) -> None:
        super().__init__()
        self.net = net
        self.output: Any = None

    def forward(self, x: Any) -> Any:
        self.output = self.net(x)
        return self.output


def _check_traceable(module: Any, path: str) -> None:
    """Raise `UserError` for a module whose forward is no composition of calls that are known."""
    home = type(module).__module__
    if home.startswith("spikingjelly.activation_based.encoding"):
        raise UserError(
            f"{described(module, path)} is an encoder within the net, and its random numbers are torch's own; leave it out of "
            "the net and pass encoder='bernoulli' (or an encoder operator) to from_module"
        )
    if hasattr(module, "_memories"):
        neurons.refuse(module, path)
    if home.startswith("torch.nn.modules") and not isinstance(module, (nn.Sequential, nn.ModuleList, nn.ModuleDict)):
        raise UserError(f"{described(module, path)} is a layer that synfire has no operator for; {_DOCS}")
