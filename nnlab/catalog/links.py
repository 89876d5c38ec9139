"""Links: the map from a model's scores to predictions, to probabilities and to a decision.

Shapes: R runs (or any leading axes, `...`), C scores per row, B rows, last. Targets are [..., B], one number or one class
index per row. They may lack leading axes of the scores, but never the row axis, so (B,) can't broadcast against (B, 1).
In reconstruction a row has C targets: they are [..., C, B], with every axis of the scores.
"""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Final

from nnlab.core.lazy import lazy

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import torch
    from torch import Tensor
else:
    torch = lazy("torch")


@dataclass(frozen=True)
class LinkFunction:
    """A row of LINKS.

    Attributes:
        function: the predictions for scores [..., C, B], of the same shape.
        gives_probabilities: the predictions are class probabilities.
        threshold: where one score decides, a row belongs to class 1 if its score is above this; None for a link that makes no
            decision.
    """

    function: Callable[[Tensor], Tensor]
    _: KW_ONLY
    gives_probabilities: bool = False
    threshold: float | None = 0.0


def class_indices(scores: Tensor, targets: Tensor) -> Tensor:
    """The class index of every row of every run, [..., 1, B], for `gather` and `scatter` along the scores' axis.

    Args:
        scores: [..., C, B].
        targets: [..., B], whole numbers from 0 to C - 1.
    """
    return aligned_targets(scores, targets).unsqueeze(-2).long()


def target_scores(scores: Tensor, targets: Tensor) -> Tensor:
    """The scores that would equal the targets, [..., C, B]: the target itself for one score, one-hot for C classes.

    Args:
        scores: [..., C, B].
        targets: [..., B]: for one score the target number (a class as 0 or 1), else class indices; or [..., C, B], a number
            for each score, with as many axes as the scores (of length 1 where runs share the targets).
    """
    if targets.ndim == scores.ndim and targets.shape[-2:] == scores.shape[-2:]:
        return targets.expand_as(scores).to(scores.dtype)
    if scores.shape[-2] == 1:
        return aligned_targets(scores, targets).unsqueeze(-2).to(scores.dtype)
    return torch.zeros_like(scores).scatter_(-2, class_indices(scores, targets), 1.0)


def aligned_targets(scores: Tensor, targets: Tensor) -> Tensor:
    """The targets with every leading axis of the scores, [..., B]; the only place where the two shapes are compared.

    Raises:
        ValueError: the targets have a different number of rows, or too many axes.
    """
    rows = (*scores.shape[:-2], scores.shape[-1])
    if targets.shape == rows:
        return targets
    if targets.ndim == 0 or targets.ndim > len(rows) or targets.shape[-1] != rows[-1]:
        raise ValueError(
            f"targets {tuple(targets.shape)} don't fit scores {tuple(scores.shape)}: scores are [..., C, B], "
            f"targets [..., B] with the same B."
        )
    return targets.expand(rows)


def softmax(scores: Tensor) -> Tensor:
    """exp(s_c) / sum over k of exp(s_k); one score s stands for the pair (0, s), which is sigmoid(s)."""
    return torch.sigmoid(scores) if scores.shape[-2] == 1 else torch.softmax(scores, -2)


def sigmoid(scores: Tensor) -> Tensor:
    """1 / (1 + exp(-s)): the probability of class 1."""
    return torch.sigmoid(scores)


def identity(scores: Tensor) -> Tensor:
    """The scores themselves: a number, or the classes 0 and 1 treated as numbers."""
    return scores


def margin(scores: Tensor) -> Tensor:
    """The scores themselves: the side of the boundary on which a row lies, and its distance; not probabilities."""
    return scores


def exp(scores: Tensor) -> Tensor:
    """exp(s): the mean of a count."""
    return torch.exp(scores)


LINKS: Final[Mapping[str, LinkFunction]] = {
    "softmax": LinkFunction(softmax, gives_probabilities=True),
    "sigmoid": LinkFunction(sigmoid, gives_probabilities=True),
    "identity": LinkFunction(identity, threshold=0.5),  # the score was fitted to 0 and 1: the threshold is midway
    "margin": LinkFunction(margin),
    "exp": LinkFunction(exp, threshold=None),
}


def decide(scores: Tensor, link: str) -> Tensor:
    """Return the predicted class of every row, [..., B]; at the threshold it is class 0, and of equal scores the first.

    Args:
        scores: [..., C, B]; C = 1 for a binary task on one score.
        link: a key of LINKS, of a link with a threshold.
    """
    if scores.shape[-2] == 1:
        threshold = LINKS[link].threshold
        assert threshold is not None
        return (scores.squeeze(-2) > threshold).long()
    if scores.shape[-2] == 2:
        return (scores[..., 1, :] > scores[..., 0, :]).long()
    # Not argmax: along any axis but the last it takes six times as long.
    return scores.max(-2).indices


def probabilities(scores: Tensor, link: str) -> Tensor | None:
    """The probability of every class, [..., C, B], two rows for one score; None if the link gives no probabilities."""
    if not LINKS[link].gives_probabilities:
        return None
    predicted = LINKS[link].function(scores)
    return torch.cat([1.0 - predicted, predicted], -2) if scores.shape[-2] == 1 else predicted
