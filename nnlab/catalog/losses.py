"""Losses: what a row costs, as a plain function of scores and targets, and its gradient by the scores.

    f(scores, targets, **keys) -> the loss of every row

Shapes: R runs (or any leading axes, `...`), C scores of a row, B rows, last. Scores are [..., C, B]; targets [..., B]
(one target for all runs where it lacks their axis): a float for regression, a class index for C classes, 0 or 1 for the
one score of a binary task. Losses are [..., B], in nats where they are likelihoods; the loss that is trained is their
mean over rows, PyTorch's `reduction="mean"`. The model gives scores; the loss owns the link that makes predictions of
them.

Distances (mse, l1, huber, smooth_l1, log_cosh) serve classes as well: against 0 and 1 on one score, against one-hot
rows on C scores, and then the row's loss is the mean over its C scores, as `nn.MSELoss` takes it. So it is in
reconstruction, where the C scores of a row are held against its C features: there targets are [..., C, B], as scores.

Gradients are written by hand and held to autograd in the tests, kinks included; a loss without one is differentiated by
autograd. Each is d(row loss) / d(scores), of the scores' shape, not divided by the number of rows.
"""

from __future__ import annotations

import inspect
import math
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final, Literal

from nnlab.catalog import constant_scores
from nnlab.catalog.custom import check_call
from nnlab.catalog.entry import find
from nnlab.catalog.links import class_rows, wanted
from nnlab.core.errors import UsageError
from nnlab.core.lazy import lazy
from nnlab.core.spelling import mention

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import torch
    import torch.nn.functional as F
    from torch import Tensor

    from nnlab.core.kinds import Flag, NonNegative, Positive, Probability, Value
    from nnlab.core.spec import Spec
else:
    torch = lazy("torch")
    F = lazy("torch.nn.functional")

_BITS_OF_A_NAT: Final = 1.0 / math.log(2.0)

Task = Literal["regression", "binary", "multiclass", "reconstruction"]
Outputs = Literal["one", "classes", "features"]


@dataclass(frozen=True)
class Loss:
    """A row of the table.

    Attributes:
        function: the loss of every row.
        gradient: its gradient by the scores, with the same keys; None for autograd's.
        outputs: for each task that the loss serves, whether the model gives one score a row, one for each class or one for
            each feature.
        link: what makes predictions of the scores, a key of `nnlab.catalog.links.LINKS`.
        estimates: what the best prediction is, in words.
        torch_class: the class of `torch.nn` whose mean over rows this is, given scores [B, C] (or [B] and float targets
            where there is one score) and the same keys; None where PyTorch has none.
        best_constant: `best_constant(targets, num_scores, **keys)`, the best constant scores; None for a search.
        raw_targets: targets must stay in their own unit (counts), never standardised.
        source: who proposed it.
        both: function and gradient in one call, where they share work.
        links: for each task, where `link` is empty.
    """

    function: Callable[..., Tensor]
    gradient: Callable[..., Tensor] | None
    outputs: Mapping[Task, Outputs]
    link: str
    estimates: str
    torch_class: str | None
    best_constant: Callable[..., Tensor] | None
    source: str
    raw_targets: bool = False
    both: Callable[..., tuple[Tensor, Tensor]] | None = None
    links: Mapping[Task, str] | None = None

    def link_for(self, task: Task) -> str:
        """What makes predictions of the scores in this task, a key of `nnlab.catalog.links.LINKS`."""
        return self.link or (self.links or {})[task]

    @property
    def tasks(self) -> tuple[Task, ...]:
        """The tasks that the loss serves."""
        return tuple(self.outputs)


def mse(scores: Tensor, targets: Tensor) -> Tensor:
    """(s - y)^2, without a half; over C classes the mean of the C squares."""
    return (scores - wanted(scores, targets)).square().mean(-2)


def mse_gradient(scores: Tensor, targets: Tensor) -> Tensor:
    """2 (s - y) / C."""
    return (scores - wanted(scores, targets)).mul_(2.0 / scores.shape[-2])


def l1(scores: Tensor, targets: Tensor) -> Tensor:
    """|s - y|: an outlier pulls no harder than any other row."""
    return (scores - wanted(scores, targets)).abs().mean(-2)


def l1_gradient(scores: Tensor, targets: Tensor) -> Tensor:
    """sign(s - y) / C, 0 at the kink."""
    return (scores - wanted(scores, targets)).sign_().div_(scores.shape[-2])


def huber(scores: Tensor, targets: Tensor, *, delta: Positive = 1.0) -> Tensor:
    """(s - y)^2 / 2 up to a distance of delta, beyond it delta (|s - y| - delta / 2)."""
    return F.huber_loss(scores, wanted(scores, targets), reduction="none", delta=delta).mean(-2)


def huber_gradient(scores: Tensor, targets: Tensor, *, delta: Positive = 1.0) -> Tensor:
    """s - y, cut off at -delta and delta, over C."""
    return (scores - wanted(scores, targets)).clamp_(-delta, delta).div_(scores.shape[-2])


def smooth_l1(scores: Tensor, targets: Tensor, *, beta: NonNegative = 1.0) -> Tensor:
    """(s - y)^2 / (2 beta) up to a distance of beta, beyond it |s - y| - beta / 2: huber's divided by beta."""
    return F.smooth_l1_loss(scores, wanted(scores, targets), reduction="none", beta=beta).mean(-2)


def smooth_l1_gradient(scores: Tensor, targets: Tensor, *, beta: NonNegative = 1.0) -> Tensor:
    """(s - y) / beta, cut off at -1 and 1, over C; the sign alone where beta is 0."""
    distance = scores - wanted(scores, targets)
    slope = distance.div_(beta).clamp_(-1.0, 1.0) if beta > 0 else distance.sign_()
    return slope.div_(scores.shape[-2])


def log_cosh(scores: Tensor, targets: Tensor) -> Tensor:
    """log(cosh(s - y)): half the square near 0, |s - y| - log 2 far off; smooth everywhere.

    Computed as |e| + log(1 + exp(-2 |e|)) - log 2, which can't overflow.
    """
    distance = (scores - wanted(scores, targets)).abs()
    return (distance + F.softplus(-2.0 * distance) - math.log(2.0)).mean(-2)


def log_cosh_gradient(scores: Tensor, targets: Tensor) -> Tensor:
    """tanh(s - y) / C."""
    return (scores - wanted(scores, targets)).tanh_().div_(scores.shape[-2])


def quantile(scores: Tensor, targets: Tensor, *, q: Probability = 0.5) -> Tensor:
    """q (y - s) where the target is above the score, (1 - q) (s - y) where it is below; half of l1 at q = 0.5."""
    _check_inner(q)
    short = wanted(scores, targets) - scores
    return torch.maximum(q * short, (q - 1.0) * short).squeeze(-2)


def quantile_gradient(scores: Tensor, targets: Tensor, *, q: Probability = 0.5) -> Tensor:
    """-q where the target is above the score, 1 - q where it is below, 0.5 - q midway between at the kink."""
    return (scores - wanted(scores, targets)).sign_().mul_(0.5).add_(0.5 - q)


def _check_inner(q: Probability) -> None:
    if not 0.0 < q < 1.0:
        raise UsageError(
            f"{mention('loss', 'quantile:q')} takes a number above 0 and below 1, not {q!r}: there is no such quantile."
        )


def bce(scores: Tensor, targets: Tensor) -> Tensor:
    """-y log p - (1 - y) log(1 - p) with p = sigmoid(s), in nats, from the score itself, so that it never saturates."""
    return F.binary_cross_entropy_with_logits(scores, wanted(scores, targets), reduction="none").squeeze(-2)


def bce_gradient(scores: Tensor, targets: Tensor) -> Tensor:
    """sigmoid(s) - y."""
    return torch.sigmoid(scores).sub_(wanted(scores, targets))


def cross_entropy(scores: Tensor, targets: Tensor, *, label_smoothing: Probability = 0.0) -> Tensor:
    """-log p_y with p = softmax(s), in nats; smoothing moves that part of the target evenly to all C classes.

    With smoothing e it is (1 - e) (-log p_y) + e times the mean of -log p_c, least at a finite score: a right answer
    can be too sure (Szegedy et al. 2016, section 7).
    """
    log_p = torch.log_softmax(scores, -2)
    loss = log_p.gather(-2, class_rows(scores, targets)).squeeze(-2).neg()
    return loss if label_smoothing == 0 else (1.0 - label_smoothing) * loss - label_smoothing * log_p.mean(-2)


def cross_entropy_gradient(scores: Tensor, targets: Tensor, *, label_smoothing: Probability = 0.0) -> Tensor:
    """p - (1 - e) onehot(y) - e / C."""
    slope = torch.softmax(scores, -2)
    if label_smoothing > 0:
        slope.sub_(label_smoothing / scores.shape[-2])
    rows = class_rows(scores, targets)
    return slope.scatter_add_(-2, rows, slope.new_full((1,), label_smoothing - 1.0).expand(rows.shape))


def cross_entropy_both(scores: Tensor, targets: Tensor, *, label_smoothing: Probability = 0.0) -> tuple[Tensor, Tensor]:
    """The loss and its gradient, of one softmax: p is exp(log p).

    Taken as 2^(log p / log 2): on the CPU torch.exp takes three times as long, and forty times where p underflows (measured).
    """
    log_p = torch.log_softmax(scores, -2)
    rows = class_rows(scores, targets)
    loss = log_p.gather(-2, rows).squeeze(-2).neg_()
    if label_smoothing > 0:
        loss = loss.mul_(1.0 - label_smoothing).sub_(log_p.mean(-2), alpha=label_smoothing)
    slope = log_p.mul_(_BITS_OF_A_NAT).exp2_()
    if label_smoothing > 0:
        slope.sub_(label_smoothing / scores.shape[-2])
    return loss, slope.scatter_add_(-2, rows, slope.new_full((1,), label_smoothing - 1.0).expand(rows.shape))


def nll(scores: Tensor, targets: Tensor) -> Tensor:
    """-log p_y, the negative log-likelihood, of log-probabilities that the loss itself makes of the scores.

    `nn.NLLLoss` takes log-probabilities and leaves log-softmax to the model; here the loss owns its link, so nll is
    cross_entropy without smoothing, to the last bit.
    """
    return cross_entropy(scores, targets)


def nll_gradient(scores: Tensor, targets: Tensor) -> Tensor:
    """p - onehot(y)."""
    return cross_entropy_gradient(scores, targets)


def hinge(scores: Tensor, targets: Tensor, *, margin: Positive = 1.0) -> Tensor:
    """max(0, margin - t s) with t = -1 or 1 on one score; on C, sum over j != y of max(0, margin - s_y + s_j) / C.

    The form on C scores is `nn.MultiMarginLoss`. A row on the right side by the margin costs nothing more.
    """
    if scores.shape[-2] == 1:
        return F.relu(margin - _sides(scores, targets) * scores).squeeze(-2)
    rows = class_rows(scores, targets)
    short = F.relu(margin - scores.gather(-2, rows) + scores)
    return short.scatter(-2, rows, 0.0).sum(-2) / scores.shape[-2]


def hinge_gradient(scores: Tensor, targets: Tensor, *, margin: Positive = 1.0) -> Tensor:
    """-t where the margin is not kept, else 0; on C scores 1 / C for each class too near, minus as many for y."""
    if scores.shape[-2] == 1:
        sides = _sides(scores, targets)
        return -sides * (sides * scores < margin)
    rows = class_rows(scores, targets)
    near = (margin - scores.gather(-2, rows) + scores > 0).to(scores.dtype).scatter_(-2, rows, 0.0)
    return near.scatter_(-2, rows, -near.sum(-2, keepdim=True)).div_(scores.shape[-2])


def _sides(scores: Tensor, targets: Tensor) -> Tensor:
    return 2.0 * wanted(scores, targets) - 1.0


def focal(scores: Tensor, targets: Tensor, *, gamma: NonNegative = 2.0) -> Tensor:
    """-(1 - p_y)^gamma log p_y: rows already right count less; cross-entropy where gamma is 0.

    Source: Lin et al. 2017, eq. 4 (without the class weight alpha). Not a proper score: the least loss is at flatter
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
        return slope * (wanted(scores, targets) - torch.sigmoid(scores))
    return slope * (wanted(scores, targets) - torch.softmax(scores, -2))


def _log_probability(scores: Tensor, targets: Tensor) -> Tensor:
    """log p_y, [..., 1, B]."""
    if scores.shape[-2] == 1:
        return F.logsigmoid(_sides(scores, targets) * scores)
    return torch.log_softmax(scores, -2).gather(-2, class_rows(scores, targets))


def poisson_nll(scores: Tensor, targets: Tensor, *, full: Flag = False) -> Tensor:
    """exp(s) - y s, in nats, for counts y of mean exp(s); full adds Stirling's log y! for counts above 1.

    Without `full` it leaves out what no score can change, and so may be negative.
    """
    counts = wanted(scores, targets)
    return F.poisson_nll_loss(scores, counts, log_input=True, full=full, reduction="none").squeeze(-2)


def poisson_nll_gradient(scores: Tensor, targets: Tensor, *, full: Flag = False) -> Tensor:  # noqa: ARG001
    """exp(s) - y."""
    return scores.exp().sub_(wanted(scores, targets))


def constant_loss(loss: Loss, targets: Tensor, outputs: int, values: Mapping[str, Value | None]) -> float:
    """The mean loss of the best constant predictor, which learning must beat (B of the sweep's verdicts).

    Exact where the best scores are known (class entropy, variance, mean distance from the median, ...), else a local
    minimum found by descent.

    Args:
        loss: a row of the table, or one made for a person's own function.
        targets: [B], as the loss takes them; [C, B] in reconstruction.
        outputs: C, the scores of a row.
        values: the loss's keys.
    """
    targets = targets.detach().cpu()
    targets = targets.double() if targets.is_floating_point() else targets
    best = loss.best_constant or partial(constant_scores.by_descent, loss.function)
    scores = best(targets, outputs, **values)
    rows = loss.function(scores.unsqueeze(-1).expand(-1, targets.shape[-1]), targets, **values)
    return rows.mean().item()


def loss_named(spec: Spec, *, what: str = mention("loss")) -> Loss:
    """The loss that `spec` names: of the table, or a person's own function as `own_loss` takes it.

    Raises:
        UsageError: no such name, file or function.
    """
    return find(LOSSES, spec, what=what, own=own_loss)


def own_loss(function: Callable[..., Tensor]) -> Loss:
    """A row for a person's own plain function of scores [..., C, B] and targets [..., B], giving each row's loss [..., B].

    It serves every task, with one score a row, or one a class where there are several, or one a feature in reconstruction, where
    targets are [..., C, B]; its gradient is autograd's. Predictions are made
    through the link that belongs to the task's default loss, or the one that the function names itself: `my_loss.link = "identity"`.
    """
    check_call(function, "scores, targets", what=mention("loss"))
    links: Mapping[Task, str] = {
        "regression": "identity",
        "binary": "sigmoid",
        "multiclass": "softmax",
        "reconstruction": "identity",
    }

    def checked(scores: Tensor, targets: Tensor, **values: Value | None) -> Tensor:
        rows = function(scores, targets, **values)
        wanted_shape = (*scores.shape[:-2], scores.shape[-1])
        if tuple(rows.shape) != wanted_shape:
            raise UsageError(
                f"{mention('loss', function.__name__)} gives shape {tuple(rows.shape)} for scores {tuple(scores.shape)} [..., C, B]; "
                f"it must give each row's loss, {wanted_shape} [..., B], without the mean."
            )
        return rows

    checked.__signature__ = inspect.signature(function)  # type: ignore[attr-defined]
    checked.__doc__ = function.__doc__
    return Loss(
        function=checked,
        gradient=None,
        outputs=_EVERY_TASK,
        link=getattr(function, "link", ""),
        estimates="what its author means",
        torch_class=None,
        best_constant=None,
        source="",
        links=links,
    )


def row_weights(targets: Tensor, class_weights: Tensor) -> Tensor:
    """The weight of every row, [..., B], of mean 1 over the rows.

    The mean of row weight times row loss is then what `nn.CrossEntropyLoss(weight=class_weights)` gives, the weighted
    sum over the sum of the weights (without label smoothing, whose even part PyTorch weighs class by class).

    Args:
        targets: [..., B], class indices.
        class_weights: [C], above 0.
    """
    weights = class_weights[targets.long()]
    return weights / weights.mean(-1, keepdim=True)


def check_fits(loss_name: str, task: Task) -> None:
    """Refuse a loss of the table that does not serve the task, naming those that do.

    Raises:
        UsageError: the loss does not serve the task.
    """
    if loss_name in LOSSES and task not in LOSSES[loss_name].tasks:
        fitting = ", ".join(name for name, loss in LOSSES.items() if task in loss.tasks)
        served = " and ".join(LOSSES[loss_name].tasks)
        raise UsageError(f"{mention('loss', loss_name)} serves {served} tasks, not {task}. Losses that do: {fitting}.")


_EVERY_TASK: Final[Mapping[Task, Outputs]] = {
    "regression": "one",
    "binary": "one",
    "multiclass": "classes",
    "reconstruction": "features",
}
_NUMBERS: Final[Mapping[Task, Outputs]] = {"regression": "one"}
_CLASSES: Final[Mapping[Task, Outputs]] = {"binary": "classes", "multiclass": "classes"}
_ONE_OR_CLASSES: Final[Mapping[Task, Outputs]] = {"binary": "one", "multiclass": "classes"}

LOSSES: Final[Mapping[str, Loss]] = {
    "mse": Loss(
        mse, mse_gradient, _EVERY_TASK, "identity", "mean", "MSELoss", constant_scores.mean, "Legendre 1805; Gauss 1809"
    ),
    "l1": Loss(l1, l1_gradient, _EVERY_TASK, "identity", "median", "L1Loss", constant_scores.median, "Laplace 1774"),
    "huber": Loss(
        huber,
        huber_gradient,
        _EVERY_TASK,
        "identity",
        "mean that outliers move little",
        "HuberLoss",
        constant_scores.where_slope_vanishes(huber_gradient),
        "Huber 1964, section 3",
    ),
    "smooth_l1": Loss(
        smooth_l1,
        smooth_l1_gradient,
        _EVERY_TASK,
        "identity",
        "mean that outliers move little",
        "SmoothL1Loss",
        constant_scores.where_slope_vanishes(smooth_l1_gradient),
        "Girshick 2015, eq. 3",
    ),
    "log_cosh": Loss(
        log_cosh,
        log_cosh_gradient,
        _EVERY_TASK,
        "identity",
        "mean that outliers move little",
        None,
        constant_scores.where_slope_vanishes(log_cosh_gradient),
        "Green 1990",
    ),
    "quantile": Loss(
        quantile,
        quantile_gradient,
        _NUMBERS,
        "identity",
        "quantile q",
        None,
        constant_scores.quantile,
        "Koenker and Bassett 1978",
    ),
    "bce": Loss(
        bce,
        bce_gradient,
        {"binary": "one"},
        "sigmoid",
        "class probabilities",
        "BCEWithLogitsLoss",
        constant_scores.log_odds,
        "Cox 1958",
    ),
    "cross_entropy": Loss(
        cross_entropy,
        cross_entropy_gradient,
        _CLASSES,
        "softmax",
        "class probabilities",
        "CrossEntropyLoss",
        constant_scores.log_frequencies,
        "Bridle 1990; smoothing: Szegedy et al. 2016",
        both=cross_entropy_both,
    ),
    "nll": Loss(
        nll,
        nll_gradient,
        _CLASSES,
        "softmax",
        "class probabilities",
        None,
        constant_scores.log_frequencies,
        "Fisher 1922; Bridle 1990",
    ),
    "hinge": Loss(
        hinge,
        hinge_gradient,
        _ONE_OR_CLASSES,
        "margin",
        "margin",
        None,
        constant_scores.widest_margin,
        "Cortes and Vapnik 1995; classes: Weston and Watkins 1999",
    ),
    "focal": Loss(
        focal,
        focal_gradient,
        _ONE_OR_CLASSES,
        "softmax",
        "class probabilities, flattened",
        None,
        None,
        "Lin et al. 2017, eq. 4",
    ),
    "poisson_nll": Loss(
        poisson_nll,
        poisson_nll_gradient,
        _NUMBERS,
        "exp",
        "mean of counts",
        "PoissonNLLLoss",
        constant_scores.log_mean,
        "Nelder and Wedderburn 1972",
        raw_targets=True,
    ),
}

DEFAULT_LOSS: Final[Mapping[Task, str]] = {
    "regression": "mse",
    "binary": "bce",
    "multiclass": "cross_entropy",
    "reconstruction": "mse",
}
