"""The learning rate above which an optimizer diverges on a quadratic, where theory knows it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nnlab.core.kinds import Value


def sgd_limit(values: Mapping[str, Value | None], largest_curvature: float) -> float | None:
    """The rate above which full-batch SGD on a quadratic diverges; None if theory gives no limit.

    With curvature c (the largest Hessian eigenvalue plus the weight decay), momentum b and dampening d: 2 / c without
    momentum, 2 (1 + b) / ((1 - d) c) for heavy ball, 2 (1 + b) / ((1 + 2 b) c) for Nesterov's. inf for d = 1: then only the
    first gradient moves the weights.

    Args:
        values: the keys of `sgd`, from `optimizer_values`.
        largest_curvature: the largest eigenvalue of the loss's Hessian, without the weight decay.

    Source: Polyak 1964, theorem 9 (heavy ball); the others from the roots of the same recursion's polynomial.
    """
    momentum, dampening, weight_decay = (_number(values[key]) for key in ("momentum", "dampening", "weight_decay"))
    curvature = largest_curvature + weight_decay
    if curvature <= 0 or (momentum and dampening > 1):
        return None
    if not momentum:
        return 2 / curvature
    if values["nesterov"]:
        return 2 * (1 + momentum) / ((1 + 2 * momentum) * curvature)
    return 2 * (1 + momentum) / ((1 - dampening) * curvature) if dampening < 1 else math.inf


def _number(value: Value | None) -> float:
    assert isinstance(value, float)
    return value
