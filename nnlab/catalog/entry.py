"""What every catalogue table has in common: how an ingredient is found, and how its keys are checked.

The keys of an ingredient are the keyword-only parameters of its function, so a formula, its parameters, their defaults and
their documentation stand in one place. `generator` is no key: the engine gives it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, Protocol, TypeVar

from nnlab.catalog.custom import is_custom, load_function
from nnlab.core.errors import UsageError, did_you_mean, unknown_name
from nnlab.core.kinds import KINDS, Value, parse_value
from nnlab.core.spec import Spec
from nnlab.core.spelling import mentioned_setting, with_value


class Entry(Protocol):
    """A row of a catalogue table: a function, and what else the engine must know of it."""

    @property
    def function(self) -> Callable[..., object]: ...


E = TypeVar("E", bound=Entry)

# The setting that names an ingredient, and the kind under which `nnlab list` shows it.
LISTED_AS: Final[Mapping[str, str]] = {
    "data": "data",
    "model": "models",
    "activation": "activations",
    "init": "inits",
    "inits": "inits",
    "loss": "losses",
    "losses": "losses",
    "optimizer": "optimizers",
    "schedule": "schedules",
    "schedules": "schedules",
    "metric": "metrics",
}


# A person's own function is annotated as any Python function is.
_PLAIN_KINDS: Final[Mapping[str, str]] = {"float": "Number", "int": "Whole", "bool": "Flag", "str": "Word"}


@dataclass(frozen=True)
class Key:
    """A key that an ingredient takes.

    Attributes:
        name: as written in a specification.
        kind: a key of `nnlab.core.kinds.KINDS`.
        default: its value where it is not given; None where the function works it out.
        required: no default.
    """

    name: str
    kind: str
    default: Value | None
    required: bool


@cache
def keys(function: Callable[..., object]) -> dict[str, Key]:
    """The keys that `function` takes: its keyword-only parameters whose annotation names a kind."""
    found = {}
    for name, parameter in inspect.signature(function).parameters.items():
        annotation = parameter.annotation
        kind = (annotation if isinstance(annotation, str) else getattr(annotation, "__name__", "")).removesuffix(
            " | None"
        )
        kind = _PLAIN_KINDS.get(kind, kind)
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY and kind in KINDS:
            required = parameter.default is inspect.Parameter.empty
            found[name] = Key(name, kind, None if required else parameter.default, required)
    return found


def find(table: Mapping[str, E], spec: Spec, *, what: str, own: Callable[[Callable[..., Any]], E] | None = None) -> E:
    """The row of `table` that `spec` names, or one made for a person's own function.

    Args:
        table: a catalogue table.
        spec: the ingredient.
        what: the setting, as `named` mentions it, for the message.
        own: makes a row for `FILE.py:NAME`; None where no own function can stand.

    Raises:
        UsageError: no such name (says the nearest), file or function.
    """
    if own is not None and is_custom(spec.name):
        return own(load_function(spec.name, what=what))
    if spec.name not in table:
        kind = LISTED_AS.get(mentioned_setting(what) or "", "")
        see = f"`nnlab list {kind}` shows all {len(table)}." if kind else ""
        raise unknown_name(what, spec.name, table, see=see)
    return table[spec.name]


def key_values(function: Callable[..., object], spec: Spec, *, what: str) -> dict[str, Value | None]:
    """Every key of `function` with the value `spec` gives it, or its default.

    Raises:
        UsageError: a key that is not known, a value of the wrong kind, a required key that is missing.
    """
    accepted = keys(function)
    for key, _ in spec.options:
        if key not in accepted:
            names = ", ".join(accepted) or "none"
            raise UsageError(
                f"{with_value(what, spec.name)} has no key {key!r}.{did_you_mean(key, accepted)} Its keys: {names}."
            )
    missing = [key.name for key in accepted.values() if key.required and spec.option(key.name) is None]
    if missing:
        kind = KINDS[accepted[missing[0]].kind].accepts
        raise UsageError(
            f"{with_value(what, spec.name)} needs {missing[0]}= ({kind}), as in {spec.name}:{missing[0]}=..."
        )
    values: dict[str, Value | None] = {key.name: key.default for key in accepted.values()}
    for key, text in spec.options:
        values[key] = parse_value(accepted[key].kind, text, what=with_value(what, f"{spec.name}:{key}"))
    return values


def first_line(function: Callable[..., object]) -> str:
    """The first line of a function's docstring: what it returns."""
    return (inspect.getdoc(function) or "").partition("\n")[0]
