"""Where differences and gradient disagree: a closer look, entry by entry, before anything is called wrong.

Three looks, each only at what the one before left open:
1. the V: central differences over a ladder of steps. A kink near the point spoils wide steps, rounding narrow ones;
   a right gradient is met somewhere between.
2. one-sided slopes. At a kink they differ, and every value between them is a subgradient.
3. frozen winners. Where several kinks meet, each part's own subgradient, chained, may lie outside the whole's one-sided
   slopes (relu(x) - relu(-x) at 0 is x, yet both its parts may say 0). The function is evaluated again with every kink and
   maximum held as it was at the point; its slope is what the chain rule gives.

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
from nnlab.diagnostics.gradcheck.frozen import frozen, has_kinks
from nnlab.diagnostics.gradcheck.gradient_report import STEP
from nnlab.diagnostics.gradcheck.problem import Problem

# The steps, as places on the ladder, at which one-sided slopes are taken: 2^-18 and 2^-20.
_WIDE, _NARROW = LADDER.index(2.0**-18), LADDER.index(2.0**-20)
_FEW: Final = 64


@dataclass(frozen=True)
class Closer:
    """The second opinion on N entries.

    Attributes:
        right: met by a central difference at some step.
        kink: a valid subgradient.
        numeric: the best value that differences give; for a kink the nearest valid subgradient.
        spread: the lowest and the highest one-sided slope [N, 2].
    """

    right: Tensor
    kink: Tensor
    numeric: Tensor
    spread: Tensor


def closer_look(problem: Problem, name: str, entries: Tensor, analytic: Tensor, rtol: float, floor: Tensor) -> Closer:
    """The first two looks at entries whose gradient differs from the plain differences.

    Args:
        entries: flat indices [N].
        analytic: the gradient under test there.
        rtol: the relative tolerance.
        floor: absolute errors that the plain differences could not resolve [N].
    """
    steps = torch.tensor(LADDER, dtype=torch.float64)[:, None] * step_scales(problem.point[name])[entries]
    seen = slopes(problem.at, name, entries, steps, problem.weights)
    right = _met(seen.central, analytic, steps, problem.noise, rtol, floor)
    low, high, kinked = _one_sided(seen, steps, problem.noise)
    slack = rtol * torch.maximum(low.abs(), high.abs()) + 16 * problem.noise / steps[_NARROW]
    kink = ~right & kinked & (analytic >= low - slack) & (analytic <= high + slack)
    numeric = _best(seen.central, steps, problem.noise)
    numeric = torch.where(right, _nearest(seen.central, analytic), numeric)
    numeric = torch.where(kink, analytic.clamp(low, high), numeric)
    return Closer(right, kink, numeric, torch.stack([low, high], dim=1))


def _met(central: Tensor, analytic: Tensor, steps: Tensor, noise: float, rtol: float, floor: Tensor) -> Tensor:
    """Whether a step's difference agrees, of those steps whose rounding is no larger than the tolerance. [N]"""
    error = (central - analytic).abs()
    size = torch.maximum(central.abs(), analytic.abs())
    rounding = 4 * noise / steps
    allowed = torch.maximum(rtol * size, floor)
    return ((error <= allowed + rounding) & (rounding <= allowed)).any(dim=0)


def _one_sided(seen: Slopes, steps: Tensor, noise: float) -> tuple[Tensor, Tensor, Tensor]:
    """The lower and upper one-sided slope, and whether they are truly apart.

    A one-sided slope is off by h f''/2; two steps remove that, so in a smooth function the two sides meet.
    """
    above = (4 * seen.above[_NARROW] - seen.above[_WIDE]) / 3
    below = (4 * seen.below[_NARROW] - seen.below[_WIDE]) / 3
    low, high = torch.minimum(above, below), torch.maximum(above, below)
    apart = 1e-5 * torch.maximum(low.abs(), high.abs()) + 16 * noise / steps[_NARROW]
    return low, high, (high - low) > apart


def _best(central: Tensor, steps: Tensor, noise: float) -> Tensor:
    """The difference at the step whose neighbour and whose rounding are nearest to it: the foot of the V. [N]"""
    doubt = (central[1:] - central[:-1]).abs() + noise / steps[1:]
    doubt = torch.where(doubt.isfinite(), doubt, torch.inf)
    return central[1:].gather(0, doubt.argmin(dim=0, keepdim=True))[0]


def _nearest(central: Tensor, analytic: Tensor) -> Tensor:
    error = torch.nan_to_num((central - analytic).abs(), nan=torch.inf)
    return central.gather(0, error.argmin(dim=0, keepdim=True))[0]


def frozen_look(
    problem: Problem, name: str, entries: Tensor, analytic: Tensor, rtol: float, floor: Tensor
) -> tuple[Tensor, Tensor]:
    """The third look: whether the gradient is the slope with every winner held, and that slope. [N], [N]

    Many entries are first asked all together, along random signs: where that agrees, none is asked alone.
    """
    nothing = torch.zeros(len(entries), dtype=torch.bool), analytic
    with torch.no_grad():
        calls = tracing.record(problem.at.outputs, problem.point)
    if not has_kinks(calls):
        return nothing
    at = Evaluator(frozen(problem.at.outputs, calls), problem.point, problem.at.num_outputs, batched=False)
    try:
        if len(entries) > _FEW:
            agrees = _agrees_along_signs(problem, at, name, entries, analytic, rtol, floor)
            return torch.full((len(entries),), agrees), analytic
        scale = STEP * step_scales(problem.point[name])[entries]
        seen = slopes(at, name, entries, torch.stack([scale, scale / 2]), problem.weights).central
    except (tracing.MismatchError, *FOREIGN_ERRORS):
        return nothing
    numeric = richardson(seen[0], seen[1])
    return (numeric - analytic).abs() <= rtol * torch.maximum(numeric.abs(), analytic.abs()) + floor, numeric


def _agrees_along_signs(
    problem: Problem, at: Evaluator, name: str, entries: Tensor, analytic: Tensor, rtol: float, floor: Tensor
) -> bool:
    generator = torch.Generator().manual_seed(len(entries))
    tensor = problem.point[name]
    step = STEP * float(step_scales(tensor).min())
    for _ in range(4):
        signs = torch.randint(0, 2, (len(entries),), generator=generator, dtype=torch.float64) * 2 - 1
        direction = torch.zeros_like(tensor).flatten()
        direction[entries] = signs
        numeric = slope_along(at, name, direction.view_as(tensor), step, problem.weights)
        wanted = float(analytic @ signs)
        if not abs(numeric - wanted) <= rtol * float(analytic.abs().sum()) + float(floor.sum()):
            return False
    return True


def slope_along(at: Evaluator, name: str, direction: Tensor, step: float, weights: Tensor) -> float:
    """The derivative of weights . f along a direction of one tensor, from differences at h and h/2."""
    tensor = at.point[name]

    def difference(h: float) -> Tensor:
        with torch.no_grad():
            up = at.outputs({**at.point, name: tensor + h * direction})
            low = at.outputs({**at.point, name: tensor - h * direction})
        return (up - low) @ weights / (2 * h)

    return float(richardson(difference(step), difference(step / 2)))
