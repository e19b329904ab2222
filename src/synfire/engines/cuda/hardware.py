"""Where tensors lie and kernels run: a GPU, or, under Triton's interpreter, the processor."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import torch

from synfire.base.errors import PermanentError, TemporaryError
from synfire.devices.mending import DeviceFault
from synfire.ops import Array

Tensors = dict[str, torch.Tensor]


class Hardware(ABC):
    """What a program runs on. Arrays go up and come down whole blocks at a time."""

    place: torch.device
    replays: bool
    """Whether launches can be recorded once and replayed (CUDA graphs)."""

    def hold(self, array: Array) -> torch.Tensor:
        """A parameter, for the life of the program."""
        return torch.from_numpy(np.array(array, order="C")).to(self.place)

    @contextmanager
    def working(self) -> Iterator[None]:
        """In this context tensors are made and kernels launched. What a device raises is raised as synfire names it."""
        yield

    @abstractmethod
    def upload(self, arrays: Mapping[str, Array], into: Tensors | None = None) -> Tensors:
        """The arrays as tensors; written into those of that name where there are such already."""

    @abstractmethod
    def download(self, tensors: Mapping[str, torch.Tensor]) -> dict[str, Array]:
        """The tensors as arrays, when all that was launched is done."""


class Emulation(Hardware):
    """Triton's interpreter: kernels run as numpy on the processor, one program after the other. Slow; for tests."""

    place = torch.device("cpu")
    replays = False

    def upload(self, arrays: Mapping[str, Array], into: Tensors | None = None) -> Tensors:
        made = {name: self.hold(array) for name, array in arrays.items()}
        return made if into is None else {name: into[name].copy_(each) for name, each in made.items()}

    def download(self, tensors: Mapping[str, torch.Tensor]) -> dict[str, Array]:
        return {name: tensor.contiguous().numpy().copy() for name, tensor in tensors.items()}


class Gpu(Hardware):
    """The first visible GPU. Kernels have a stream of their own, and so have transfers, from and to pinned memory."""

    replays = True

    def __init__(self) -> None:
        """Raises `PermanentError` where torch finds no GPU that it can use."""
        if not torch.cuda.is_available():
            raise PermanentError(f"torch {torch.__version__} can use no GPU here; look at nvidia-smi, or use cpu")
        self.place = torch.device("cuda", 0)
        self.compute = torch.cuda.Stream(self.place)
        self._transfers = torch.cuda.Stream(self.place)

    @contextmanager
    def working(self) -> Iterator[None]:
        try:
            with torch.cuda.device(self.place), torch.cuda.stream(self.compute):
                yield
        except torch.OutOfMemoryError as error:
            raise TemporaryError(
                f"the GPU has no memory left for this batch: {error}; send smaller batches, or stop what else runs on it"
            ) from error
        except RuntimeError as error:
            if not _of_device(error):
                raise
            raise DeviceFault(f"the GPU has failed: {error}") from error

    def upload(self, arrays: Mapping[str, Array], into: Tensors | None = None) -> Tensors:
        staged = {name: _staged(array) for name, array in arrays.items()}
        there = into or {name: torch.empty_like(each, device=self.place) for name, each in staged.items()}
        self._transfers.wait_stream(self.compute)
        with torch.cuda.stream(self._transfers):
            for name, each in staged.items():
                there[name].copy_(each, non_blocking=True)
        self.compute.wait_stream(self._transfers)
        return there

    def download(self, tensors: Mapping[str, torch.Tensor]) -> dict[str, Array]:
        dense = {name: tensor.contiguous() for name, tensor in tensors.items()}
        self._transfers.wait_stream(self.compute)
        with torch.cuda.stream(self._transfers):
            here = {name: _pinned(each).copy_(each, non_blocking=True) for name, each in dense.items()}
        self._transfers.synchronize()
        return {name: each.numpy() for name, each in here.items()}


def _staged(array: Array) -> torch.Tensor:
    """The array in pinned memory, from which it is copied while other things go on."""
    tensor = torch.empty(array.shape, dtype=torch.from_numpy(np.empty(0, array.dtype)).dtype, pin_memory=True)
    tensor.numpy()[...] = array
    return tensor


def _pinned(like: torch.Tensor) -> torch.Tensor:
    return torch.empty(like.shape, dtype=like.dtype, pin_memory=True)


def _of_device(error: RuntimeError) -> bool:
    """Whether CUDA itself has failed, after which nothing runs in this process's context."""
    return isinstance(error, torch.AcceleratorError) or "[CUDA]" in str(error)
