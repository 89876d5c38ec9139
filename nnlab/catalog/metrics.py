"""Metrics: the quality of predictions, in numbers that don't depend on the loss that was trained.

All runs are measured at once, without a loop over them. A metric is computed for each run from its scores on the whole part,
so runs may come in chunks, but rows may not. Sums are in float64, or in float32 on devices without float64 (MPS).

Shapes: R runs, C classes, B rows of the part.
"""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Final

from nnlab.catalog.links import LINKS, aligned_targets, decide, probabilities, target_scores
from nnlab.core.lazy import lazy

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import torch
    from torch import Tensor

    from nnlab.settings import Task
else:
    torch = lazy("torch")

NUM_BINS: Final = 15


@dataclass(frozen=True)
class ClassPredictions:
    """The predictions of each run for the rows of a classification task.

    Attributes:
        classes: the true class, [R, B].
        decided: the predicted class, [R, B].
        probabilities: [R, C, B]; None if the loss's link gives no probabilities.
        confusion: the number of rows by true class and predicted class, [R, C, C].
    """

    classes: Tensor
    decided: Tensor
    probabilities: Tensor | None
    confusion: Tensor


@dataclass(frozen=True)
class NumberPredictions:
    """The predictions of each run for the rows of a regression or reconstruction task.

    Regression is in the target's own unit, reconstruction in the unit of the network's inputs.

    Attributes:
        targets: [R, C, B]: one per row, or in reconstruction each of its C features.
        errors: prediction minus target, flattened for each run, [R, C B].
    """

    targets: Tensor
    errors: Tensor


@dataclass(frozen=True)
class Metric:
    """A row of METRICS.

    Attributes:
        function: maps ClassPredictions or NumberPredictions to one number per run, [R].
        tasks: the tasks to which it applies.
        higher_is_better: a higher number is a better one.
        of_probabilities: it is computed from class probabilities, so it does not apply if the loss's link gives none.
        words: its name in tables and help.
        source: who defined it, or the function of scikit-learn that it equals.
    """

    function: Callable[..., Tensor]
    _: KW_ONLY
    tasks: tuple[Task, ...]
    higher_is_better: bool = False
    of_probabilities: bool = False
    words: str = ""
    source: str = ""

    def applies(self, task: Task, link: str) -> bool:
        """True if the metric can be computed in this task from the predictions of this link."""
        return task in self.tasks and (LINKS[link].gives_probabilities or not self.of_probabilities)


def measure(
    scores: Tensor,
    targets: Tensor,
    *,
    task: Task,
    link: str,
    target_mean: Tensor | float = 0.0,
    target_scale: Tensor | float = 1.0,
) -> dict[str, Tensor]:
    """Compute every metric that applies to the task and the link: by name, one number per run, [R].

    Args:
        scores: [R, C, B], or [R, 1, B] for one score per row.
        targets: [R, B] or [1, B]: class indices, or numbers as the loss takes them; in reconstruction [R or 1, C, B].
        task: the task of the data.
        link: maps the scores to predictions, a key of LINKS.
        target_mean: the mean that standardisation subtracted from regression targets, one number or one per run [R].
        target_scale: the scale that it divided them by: own unit = standardised * scale + mean.
    """
    predictions: ClassPredictions | NumberPredictions
    if task in _NUMBERS:
        predictions = number_predictions(scores.to(_wide_dtype(scores)), targets, link, target_mean, target_scale)
    else:
        predictions = class_predictions(scores.to(torch.promote_types(scores.dtype, torch.float32)), targets, link)
    return {name: metric.function(predictions) for name, metric in METRICS.items() if metric.applies(task, link)}


def _wide_dtype(scores: Tensor) -> torch.dtype:
    """The dtype of sums over rows; Apple's devices have no float64."""
    return torch.float32 if scores.device.type == "mps" else torch.float64


def class_predictions(scores: Tensor, targets: Tensor, link: str) -> ClassPredictions:
    """Decisions, probabilities and the confusion matrix of every run, from scores [R, C, B] and classes [R or 1, B]."""
    classes = aligned_targets(scores, targets).long()
    decided = decide(scores, link)
    num_runs, num_classes = scores.shape[0], max(2, scores.shape[1])
    run = torch.arange(num_runs, device=scores.device).unsqueeze(1)
    cells = (run * num_classes + classes) * num_classes + decided
    counts = torch.bincount(cells.flatten(), minlength=num_runs * num_classes**2)
    confusion = counts.view(num_runs, num_classes, num_classes).to(_wide_dtype(scores))
    return ClassPredictions(classes, decided, probabilities(scores, link), confusion)


def number_predictions(
    scores: Tensor, targets: Tensor, link: str, target_mean: Tensor | float, target_scale: Tensor | float
) -> NumberPredictions:
    """Targets and errors in the target's own unit, from scores [R, C, B] and targets as the loss takes them."""
    mean, scale = (
        torch.as_tensor(value, dtype=scores.dtype, device=scores.device).reshape(-1, 1, 1)
        for value in (target_mean, target_scale)
    )
    right = target_scores(scores, targets)
    return NumberPredictions(right * scale + mean, ((LINKS[link].function(scores) - right) * scale).flatten(1))


def accuracy(rows: ClassPredictions) -> Tensor:
    """The fraction of rows whose class is predicted correctly."""
    return _hits(rows).sum(-1) / rows.confusion.sum((-2, -1))


def balanced_accuracy(rows: ClassPredictions) -> Tensor:
    """The mean over classes of the fraction of a class's rows that are predicted correctly; classes without rows are left out."""
    return (_hits(rows) / rows.confusion.sum(-1)).nanmean(-1)


def macro_f1(rows: ClassPredictions) -> Tensor:
    """The mean over classes of F1 = 2 TP / (2 TP + FP + FN); classes neither present nor predicted are left out."""
    return (2.0 * _hits(rows) / (rows.confusion.sum(-1) + rows.confusion.sum(-2))).nanmean(-1)


def _hits(rows: ClassPredictions) -> Tensor:
    return rows.confusion.diagonal(dim1=-2, dim2=-1)


def brier(rows: ClassPredictions) -> Tensor:
    """The mean over rows of the sum over classes of (p_c - onehot_c)^2, halved if there are two classes.

    Halved, it is the mean of (p_1 - y)^2: from 0 to 1 for two classes, 0 to 2 for more, as in scikit-learn
    (`scale_by_half="auto"`).
    """
    assert rows.probabilities is not None
    right = rows.probabilities.gather(-2, rows.classes.unsqueeze(-2)).squeeze(-2)
    # sum of (p - onehot)^2 = sum of p^2 - 2 p_y + 1
    squares = rows.probabilities.square().sum(-2) - 2.0 * right + 1.0
    return squares.mean(-1, dtype=_wide_dtype(squares)) / (2.0 if rows.probabilities.shape[-2] == 2 else 1.0)


def ece(rows: ClassPredictions) -> Tensor:
    """The calibration error of the top probability, debiased: root mean square gap to the accuracy, over 15 bins.

    The root of `squared_calibration_error`, or 0 if that is below 0: then the rows show no error at all.
    """
    return squared_calibration_error(rows).clamp(min=0.0).sqrt()


def squared_calibration_error(rows: ClassPredictions) -> Tensor:
    """The mean over rows of the squared gap between accuracy and mean top probability in the row's bin, debiased.

    15 bins of equal width, closed above. In a bin of n rows with accuracy a and mean top probability p, (p - a)^2 is too
    large by the variance of a, and a (1 - a) / (n - 1) is an unbiased estimate of that variance. So the mean over many draws
    of the rows is the true one, whereas the mean of |p - a| stays above 0 even for a perfectly calibrated network. A single
    draw may be below 0. A bin of one row says nothing about its variance and counts as 0.

    Source: Ferro and Fricker 2012 (reliability); Kumar, Liang and Ma 2019, whose plug-in estimate it corrects.
    """
    assert rows.probabilities is not None
    top = rows.probabilities.amax(-2)
    bins = (top * NUM_BINS).ceil().long().sub_(1).clamp_(0, NUM_BINS - 1)
    right = (rows.decided == rows.classes).to(top.dtype)
    empty = top.new_zeros(top.shape[0], NUM_BINS)
    n, hits, mass = (
        empty.scatter_add(-1, bins, each).to(_wide_dtype(top)) for each in (torch.ones_like(top), right, top)
    )
    # n times the bin's term: hits = n a, mass = n p.
    terms = ((mass - hits).square() - hits * (n - hits) / (n - 1.0)) / n
    return torch.where(n > 1.0, terms, 0.0).sum(-1) / top.shape[-1]


def mae(rows: NumberPredictions) -> Tensor:
    """The mean of |error|."""
    return rows.errors.abs().mean(-1)


def rmse(rows: NumberPredictions) -> Tensor:
    """The square root of the mean of error^2."""
    return rows.errors.square().mean(-1).sqrt()


def median_ae(rows: NumberPredictions) -> Tensor:
    """The median of |error|; for an even number of rows the mean of the two middle ones."""
    ordered = rows.errors.abs().sort(-1).values
    num_rows = ordered.shape[-1]
    return (ordered[:, (num_rows - 1) // 2] + ordered[:, num_rows // 2]) / 2.0


def r2(rows: NumberPredictions) -> Tensor:
    """1 - sum of error^2 / sum of (y - mean y)^2: 0 for predicting the mean; NaN if all targets are equal.

    In reconstruction each feature has its own mean, and both sums go over all features: the fraction of the total variance that
    is explained (scikit-learn's `multioutput="variance_weighted"`).
    """
    around_mean = (rows.targets - rows.targets.mean(-1, keepdim=True)).flatten(1).square().sum(-1)
    constant = (rows.targets.amax(-1) == rows.targets.amin(-1)).all(-1)
    return (1.0 - rows.errors.square().sum(-1) / around_mean).masked_fill(constant, torch.nan)


_CLASSES: Final[tuple[Task, ...]] = ("binary", "multiclass")
_NUMBERS: Final[tuple[Task, ...]] = ("regression", "reconstruction")

METRICS: Final[Mapping[str, Metric]] = {
    "accuracy": Metric(
        accuracy,
        tasks=_CLASSES,
        higher_is_better=True,
        words="fraction of rows predicted correctly",
        source="sklearn.metrics.accuracy_score",
    ),
    "balanced_accuracy": Metric(
        balanced_accuracy,
        tasks=_CLASSES,
        higher_is_better=True,
        words="mean recall of the classes",
        source="sklearn.metrics.balanced_accuracy_score",
    ),
    "macro_f1": Metric(
        macro_f1,
        tasks=_CLASSES,
        higher_is_better=True,
        words="mean F1 of the classes",
        source="sklearn.metrics.f1_score, macro",
    ),
    "brier": Metric(
        brier,
        tasks=_CLASSES,
        of_probabilities=True,
        words="squared error of the probabilities",
        source="Brier 1950; sklearn.metrics.brier_score_loss",
    ),
    "ece": Metric(
        ece,
        tasks=_CLASSES,
        of_probabilities=True,
        words="calibration error of the top probability, debiased",
        source="Ferro and Fricker 2012; Kumar, Liang and Ma 2019",
    ),
    "mae": Metric(
        mae,
        tasks=_NUMBERS,
        words="mean absolute error",
        source="sklearn.metrics.mean_absolute_error",
    ),
    "rmse": Metric(
        rmse,
        tasks=_NUMBERS,
        words="root mean squared error",
        source="sklearn.metrics.root_mean_squared_error",
    ),
    "median_ae": Metric(
        median_ae,
        tasks=_NUMBERS,
        words="median absolute error",
        source="sklearn.metrics.median_absolute_error",
    ),
    "r2": Metric(
        r2,
        tasks=_NUMBERS,
        higher_is_better=True,
        words="fraction of the variance explained",
        source="sklearn.metrics.r2_score",
    ),
}
