"""A person's own optimizer, `FILE.py:NAME:key=value`: a subclass of torch.optim.Optimizer, or a function that returns one.

It is called with one run's parameters and `lr`, and only the `loop` engine runs it, one run at a time. Before every step the
learning rate is set as PyTorch's schedulers set it: `group["lr"]`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from nnlab.catalog.custom import blame, check_call, load_function
from nnlab.catalog.own_keys import key_parameters, parameters_by_name
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
def own_optimizer_stand_in(name: str) -> Callable[..., None]:
    """A function that stands for the person's optimizer in the catalogue: it has the same keys, and is never called.

    Args:
        name: `FILE.py:NAME`.

    Raises:
        UsageError: no such class or function, or one that can't be called with parameters and a rate.
    """
    own = load_function(name, what=mention("optimizer"))
    check_call(own, "params", what=mention("optimizer"), lr=None)
    _, *parameters = parameters_by_name(own, what=mention("optimizer", name)).values()

    def stand_in(**values: Value) -> None:  # noqa: ARG001
        raise TypeError(f"{name} does not update runs in place: own_optimizer makes it for one run's parameters")

    keys = key_parameters(parameters, what=mention("optimizer", name), given=_GIVEN)
    stand_in.__signature__ = inspect.Signature(keys)  # type: ignore[attr-defined]
    stand_in.__doc__ = inspect.getdoc(own)
    return stand_in


def own_optimizer(name: str, parameters: Iterable[Tensor], **values: Any) -> torch.optim.Optimizer:
    """The person's optimizer of one run's parameters, with its keys and `lr` in `values`.

    Raises:
        UsageError: the person's code fails, or returns anything but a torch.optim.Optimizer.
    """
    with blame(name, mention("optimizer", name)):
        optimizer = load_function(name, what=mention("optimizer"))(parameters, **values)
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise UsageError(f"{mention('optimizer', name)} returns {optimizer!r}, which is not a torch.optim.Optimizer.")
    return optimizer
