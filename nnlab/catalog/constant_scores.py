"""The best constant scores of a loss: the answer of a model that ignores every feature, which learning must beat.

Each function takes the targets [B] of a training part and the number of scores C, and returns the scores [C], in
float64, that minimise the mean loss. Shapes: C scores, B rows.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from nnlab.catalog.links import target_scores
from nnlab.core.lazy import lazy

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    import torch
    from scipy import optimize, sparse
    from torch import Tensor

    from nnlab.core.kinds import Positive, Probability, Value
else:
    np = lazy("numpy")
    torch = lazy("torch")
    optimize = lazy("scipy.optimize")
    sparse = lazy("scipy.sparse")

# exp(-700) is a normal float64: a class that never occurs costs nothing, and no score is infinite.
FARTHEST_SCORE: Final = 700.0


def _target_scores(targets: Tensor, num_scores: int) -> Tensor:
    return target_scores(torch.empty(num_scores, targets.shape[-1], dtype=torch.float64), targets)


def mean(targets: Tensor, num_scores: int) -> Tensor:
    """The mean of the targets; for classes their frequencies."""
    return _target_scores(targets, num_scores).mean(-1)


def median(targets: Tensor, num_scores: int) -> Tensor:
    """The median of the targets; for classes, 1 for a class that over half of the rows have, else 0."""
    return _target_scores(targets, num_scores).median(-1).values


def quantile(targets: Tensor, num_scores: int, *, q: Probability) -> Tensor:
    """The least target that at least a fraction q of the targets do not exceed (Koenker and Bassett 1978)."""
    rank = max(1, math.ceil(q * targets.shape[-1]))
    return _target_scores(targets, num_scores).kthvalue(rank, -1).values


def log_odds(targets: Tensor, num_scores: int) -> Tensor:
    """log(p / (1 - p)), where p is the fraction of rows in class 1."""
    return torch.logit(mean(targets, num_scores)).clamp(-FARTHEST_SCORE, FARTHEST_SCORE)


def log_frequencies(targets: Tensor, num_scores: int, *, label_smoothing: Probability = 0.0) -> Tensor:
    """The logarithms of the (smoothed) class frequencies: their softmax is the frequencies."""
    smoothed = (1.0 - label_smoothing) * mean(targets, num_scores) + label_smoothing / num_scores
    return smoothed.log().clamp_min(-FARTHEST_SCORE)


def log_mean(targets: Tensor, num_scores: int, **_: Value) -> Tensor:
    """The logarithm of the mean count."""
    return mean(targets, num_scores).log().clamp_min(-FARTHEST_SCORE)


def widest_margin(targets: Tensor, num_scores: int, *, margin: Positive) -> Tensor:
    """For one score, the margin on the side of the more frequent class; for C scores, the solution of a linear program.

    The mean multiclass hinge loss of constant scores s is the sum over y, j of f_y max(0, margin - s_y + s_j) / C, where f
    are the class frequencies. It is piecewise linear, so that one slack variable per pair makes it a linear program.
    """
    frequencies = mean(targets, num_scores)
    if num_scores == 1:
        return torch.where(frequencies >= 0.5, margin, -margin).to(torch.float64)
    y, j = (~np.eye(num_scores, dtype=bool)).nonzero()
    pair = np.arange(len(y))
    differences = sparse.coo_array((np.repeat([-1.0, 1.0], len(y)), (np.tile(pair, 2), np.concatenate([y, j]))))
    found = optimize.linprog(
        np.concatenate([np.zeros(num_scores), frequencies.numpy()[y]]),
        A_ub=sparse.hstack([differences, -sparse.eye_array(len(y))]),
        b_ub=np.full(len(y), -margin),
        # Only differences matter, so the first score is fixed at 0.
        bounds=[(0.0, 0.0)] + [(None, None)] * (num_scores - 1) + [(0.0, None)] * len(y),
    )
    return torch.from_numpy(found.x[:num_scores])


def root_of_slope(gradient: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """`root(targets, num_scores, **keys)`: the best scores of a loss that is convex in each score and least at its target.

    The mean slope increases with the score, so sixty bisections of [least target, largest target] leave an interval of a
    few units in the last place; kinks and flat pieces do no harm.

    Args:
        gradient: the gradient of the row losses by the scores, as `Loss.gradient`.
    """

    def root(targets: Tensor, num_scores: int, **values: Value) -> Tensor:
        targets_CB = _target_scores(targets, num_scores)
        low, high = targets_CB.amin(-1), targets_CB.amax(-1)
        for _ in range(60):
            middle = (low + high) / 2.0
            rising = gradient(middle.unsqueeze(-1).expand_as(targets_CB), targets, **values).mean(-1) > 0
            low, high = torch.where(rising, low, middle), torch.where(rising, middle, high)
        return (low + high) / 2.0

    return root


def local_minimum(function: Callable[..., Tensor], targets: Tensor, num_scores: int, **values: Value) -> Tensor:
    """Constant scores at a local minimum of any loss, found by L-BFGS-B from the targets' mean with autograd's gradient."""

    def mean_loss(scores: np.ndarray) -> tuple[float, np.ndarray]:
        constant = torch.from_numpy(scores).clone().requires_grad_()
        loss = function(constant.unsqueeze(-1).expand(-1, targets.shape[-1]), targets, **values).mean()
        (slope,) = torch.autograd.grad(loss, constant)
        return loss.item(), slope.numpy()

    start = mean(targets, num_scores).numpy()
    found = optimize.minimize(mean_loss, start, jac=True, method="L-BFGS-B", options={"ftol": 1e-15, "gtol": 1e-10})
    return torch.from_numpy(found.x)
