"""The keys of a person's own class or function, read from its signature in plain Python."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection
from typing import Any, Final, get_args

from nnlab.core.errors import UsageError

# Kinds of value, by how a signature names their type.
_KINDS: Final = {
    "float": "Number",
    "int": "Whole",
    "bool": "Flag",
    "str": "Word",
    "tuple[int, ...]": "Sizes",
    "list[int]": "Sizes",
    "Sequence[int]": "Sizes",
    "tuple[float, ...]": "Numbers",
    "tuple[float, float]": "Numbers",
    "list[float]": "Numbers",
    "Sequence[float]": "Numbers",
}
_SHOWN: Final = ("float", "int", "bool", "str", "tuple[int, ...]", "tuple[float, ...]")


def parameters_by_name(theirs: Callable[..., Any], *, what: str) -> dict[str, inspect.Parameter]:
    """What it can be called with, by keyword.

    Raises:
        UsageError: it takes something by position alone.
    """
    found = inspect.signature(theirs).parameters.values()
    for parameter in found:
        if parameter.kind is inspect.Parameter.POSITIONAL_ONLY:
            raise UsageError(f"{what} is called by keywords, and takes {parameter.name!r} by position alone.")
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return {parameter.name: parameter for parameter in found if parameter.kind in named}


def type_of(parameter: inspect.Parameter) -> str:
    """The type of a parameter as its annotation names it, or else its default."""
    annotation, default = parameter.annotation, parameter.default
    if annotation is not inspect.Parameter.empty:
        is_class = isinstance(annotation, type) and not get_args(annotation)
        text = annotation.__name__ if is_class else str(annotation)
        return text.replace("typing.", "").replace("collections.abc.", "").removesuffix(" | None")
    if isinstance(default, tuple | list) and default:
        return f"tuple[{type(default[0]).__name__}, ...]"
    return type(default).__name__


def as_keys(taken: Collection[inspect.Parameter], *, what: str, given: Collection[str]) -> list[inspect.Parameter]:
    """The parameters as keys of a specification: keyword-only, annotated with the kind that reads their text.

    One of which nothing says how to read it stays at its default, and is no key.

    Args:
        taken: all that can be given by keyword.
        what: whose they are, in the user's spelling.
        given: names that are handed over, and are no keys.

    Raises:
        UsageError: a parameter without default that nothing says how to read.
    """
    return [_key(parameter, what, given) for parameter in taken if parameter.name not in given]


def _key(parameter: inspect.Parameter, what: str, given: Collection[str]) -> inspect.Parameter:
    kind = _KINDS.get(type_of(parameter))
    if kind is None and parameter.default is inspect.Parameter.empty:
        raise UsageError(
            f"{what} takes {parameter.name!r}, and nothing says how to read it. Annotate it with one of "
            f"{', '.join(_SHOWN)}. What is handed over is named {', '.join(given)}."
        )
    default = tuple(parameter.default) if isinstance(parameter.default, list) else parameter.default
    return inspect.Parameter(
        parameter.name, inspect.Parameter.KEYWORD_ONLY, annotation=kind or "no key", default=default
    )
