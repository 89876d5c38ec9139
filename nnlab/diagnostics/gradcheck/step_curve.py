"""The V: the difference between a central difference and the gradient, against the step.

Wide steps have an error of h^2 f'''/6, narrow ones of the rounding of f divided by h; between them lies the smallest error that
differences can reach. The curve of a right gradient is a V down to that error, a wrong gradient stays on a plateau, and a kink
shows as a step.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from nnlab.diagnostics.gradcheck.autodiff import reverse_gradient
from nnlab.diagnostics.gradcheck.differences import slopes
from nnlab.diagnostics.gradcheck.problem import problem_of
from nnlab.diagnostics.gradcheck.subjects import Subject

CURVE_STEPS: Final = tuple(10.0**power for power in range(-1, -13, -1))
_DEEP: Final = 1e-6  # an error below this is the foot of a V


@dataclass(frozen=True)
class StepError:
    """One step of the curve.

    Attributes:
        step: absolute.
        error: of the whole gradient, |a - n| / (|a| + |n|) in Euclidean norms (the measure of cs231n and most courses).
        largest_error: the largest absolute error of an entry.
        rounding: the error that rounding alone may add to an entry.
    """

    step: float
    error: float
    largest_error: float
    rounding: float


def step_curve(
    subject: Subject, parameter: str | None = None, steps: tuple[float, ...] = CURVE_STEPS
) -> tuple[StepError, ...]:
    """The error of the gradient by one tensor, or by all together, at every step."""
    problem = problem_of(subject)
    names = list(problem.point) if parameter is None else [parameter]
    given = reverse_gradient(problem)
    analytic = torch.cat([given[name].flatten() for name in names])
    wide = torch.tensor(steps, dtype=torch.float64)[:, None]
    numeric = []
    for name in names:
        count = problem.point[name].numel()
        numeric.append(
            slopes(problem.evaluator, name, torch.arange(count), wide.expand(-1, count), problem.weights).central
        )
    whole = torch.cat(numeric, dim=1)
    return tuple(_point(step, row, analytic, problem.noise) for step, row in zip(steps, whole, strict=True))


def foot_of(curve: tuple[StepError, ...]) -> StepError:
    """The foot of the V: the step with the smallest error."""
    return min(curve, key=lambda point: math.inf if math.isnan(point.error) else point.error)


def curve_note(parameter: str, curve: tuple[StepError, ...]) -> str:
    """A sentence that says where the V has its foot, or that it has none.

    Args:
        parameter: the tensor; empty for all tensors together.
    """
    foot, what = foot_of(curve), parameter or "All tensors together"
    if foot.error < _DEEP:
        return f"{what}: the least error, {foot.error:.2g}, is at step {foot.step:.0e}: the foot of a V, as a right gradient has."
    return f"{what}: no step brings the error below {foot.error:.2g}: a plateau, as a wrong gradient has, or a kink."


def _point(step: float, numeric: Tensor, analytic: Tensor, noise: float) -> StepError:
    gap = analytic - numeric
    size = float(analytic.norm() + numeric.norm())
    return StepError(step, float(gap.norm()) / size if size else 0.0, float(gap.abs().max()), noise / step)
