"""Gradients in low precision, or on another device, judged by the same gradient in float64 on the CPU.

What a correct program may be off by is not a constant: it grows with the machine epsilon and with the condition of the sums
inside. Both are measured together by moving every input, parameter and constant by about an epsilon of itself, at
random, and watching the float64 gradient: a sum whose terms cancel moves as much as rounding its terms would move it. In
every other draw the result of each operation, forward and backward, is moved as well: what is 0 by an identity (a bias
before batch normalisation) stays 0 at every input, but not when it is rounded.
Only a gradient that differences have already confirmed in float64 is asked.

Source: the idea of Monte Carlo arithmetic, Parker 1997.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any, Final

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from nnlab.core.rng import stream
from nnlab.diagnostics.gradcheck.autodiff import gradient
from nnlab.diagnostics.gradcheck.problem import Problem, constants, flat_outputs, nudged

_DRAWS: Final = 16
# Rounding inside a fused operation is not simulated. Measured before any inside was, on 40 nets of 2 to 7 layers: at most 2.6 times
# the bound without a margin in float32, once in bfloat16, whose products are summed in float32.
_MARGIN: Final[Mapping[int, float]] = {4: 8.0, 2: 3.0, 8: 8.0}  # by bytes of a number


def low_precision_gradient(problem: Problem, dtype: torch.dtype, device: str) -> dict[str, Tensor]:
    """The gradient computed in `dtype` on `device`, brought back to float64 on the CPU."""
    fixed = constants(problem.subject, dtype, device=device)
    outputs = flat_outputs(problem.subject, problem.complex_names, fixed, problem.random_seed)
    point = {name: tensor.to(device=device, dtype=dtype) for name, tensor in problem.point.items()}
    cotangent = problem.cotangent.to(device=device, dtype=dtype)
    found = gradient(problem.subject, outputs, point, fixed, cotangent)
    # The cotangent was rounded too: divided by its own rounded value, a single output costs no accuracy.
    unit = float(cotangent[0]) if len(cotangent) == 1 else 1.0
    return {name: part.to(device="cpu", dtype=torch.float64) / unit for name, part in found.items()}


def rounding_bounds(problem: Problem, exact: Mapping[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    """How far rounding in `dtype` may move each entry of the gradient.

    Args:
        exact: the gradient in float64.

    Returns: absolute bounds, of the tensors' shapes.
    """
    epsilon, margin = torch.finfo(dtype).eps, _MARGIN[dtype.itemsize]
    generator = stream(0, "noise")
    moved = {name: torch.zeros_like(part) for name, part in exact.items()}
    for draw in range(_DRAWS):
        # Half of the draws are four times as wide: they see kinks that rounding in deeper layers may cross.
        relative = epsilon if draw % 2 else 4 * epsilon
        fixed = nudged(constants(problem.subject, dtype, torch.float64), relative, generator)
        outputs = flat_outputs(problem.subject, problem.complex_names, fixed, problem.random_seed)
        point = nudged(problem.point, relative, generator)
        with _Rounded(epsilon, generator) if draw % 2 else nullcontext():
            found = gradient(problem.subject, outputs, point, fixed, problem.cotangent)
        for name, part in found.items():
            moved[name] = torch.maximum(moved[name], (part / problem.unit - exact[name]).abs())
    return {
        name: margin * (moved[name] + epsilon * exact[name].abs()) + epsilon * _typical(exact[name]) for name in exact
    }


class _Rounded(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Every operation's result moved by a random share, up to `epsilon`, of itself."""

    def __init__(self, epsilon: float, generator: torch.Generator) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.epsilon, self.generator = epsilon, generator

    def __torch_dispatch__(  # type: ignore[no-untyped-def]
        self, func: Any, types: object, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ):
        result = func(*args, **(kwargs or {}))
        # Views and in-place operations round nothing of their own, and must stay the tensors that they are.
        if any(returned.alias_info is not None for returned in func._schema.returns):
            return result
        return type(result)(map(self._moved, result)) if isinstance(result, tuple | list) else self._moved(result)

    def _moved(self, part: object) -> object:
        if not isinstance(part, Tensor) or not part.is_floating_point():
            return part
        share = torch.rand(part.shape, generator=self.generator, dtype=torch.float64)
        return part * (1 + self.epsilon * (2 * share - 1)).to(part.dtype)


def _typical(tensor: Tensor) -> Tensor:
    return tensor.square().mean().sqrt()
