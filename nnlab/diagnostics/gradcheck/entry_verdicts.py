"""A gradient compared with differences, entry by entry: right, at a kink, or wrong.

An entry passes where

    |a - n| <= tolerance * max(|a|, |n|, floor),

with the floor chosen so that tolerance * floor is the error that rounding may leave in a difference: 8 * noise / step. An entry
that does not pass is computed again at h/2 and extrapolated (Richardson); if it still disagrees, `kinks.py` takes a closer look.
Most entries of a right gradient agree at h already; computing those again would double the cost and change no verdict.

N entries of a tensor.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import torch
from torch import Tensor

from nnlab.core.rng import stream
from nnlab.diagnostics.gradcheck.differences import new_evaluator, richardson, slopes, step_scales
from nnlab.diagnostics.gradcheck.gradient_report import Method
from nnlab.diagnostics.gradcheck.kinks import closer_look, frozen_look, slope_along
from nnlab.diagnostics.gradcheck.problem import Problem

_MOST_LOOKS: Final = 512
_MOST_SETTLED: Final = 4096  # entries of a tensor that are worth comparing one by one to clear a direction


@dataclass(frozen=True)
class NumericGradient:
    """The gradient by one tensor from central differences at one step.

    Attributes:
        entries: flat indices of the entries compared [N]; steps: absolute [N]; values: the differences [N].
        floor: the absolute errors that rounding may leave [N].
    """

    entries: Tensor
    steps: Tensor
    values: Tensor
    floor: Tensor


@dataclass
class EntryVerdicts:
    """A gradient and the differences, entry by entry (or direction by direction), updated look by look. All [N].

    Attributes:
        entries: flat indices; None if the N values belong to directions through the whole tensor.
        analytic: the gradient under test; numeric: from differences.
        floor: the absolute error allowed.
        wrong: the entries that are wrong; kink: the entries that are right as a subgradient.
        note: why a kink passes.
    """

    entries: Tensor | None
    analytic: Tensor
    numeric: Tensor
    floor: Tensor
    wrong: Tensor
    kink: Tensor
    note: str = ""


def numeric_gradient(problem: Problem, name: str, method: Method) -> NumericGradient:
    """Central differences at h in every entry, or in a sample of the entries."""
    count = problem.point[name].numel()
    entries = torch.arange(count)
    if method.sample is not None and method.sample < count:
        entries = torch.randperm(count, generator=stream(method.seed, "order"))[: method.sample].sort().values
    steps = method.step * step_scales(problem.point[name])[entries]
    central = slopes(problem.evaluator, name, entries, steps[None], problem.weights).central[0]
    return NumericGradient(entries, steps, central, 8 * problem.noise / steps)


def entry_verdicts(
    problem: Problem, name: str, gradient: Tensor, numeric: NumericGradient, tolerance: float
) -> EntryVerdicts:
    """The verdict on every entry of a gradient: right, at a kink, or wrong."""
    analytic = gradient.flatten()[numeric.entries]
    found = EntryVerdicts(
        entries=numeric.entries,
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


def direction_verdicts(
    problem: Problem, name: str, gradient: Tensor, directions_K: Tensor, method: Method
) -> EntryVerdicts:
    """The verdict on the derivative along each of K directions of a tensor: right, at a kink, or wrong.

    A direction may cross the kinks of every entry, so one that disagrees is looked at again before it is called wrong.

    Args:
        gradient: under test, by the tensor.
        directions_K: [K, *shape], of entries 1 and -1.
    """
    tensor = problem.point[name]
    # Short enough that the move through all entries together is as small as a step of one entry.
    scale = float(step_scales(tensor).min()) / tensor.numel() ** 0.5
    step = method.step * scale
    analytic = (directions_K * gradient).flatten(1).sum(dim=1)
    numeric = [slope_along(problem.evaluator, name, direction, step, problem.weights) for direction in directions_K]
    found = EntryVerdicts(
        entries=None,
        analytic=analytic,
        numeric=torch.tensor(numeric, dtype=torch.float64),
        floor=torch.full_like(analytic, 8 * problem.noise / step) + method.tolerance * gradient.norm(),
        wrong=torch.zeros_like(analytic, dtype=torch.bool),
        kink=torch.zeros_like(analytic, dtype=torch.bool),
    )
    found.wrong = ~((analytic - found.numeric).abs() <= found.floor + method.tolerance * analytic.abs())
    if found.wrong.any() and analytic.isfinite().all():
        _look_closer_along(problem, name, directions_K, scale, found, method.tolerance)
    if found.wrong.any() and gradient.numel() <= _MOST_SETTLED:
        _settle_by_entries(problem, name, gradient, directions_K, found, method)
    return found


def _look_closer_along(
    problem: Problem, name: str, directions_K: Tensor, scale: float, found: EntryVerdicts, tolerance: float
) -> None:
    """Look again at the wrong directions, as at entries, but not at their one-sided slopes.

    Along a direction these differ by the kinks of all entries together, and every wrong value between them would pass.
    """
    along = _problem_along(problem, name, directions_K, scale)
    left = found.wrong.nonzero().flatten()
    analytic, floor = found.analytic[left], found.floor[left]
    closer = closer_look(along, name, left, analytic, tolerance, floor)
    held, slope = frozen_look(along, name, left, analytic, tolerance, floor)
    found.numeric[left] = torch.where(closer.right, closer.numeric, torch.where(held, slope, found.numeric[left]))
    found.wrong[left], found.kink[left] = ~closer.right & ~held, ~closer.right & held
    if found.kink.any():
        found.note = "kink: several meet here; the value given is each part's own subgradient, chained"


def _settle_by_entries(
    problem: Problem, name: str, gradient: Tensor, directions_K: Tensor, found: EntryVerdicts, method: Method
) -> None:
    """Clear the wrong directions if every entry is right on its own, or a subgradient at a kink."""
    numeric = numeric_gradient(problem, name, replace(method, sample=None))
    every = entry_verdicts(problem, name, gradient, numeric, method.tolerance)
    if every.wrong.any():
        return
    along = directions_K.flatten(1) @ every.numeric
    found.numeric = torch.where(found.wrong, along, found.numeric)
    if every.kink.any():
        found.kink, found.note = found.kink | found.wrong, every.note
    found.wrong = torch.zeros_like(found.wrong)


def _problem_along(problem: Problem, name: str, directions_K: Tensor, scale: float) -> Problem:
    """The same problem with one tensor as a function of K coefficients, in which each direction is an entry.

    The tensor is its value at the point + sum over k of (c_k - scale) direction_k. The coefficients are `scale` at the point, not 0,
    because steps are relative to the size of an entry.
    """
    tensor = problem.point[name]
    coefficients = torch.full((len(directions_K),), scale, dtype=torch.float64)

    def outputs(leaves: Mapping[str, Tensor]) -> Tensor:
        moved = tensor + torch.tensordot(leaves[name] - coefficients, directions_K, dims=1)
        return problem.evaluator.outputs({**leaves, name: moved})

    point = {**problem.point, name: coefficients}
    return replace(problem, evaluator=new_evaluator(outputs, point, may_batch=problem.evaluator.batched))


def _agrees(analytic: Tensor, numeric: Tensor, floor: Tensor, tolerance: float) -> Tensor:
    size = torch.maximum(analytic.abs(), numeric.abs())
    return (analytic - numeric).abs() <= torch.maximum(tolerance * size, floor)


def _extrapolate(problem: Problem, name: str, numeric: NumericGradient, found: EntryVerdicts, tolerance: float) -> None:
    """For the entries that disagree at h, compute the difference at h/2 too and let Richardson's combination decide."""
    left = found.wrong.nonzero().flatten()
    entries, steps = numeric.entries[left], numeric.steps[left] / 2
    fine = slopes(problem.evaluator, name, entries, steps[None], problem.weights).central[0]
    found.numeric[left] = richardson(numeric.values[left], fine)
    found.wrong[left] = ~_agrees(found.analytic[left], found.numeric[left], found.floor[left], tolerance)


def _look_closer(problem: Problem, name: str, entries: Tensor, found: EntryVerdicts, tolerance: float) -> None:
    """Look again at the wrong entries, a few hundred at a time, and stop when none of a few hundred is cleared."""
    suspects = found.wrong.nonzero().flatten()
    for part in torch.split(suspects, _MOST_LOOKS):
        cleared = _second_and_third_look(problem, name, entries, found, part, tolerance)
        if not cleared:
            return


def _second_and_third_look(
    problem: Problem, name: str, entries: Tensor, found: EntryVerdicts, part: Tensor, tolerance: float
) -> bool:
    """Take the last two looks at a part of the entries; True if any of them is cleared."""
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
