"""A person's own `nn.Module` as a model, specified as `FILE.py:NAME:key=value`.

NAME is a class, a function that returns a module, or a module itself. Its parameters named `features`, `row`, `outputs` and
`activation` are given by nnlab; the others are keys of the specification, parsed by their annotation or by the type of
their default.
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
from nnlab.networks.row_shapes import RowShape

if TYPE_CHECKING:
    from torch import nn
else:
    nn = lazy("torch.nn")

# The parameters that nnlab gives if the signature has them.
GIVEN: Final = ("features", "row", "outputs", "activation")


@cache
def own_model(name: str) -> Callable[..., Layers]:
    """The model function for a person's class, function or module; it takes the keys of theirs.

    Args:
        name: `FILE.py:NAME`.

    Raises:
        UsageError: no such name, or a parameter without an annotation or default that says how to parse it.
    """
    theirs = load_function(name, what=mention("model"))
    taken = {} if isinstance(theirs, nn.Module) else parameters_by_name(theirs, what=mention("model", name))
    keys = key_parameters(taken.values(), what=mention("model", name), given=GIVEN)
    takes_activation = "activation" in taken
    takes_its_name = takes_activation and type_of(taken["activation"]) == "str"

    def layers(row: RowShape, outputs: int, activation: Spec, **values: Value) -> Layers:
        given = {"features": math.prod(row), "row": row, "outputs": outputs, "activation": str(activation), **values}
        arguments = {key: value for key, value in given.items() if key in taken}
        as_module = activation if takes_activation and not takes_its_name else None
        spec = Spec(name, tuple((key, spell_value(value)) for key, value in values.items()))
        build = partial(_build, theirs, arguments, as_module)
        return (Module(spec, row, outputs, activation if takes_activation else None, build),)

    # The catalogue reads a model's keys from its signature, and these are known only when the person's file is loaded.
    handed = [inspect.Parameter(each, inspect.Parameter.POSITIONAL_ONLY) for each in ("row", "outputs", "activation")]
    layers.__signature__ = inspect.Signature([*handed, *keys])  # type: ignore[attr-defined]
    layers.__doc__ = inspect.getdoc(theirs)
    return layers


def _build(theirs: Callable[..., nn.Module], arguments: Mapping[str, Any], activation: Spec | None) -> nn.Module:
    """The person's module: a copy if it is one already, else made with the arguments.

    Args:
        theirs: class, function or module.
        arguments: for the class or function.
        activation: given to it as a module; None to leave the arguments as they are.
    """
    if isinstance(theirs, nn.Module):
        return copy.deepcopy(theirs)
    if activation is None:
        return theirs(**arguments)
    from nnlab.networks.activation_module import ActivationModule

    return theirs(**{**arguments, "activation": ActivationModule(activation)})
