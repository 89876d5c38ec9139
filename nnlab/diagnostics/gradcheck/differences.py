"""Central differences, many at once.

The derivative of L = w . f(x) in one entry of one tensor is (L(x + h e) - L(x - h e)) / 2h + O(h^2); from two steps Richardson's
combination (4 D(h/2) - D(h)) / 3 removes the h^2. Every entry needs its own evaluations, and a program of a hundred small
operations spends its time between them; so P perturbed copies of one tensor go through `torch.func.vmap` together, while
every other tensor stays single. A function that vmap can't batch is evaluated in a loop.

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

Outputs = Callable[[Mapping[str, Tensor]], Tensor]

# From steps that only a very curved function can't bear to steps that only rounding spoils.
LADDER: Final = tuple(2.0**-power for power in range(6, 29, 2))
# Numbers in the perturbed copies of one vmap: fewer calls against more memory; measured best on nets of some 10^3 weights.
_ENTRIES_AT_ONCE: Final = 2**21
# What code that is not ours may raise; anything else (a keyboard interrupt, memory) is not about the code.
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
    """The flat outputs of a function where one entry of one tensor is another value.

    Attributes:
        outputs: from named tensors to the flat real outputs [M].
        point: the tensors, real and float64.
        num_outputs: M.
        batched: whether vmap carries many perturbed copies at once.
    """

    outputs: Outputs
    point: Mapping[str, Tensor]
    num_outputs: int
    batched: bool

    def at(self, name: str, entries_P: Tensor, values_P: Tensor, reduced: Callable[[Tensor], Tensor]) -> Tensor:
        """`reduced` of the outputs [part, M] at P points, where entry entries_P[p] of `name` is values_P[p]; joined. [P, ...]

        vmap refuses some programs (data-dependent control flow, an old-style autograd.Function), and only a comparison
        shows that it carries the others rightly: of what it gives for each tensor one copy is evaluated again alone.
        """
        if self.batched:
            try:
                parts = self._batched_parts(name, entries_P, values_P)
                return torch.cat([reduced(part) for part in parts])
            except (_MiscarriedError, Warning, *FOREIGN_ERRORS):  # if it is the function's own the loop raises it again
                pass
        return torch.cat([reduced(part) for part in self._looped_parts(name, entries_P, values_P)])

    def _batched_parts(self, name: str, entries_P: Tensor, values_P: Tensor) -> Iterator[Tensor]:
        tensor = self.point[name]
        size = self._together_at_most(name)
        # One buffer serves all parts: writing the copies afresh for each cost a quarter of the whole check.
        copies = tensor.flatten().repeat(min(size, len(entries_P)), 1)
        for index, (entries, values) in enumerate(
            zip(torch.split(entries_P, size), torch.split(values_P, size), strict=True)
        ):
            part, each = copies[: len(entries)], torch.arange(len(entries))
            part[each, entries] = values
            outputs = self._together(name, part.view(len(entries), *tensor.shape))
            if index == 0 and not _close(outputs[-1], self._alone(name, int(entries[-1]), values[-1])):
                raise _MiscarriedError
            yield outputs
            part[each, entries] = tensor.flatten()[entries]

    def _looped_parts(self, name: str, entries_P: Tensor, values_P: Tensor) -> Iterator[Tensor]:
        for entries, values in zip(torch.split(entries_P, 64), torch.split(values_P, 64), strict=True):
            yield torch.stack([self._alone(name, int(e), v) for e, v in zip(entries, values, strict=True)])

    def _together_at_most(self, name: str) -> int:
        widest = max(tensor.numel() for tensor in self.point.values())
        size = self.point[name].numel() + widest + self.num_outputs
        return max(1, min(4096, _ENTRIES_AT_ONCE // size))

    def _together(self, name: str, copies: Tensor) -> Tensor:
        # What vmap warns of (an operation that it must loop over, or carries oddly) is better done in our own loop.
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("error")
            result: Tensor = torch.func.vmap(lambda one: self.outputs({**self.point, name: one}))(copies)
        return result

    def _alone(self, name: str, entry: int, value: Tensor) -> Tensor:
        changed = self.point[name].clone()
        changed.view(-1)[entry] = value
        with torch.no_grad():
            return self.outputs({**self.point, name: changed})


class _MiscarriedError(Exception):
    """vmap gave something else than the function gives alone."""


def _close(together: Tensor, alone: Tensor) -> bool:
    """Equal but for rounding: a batched product may sum in another order; what was carried wrongly differs much more."""
    return torch.allclose(together, alone, rtol=1e-9, atol=1e-12 * (1 + float(alone.abs().max())), equal_nan=True)


def evaluator(outputs: Outputs, point: Mapping[str, Tensor], *, may_batch: bool = True) -> Evaluator:
    """An evaluator that uses vmap where the function can be batched at all."""
    with torch.no_grad():
        here = outputs(point)
    name, tensor = next((name, tensor) for name, tensor in point.items() if tensor.numel())
    batched = Evaluator(outputs, point, len(here), batched=True)
    try:
        works = may_batch and _close(batched._together(name, torch.stack([tensor, tensor]))[1], here)
    except (Warning, *FOREIGN_ERRORS):
        works = False
    return Evaluator(outputs, point, len(here), batched=works)


def step_scales(tensor: Tensor) -> Tensor:
    """What a relative step of each entry is relative to: its size, and at least the tensor's root mean square (1 for zeros).

    Returns: [N]
    """
    flat = tensor.flatten()
    typical = float(flat.square().mean().sqrt()) or 1.0
    return flat.abs().clamp_min(typical)


@dataclass(frozen=True)
class Slopes:
    """What differences say of N entries.

    Attributes:
        central: [S, N], (f(x + h) - f(x - h)) / 2h.
        above: [S, N], (f(x + h) - f(x)) / h; below: [S, N], (f(x) - f(x - h)) / h.
    """

    central: Tensor
    above: Tensor
    below: Tensor


def slopes(at: Evaluator, name: str, entries_N: Tensor, steps_SN: Tensor, weights_M: Tensor) -> Slopes:
    """Central and one-sided differences of w . f in the entries given, at every step.

    The outputs at the point are subtracted before the rest is weighted and summed, so those that an entry does not touch
    cancel exactly; and the width is the one by which the rounded points truly differ.

    Args:
        entries_N: flat indices into the tensor.
        steps_SN: absolute steps.
    """
    x = at.point[name].flatten()[entries_N]
    upper, lower = x + steps_SN, x - steps_SN
    values = torch.cat([upper, lower]).flatten()
    with torch.no_grad():
        here_M = at.outputs(at.point)
    changes = at.at(name, entries_N.repeat(2 * len(steps_SN)), values, lambda part: (part - here_M) @ weights_M)
    rise, fall = changes.view(2, *steps_SN.shape)
    return Slopes((rise - fall) / (upper - lower), rise / (upper - x), fall / (lower - x))


def richardson(coarse: Tensor, fine: Tensor) -> Tensor:
    """The derivative from central differences at h and h/2, without their common h^2 term.

    Source: Richardson 1911.
    """
    return (4 * fine - coarse) / 3


def jacobian_rows(at: Evaluator, name: str, entries_N: Tensor) -> Tensor:
    """The derivative of every output by the entries given [N, M], from central differences at h and h/2."""
    x = at.point[name].flatten()[entries_N]
    steps = STEP * step_scales(at.point[name])[entries_N]
    values = torch.cat([x + steps, x - steps, x + steps / 2, x - steps / 2])
    outputs = at.at(name, entries_N.repeat(4), values, lambda part: part)
    up, low, half_up, half_low = outputs.view(4, len(entries_N), -1)
    return richardson((up - low) / (2 * steps)[:, None], (half_up - half_low) / steps[:, None])
