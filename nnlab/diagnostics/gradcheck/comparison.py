"""A gradient beside its differences, entry by entry: right, at a kink, or wrong.

An entry passes where

    |a - n| <= tolerance * max(|a|, |n|, floor),

with the floor chosen so that tolerance * floor is what rounding does to a difference: 8 * noise / step. What does not pass is
asked again at h/2, extrapolated (Richardson), and then looked at closely (`kinks.py`). Most entries of a right gradient agree
at h already; asking those again would double the cost and change no verdict.

N entries of a tensor.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from nnlab.core.rng import stream
from nnlab.diagnostics.gradcheck.differences import richardson, slopes, step_scales
from nnlab.diagnostics.gradcheck.gradient_report import Method
from nnlab.diagnostics.gradcheck.kinks import closer_look, frozen_look
from nnlab.diagnostics.gradcheck.problem import Problem

_MOST_LOOKS: Final = 512


@dataclass(frozen=True)
class Numeric:
    """What differences at one step say of the entries asked.

    Attributes:
        entries: flat indices [N]; steps: absolute [N]; values: the differences [N].
        floor: the absolute errors that rounding may leave [N].
    """

    entries: Tensor
    steps: Tensor
    values: Tensor
    floor: Tensor


@dataclass
class Comparison:
    """A gradient beside the differences, entry by entry, as the looks go on. All [N]."""

    analytic: Tensor
    numeric: Tensor
    floor: Tensor
    wrong: Tensor
    kink: Tensor
    note: str = ""


def numeric_gradient(problem: Problem, name: str, method: Method) -> Numeric:
    """Central differences at h in every entry, or a sample."""
    count = problem.point[name].numel()
    entries = torch.arange(count)
    if method.sample is not None and method.sample < count:
        entries = torch.randperm(count, generator=stream(method.seed, "order"))[: method.sample].sort().values
    steps = method.step * step_scales(problem.point[name])[entries]
    central = slopes(problem.at, name, entries, steps[None], problem.weights).central[0]
    return Numeric(entries, steps, central, 8 * problem.noise / steps)


def compare(problem: Problem, name: str, gradient: Tensor, numeric: Numeric, tolerance: float) -> Comparison:
    """The gradient beside the differences: right, at a kink, or wrong, entry by entry."""
    analytic = gradient.flatten()[numeric.entries]
    found = Comparison(
        analytic=analytic,
        numeric=numeric.values.clone(),
        floor=numeric.floor,
        wrong=~_agrees(analytic, numeric.values, numeric.floor, tolerance),
        kink=torch.zeros_like(analytic, dtype=torch.bool),
    )
    if found.wrong.any():
        _extrapolate(problem, name, numeric, found, tolerance)
    if found.wrong.any() and analytic.isfinite().all():
        _look_closer(problem, name, numeric.entries, found, tolerance)
    return found


def _agrees(analytic: Tensor, numeric: Tensor, floor: Tensor, tolerance: float) -> Tensor:
    size = torch.maximum(analytic.abs(), numeric.abs())
    return (analytic - numeric).abs() <= torch.maximum(tolerance * size, floor)


def _extrapolate(problem: Problem, name: str, numeric: Numeric, found: Comparison, tolerance: float) -> None:
    """Ask every entry that does not agree at h at h/2 too, and let Richardson's combination decide."""
    left = found.wrong.nonzero().flatten()
    entries, steps = numeric.entries[left], numeric.steps[left] / 2
    fine = slopes(problem.at, name, entries, steps[None], problem.weights).central[0]
    found.numeric[left] = richardson(numeric.values[left], fine)
    found.wrong[left] = ~_agrees(found.analytic[left], found.numeric[left], found.floor[left], tolerance)


def _look_closer(problem: Problem, name: str, entries: Tensor, found: Comparison, tolerance: float) -> None:
    """Ask again about every suspect; about the first few hundred only where none of them is cleared."""
    suspects = found.wrong.nonzero().flatten()
    for part in torch.split(suspects, _MOST_LOOKS):
        cleared = _second_and_third_look(problem, name, entries, found, part, tolerance)
        if not cleared:
            return


def _second_and_third_look(
    problem: Problem, name: str, entries: Tensor, found: Comparison, part: Tensor, tolerance: float
) -> bool:
    analytic, floor = found.analytic[part], found.floor[part]
    closer = closer_look(problem, name, entries[part], analytic, tolerance, floor)
    right, kink, numeric = closer.right, closer.kink, closer.numeric.clone()
    if kink.any():
        low, high = closer.spread[kink][0].tolist()
        found.note = f"kink: one-sided slopes {low:.6g} and {high:.6g}; the value given is a valid subgradient"
    left = (~right & ~kink).nonzero().flatten()
    if len(left):
        held, slope = frozen_look(problem, name, entries[part][left], analytic[left], tolerance, floor[left])
        kink[left], numeric[left] = held, torch.where(held, slope, numeric[left])
        if held.any():
            found.note = "kink: several meet here; the value given is each part's own subgradient, chained"
    found.numeric[part] = numeric
    found.wrong[part], found.kink[part] = ~right & ~kink, kink
    return bool((right | kink).any())
