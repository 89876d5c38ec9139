"""A closer look at the entries where differences and gradient disagree, before anything is called wrong.

Three looks, each only at the entries that the one before left open:
1. the V: central differences over a ladder of steps. A kink near the point spoils wide steps, rounding spoils narrow ones;
   a right gradient agrees at a step between them.
2. one-sided slopes. At a kink they differ, and every value between them is a subgradient.
3. frozen kinks. Where several kinks meet, the chain rule applied to each part's own subgradient may give a value outside the
   one-sided slopes of the whole (relu(x) - relu(-x) is x, yet at 0 both parts may give 0). The function is evaluated again with
   every kink and maximum held as it was at the point; its slope is the chain rule's value.

N entries, S steps, M outputs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from nnlab.diagnostics.gradcheck import tracing
from nnlab.diagnostics.gradcheck.differences import (
    FOREIGN_ERRORS,
    LADDER,
    Evaluator,
    Slopes,
    richardson,
    slopes,
    step_scales,
)
from nnlab.diagnostics.gradcheck.frozen_kinks import freeze_kinks, has_kinks
from nnlab.diagnostics.gradcheck.gradient_report import STEP
from nnlab.diagnostics.gradcheck.problem import Problem

# The positions on the ladder of the steps of one-sided slopes: 2^-18 and 2^-20.
_WIDE, _NARROW = LADDER.index(2.0**-18), LADDER.index(2.0**-20)
_FEW: Final = 64


@dataclass(frozen=True)
class CloserLook:
    """The result of the first two looks at N entries.

    Attributes:
        right: the gradient agrees with a central difference at some step.
        kink: the gradient is a valid subgradient.
        numeric: the best value that differences give; at a kink, the nearest valid subgradient.
        spread: the lower and the higher one-sided slope [N, 2].
    """

    right: Tensor
    kink: Tensor
    numeric: Tensor
    spread: Tensor


def closer_look(
    problem: Problem, name: str, entries: Tensor, analytic: Tensor, rtol: float, floor: Tensor
) -> CloserLook:
    """The first two looks at entries whose gradient disagrees with the plain differences.

    Args:
        entries: flat indices [N].
        analytic: the gradient under test in these entries [N].
        rtol: the relative tolerance.
        floor: absolute errors that the plain differences could not resolve [N].
    """
    steps = torch.tensor(LADDER, dtype=torch.float64)[:, None] * step_scales(problem.point[name])[entries]
    seen = slopes(problem.evaluator, name, entries, steps, problem.weights)
    right = _agrees_at_some_step(seen.central, analytic, steps, problem.noise, rtol, floor)
    low, high, kinked = _one_sided_slopes(seen, steps, problem.noise)
    slack = rtol * torch.maximum(low.abs(), high.abs()) + 16 * problem.noise / steps[_NARROW]
    kink = ~right & kinked & (analytic >= low - slack) & (analytic <= high + slack)
    numeric = _best_difference(seen.central, steps, problem.noise)
    numeric = torch.where(right, _nearest_difference(seen.central, analytic), numeric)
    numeric = torch.where(kink, analytic.clamp(low, high), numeric)
    return CloserLook(right, kink, numeric, torch.stack([low, high], dim=1))


def _agrees_at_some_step(
    central: Tensor, analytic: Tensor, steps: Tensor, noise: float, rtol: float, floor: Tensor
) -> Tensor:
    """True where a difference agrees at one of the steps at which rounding is within the tolerance. [N]"""
    error = (central - analytic).abs()
    size = torch.maximum(central.abs(), analytic.abs())
    rounding = 4 * noise / steps
    allowed = torch.maximum(rtol * size, floor)
    return ((error <= allowed + rounding) & (rounding <= allowed)).any(dim=0)


def _one_sided_slopes(seen: Slopes, steps: Tensor, noise: float) -> tuple[Tensor, Tensor, Tensor]:
    """The lower and the higher one-sided slope, and a mask of the entries where they really differ. Each [N].

    The error of a one-sided slope is h f''/2; combining two steps removes it, so for a smooth function the two slopes are equal.
    """
    above = (4 * seen.above[_NARROW] - seen.above[_WIDE]) / 3
    below = (4 * seen.below[_NARROW] - seen.below[_WIDE]) / 3
    low, high = torch.minimum(above, below), torch.maximum(above, below)
    apart = 1e-5 * torch.maximum(low.abs(), high.abs()) + 16 * noise / steps[_NARROW]
    return low, high, (high - low) > apart


def _best_difference(central: Tensor, steps: Tensor, noise: float) -> Tensor:
    """The difference at the step where the change from the step before plus the rounding is smallest: the foot of the V. [N]"""
    doubt = (central[1:] - central[:-1]).abs() + noise / steps[1:]
    doubt = torch.where(doubt.isfinite(), doubt, torch.inf)
    return central[1:].gather(0, doubt.argmin(dim=0, keepdim=True))[0]


def _nearest_difference(central: Tensor, analytic: Tensor) -> Tensor:
    """Of the differences at all steps, the one nearest to the gradient. [N]"""
    error = torch.nan_to_num((central - analytic).abs(), nan=torch.inf)
    return central.gather(0, error.argmin(dim=0, keepdim=True))[0]


def frozen_look(
    problem: Problem, name: str, entries: Tensor, analytic: Tensor, rtol: float, floor: Tensor
) -> tuple[Tensor, Tensor]:
    """The third look: a mask of the entries whose gradient is the slope with every kink frozen, and that slope. [N], [N]

    Many entries are compared together, along random signs, and get one verdict.
    """
    nothing = torch.zeros(len(entries), dtype=torch.bool), analytic
    with torch.no_grad():
        calls = tracing.record(problem.evaluator.outputs, problem.point)
    if not has_kinks(calls):
        return nothing
    outputs = freeze_kinks(problem.evaluator.outputs, calls)
    smooth = Evaluator(outputs, problem.point, problem.evaluator.num_outputs, batched=False)
    try:
        if len(entries) > _FEW:
            agrees = _agrees_along_signs(problem, smooth, name, entries, analytic, rtol, floor)
            return torch.full((len(entries),), agrees), analytic
        scale = STEP * step_scales(problem.point[name])[entries]
        seen = slopes(smooth, name, entries, torch.stack([scale, scale / 2]), problem.weights).central
    except (tracing.MismatchError, *FOREIGN_ERRORS):
        return nothing
    numeric = richardson(seen[0], seen[1])
    return (numeric - analytic).abs() <= rtol * torch.maximum(numeric.abs(), analytic.abs()) + floor, numeric


def _agrees_along_signs(
    problem: Problem, smooth: Evaluator, name: str, entries: Tensor, analytic: Tensor, rtol: float, floor: Tensor
) -> bool:
    generator = torch.Generator().manual_seed(len(entries))
    tensor = problem.point[name]
    step = STEP * float(step_scales(tensor).min())
    for _ in range(4):
        signs = torch.randint(0, 2, (len(entries),), generator=generator, dtype=torch.float64) * 2 - 1
        direction = torch.zeros_like(tensor).flatten()
        direction[entries] = signs
        numeric = slope_along(smooth, name, direction.view_as(tensor), step, problem.weights)
        wanted = float(analytic @ signs)
        if not abs(numeric - wanted) <= rtol * float(analytic.abs().sum()) + float(floor.sum()):
            return False
    return True


def slope_along(evaluator: Evaluator, name: str, direction: Tensor, step: float, weights: Tensor) -> float:
    """The derivative of weights . f along a direction of one tensor, from differences at h and h/2."""
    tensor = evaluator.point[name]

    def difference(h: float) -> Tensor:
        with torch.no_grad():
            up = evaluator.outputs({**evaluator.point, name: tensor + h * direction})
            low = evaluator.outputs({**evaluator.point, name: tensor - h * direction})
        return (up - low) @ weights / (2 * h)

    return float(richardson(difference(step), difference(step / 2)))
