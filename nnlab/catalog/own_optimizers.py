"""A person's own optimizer: `--optimizer FILE.py:NAME:key=value`, a class of torch.optim.Optimizer or a function that makes one.

It is called with one run's parameters and `lr`, and its step is taken run by run, by the `loop` engine. The rate is set before
every step, as PyTorch's schedulers set it: `group["lr"]`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from nnlab.catalog.custom import blame, check_call, load_function
from nnlab.catalog.own_keys import as_keys, parameters_by_name
from nnlab.core.errors import UsageError
from nnlab.core.kinds import Value
from nnlab.core.lazy import lazy
from nnlab.core.spelling import mention

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    torch = lazy("torch")

_GIVEN: Final = ("lr",)


@cache
def own_optimizer_keys(name: str) -> Callable[..., None]:
    """A stand-in whose signature has the keys of the person's optimizer.

    Args:
        name: `FILE.py:NAME`.

    Raises:
        UsageError: no such thing, or one that can't be called with parameters and a rate.
    """
    theirs = load_function(name, what=mention("optimizer"))
    check_call(theirs, "params", what=mention("optimizer"), lr=None)
    _, *taken = parameters_by_name(theirs, what=mention("optimizer", name)).values()

    def stand_in(**values: Value) -> None:  # noqa: ARG001
        raise TypeError(f"{name} is made of parameters, by own_optimizer")

    stand_in.__signature__ = inspect.Signature(as_keys(taken, what=mention("optimizer", name), given=_GIVEN))  # type: ignore[attr-defined]
    stand_in.__doc__ = inspect.getdoc(theirs)
    return stand_in


def own_optimizer(
    name: str, parameters: Iterable[Tensor], *, lr: float, values: Mapping[str, Any]
) -> torch.optim.Optimizer:
    """The person's optimizer of one run's parameters.

    Raises:
        UsageError: what they wrote fails, or makes no torch.optim.Optimizer.
    """
    with blame(name, mention("optimizer", name)):
        made = load_function(name, what=mention("optimizer"))(parameters, lr=lr, **values)
    if not isinstance(made, torch.optim.Optimizer):
        raise UsageError(f"{mention('optimizer', name)} makes no torch.optim.Optimizer but: {made!r}.")
    return made
