"""Central differences, many at once.

The derivative of L = w . f(x) in one entry of one tensor is (L(x + h e) - L(x - h e)) / 2h + O(h^2); from two steps Richardson's
combination (4 D(h/2) - D(h)) / 3 removes the h^2. Every entry needs its own evaluations, and a program of a hundred small
operations spends its time between them; so K perturbed copies of one tensor go through `torch.func.vmap` together, while
every other tensor stays single. A function that vmap can't batch is evaluated in a loop.

K perturbed points, M outputs (flat and real), N entries of a tensor, S steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

Outputs = Callable[[Mapping[str, Tensor]], Tensor]

# A power of two near eps^(1/4.4): the h^4 that Richardson leaves and the rounding of f, eps / h, are both about 1e-12.
STEP: Final = 2.0**-12
# From steps that only a very curved function can't bear to steps that only rounding spoils.
LADDER: Final = tuple(2.0**-power for power in range(6, 29, 2))
# Perturbed copies that fit a core's cache together: measured best on nets of a few thousand weights.
_ENTRIES_AT_ONCE: Final = 2**18
# What code that is not ours may raise; anything else (a keyboard interrupt, memory) is not about the code.
FOREIGN_ERRORS: Final = (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)


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

    def chunk(self, name: str) -> int:
        """How many perturbed copies of `name` are evaluated together."""
        widest = max(tensor.numel() for tensor in self.point.values())
        size = self.point[name].numel() + widest + self.num_outputs
        return max(1, min(4096, _ENTRIES_AT_ONCE // size)) if self.batched else 64

    def at(self, name: str, entries_K: Tensor, values_SK: Tensor) -> Iterator[Tensor]:
        """For each row of `values_SK` the outputs [K, M] with entry entries_K[k] of `name` set to values_SK[s, k]."""
        tensor = self.point[name]
        count = len(entries_K)
        # One buffer serves all rows: writing K copies afresh for every step cost a quarter of the whole check.
        copies = tensor.flatten().repeat(count if self.batched else 1, 1)
        each = torch.arange(count)
        for values_K in values_SK:
            if self.batched:
                copies[each, entries_K] = values_K
                yield self._together(name, copies.view(count, *tensor.shape))
            else:
                yield torch.stack([self._alone(name, int(e), v) for e, v in zip(entries_K, values_K, strict=True)])

    def _together(self, name: str, copies: Tensor) -> Tensor:
        with torch.no_grad():
            result: Tensor = torch.func.vmap(lambda one: self.outputs({**self.point, name: one}))(copies)
        return result

    def _alone(self, name: str, entry: int, value: Tensor) -> Tensor:
        changed = self.point[name].clone()
        changed.view(-1)[entry] = value
        with torch.no_grad():
            return self.outputs({**self.point, name: changed})


def evaluator(outputs: Outputs, point: Mapping[str, Tensor], *, may_batch: bool = True) -> Evaluator:
    """An evaluator that uses vmap where vmap gives what the function gives alone.

    vmap refuses some programs (data-dependent control flow, an old-style autograd.Function), and nothing but a comparison
    shows that it carries the others rightly: three nudged copies of each tensor are evaluated both ways.
    """
    with torch.no_grad():
        num_outputs = outputs(point).numel()
    looped = Evaluator(outputs, point, num_outputs, batched=False)
    batched = Evaluator(outputs, point, num_outputs, batched=True)
    agrees = may_batch and all(_same(batched, looped, name) for name in point if point[name].numel())
    return batched if agrees else looped


def _same(batched: Evaluator, looped: Evaluator, name: str) -> bool:
    flat = batched.point[name].flatten()
    entries = torch.arange(min(3, len(flat)))
    values = (flat[entries] + 2.0**-6).unsqueeze(0)
    try:
        together = next(batched.at(name, entries, values))
    except FOREIGN_ERRORS:  # the loop raises it again if it is the function's own
        return False
    alone = next(looped.at(name, entries, values))
    # A batched product may sum in another order; a copy that was carried wrongly differs in its leading digits.
    return bool(torch.allclose(together, alone, rtol=1e-9, atol=1e-12 * (1 + float(alone.abs().max())), equal_nan=True))


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

    Outputs are subtracted before they are weighted and summed, so those that an entry does not touch cancel exactly; and
    the width is the one by which the rounded points truly differ.

    Args:
        entries_N: flat indices into the tensor.
        steps_SN: absolute steps.
    """
    with torch.no_grad():
        here_M = at.outputs(at.point)
    parts = [
        _chunk_slopes(at, name, entries, steps, weights_M, here_M)
        for entries, steps in zip(
            entries_N.split(at.chunk(name)), steps_SN.split(at.chunk(name), dim=1), strict=True
        )
    ]
    return Slopes(*(torch.cat(part, dim=1) for part in zip(*parts, strict=True)))


def _chunk_slopes(
    at: Evaluator, name: str, entries: Tensor, steps: Tensor, weights: Tensor, here: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    x = at.point[name].flatten()[entries]
    upper, lower = x + steps, x - steps
    points = torch.stack([upper, lower], dim=1).flatten(0, 1)  # upper and lower of one step follow each other
    outputs = at.at(name, entries, points)
    central, above, below = [], [], []
    for up, low, f_up, f_low in zip(upper, lower, outputs, outputs, strict=True):
        rise, fall = (f_up - here) @ weights, (here - f_low) @ weights
        central.append((f_up - f_low) @ weights / (up - low))
        above.append(rise / (up - x))
        below.append(fall / (x - low))
    return torch.stack(central), torch.stack(above), torch.stack(below)


def richardson(coarse: Tensor, fine: Tensor) -> Tensor:
    """The derivative from central differences at h and h/2, without their common h^2 term.

    Source: Richardson 1911.
    """
    return (4 * fine - coarse) / 3


def jacobian_rows(at: Evaluator, name: str, entries_N: Tensor) -> Tensor:
    """The derivative of every output by the entries given [N, M], from central differences at h and h/2."""
    x = at.point[name].flatten()[entries_N]
    steps = STEP * step_scales(at.point[name])[entries_N]
    values = torch.stack([x + steps, x - steps, x + steps / 2, x - steps / 2])
    up, low, half_up, half_low = at.at(name, entries_N, values)
    return richardson((up - low) / (2 * steps)[:, None], (half_up - half_low) / steps[:, None])
