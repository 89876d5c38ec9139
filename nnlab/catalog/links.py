"""Links: what a model's scores mean, as predictions, as probabilities and as a decision.

Shapes: R runs (or any leading axes, `...`), C scores of a row, B rows, last. Targets are [..., B], one number or one
class index a row; they may lack leading axes of the scores, never the row axis, so (B,) can't broadcast against (B, 1).
In reconstruction a row has C targets: they are [..., C, B], with every axis of the scores.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from nnlab.core.lazy import lazy

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import torch
    from torch import Tensor
else:
    torch = lazy("torch")


def class_rows(scores: Tensor, targets: Tensor) -> Tensor:
    """The class index of every row of every run, [..., 1, B], ready for `gather` and `scatter` along the scores' axis.

    Args:
        scores: [..., C, B].
        targets: [..., B], whole numbers from 0 to C - 1.
    """
    return aligned(scores, targets).unsqueeze(-2).long()


def wanted(scores: Tensor, targets: Tensor) -> Tensor:
    """What the scores would be if they were right, [..., C, B]: the target itself for one score, one-hot for C classes.

    Args:
        scores: [..., C, B].
        targets: [..., B]: for one score the number wanted (a class as 0 or 1), else class indices; or [..., C, B], a number
            for each score, which has as many axes as the scores (some of length 1 where runs share them).
    """
    if targets.ndim == scores.ndim and targets.shape[-2:] == scores.shape[-2:]:
        return targets.expand_as(scores).to(scores.dtype)
    if scores.shape[-2] == 1:
        return aligned(scores, targets).unsqueeze(-2).to(scores.dtype)
    return torch.zeros_like(scores).scatter_(-2, class_rows(scores, targets), 1.0)


def aligned(scores: Tensor, targets: Tensor) -> Tensor:
    """The targets with every leading axis of the scores, [..., B]; the one place where shapes meet.

    Raises:
        ValueError: the targets have another number of rows, or an axis too many.
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
    """The scores themselves: a number, or for a class 0 and 1 as if they were numbers."""
    return scores


def margin(scores: Tensor) -> Tensor:
    """The scores themselves: on which side of the boundary a row lies, and how far; no probabilities."""
    return scores


def exp(scores: Tensor) -> Tensor:
    """exp(s): the mean of a count."""
    return torch.exp(scores)


LINKS: Final[Mapping[str, Callable[[Tensor], Tensor]]] = {
    "softmax": softmax,
    "sigmoid": sigmoid,
    "identity": identity,
    "margin": margin,
    "exp": exp,
}

_PROBABILITY_LINKS: Final = frozenset({"softmax", "sigmoid"})

# Above which score a row belongs to class 1, where one score decides. A score that was fitted to 0 and 1 is cut midway.
_THRESHOLDS: Final[Mapping[str, float]] = {"softmax": 0.0, "sigmoid": 0.0, "margin": 0.0, "identity": 0.5}


def decide(scores: Tensor, link: str) -> Tensor:
    """The class that the scores [..., C, B] decide for, [..., B]; a score at the threshold is class 0, a tie the first.

    Args:
        scores: [..., C, B]; C = 1 for a binary task on one score.
        link: a key of LINKS, not `exp`.
    """
    if scores.shape[-2] == 1:
        return (scores.squeeze(-2) > _THRESHOLDS[link]).long()
    if scores.shape[-2] == 2:
        return (scores[..., 1, :] > scores[..., 0, :]).long()
    # Not argmax, which along any but the last axis takes six times as long.
    return scores.max(-2).indices


def gives_probabilities(link: str) -> bool:
    """Whether the link makes probabilities of the scores."""
    return link in _PROBABILITY_LINKS


def probabilities(scores: Tensor, link: str) -> Tensor | None:
    """The probability of every class, [..., C, B], two rows for one score; None where the link gives none."""
    if not gives_probabilities(link):
        return None
    predicted = LINKS[link](scores)
    return torch.cat([1.0 - predicted, predicted], -2) if scores.shape[-2] == 1 else predicted
