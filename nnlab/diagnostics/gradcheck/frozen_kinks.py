"""A function whose kinks are frozen: each kink stays on its side, and each maximum keeps its entry, as at one point.

The slope of the frozen function there is the chain rule's value when each part uses PyTorch's own subgradient, also where kinks
meet; and since no kink is left, plain differences give it.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from torch import Tensor
from torch.autograd import forward_ad

from nnlab.diagnostics.gradcheck.differences import OutputFunction
from nnlab.diagnostics.gradcheck.tracing import Call, Replay

# Operations with a kink: each is replaced by its linearisation at the recorded point, from its own forward derivative.
_PIECEWISE: Final = frozenset(
    [
        "relu",
        "relu_",
        "relu6",
        "leaky_relu",
        "leaky_relu_",
        "prelu",
        "rrelu",
        "abs",
        "abs_",
        "absolute",
        "__abs__",
        "clamp",
        "clamp_",
        "clamp_min",
        "clamp_max",
        "clip",
        "hardtanh",
        "hardtanh_",
        "hardsigmoid",
        "hardswish",
        "threshold",
        "elu",
        "elu_",
        "celu",
        "selu",
        "selu_",
        "softshrink",
        "hardshrink",
        "max",
        "min",
        "amax",
        "amin",
        "maximum",
        "minimum",
        "fmax",
        "fmin",
        "aminmax",
        "topk",
        "sort",
        "median",
        "_max_pool1d",
        "_max_pool2d",
        "_max_pool3d",
        "max_pool1d",
        "max_pool2d",
        "max_pool3d",
        "adaptive_max_pool1d",
        "adaptive_max_pool2d",
        "l1_loss",
        "smooth_l1_loss",
        "huber_loss",
        "margin_ranking_loss",
        "hinge_embedding_loss",
        "multi_margin_loss",
        "multilabel_margin_loss",
        "triplet_margin_loss",
        "cosine_embedding_loss",
        "norm",
        "vector_norm",
        "cdist",
        "pairwise_distance",
        "dist",
    ]
)
# Operations whose result is a choice and has no slope: they give the recorded result.
_CHOICES: Final = frozenset(
    [
        "gt",
        "lt",
        "ge",
        "le",
        "eq",
        "ne",
        "__gt__",
        "__lt__",
        "__ge__",
        "__le__",
        "__eq__",
        "__ne__",
        "sign",
        "sgn",
        "signbit",
        "argmax",
        "argmin",
        "argsort",
        "heaviside",
    ]
)


def has_kinks(calls: list[Call]) -> bool:
    """True if any recorded operation has a kink or makes a choice."""
    return any(call.name in _PIECEWISE | _CHOICES for call in calls)


def freeze_kinks(outputs: OutputFunction, calls: list[Call]) -> OutputFunction:
    """The same outputs with every kink and maximum held as recorded; a call may raise MismatchError."""

    def frozen_outputs(point: Mapping[str, Tensor]) -> Tensor:
        with _FrozenKinks(calls):
            return outputs(point)

    return frozen_outputs


class _FrozenKinks(Replay):
    """A run in which every kink stays on its recorded side and every maximum keeps its recorded entry."""

    def _act(
        self,
        index: int,  # noqa: ARG002 - only a cut edge needs it
        call: Call,
        func: Callable[..., object],
        args: tuple[object, ...],
        kwargs: dict[str, object],
    ) -> object:
        if call.name in _CHOICES:
            return call.result
        if call.name not in _PIECEWISE:
            return func(*args, **kwargs)
        result = _linearise(func, call.args, args, kwargs)
        if isinstance(args[0], Tensor) and isinstance(result, Tensor) and _is_in_place(call.name, kwargs):
            return args[0].copy_(result)
        return result


def _is_in_place(name: str, kwargs: Mapping[str, object]) -> bool:
    return (name.endswith("_") and not name.endswith("__")) or bool(kwargs.get("inplace"))


def _linearise(
    func: Callable[..., object], then: tuple[object, ...], now: tuple[object, ...], kwargs: dict[str, object]
) -> object:
    """func(then) + its derivative there times (now - then): at a kink, the side that PyTorch chooses."""
    plain = {key: value for key, value in kwargs.items() if key != "inplace"}
    with dual_numbers():
        duals = [
            forward_ad.make_dual(old.clone(), new - old)  # type: ignore[no-untyped-call]
            if isinstance(old, Tensor) and isinstance(new, Tensor) and old.is_floating_point()
            else old
            for old, new in zip(then, now, strict=True)
        ]
        return _primal_plus_tangent(func(*duals, **plain))


@contextmanager
def dual_numbers() -> Iterator[None]:
    """Context manager: a level of forward-mode differentiation.

    At the first dual number of a process, PyTorch compiles decompositions of its own and emits a warning about that.
    """
    with warnings.catch_warnings(), forward_ad.dual_level():
        warnings.simplefilter("ignore", DeprecationWarning)
        yield


def _primal_plus_tangent(value: object) -> object:
    if isinstance(value, tuple):
        parts = [_primal_plus_tangent(part) for part in value]
        return type(value)(parts) if hasattr(value, "n_fields") else tuple(parts)
    if not isinstance(value, Tensor) or not value.is_floating_point():
        return value
    primal, tangent = forward_ad.unpack_dual(value)  # type: ignore[no-untyped-call]
    return primal if tangent is None else primal + tangent
