"""Metrics: what predictions are worth, in numbers that don't depend on the loss that was trained.

All runs at once, without a loop over them. A metric is computed per run from that run's scores on the whole part, so
runs may come in chunks, rows may not. Sums are taken in float64, in float32 where the device has no float64 (MPS).

Shapes: R runs, C classes, B rows of the part.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from nnlab.catalog.links import LINKS, aligned, decide, gives_probabilities, probabilities, wanted
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
    """What runs made of the rows of a regression task, in the target's own unit; or of reconstruction, in the network's inputs'.

    Attributes:
        targets: [R, C, B]: one a row, or in reconstruction each of its C features.
        errors: prediction minus target, all of a run's in a row, [R, C B].
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
        of_probabilities: it needs them; where the loss's link gives none, it does not apply.
    """

    function: Callable[..., Tensor]
    tasks: tuple[Task, ...]
    higher_is_better: bool
    words: str
    source: str
    of_probabilities: bool = False

    def applies(self, task: Task, link: str) -> bool:
        """Whether it can be taken of scores that this link makes predictions of."""
        return task in self.tasks and (gives_probabilities(link) or not self.of_probabilities)


def measure(
    scores: Tensor,
    targets: Tensor,
    *,
    task: Task,
    link: str,
    target_mean: Tensor | float = 0.0,
    target_scale: Tensor | float = 1.0,
) -> dict[str, Tensor]:
    """Every metric that applies to the task and the link, by name, one number a run, [R].

    Args:
        scores: [R, C, B], or [R, 1, B] for one score a row.
        targets: [R, B] or [1, B]: class indices, or numbers as the loss takes them; in reconstruction [R or 1, C, B].
        task: which metrics apply.
        link: what makes predictions of the scores, a key of LINKS.
        target_mean: what standardising took from the regression targets, one number or one a run [R].
        target_scale: what it divided them by; own unit = standardised * scale + mean.
    """
    if task in _NUMBERS:
        view: Classified | Predicted = predicted(scores.to(_wide(scores)), targets, link, target_mean, target_scale)
    else:
        view = classified(scores.to(torch.promote_types(scores.dtype, torch.float32)), targets, link)
    return {name: metric.function(view) for name, metric in METRICS.items() if metric.applies(task, link)}


def _wide(scores: Tensor) -> torch.dtype:
    """The type that rows are summed in; Apple's devices have no float64."""
    return torch.float32 if scores.device.type == "mps" else torch.float64


def classified(scores: Tensor, targets: Tensor, link: str) -> Classified:
    """Decisions, probabilities and the confusion matrix of every run, from scores [R, C, B] and classes [R or 1, B]."""
    classes = aligned(scores, targets).long()
    decided = decide(scores, link)
    num_runs, num_classes = scores.shape[0], max(2, scores.shape[1])
    run = torch.arange(num_runs, device=scores.device).unsqueeze(1)
    cells = (run * num_classes + classes) * num_classes + decided
    counts = torch.bincount(cells.flatten(), minlength=num_runs * num_classes**2)
    confusion = counts.view(num_runs, num_classes, num_classes).to(_wide(scores))
    return Classified(classes, decided, probabilities(scores, link), confusion)


def predicted(
    scores: Tensor, targets: Tensor, link: str, target_mean: Tensor | float, target_scale: Tensor | float
) -> Predicted:
    """Targets and errors in the target's own unit, from scores [R, C, B] and targets as the loss takes them."""
    mean, scale = (
        torch.as_tensor(value, dtype=scores.dtype, device=scores.device).reshape(-1, 1, 1)
        for value in (target_mean, target_scale)
    )
    right = wanted(scores, targets)
    return Predicted(right * scale + mean, ((LINKS[link](scores) - right) * scale).flatten(1))


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
    (`scale_by_half="auto"`).
    """
    assert rows.probabilities is not None
    right = rows.probabilities.gather(-2, rows.classes.unsqueeze(-2)).squeeze(-2)
    # sum of (p - onehot)^2 = sum of p^2 - 2 p_y + 1
    squares = rows.probabilities.square().sum(-2) - 2.0 * right + 1.0
    return squares.mean(-1, dtype=_wide(squares)) / (2.0 if rows.probabilities.shape[-2] == 2 else 1.0)


def ece(rows: Classified) -> Tensor:
    """The calibration error of the top probability, debiased: root mean square gap to the accuracy, over 15 bins.

    The root of `squared_calibration_error`, and 0 where that is below 0: then the rows show no error at all.
    """
    return squared_calibration_error(rows).clamp(min=0.0).sqrt()


def squared_calibration_error(rows: Classified) -> Tensor:
    """The mean over rows of the squared gap between accuracy and mean top probability in the row's bin, debiased.

    15 bins of equal width, closed above. In a bin of n rows with accuracy a and mean top probability p, (p - a)^2 is too
    large by the variance of a, which a (1 - a) / (n - 1) estimates without bias. So the mean over many draws of the rows
    is the true one, where that of |p - a| stays clear of 0 however well calibrated the network is. One draw may come
    out below 0. A bin of one row tells nothing of its variance and counts as 0.

    Source: Ferro and Fricker 2012 (reliability); Kumar, Liang and Ma 2019, whose plug-in estimate it corrects.
    """
    assert rows.probabilities is not None
    top = rows.probabilities.amax(-2)
    bins = (top * NUM_BINS).ceil().long().sub_(1).clamp_(0, NUM_BINS - 1)
    right = (rows.decided == rows.classes).to(top.dtype)
    empty = top.new_zeros(top.shape[0], NUM_BINS)
    n, hits, mass = (empty.scatter_add(-1, bins, each).to(_wide(top)) for each in (torch.ones_like(top), right, top))
    # n times the bin's term: hits = n a, mass = n p.
    terms = ((mass - hits).square() - hits * (n - hits) / (n - 1.0)) / n
    return torch.where(n > 1.0, terms, 0.0).sum(-1) / top.shape[-1]


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
    """1 - sum of error^2 / sum of (y - mean y)^2: 0 for the mean itself; NaN where the targets are all equal.

    In reconstruction each feature has a mean of its own, and both sums go over all of them: the part of the total variance that
    is explained (scikit-learn's `multioutput="variance_weighted"`).
    """
    around_mean = (rows.targets - rows.targets.mean(-1, keepdim=True)).flatten(1).square().sum(-1)
    constant = (rows.targets.amax(-1) == rows.targets.amin(-1)).all(-1)
    return (1.0 - rows.errors.square().sum(-1) / around_mean).masked_fill(constant, torch.nan)


_CLASSES: Final[tuple[Task, ...]] = ("binary", "multiclass")
_NUMBERS: Final[tuple[Task, ...]] = ("regression", "reconstruction")

METRICS: Final[Mapping[str, Metric]] = {
    "accuracy": Metric(accuracy, _CLASSES, True, "part decided rightly", "sklearn.metrics.accuracy_score"),
    "balanced_accuracy": Metric(
        balanced_accuracy, _CLASSES, True, "mean recall of the classes", "sklearn.metrics.balanced_accuracy_score"
    ),
    "macro_f1": Metric(macro_f1, _CLASSES, True, "mean F1 of the classes", "sklearn.metrics.f1_score, macro"),
    "brier": Metric(
        brier,
        _CLASSES,
        False,
        "squared error of the probabilities",
        "Brier 1950; sklearn.metrics.brier_score_loss",
        of_probabilities=True,
    ),
    "ece": Metric(
        ece,
        _CLASSES,
        False,
        "calibration error of the top probability, debiased",
        "Ferro and Fricker 2012; Kumar, Liang and Ma 2019",
        of_probabilities=True,
    ),
    "mae": Metric(mae, _NUMBERS, False, "mean absolute error", "sklearn.metrics.mean_absolute_error"),
    "rmse": Metric(rmse, _NUMBERS, False, "root mean squared error", "sklearn.metrics.root_mean_squared_error"),
    "median_ae": Metric(median_ae, _NUMBERS, False, "median absolute error", "sklearn.metrics.median_absolute_error"),
    "r2": Metric(r2, _NUMBERS, True, "part of the variance explained", "sklearn.metrics.r2_score"),
}
