"""A person's own `nn.Module` as a model: `--model FILE.py:NAME:key=value`.

NAME is a class, a function that makes a module, or a module as it stands. Its parameters named `features`, `row`, `outputs` and
`activation` are handed over; the others are keys of the specification, read by their annotation or by the type of their
default.
"""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Callable, Mapping
from functools import cache, partial
from typing import TYPE_CHECKING, Any, Final

from nnlab.catalog.custom import load_function
from nnlab.catalog.own_keys import key_parameters, parameters_by_name, type_of
from nnlab.core.kinds import Value
from nnlab.core.lazy import lazy
from nnlab.core.spec import Spec
from nnlab.core.spelling import mention, spell_value
from nnlab.networks.layers import Layers
from nnlab.networks.module_layer import Module

if TYPE_CHECKING:
    from torch import nn
else:
    nn = lazy("torch.nn")

Row = tuple[int, ...]

# What is handed over where a signature asks for it.
GIVEN: Final = ("features", "row", "outputs", "activation")


@cache
def own_layers(name: str) -> Callable[..., Layers]:
    """The model function of a person's class, function or module: its keys are those of theirs.

    Args:
        name: `FILE.py:NAME`.

    Raises:
        UsageError: no such thing, or a parameter that nothing says how to read.
    """
    theirs = load_function(name, what=mention("model"))
    taken = {} if isinstance(theirs, nn.Module) else parameters_by_name(theirs, what=mention("model", name))
    keys = key_parameters(taken.values(), what=mention("model", name), given=GIVEN)

    def layers(row: Row, outputs: int, activation: Spec, **values: Value) -> Layers:
        given: dict[str, Any] = {"features": math.prod(row), "row": row, "outputs": outputs, **values}
        follows = activation if "activation" in taken else None
        arguments = {key: value for key, value in given.items() if key in taken}
        if follows is not None:
            wants_name = type_of(taken["activation"]) == "str"
            arguments["activation"] = str(follows) if wants_name else partial(_elementwise, follows)
        spec = Spec(name, tuple((key, spell_value(value)) for key, value in values.items()))
        return (Module(spec, row, outputs, follows, partial(_made, theirs, arguments)),)

    handed = [inspect.Parameter(each, inspect.Parameter.POSITIONAL_ONLY) for each in ("row", "outputs", "activation")]
    layers.__signature__ = inspect.Signature([*handed, *keys])  # type: ignore[attr-defined]
    layers.__doc__ = inspect.getdoc(theirs)
    return layers


def _made(theirs: Callable[..., nn.Module], arguments: Mapping[str, Any]) -> nn.Module:
    if isinstance(theirs, nn.Module):
        return copy.deepcopy(theirs)
    return theirs(**{name: value() if isinstance(value, partial) else value for name, value in arguments.items()})


def _elementwise(activation: Spec) -> nn.Module:
    from nnlab.networks.encoder import Elementwise

    return Elementwise(activation)
