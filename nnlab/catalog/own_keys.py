"""The keys of a person's own class or function, read from its signature."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection
from typing import Any, Final, get_args

from nnlab.core.errors import UsageError

# The kind of value for each spelling of a type in a signature.
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


def parameters_by_name(function: Callable[..., Any], *, what: str) -> dict[str, inspect.Parameter]:
    """The parameters that a person's class or function accepts by keyword.

    Raises:
        UsageError: a positional-only parameter.
    """
    found = inspect.signature(function).parameters.values()
    for parameter in found:
        if parameter.kind is inspect.Parameter.POSITIONAL_ONLY:
            raise UsageError(
                f"{what} is called with keywords, but its parameter {parameter.name!r} is positional-only."
            )
    keyword_kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return {parameter.name: parameter for parameter in found if parameter.kind in keyword_kinds}


def type_of(parameter: inspect.Parameter) -> str:
    """The type of a parameter, as spelled in its annotation or, without one, taken from its default."""
    annotation, default = parameter.annotation, parameter.default
    if annotation is not inspect.Parameter.empty:
        is_class = isinstance(annotation, type) and not get_args(annotation)
        text = annotation.__name__ if is_class else str(annotation)
        return text.replace("typing.", "").replace("collections.abc.", "").removesuffix(" | None")
    if isinstance(default, tuple | list) and default:
        return f"tuple[{type(default[0]).__name__}, ...]"
    return type(default).__name__


def key_parameters(
    parameters: Collection[inspect.Parameter], *, what: str, given: Collection[str]
) -> list[inspect.Parameter]:
    """The parameters as keys of a specification: keyword-only, annotated with the kind that parses their text.

    A parameter with a default and of a type that no kind parses keeps its default and is not a key.

    Args:
        parameters: all parameters that can be passed by keyword.
        what: the mention of the setting that names their function.
        given: names of the parameters that nnlab passes, which are not keys.

    Raises:
        UsageError: a parameter without a default, of a type that no kind parses.
    """
    return [_key_parameter(parameter, what, given) for parameter in parameters if parameter.name not in given]


def _key_parameter(parameter: inspect.Parameter, what: str, given: Collection[str]) -> inspect.Parameter:
    kind = _KINDS.get(type_of(parameter))
    if kind is None and parameter.default is inspect.Parameter.empty:
        raise UsageError(
            f"{what} takes {parameter.name!r}, but its type is missing or can't be read from text. Annotate it with one of "
            f"{', '.join(_SHOWN)}. nnlab itself passes {', '.join(given)}."
        )
    default = tuple(parameter.default) if isinstance(parameter.default, list) else parameter.default
    return inspect.Parameter(
        parameter.name, inspect.Parameter.KEYWORD_ONLY, annotation=kind or "no key", default=default
    )
