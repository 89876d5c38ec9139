"""Losses: the loss of every row as a plain function of scores and targets, and its gradient by the scores.

    f(scores, targets, **keys) -> the loss of every row

Shapes: R runs (or any leading axes, `...`), C scores per row, B rows, last. Scores are [..., C, B]; targets are [..., B]
(the same for all runs if they lack the runs' axis): a float for regression, a class index for C classes, 0 or 1 for the
one score of a binary task. Losses are [..., B], in nats if they are likelihoods. Training minimises their mean over rows,
PyTorch's `reduction="mean"`. The model returns scores; the loss names the link that maps them to predictions.

Distances (mse, l1, huber, smooth_l1, log_cosh) also serve classes: on one score the target is 0 or 1, on C scores it is
one-hot and the row's loss is the mean over its C scores, as in `nn.MSELoss`. The same holds in reconstruction, where the C
scores of a row are compared with its C features: there targets are [..., C, B], like the scores.

Gradients are written by hand and tested against autograd, kinks included; a loss without one is differentiated by
autograd. Each is d(row loss) / d(scores), of the scores' shape, not divided by the number of rows.
"""

from __future__ import annotations

import inspect
import math
from dataclasses import KW_ONLY, dataclass
from functools import partial
from typing import TYPE_CHECKING, Final, Literal

from nnlab.catalog import constant_scores
from nnlab.catalog.custom import check_call
from nnlab.catalog.entry import find
from nnlab.catalog.links import LINKS, class_indices, target_scores
from nnlab.core.errors import UsageError, unknown_name
from nnlab.core.lazy import lazy
from nnlab.core.spelling import mention

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import torch
    import torch.nn.functional as F
    from torch import Tensor

    from nnlab.core.kinds import Flag, NonNegative, Positive, Probability, Value
    from nnlab.core.spec import Spec
    from nnlab.settings import Task
else:
    torch = lazy("torch")
    F = lazy("torch.nn.functional")

_BITS_OF_A_NAT: Final = 1.0 / math.log(2.0)

# How many scores the model returns for a row: one, one per class or one per feature.
ScoresPer = Literal["one", "classes", "features"]


@dataclass(frozen=True)
class Loss:
    """A row of LOSSES.

    Attributes:
        function: the loss of every row.
        gradient: its gradient by the scores, with the same keys; None to differentiate with autograd.
        both: function and gradient in one call, if they share work.
        outputs: for each task that the loss serves, whether the model returns one score per row, one per class or one per
            feature.
        link: maps the scores to predictions; a key of `nnlab.catalog.links.LINKS`, or empty if it depends on the task.
        links: the link for each task, if `link` is empty.
        is_distance: compares each score with a target number, one-hot for classes.
        estimates: the best prediction, in words.
        torch_class: name of the class in `torch.nn` whose mean over rows this is, given scores [B, C] (or, for one score, [B]
            and float targets) and the same keys; None if PyTorch has none.
        best_constant: `best_constant(targets, num_scores, **keys)`: the best constant scores; None to search for them.
        raw_targets: targets keep their own unit (counts) and are never standardised.
        source: who proposed it.
    """

    function: Callable[..., Tensor]
    gradient: Callable[..., Tensor] | None = None
    _: KW_ONLY
    both: Callable[..., tuple[Tensor, Tensor]] | None = None
    outputs: Mapping[Task, ScoresPer]
    link: str = "identity"
    links: Mapping[Task, str] | None = None
    is_distance: bool = False
    estimates: str = ""
    torch_class: str | None = None
    best_constant: Callable[..., Tensor] | None = None
    raw_targets: bool = False
    source: str = ""

    def link_for(self, task: Task) -> str:
        """The key in `nnlab.catalog.links.LINKS` of the link that maps the scores to predictions in this task."""
        return self.link or (self.links or {})[task]

    @property
    def tasks(self) -> tuple[Task, ...]:
        """The tasks that the loss serves."""
        return tuple(self.outputs)


def mse(scores: Tensor, targets: Tensor) -> Tensor:
    """(s - y)^2, without a half; for C classes the mean of the C squares."""
    return (scores - target_scores(scores, targets)).square().mean(-2)


def mse_gradient(scores: Tensor, targets: Tensor) -> Tensor:
    """2 (s - y) / C."""
    return (scores - target_scores(scores, targets)).mul_(2.0 / scores.shape[-2])


def l1(scores: Tensor, targets: Tensor) -> Tensor:
    """|s - y|: an outlier pulls no harder than any other row."""
    return (scores - target_scores(scores, targets)).abs().mean(-2)


def l1_gradient(scores: Tensor, targets: Tensor) -> Tensor:
    """sign(s - y) / C, 0 at the kink."""
    return (scores - target_scores(scores, targets)).sign_().div_(scores.shape[-2])


def huber(scores: Tensor, targets: Tensor, *, delta: Positive = 1.0) -> Tensor:
    """(s - y)^2 / 2 up to a distance of delta, delta (|s - y| - delta / 2) beyond it."""
    return F.huber_loss(scores, target_scores(scores, targets), reduction="none", delta=delta).mean(-2)


def huber_gradient(scores: Tensor, targets: Tensor, *, delta: Positive = 1.0) -> Tensor:
    """s - y clipped to [-delta, delta], divided by C."""
    return (scores - target_scores(scores, targets)).clamp_(-delta, delta).div_(scores.shape[-2])


def smooth_l1(scores: Tensor, targets: Tensor, *, beta: NonNegative = 1.0) -> Tensor:
    """(s - y)^2 / (2 beta) up to a distance of beta, |s - y| - beta / 2 beyond it: the Huber loss divided by beta."""
    return F.smooth_l1_loss(scores, target_scores(scores, targets), reduction="none", beta=beta).mean(-2)


def smooth_l1_gradient(scores: Tensor, targets: Tensor, *, beta: NonNegative = 1.0) -> Tensor:
    """(s - y) / beta clipped to [-1, 1], divided by C; for beta = 0 the sign divided by C."""
    distance = scores - target_scores(scores, targets)
    slope = distance.div_(beta).clamp_(-1.0, 1.0) if beta > 0 else distance.sign_()
    return slope.div_(scores.shape[-2])


def log_cosh(scores: Tensor, targets: Tensor) -> Tensor:
    """log(cosh(s - y)): half the square near 0, |s - y| - log 2 far away; smooth everywhere.

    Computed as |e| + log(1 + exp(-2 |e|)) - log 2, which can't overflow.
    """
    distance = (scores - target_scores(scores, targets)).abs()
    return (distance + F.softplus(-2.0 * distance) - math.log(2.0)).mean(-2)


def log_cosh_gradient(scores: Tensor, targets: Tensor) -> Tensor:
    """tanh(s - y) / C."""
    return (scores - target_scores(scores, targets)).tanh_().div_(scores.shape[-2])


def quantile(scores: Tensor, targets: Tensor, *, q: Probability = 0.5) -> Tensor:
    """q (y - s) where the target is above the score, (1 - q) (s - y) where it is below; half of l1 for q = 0.5."""
    _check_inner(q)
    short = target_scores(scores, targets) - scores
    return torch.maximum(q * short, (q - 1.0) * short).squeeze(-2)


def quantile_gradient(scores: Tensor, targets: Tensor, *, q: Probability = 0.5) -> Tensor:
    """-q where the target is above the score, 1 - q where it is below, and the mean of the two, 0.5 - q, at the kink."""
    return (scores - target_scores(scores, targets)).sign_().mul_(0.5).add_(0.5 - q)


def _check_inner(q: Probability) -> None:
    if not 0.0 < q < 1.0:
        raise UsageError(
            f"{mention('loss', 'quantile:q')} takes a number above 0 and below 1, not {q!r}: there is no such quantile."
        )


def bce(scores: Tensor, targets: Tensor) -> Tensor:
    """-y log p - (1 - y) log(1 - p) with p = sigmoid(s), in nats; computed from the score, so that it never saturates."""
    return F.binary_cross_entropy_with_logits(scores, target_scores(scores, targets), reduction="none").squeeze(-2)


def bce_gradient(scores: Tensor, targets: Tensor) -> Tensor:
    """sigmoid(s) - y."""
    return torch.sigmoid(scores).sub_(target_scores(scores, targets))


def cross_entropy(scores: Tensor, targets: Tensor, *, label_smoothing: Probability = 0.0) -> Tensor:
    """-log p_y with p = softmax(s), in nats; smoothing spreads that fraction of the target evenly over all C classes.

    With smoothing e it is (1 - e) (-log p_y) + e times the mean of -log p_c, which is least at a finite score: a correct
    answer can be too confident (Szegedy et al. 2016, section 7).
    """
    log_p = torch.log_softmax(scores, -2)
    loss = log_p.gather(-2, class_indices(scores, targets)).squeeze(-2).neg()
    return loss if label_smoothing == 0 else (1.0 - label_smoothing) * loss - label_smoothing * log_p.mean(-2)


def cross_entropy_gradient(scores: Tensor, targets: Tensor, *, label_smoothing: Probability = 0.0) -> Tensor:
    """p - (1 - e) onehot(y) - e / C."""
    slope = torch.softmax(scores, -2)
    if label_smoothing > 0:
        slope.sub_(label_smoothing / scores.shape[-2])
    rows = class_indices(scores, targets)
    return slope.scatter_add_(-2, rows, slope.new_full((1,), label_smoothing - 1.0).expand(rows.shape))


def cross_entropy_both(scores: Tensor, targets: Tensor, *, label_smoothing: Probability = 0.0) -> tuple[Tensor, Tensor]:
    """The loss and its gradient from one log-softmax: p is exp(log p).

    Computed as 2^(log p / log 2): on the CPU torch.exp takes three times as long, and forty times where p underflows (measured).
    """
    log_p = torch.log_softmax(scores, -2)
    rows = class_indices(scores, targets)
    loss = log_p.gather(-2, rows).squeeze(-2).neg_()
    if label_smoothing > 0:
        loss = loss.mul_(1.0 - label_smoothing).sub_(log_p.mean(-2), alpha=label_smoothing)
    slope = log_p.mul_(_BITS_OF_A_NAT).exp2_()
    if label_smoothing > 0:
        slope.sub_(label_smoothing / scores.shape[-2])
    return loss, slope.scatter_add_(-2, rows, slope.new_full((1,), label_smoothing - 1.0).expand(rows.shape))


def nll(scores: Tensor, targets: Tensor) -> Tensor:
    """-log p_y, the negative log-likelihood; the loss itself computes the log-probabilities from the scores.

    `nn.NLLLoss` takes log-probabilities and leaves log-softmax to the model; here the loss includes it, so nll is
    cross_entropy without smoothing, to the last bit.
    """
    return cross_entropy(scores, targets)


def nll_gradient(scores: Tensor, targets: Tensor) -> Tensor:
    """p - onehot(y)."""
    return cross_entropy_gradient(scores, targets)


def hinge(scores: Tensor, targets: Tensor, *, margin: Positive = 1.0) -> Tensor:
    """max(0, margin - t s) with t = -1 or 1 for one score; for C, sum over j != y of max(0, margin - s_y + s_j) / C.

    For C scores it is `nn.MultiMarginLoss`. A row on the correct side by at least the margin costs nothing.
    """
    if scores.shape[-2] == 1:
        return F.relu(margin - _sides(scores, targets) * scores).squeeze(-2)
    rows = class_indices(scores, targets)
    short = F.relu(margin - scores.gather(-2, rows) + scores)
    return short.scatter(-2, rows, 0.0).sum(-2) / scores.shape[-2]


def hinge_gradient(scores: Tensor, targets: Tensor, *, margin: Positive = 1.0) -> Tensor:
    """-t where the margin is violated, else 0; for C scores 1 / C for each violating class, minus their sum for y."""
    if scores.shape[-2] == 1:
        sides = _sides(scores, targets)
        return -sides * (sides * scores < margin)
    rows = class_indices(scores, targets)
    near = (margin - scores.gather(-2, rows) + scores > 0).to(scores.dtype).scatter_(-2, rows, 0.0)
    return near.scatter_(-2, rows, -near.sum(-2, keepdim=True)).div_(scores.shape[-2])


def _sides(scores: Tensor, targets: Tensor) -> Tensor:
    return 2.0 * target_scores(scores, targets) - 1.0


def focal(scores: Tensor, targets: Tensor, *, gamma: NonNegative = 2.0) -> Tensor:
    """-(1 - p_y)^gamma log p_y: rows that are already correct count less; cross-entropy for gamma = 0.

    Source: Lin et al. 2017, eq. 4 (without the class weight alpha). Not a proper scoring rule: the loss is least at flatter
    probabilities than the true ones.
    """
    log_p = _log_probability(scores, targets)
    # The floor keeps autograd finite where p rounds to 1 and gamma < 1.
    missing = (-torch.expm1(log_p)).clamp_min(torch.finfo(scores.dtype).tiny)
    return missing.pow(gamma).mul(-log_p).squeeze(-2)


def focal_gradient(scores: Tensor, targets: Tensor, *, gamma: NonNegative = 2.0) -> Tensor:
    """dL / d(log p_y) = gamma (1 - p)^(gamma - 1) p log p - (1 - p)^gamma, times d(log p_y) / d(scores)."""
    log_p = _log_probability(scores, targets)
    missing = (-torch.expm1(log_p)).clamp_min(torch.finfo(scores.dtype).tiny)
    slope = missing.pow(gamma) * (gamma * (log_p / missing) * log_p.exp() - 1.0)
    if scores.shape[-2] == 1:
        return slope * (target_scores(scores, targets) - torch.sigmoid(scores))
    return slope * (target_scores(scores, targets) - torch.softmax(scores, -2))


def _log_probability(scores: Tensor, targets: Tensor) -> Tensor:
    """log p_y, [..., 1, B]."""
    if scores.shape[-2] == 1:
        return F.logsigmoid(_sides(scores, targets) * scores)
    return torch.log_softmax(scores, -2).gather(-2, class_indices(scores, targets))


def poisson_nll(scores: Tensor, targets: Tensor, *, full: Flag = False) -> Tensor:
    """exp(s) - y s, in nats, for counts y with mean exp(s); full adds Stirling's log y! for counts above 1.

    Without `full` it omits the term that no score can change, and so may be negative.
    """
    counts = target_scores(scores, targets)
    return F.poisson_nll_loss(scores, counts, log_input=True, full=full, reduction="none").squeeze(-2)


def poisson_nll_gradient(scores: Tensor, targets: Tensor, *, full: Flag = False) -> Tensor:  # noqa: ARG001
    """exp(s) - y."""
    return scores.exp().sub_(target_scores(scores, targets))


def constant_loss(loss: Loss, targets: Tensor, outputs: int, values: Mapping[str, Value | None]) -> float:
    """The mean loss of the best constant predictor, which learning must beat (B in the verdicts of sweep-lr).

    Exact where the best scores are known (class entropy, variance, mean distance from the median, ...), else at a local
    minimum found by descent.

    Args:
        loss: a row of the table, or one made for a person's own function.
        targets: [B], as the loss takes them; [C, B] in reconstruction.
        outputs: C, the number of scores per row.
        values: the loss's keys.
    """
    targets = targets.detach().cpu()
    targets = targets.double() if targets.is_floating_point() else targets
    best = loss.best_constant or partial(constant_scores.local_minimum, loss.function)
    scores = best(targets, outputs, **values)
    rows = loss.function(scores.unsqueeze(-1).expand(-1, targets.shape[-1]), targets, **values)
    return rows.mean().item()


def loss_named(spec: Spec, *, what: str = mention("loss")) -> Loss:
    """The loss that `spec` names: a row of the table, or one made by `own_loss` for a person's own function.

    Raises:
        UsageError: no such name, file or function.
    """
    return find(LOSSES, spec, what=what, own=own_loss)


def own_loss(function: Callable[..., Tensor]) -> Loss:
    """A row for a person's own function of scores [..., C, B] and targets [..., B] that returns each row's loss, [..., B].

    It serves every task: with one score per row, one per class if there are several classes, or one per feature in
    reconstruction, where targets are [..., C, B]. Its gradient is autograd's. Predictions use the link of the task's default
    loss, or the one that the function names itself: `my_loss.link = "identity"`.

    Raises:
        UsageError: it takes other arguments, or names an unknown link.
    """
    check_call(function, "scores, targets", what=mention("loss"))
    link = getattr(function, "link", "")
    if link and link not in LINKS:
        raise unknown_name(f"{mention('loss', function.__name__)}: its link", str(link), LINKS)

    def row_losses(scores: Tensor, targets: Tensor, **values: Value | None) -> Tensor:
        rows = function(scores, targets, **values)
        expected = (*scores.shape[:-2], scores.shape[-1])
        if tuple(rows.shape) != expected:
            raise UsageError(
                f"{mention('loss', function.__name__)} returns shape {tuple(rows.shape)} for scores of shape "
                f"{tuple(scores.shape)} [..., C, B]; it must return each row's loss, {expected} [..., B], not the mean."
            )
        return rows

    row_losses.__signature__ = inspect.signature(function)  # type: ignore[attr-defined]
    row_losses.__doc__ = function.__doc__
    return Loss(
        row_losses,
        outputs=_EVERY_TASK,
        link=link,
        links={
            "regression": "identity",
            "binary": "sigmoid",
            "multiclass": "softmax",
            "reconstruction": "identity",
        },
        is_distance=link == "identity",
        estimates="what its author means",
    )


def row_weights(targets: Tensor, class_weights: Tensor) -> Tensor:
    """The weight of every row, [..., B], with mean 1 over the rows.

    The mean of row weight times row loss then equals `nn.CrossEntropyLoss(weight=class_weights)`, the weighted sum divided by
    the sum of the weights (without label smoothing, whose even part PyTorch weights class by class).

    Args:
        targets: [..., B], class indices.
        class_weights: [C], above 0.
    """
    weights = class_weights[targets.long()]
    return weights / weights.mean(-1, keepdim=True)


def check_fits(loss_name: str, task: Task) -> None:
    """Reject a loss of the table that does not serve the task; the message names those that do.

    Raises:
        UsageError: the loss does not serve the task.
    """
    if loss_name in LOSSES and task not in LOSSES[loss_name].tasks:
        fitting = ", ".join(name for name, loss in LOSSES.items() if task in loss.tasks)
        served = " and ".join(LOSSES[loss_name].tasks)
        raise UsageError(f"{mention('loss', loss_name)} serves {served} tasks, not {task}. Losses that do: {fitting}.")


_EVERY_TASK: Final[Mapping[Task, ScoresPer]] = {
    "regression": "one",
    "binary": "one",
    "multiclass": "classes",
    "reconstruction": "features",
}
_NUMBERS: Final[Mapping[Task, ScoresPer]] = {"regression": "one"}
_CLASSES: Final[Mapping[Task, ScoresPer]] = {"binary": "classes", "multiclass": "classes"}
_ONE_OR_CLASSES: Final[Mapping[Task, ScoresPer]] = {"binary": "one", "multiclass": "classes"}

LOSSES: Final[Mapping[str, Loss]] = {
    "mse": Loss(
        mse,
        mse_gradient,
        outputs=_EVERY_TASK,
        is_distance=True,
        estimates="mean",
        torch_class="MSELoss",
        best_constant=constant_scores.mean,
        source="Legendre 1805; Gauss 1809",
    ),
    "l1": Loss(
        l1,
        l1_gradient,
        outputs=_EVERY_TASK,
        is_distance=True,
        estimates="median",
        torch_class="L1Loss",
        best_constant=constant_scores.median,
        source="Laplace 1774",
    ),
    "huber": Loss(
        huber,
        huber_gradient,
        outputs=_EVERY_TASK,
        is_distance=True,
        estimates="mean that outliers move little",
        torch_class="HuberLoss",
        best_constant=constant_scores.root_of_slope(huber_gradient),
        source="Huber 1964, section 3",
    ),
    "smooth_l1": Loss(
        smooth_l1,
        smooth_l1_gradient,
        outputs=_EVERY_TASK,
        is_distance=True,
        estimates="mean that outliers move little",
        torch_class="SmoothL1Loss",
        best_constant=constant_scores.root_of_slope(smooth_l1_gradient),
        source="Girshick 2015, eq. 3",
    ),
    "log_cosh": Loss(
        log_cosh,
        log_cosh_gradient,
        outputs=_EVERY_TASK,
        is_distance=True,
        estimates="mean that outliers move little",
        best_constant=constant_scores.root_of_slope(log_cosh_gradient),
        source="Green 1990",
    ),
    "quantile": Loss(
        quantile,
        quantile_gradient,
        outputs=_NUMBERS,
        is_distance=True,
        estimates="quantile q",
        best_constant=constant_scores.quantile,
        source="Koenker and Bassett 1978",
    ),
    "bce": Loss(
        bce,
        bce_gradient,
        outputs={"binary": "one"},
        link="sigmoid",
        estimates="class probabilities",
        torch_class="BCEWithLogitsLoss",
        best_constant=constant_scores.log_odds,
        source="Cox 1958",
    ),
    "cross_entropy": Loss(
        cross_entropy,
        cross_entropy_gradient,
        both=cross_entropy_both,
        outputs=_CLASSES,
        link="softmax",
        estimates="class probabilities",
        torch_class="CrossEntropyLoss",
        best_constant=constant_scores.log_frequencies,
        source="Bridle 1990; smoothing: Szegedy et al. 2016",
    ),
    "nll": Loss(
        nll,
        nll_gradient,
        outputs=_CLASSES,
        link="softmax",
        estimates="class probabilities",
        best_constant=constant_scores.log_frequencies,
        source="Fisher 1922; Bridle 1990",
    ),
    "hinge": Loss(
        hinge,
        hinge_gradient,
        outputs=_ONE_OR_CLASSES,
        link="margin",
        estimates="margin",
        best_constant=constant_scores.widest_margin,
        source="Cortes and Vapnik 1995; classes: Weston and Watkins 1999",
    ),
    "focal": Loss(
        focal,
        focal_gradient,
        outputs=_ONE_OR_CLASSES,
        link="softmax",
        estimates="class probabilities, flattened",
        source="Lin et al. 2017, eq. 4",
    ),
    "poisson_nll": Loss(
        poisson_nll,
        poisson_nll_gradient,
        outputs=_NUMBERS,
        link="exp",
        estimates="mean of counts",
        torch_class="PoissonNLLLoss",
        best_constant=constant_scores.log_mean,
        raw_targets=True,
        source="Nelder and Wedderburn 1972",
    ),
}

DEFAULT_LOSS: Final[Mapping[Task, str]] = {
    "regression": "mse",
    "binary": "bce",
    "multiclass": "cross_entropy",
    "reconstruction": "mse",
}
