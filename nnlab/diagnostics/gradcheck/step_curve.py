"""The V: how far a central difference is from the gradient, against its step.

Wide steps are off by h^2 f'''/6, narrow ones by the rounding of f divided by h; in between lies the best that differences can do.
A right gradient goes down to it on a V, a wrong one stays on a plateau, a kink shows as a step.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from nnlab.core.errors import unknown_name
from nnlab.core.spelling import mention
from nnlab.diagnostics.gradcheck.autodiff import reverse
from nnlab.diagnostics.gradcheck.differences import slopes
from nnlab.diagnostics.gradcheck.problem import prepared
from nnlab.diagnostics.gradcheck.subjects import Subject

STEPS: Final = tuple(10.0**power for power in range(-1, -13, -1))


@dataclass(frozen=True)
class StepError:
    """One step of the curve.

    Attributes:
        step: absolute.
        error: of the whole gradient, |a - n| / (|a| + |n|) in Euclidean norms (cs231n's and most courses' measure).
        largest_error: the largest absolute error of an entry.
        rounding: what rounding alone may add to an entry.
    """

    step: float
    error: float
    largest_error: float
    rounding: float


def step_curve(
    subject: Subject, parameter: str | None = None, steps: tuple[float, ...] = STEPS
) -> tuple[StepError, ...]:
    """The error of the gradient by one tensor, or by all together, at every step."""
    problem = prepared(subject)
    names = list(problem.point) if parameter is None else [parameter]
    if not set(names) <= set(problem.point):
        raise unknown_name(mention("explain_step"), names[0], problem.point)
    given = reverse(problem)
    analytic = torch.cat([given[name].flatten() for name in names])
    wide = torch.tensor(steps, dtype=torch.float64)[:, None]
    numeric = []
    for name in names:
        count = problem.point[name].numel()
        numeric.append(slopes(problem.at, name, torch.arange(count), wide.expand(-1, count), problem.weights).central)
    whole = torch.cat(numeric, dim=1)
    return tuple(_point(step, row, analytic, problem.noise) for step, row in zip(steps, whole, strict=True))


def _point(step: float, numeric: Tensor, analytic: Tensor, noise: float) -> StepError:
    gap = analytic - numeric
    size = float(analytic.norm() + numeric.norm())
    return StepError(step, float(gap.norm()) / size if size else 0.0, float(gap.abs().max()), noise / step)
