"""Code shared by all catalogue tables: finding an ingredient and checking its keys.

The keys of an ingredient are the keyword-only parameters of its function, so a formula, its parameters, their defaults and
their documentation are in one place. `generator` is not a key: the engine passes it.
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
    """A row of a catalogue table: a function, and whatever else the engine must know about it."""

    @property
    def function(self) -> Callable[..., object]: ...


E = TypeVar("E", bound=Entry)

# The setting that takes an ingredient's name, and the kind under which `nnlab list` shows it.
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


# A person's own function has plain Python annotations.
_PLAIN_KINDS: Final[Mapping[str, str]] = {"float": "Number", "int": "Whole", "bool": "Flag", "str": "Word"}


@dataclass(frozen=True)
class Key:
    """A key that an ingredient accepts.

    Attributes:
        name: as written in a specification.
        kind: a key of `nnlab.core.kinds.KINDS`.
        default: its value if it is not given; None if the function computes it.
        required: it has no default.
    """

    name: str
    kind: str
    default: Value | None
    required: bool


@cache
def keys(function: Callable[..., object]) -> dict[str, Key]:
    """The keys that `function` accepts: its keyword-only parameters whose annotation names a kind."""
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
    """Return the row of `table` that `spec` names, or a new one for a person's own function.

    Args:
        table: a catalogue table.
        spec: the ingredient.
        what: the mention of the setting, for messages.
        own: makes a row for the function `FILE.py:NAME`; None if only names of the table are accepted.

    Raises:
        UsageError: no such name (suggests the nearest), file or function.
    """
    if own is not None and is_custom(spec.name):
        return own(load_function(spec.name, what=what))
    if spec.name not in table:
        kind = LISTED_AS.get(mentioned_setting(what) or "", "")
        see = f"`nnlab list {kind}` shows all {len(table)}." if kind else ""
        raise unknown_name(what, spec.name, table, see=see)
    return table[spec.name]


def key_values(function: Callable[..., object], spec: Spec, *, what: str) -> dict[str, Value | None]:
    """Every key of `function` with its value in `spec`, or its default.

    Raises:
        UsageError: an unknown key, a value of the wrong kind, or a missing required key.
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
    """The first line of a function's docstring, which says what it returns."""
    return (inspect.getdoc(function) or "").partition("\n")[0]
