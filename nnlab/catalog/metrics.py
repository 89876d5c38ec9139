"""Metrics: what predictions are worth, in numbers that don't depend on the loss that was trained.

All runs at once, without a loop over them. A metric is computed per run from that run's scores on the whole part, so
runs may come in chunks, rows may not. Sums are taken in float64, in float32 where the device has no float64 (MPS).

Shapes: R runs, C classes, B rows of the part.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from nnlab.catalog.links import LINKS, aligned, decide, probabilities
from nnlab.core.lazy import lazy

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import torch
    from torch import Tensor

    from nnlab.catalog.losses import Task
else:
    torch = lazy("torch")

NUM_BINS: Final = 15


@dataclass(frozen=True)
class Classified:
    """What runs made of the rows of a classification task.

    Attributes:
        classes: the true class, [R, B].
        decided: the class that the scores decide for, [R, B].
        probabilities: [R, C, B], or None where the loss's link gives none.
        confusion: the number of rows by true class and class decided for, [R, C, C].
    """

    classes: Tensor
    decided: Tensor
    probabilities: Tensor | None
    confusion: Tensor


@dataclass(frozen=True)
class Predicted:
    """What runs made of the rows of a regression task, in the target's own unit.

    Attributes:
        targets: [R, B].
        errors: prediction minus target, [R, B].
    """

    targets: Tensor
    errors: Tensor


@dataclass(frozen=True)
class Metric:
    """A row of the table.

    Attributes:
        function: from Classified or Predicted to one number a run, [R].
        tasks: where it applies.
        higher_is_better: which way is up.
        words: for a table's header and help.
        source: who defined it, or the function of scikit-learn that it equals.
    """

    function: Callable[..., Tensor]
    tasks: tuple[Task, ...]
    higher_is_better: bool
    words: str
    source: str


def measure(
    scores: Tensor,
    targets: Tensor,
    *,
    task: Task,
    link: str,
    target_mean: Tensor | float = 0.0,
    target_scale: Tensor | float = 1.0,
) -> dict[str, Tensor]:
    """Every metric of the task, by name, one number a run, [R].

    Args:
        scores: [R, C, B], or [R, 1, B] for one score a row.
        targets: [R, B] or [1, B]: class indices, or numbers as the loss takes them.
        task: which metrics apply.
        link: what makes predictions of the scores, a key of LINKS.
        target_mean: what standardising took from the regression targets, one number or one a run [R].
        target_scale: what it divided them by; own unit = standardised * scale + mean.
    """
    scores = scores.to(torch.float32 if scores.device.type == "mps" else torch.float64)
    if task == "regression":
        view: Classified | Predicted = predicted(scores, targets, link, target_mean, target_scale)
    else:
        view = classified(scores, targets, link)
    return {name: metric.function(view) for name, metric in METRICS.items() if task in metric.tasks}


def classified(scores: Tensor, targets: Tensor, link: str) -> Classified:
    """Decisions, probabilities and the confusion matrix of every run, from scores [R, C, B] and classes [R or 1, B]."""
    classes = aligned(scores, targets).long()
    decided = decide(scores, link)
    num_runs, num_classes = scores.shape[0], max(2, scores.shape[1])
    run = torch.arange(num_runs, device=scores.device).unsqueeze(1)
    cells = (run * num_classes + classes) * num_classes + decided
    counts = torch.bincount(cells.flatten(), minlength=num_runs * num_classes**2)
    confusion = counts.view(num_runs, num_classes, num_classes).to(scores.dtype)
    return Classified(classes, decided, probabilities(scores, link), confusion)


def predicted(
    scores: Tensor, targets: Tensor, link: str, target_mean: Tensor | float, target_scale: Tensor | float
) -> Predicted:
    """Targets and errors in the target's own unit, from scores [R, 1, B] and targets [R or 1, B]."""
    mean, scale = (
        torch.as_tensor(value, dtype=scores.dtype, device=scores.device).reshape(-1, 1)
        for value in (target_mean, target_scale)
    )
    wanted = aligned(scores, targets).to(scores.dtype)
    return Predicted(wanted * scale + mean, (LINKS[link](scores).squeeze(1) - wanted) * scale)


def accuracy(rows: Classified) -> Tensor:
    """The part of the rows whose class was decided rightly."""
    return _hits(rows).sum(-1) / rows.confusion.sum((-2, -1))


def balanced_accuracy(rows: Classified) -> Tensor:
    """The mean over classes of the part of a class's rows that were decided rightly; classes without rows left out."""
    return (_hits(rows) / rows.confusion.sum(-1)).nanmean(-1)


def macro_f1(rows: Classified) -> Tensor:
    """The mean over classes of F1 = 2 TP / (2 TP + FP + FN); classes neither there nor decided for left out."""
    return (2.0 * _hits(rows) / (rows.confusion.sum(-1) + rows.confusion.sum(-2))).nanmean(-1)


def _hits(rows: Classified) -> Tensor:
    return rows.confusion.diagonal(dim1=-2, dim2=-1)


def brier(rows: Classified) -> Tensor:
    """The mean over rows of the sum over classes of (p_c - onehot_c)^2, halved where there are two classes.

    Halved, it is the mean of (p_1 - y)^2: from 0 to 1 for two classes, 0 to 2 for more, as scikit-learn has it
    (`scale_by_half="auto"`). NaN where the loss gives no probabilities.
    """
    if rows.probabilities is None:
        return _no_number(rows)
    right = rows.probabilities.gather(-2, rows.classes.unsqueeze(-2)).squeeze(-2)
    # sum of (p - onehot)^2 = sum of p^2 - 2 p_y + 1
    squares = rows.probabilities.square().sum(-2) - 2.0 * right + 1.0
    return squares.mean(-1) / (2.0 if rows.probabilities.shape[-2] == 2 else 1.0)


def ece(rows: Classified) -> Tensor:
    """The expected calibration error of the top probability, over 15 bins of equal width, closed above.

    The mean over rows of |accuracy - mean top probability| of the row's bin (Guo et al. 2017, eq. 3). Biased upwards
    when rows are few. NaN where the loss gives no probabilities.
    """
    if rows.probabilities is None:
        return _no_number(rows)
    top = rows.probabilities.amax(-2)
    bins = (top * NUM_BINS).ceil().long().sub_(1).clamp_(0, NUM_BINS - 1)
    surplus = (rows.decided == rows.classes).to(top.dtype) - top
    in_bin = top.new_zeros(top.shape[0], NUM_BINS).scatter_add_(-1, bins, surplus)
    return in_bin.abs().sum(-1) / top.shape[-1]


def _no_number(rows: Classified) -> Tensor:
    return torch.full_like(rows.confusion[:, 0, 0], torch.nan)


def mae(rows: Predicted) -> Tensor:
    """The mean of |error|."""
    return rows.errors.abs().mean(-1)


def rmse(rows: Predicted) -> Tensor:
    """The square root of the mean of error^2."""
    return rows.errors.square().mean(-1).sqrt()


def median_ae(rows: Predicted) -> Tensor:
    """The median of |error|, midway between the two middle ones where rows are even."""
    ordered = rows.errors.abs().sort(-1).values
    num_rows = ordered.shape[-1]
    return (ordered[:, (num_rows - 1) // 2] + ordered[:, num_rows // 2]) / 2.0


def r2(rows: Predicted) -> Tensor:
    """1 - sum of error^2 / sum of (y - mean y)^2: 0 for the mean itself; NaN where the targets are all equal."""
    around_mean = (rows.targets - rows.targets.mean(-1, keepdim=True)).square().sum(-1)
    constant = rows.targets.amax(-1) == rows.targets.amin(-1)
    return (1.0 - rows.errors.square().sum(-1) / around_mean).masked_fill(constant, torch.nan)


_CLASSES: Final[tuple[Task, ...]] = ("binary", "multiclass")
_NUMBERS: Final[tuple[Task, ...]] = ("regression",)

METRICS: Final[Mapping[str, Metric]] = {
    "accuracy": Metric(accuracy, _CLASSES, True, "part decided rightly", "sklearn.metrics.accuracy_score"),
    "balanced_accuracy": Metric(
        balanced_accuracy, _CLASSES, True, "mean recall of the classes", "sklearn.metrics.balanced_accuracy_score"
    ),
    "macro_f1": Metric(macro_f1, _CLASSES, True, "mean F1 of the classes", "sklearn.metrics.f1_score, macro"),
    "brier": Metric(
        brier, _CLASSES, False, "squared error of the probabilities", "Brier 1950; sklearn.metrics.brier_score_loss"
    ),
    "ece": Metric(ece, _CLASSES, False, "expected calibration error, 15 bins", "Guo et al. 2017, eq. 3"),
    "mae": Metric(mae, _NUMBERS, False, "mean absolute error", "sklearn.metrics.mean_absolute_error"),
    "rmse": Metric(rmse, _NUMBERS, False, "root mean squared error", "sklearn.metrics.root_mean_squared_error"),
    "median_ae": Metric(median_ae, _NUMBERS, False, "median absolute error", "sklearn.metrics.median_absolute_error"),
    "r2": Metric(r2, _NUMBERS, True, "part of the variance explained", "sklearn.metrics.r2_score"),
}
