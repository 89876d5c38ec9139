"""Central differences, many at once.

The derivative of L = w . f(x) by one entry of one tensor is (L(x + h e) - L(x - h e)) / 2h + O(h^2); from two steps, Richardson's
combination (4 D(h/2) - D(h)) / 3 removes the h^2 term. Every entry needs evaluations of its own, and a program of a hundred small
operations spends its time between the operations. So P perturbed copies of one tensor go through `torch.func.vmap` together,
while every other tensor stays single. A function that vmap can't batch is evaluated in a loop.

P perturbed points, M outputs (flat and real), N entries of a tensor, S steps.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from nnlab.diagnostics.gradcheck.gradient_report import STEP

OutputFunction = Callable[[Mapping[str, Tensor]], Tensor]

# From a step too wide only for a very curved function down to a step that rounding spoils.
LADDER: Final = tuple(2.0**-power for power in range(6, 29, 2))
# Numbers in the perturbed copies of one vmap: fewer calls cost more memory; this was the fastest on nets of some 10^3 weights.
_ENTRIES_AT_ONCE: Final = 2**21
# Errors that code other than ours may raise; anything else (a keyboard interrupt, memory) is not about that code.
FOREIGN_ERRORS: Final = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
)


@dataclass(frozen=True)
class Evaluator:
    """Evaluates the flat outputs of a function at points that differ in one entry of one tensor.

    Attributes:
        outputs: from named tensors to the flat real outputs [M].
        point: the tensors, real and float64.
        num_outputs: M.
        batched: True if vmap evaluates many perturbed copies at once.
    """

    outputs: OutputFunction
    point: Mapping[str, Tensor]
    num_outputs: int
    batched: bool

    def outputs_at(self, name: str, entries_P: Tensor, values_P: Tensor, reduce: Callable[[Tensor], Tensor]) -> Tensor:
        """The outputs at P points, in parts [part, M] that `reduce` maps to [part, ...], joined to [P, ...].

        At point p, entry entries_P[p] of the tensor `name` is values_P[p].

        vmap refuses some programs (data-dependent control flow, an old-style autograd.Function), and only a comparison shows
        that it evaluates the others correctly: for each tensor, one copy is evaluated again alone.
        """
        if self.batched:
            try:
                parts = self._batched_parts(name, entries_P, values_P)
                return torch.cat([reduce(part) for part in parts])
            except (
                _WrongBatchError,
                Warning,
                *FOREIGN_ERRORS,
            ):  # an error of the function's own is raised again by the loop
                pass
        return torch.cat([reduce(part) for part in self._looped_parts(name, entries_P, values_P)])

    def _batched_parts(self, name: str, entries_P: Tensor, values_P: Tensor) -> Iterator[Tensor]:
        tensor = self.point[name]
        size = self._copies_at_once(name)
        # One buffer serves all parts: writing new copies for each part took a quarter of the time of the whole check.
        copies = tensor.flatten().repeat(min(size, len(entries_P)), 1)
        for index, (entries, values) in enumerate(
            zip(torch.split(entries_P, size), torch.split(values_P, size), strict=True)
        ):
            part, each = copies[: len(entries)], torch.arange(len(entries))
            part[each, entries] = values
            outputs = self.batch_outputs(name, part.view(len(entries), *tensor.shape))
            if index == 0 and not _is_close(outputs[-1], self._outputs_alone(name, int(entries[-1]), values[-1])):
                raise _WrongBatchError
            yield outputs
            part[each, entries] = tensor.flatten()[entries]

    def _looped_parts(self, name: str, entries_P: Tensor, values_P: Tensor) -> Iterator[Tensor]:
        for entries, values in zip(torch.split(entries_P, 64), torch.split(values_P, 64), strict=True):
            yield torch.stack([self._outputs_alone(name, int(e), v) for e, v in zip(entries, values, strict=True)])

    def _copies_at_once(self, name: str) -> int:
        widest = max(tensor.numel() for tensor in self.point.values())
        size = self.point[name].numel() + widest + self.num_outputs
        return max(1, min(4096, _ENTRIES_AT_ONCE // size))

    def batch_outputs(self, name: str, copies: Tensor) -> Tensor:
        """The outputs [P, M] by vmap, where `name` is each of the copies [P, *shape]."""
        # An operation that vmap warns about (it loops over it, or treats it oddly) is better evaluated in our own loop.
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("error")
            result: Tensor = torch.func.vmap(lambda one: self.outputs({**self.point, name: one}))(copies)
        return result

    def _outputs_alone(self, name: str, entry: int, value: Tensor) -> Tensor:
        changed = self.point[name].clone()
        changed.view(-1)[entry] = value
        with torch.no_grad():
            return self.outputs({**self.point, name: changed})


class _WrongBatchError(Exception):
    """vmap gave a result that the function alone does not give."""


def _is_close(together: Tensor, alone: Tensor) -> bool:
    """True if they are equal up to rounding: a batched product may sum in another order; a wrong batch differs much more."""
    return torch.allclose(together, alone, rtol=1e-9, atol=1e-12 * (1 + float(alone.abs().max())), equal_nan=True)


def new_evaluator(outputs: OutputFunction, point: Mapping[str, Tensor], *, may_batch: bool = True) -> Evaluator:
    """An evaluator that uses vmap if the function can be batched."""
    with torch.no_grad():
        here = outputs(point)
    name, tensor = next((name, tensor) for name, tensor in point.items() if tensor.numel())
    batched = Evaluator(outputs, point, len(here), batched=True)
    try:
        works = may_batch and _is_close(batched.batch_outputs(name, torch.stack([tensor, tensor]))[1], here)
    except (Warning, *FOREIGN_ERRORS):
        works = False
    return Evaluator(outputs, point, len(here), batched=works)


def step_scales(tensor: Tensor) -> Tensor:
    """The scale of each entry's step [N]: the entry's size, and at least the tensor's root mean square (1 for a tensor of zeros)."""
    flat = tensor.flatten()
    typical = float(flat.square().mean().sqrt()) or 1.0
    return flat.abs().clamp_min(typical)


@dataclass(frozen=True)
class Slopes:
    """The differences in N entries.

    Attributes:
        central: [S, N], (f(x + h) - f(x - h)) / 2h.
        above: [S, N], (f(x + h) - f(x)) / h; below: [S, N], (f(x) - f(x - h)) / h.
    """

    central: Tensor
    above: Tensor
    below: Tensor


def slopes(evaluator: Evaluator, name: str, entries_N: Tensor, steps_SN: Tensor, weights_M: Tensor) -> Slopes:
    """Central and one-sided differences of w . f in the given entries, at every step.

    The outputs at the point are subtracted before the change is weighted and summed, so outputs that do not depend on an entry
    cancel exactly. The divisor is the distance between the points as they were rounded.

    Args:
        entries_N: flat indices into the tensor.
        steps_SN: absolute steps.
    """
    x = evaluator.point[name].flatten()[entries_N]
    upper, lower = x + steps_SN, x - steps_SN
    values = torch.cat([upper, lower]).flatten()
    with torch.no_grad():
        here_M = evaluator.outputs(evaluator.point)
    entries = entries_N.repeat(2 * len(steps_SN))
    changes = evaluator.outputs_at(name, entries, values, lambda part: (part - here_M) @ weights_M)
    rise, fall = changes.view(2, *steps_SN.shape)
    return Slopes((rise - fall) / (upper - lower), rise / (upper - x), fall / (lower - x))


def richardson(coarse: Tensor, fine: Tensor) -> Tensor:
    """The derivative from central differences at h and h/2, in which their h^2 terms cancel.

    Source: Richardson 1911.
    """
    return (4 * fine - coarse) / 3


def jacobian_rows(evaluator: Evaluator, name: str, entries_N: Tensor) -> Tensor:
    """The derivatives of every output by the given entries [N, M], from central differences at h and h/2."""
    x = evaluator.point[name].flatten()[entries_N]
    steps = STEP * step_scales(evaluator.point[name])[entries_N]
    values = torch.cat([x + steps, x - steps, x + steps / 2, x - steps / 2])
    outputs = evaluator.outputs_at(name, entries_N.repeat(4), values, lambda part: part)
    up, low, half_up, half_low = outputs.view(4, len(entries_N), -1)
    return richardson((up - low) / (2 * steps)[:, None], (half_up - half_low) / steps[:, None])
