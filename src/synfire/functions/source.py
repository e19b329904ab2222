"""A user's file with functions: loaded as a module, with what lies beside it, and looked through for operators."""

from __future__ import annotations

import importlib.util
import os
import sys
import traceback
from collections.abc import Callable
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from synfire.base.errors import UserError
from synfire.functions.declaring import declared


class _AsItStands(SourceFileLoader):
    """Compiles the file itself: bytecode of before a change counts as up to date where second and size are the same."""

    def get_code(self, fullname: str) -> CodeType:
        return self.source_to_code(self.get_data(self.path), self.path)


def load(path: Path) -> ModuleType:
    """The file as a module; it may import what lies beside it. Raises `UserError`, which names the line, where it cannot be loaded."""
    sys.path.insert(0, str(path.parent))
    spec = importlib.util.spec_from_file_location(path.stem, path, loader=_AsItStands(path.stem, str(path)))
    if spec is None or spec.loader is None or path.suffix != ".py":
        raise UserError(f"{path} is no Python file; give one that ends in .py")
    sys.modules[path.stem] = module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise UserError(f"{path} cannot be loaded: {told(error, path.parent)}") from error
    return module


def chosen(path: Path, name: str) -> Callable[..., Any]:
    """The operator of that name in the file, the only one where none is named. Raises `UserError` where that is not one."""
    found = declared(load(path))
    if not found:
        raise UserError(f"{path} declares no operator; put @operator before a function (from synfire import operator)")
    if name and name not in found:
        raise UserError(f"{path} declares no operator {name!r}; it declares {', '.join(found)}")
    if not name and len(found) > 1:
        raise UserError(f"{path} declares {', '.join(found)}; say which one: {path.name}:{next(iter(found))}")
    return found[name or next(iter(found))]


def beside(folder: Path) -> list[Path]:
    """The files below `folder` that modules were loaded from so far, those of installed packages left out."""
    files = {
        Path(each) for each in (getattr(module, "__file__", None) for module in list(sys.modules.values())) if each
    }
    return sorted(each for each in files if each.is_relative_to(folder) and "site-packages" not in each.parts)


def told(error: BaseException, folder: Path) -> str:
    """The error with its type, and the line of the user's own file that it came from, if it came from one."""
    said = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    if isinstance(error, SyntaxError):
        return said
    frames = traceback.extract_tb(error.__traceback__)
    own = [each for each in frames if Path(each.filename).is_relative_to(folder)]
    return f"{said} ({os.path.basename(own[-1].filename)}, line {own[-1].lineno}, in {own[-1].name})" if own else said
