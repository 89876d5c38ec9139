"""A person's own ingredient: `FILE.py:NAME` or `package.module:NAME`, loaded only when it is named.

A file is loaded once per process, under a unique module name, so that it can't clash with a module of the same name.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from nnlab.core.errors import NnlabError, UsageError, did_you_mean
from nnlab.core.spelling import with_value


def is_custom(name: str) -> bool:
    """True if `name` is written as a person's own: FILE.py:NAME or package.module:NAME."""
    return ":" in name


def load(name: str, *, what: str = "") -> object:
    """Load the object that `name` refers to.

    Args:
        name: `FILE.py:NAME` or `package.module:NAME`.
        what: the mention of the setting it came from, for messages.

    Raises:
        UsageError: no such file, module or name, or a file that fails while it is loaded (with the line).
    """
    place, _, attribute = name.rpartition(":")
    label = f"{what} {name!r}".strip()
    module = _file_module(Path(place), label) if place.endswith(".py") else _module(place, label)
    if not hasattr(module, attribute):
        public = [word for word in vars(module) if not word.startswith("_")]
        raise UsageError(f"{label}: {place} has no {attribute!r}.{did_you_mean(attribute, public)}")
    return getattr(module, attribute)


def load_function(name: str, *, what: str) -> Callable[..., Any]:
    """Load the function that `name` refers to.

    Raises:
        UsageError: as `load`, or the object can't be called.
    """
    function = load(name, what=what)
    if not callable(function):
        raise UsageError(f"{what} {name!r} is of type {type(function).__name__}, not a function.")
    return function


def check_call(function: Callable[..., Any], call: str, *, what: str, **given: object) -> None:
    """Reject a person's function that can't be called with these arguments, before anything is trained.

    Args:
        function: the person's function.
        call: the names of its positional arguments: `scores, targets`.
        what: the mention of the setting it came from.
        given: keyword arguments that it is always called with.

    Raises:
        UsageError: it takes other arguments.
    """
    try:
        inspect.signature(function).bind(*call.split(", "), **given)
    except TypeError as error:
        raise UsageError(
            f"{with_value(what, function.__name__)} is called as {function.__name__}({call}): {error}."
        ) from None


@contextmanager
def blame(name: str, where: str) -> Iterator[None]:
    """Context manager: report an exception from a person's own code as a UsageError, with the line in their file.

    Args:
        name: `FILE.py:NAME`, or a name of the catalogue.
        where: the start of the message, which says what was being done.

    Raises:
        UsageError: the code raised an exception that is not already an NnlabError.
    """
    try:
        yield
    except NnlabError:
        raise
    except Exception as error:
        place = name.rpartition(":")[0]
        at = f"{place}{_line_in(error, Path(place))} raises " if place else ""
        raise UsageError(f"{where}: {at}{type(error).__name__}: {error}") from error


def content_hash(name: str) -> str:
    """SHA-256, in hex, of the file of a custom ingredient: part of a run's identity."""
    return hashlib.sha256(_source(name).read_bytes()).hexdigest()


def _source(name: str) -> Path:
    """The file of a custom ingredient."""
    place = name.rpartition(":")[0]
    return Path(place) if place.endswith(".py") else Path(str(getattr(_module(place, name), "__file__", "")))


def _file_module(path: Path, label: str) -> ModuleType:
    if not path.is_file():
        raise UsageError(f"{label}: there is no file {str(path)!r} here.")
    unique = f"nnlab_custom_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:16]}"
    if unique in sys.modules:
        return sys.modules[unique]
    spec = importlib.util.spec_from_file_location(unique, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[unique] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        # Whatever the person's own file raises is reported to them, with its line.
        del sys.modules[unique]
        line = _line_in(error, path)
        raise UsageError(f"{label}: {path}{line} raises {type(error).__name__}: {error}") from error
    return module


def _line_in(error: BaseException, path: Path) -> str:
    """`:12` if the error passed through line 12 of the file, else nothing."""
    line = error.lineno if isinstance(error, SyntaxError) else None
    trace = error.__traceback__
    while trace is not None:
        if Path(trace.tb_frame.f_code.co_filename).resolve() == path.resolve():
            line = trace.tb_lineno
        trace = trace.tb_next
    return "" if line is None else f":{line}"


def _module(name: str, label: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UsageError(f"{label}: module {name!r} can't be imported: {error}.") from None
